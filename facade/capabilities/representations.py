"""The media types and parameters of each endpoint, for the Capabilities Description."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response

from facade.administration import audit, tokens
from facade.administration import operations as operation_lists
from facade.endpoints import (
    bulk_data,
    change_feed,
    delete,
    extended_query_tags,
    home,
    metadata,
    openapi,
    operations,
    partitions,
    qido,
    rendered,
    stow,
    wado,
    wado_uri,
)
from facade.endpoints.changes import consumers, stream
from facade.events import studies, webhooks
from facade.explorer import site
from facade.lifecycle import bulk_update, commitments, holds, transfers, trash, versions
from facade.monitoring import metrics
from facade.request.catalogue import CATALOGUE, DICOM, DICOM_JSON, DICOM_XML, Resource, Shape
from facade.response.store_outcomes import OUTCOMES_JSON
from facade.sessions import login
from facade.sharing import links, redeem
from facade.worklist import event_channel, event_stream, search, subscriptions, workitems

Endpoint = Callable[[Request], Awaitable[Response]]

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Representations:
    """What an endpoint accepts and returns.

    parameters: names of query parameters.
    requests: media types of the body of a request.
    responses: media types of the body of a response.
    """

    parameters: Sequence[str] = ()
    requests: Sequence[str] = ()
    responses: Sequence[str] = (_JSON,)


def _multipart(media_type: str) -> str:
    return f'multipart/related; type="{media_type}"'


def _products(resource: Resource) -> list[str]:
    """Return the media types of a resource, without and with envelope."""
    names: list[str] = []
    for product in CATALOGUE[resource]:
        names += [product.media_type] if product.shape is not Shape.MULTIPART else []
        names += [_multipart(product.media_type)] if product.shape is not Shape.SINGLE else []
    return names


_RETRIEVAL = ("accept", "version")
_RENDERING = (*_RETRIEVAL, "annotation", "quality", "viewport", "window", "iccprofile")
_SEARCH = Representations(
    (
        "{attributeID}",
        *("fuzzymatching", "emptyvaluematching", "multiplevaluematching", "includefield", "limit", "offset"),
        *("PriorRecordKey", "pagetoken", "totalcount", "sort", "label.{name}", "labels", "accept"),
    ),
    responses=(DICOM_JSON, _multipart(DICOM_XML)),
)
_COMMITMENT = _DATA_SET = (DICOM_JSON, DICOM_XML)
_RENDERED = Representations(_RENDERING, responses=_products(Resource.RENDERED))
_BULK_DATA = Representations(_RETRIEVAL, responses=_products(Resource.BULK_DATA))
_PIXELS = Representations(_RETRIEVAL, responses=_products(Resource.FRAMES))

_OF_ENDPOINTS: Mapping[Endpoint, Representations] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *(qido.all_studies, qido.all_series, qido.all_instances),
                *(qido.series_of_study, qido.instances_of_study, qido.instances_of_series),
            ),
            _SEARCH,
        ),
        stow.store: Representations(
            requests=(DICOM, _multipart(DICOM)), responses=(DICOM_JSON, DICOM_XML, OUTCOMES_JSON)
        ),
        wado.frames: _PIXELS,
        metadata.metadata: Representations(
            ("includefield", "excludefield", "limit", "offset", "labels", *_RETRIEVAL),
            responses=_products(Resource.METADATA),
        ),
        rendered.rendered: _RENDERED,
        rendered.rendered_frames: _RENDERED,
        rendered.thumbnail: Representations(("accept", "viewport"), responses=_products(Resource.THUMBNAIL)),
        bulk_data.bulk_data: _BULK_DATA,
        bulk_data.all_bulk_data: _BULK_DATA,
        bulk_data.pixel_data: _PIXELS,
        wado_uri.retrieve: Representations(
            (
                *("requestType", "studyUID", "seriesUID", "objectUID", "contentType", "charset", "transferSyntax"),
                *("annotation", "rows", "columns", "region", "windowCenter", "windowWidth", "frameNumber"),
                "imageQuality",
            ),
            responses=(DICOM, *_products(Resource.THUMBNAIL)),
        ),
        commitments.request_commitment: Representations(requests=_COMMITMENT, responses=_COMMITMENT),
        commitments.result: Representations(responses=_COMMITMENT),
        search.search: Representations(
            (
                *("{attributeID}", "fuzzymatching", "emptyvaluematching", "multiplevaluematching"),
                *("includefield", "limit", "offset", "pagetoken", "totalcount", "accept"),
            ),
            responses=(DICOM_JSON, _multipart(DICOM_XML)),
        ),
        workitems.create: Representations(("workitem",), requests=_DATA_SET, responses=()),
        workitems.retrieve: Representations(("accept",), responses=_DATA_SET),
        workitems.update: Representations(("Transaction-uid",), requests=_DATA_SET, responses=()),
        workitems.change_state: Representations(requests=_DATA_SET, responses=()),
        workitems.request_cancellation: Representations(requests=_DATA_SET, responses=()),
        subscriptions.subscribe: Representations(
            ("deletionlock", "filter", "fuzzymatching", "emptyvaluematching"), responses=()
        ),
        subscriptions.unsubscribe: Representations(responses=()),
        subscriptions.suspend: Representations(responses=()),
        event_channel.channel: Representations(responses=()),
        event_stream.stream: Representations(
            ("{attributeID}", "filter", "fuzzymatching", "emptyvaluematching", "includeWorkitem", "lastEventId"),
            responses=("text/event-stream",),
        ),
        stream.stream: Representations(
            ("consumer", "includeMetadata", "lastEventId"), responses=("text/event-stream",)
        ),
        studies.stream: Representations(("after", "lastEventId"), responses=("text/event-stream",)),
        metrics.metrics: Representations(responses=("text/plain", "application/openmetrics-text", _JSON)),
        redeem.redeem: Representations(responses=("text/html",)),
        login.link: Representations(responses=("text/html",)),
        **dict.fromkeys((login.login, login.callback, login.logout), Representations(responses=())),
        login.redeem_link: Representations(responses=()),
        openapi.as_yaml: Representations(responses=("application/yaml",)),
        home.home: Representations(responses=("text/html", _JSON)),
        site.root: Representations(responses=("text/html", _JSON)),
    }
)


_PAGE = ("limit", "pagetoken")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_PERIOD = ("startTime", "endTime")
_LISTS: Mapping[Endpoint, Sequence[str]] = MappingProxyType(
    {
        versions.versions: _PAGE,
        versions.difference: ("from",),
        trash.deleted: (*_UIDS, *_PERIOD, *_PAGE),
        holds.holds: _PAGE,
        holds.holds_of_resource: _PAGE,
        transfers.transfers: ("state", "remote", *_PAGE),
        subscriptions.subscribers: ("after", "limit"),
        change_feed.changes: ("offset", "limit", *_PERIOD, "includeMetadata"),
        change_feed.latest_change: ("includeMetadata",),
        consumers.consumers: ("after", "limit"),
        studies.events: ("after", "limit"),
        webhooks.dead_letters: ("after", "limit"),
        extended_query_tags.tags: ("limit", "offset"),
        extended_query_tags.errors: ("limit", "offset"),
        operation_lists.operations: ("type", "status", *_PAGE),
        operation_lists.errors: _PAGE,
        audit.events: (
            *("order", *_PERIOD, "principal", "partition", *_UIDS),
            *("action", "outcome", "requestId", "client", *_PAGE),
        ),
        tokens.tokens: ("includeinvalid", *_PAGE),
        links.links: _PAGE,
    }
)
"""Parameters of lists in JSON."""

_WITH_REASON = frozenset(
    {
        *(delete.delete, partitions.delete, holds.release, versions.revert),
        *(bulk_update.bulk_update, bulk_update.revert_to),
    }
)
_WITHOUT_BODY = frozenset(
    {
        *(trash.undelete, versions.revert, transfers.retry, webhooks.retry),
        *(login.logout, login.redeem_link),
    }
)
"""Endpoints that change something, and read no body."""


def representations_of(endpoint: Endpoint, method: str, path: str) -> Representations:
    """Return what an endpoint accepts and returns; without an entry, it is JSON."""
    if endpoint is wado.instances:
        resource = Resource.INSTANCE if "{instance}" in path else Resource.STUDY
        return Representations(_RETRIEVAL, responses=_products(resource))
    if endpoint in _LISTS:
        return Representations(_LISTS[endpoint])
    parameters = (*(["name"] if endpoint is holds.release else []), *(["reason"] if endpoint in _WITH_REASON else []))
    if method == "DELETE":
        has_answer = endpoint in (operations.cancel, webhooks.delete_dead_letters)
        return Representations(parameters, responses=(_JSON,) if has_answer else ())
    has_body = method in ("PUT", "PATCH", "POST") and endpoint not in _WITHOUT_BODY
    return _OF_ENDPOINTS.get(endpoint) or Representations(parameters, requests=(_JSON,) if has_body else ())
