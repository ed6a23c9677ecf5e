"""WADO-RS: metadata of studies, series and instances (PS3.18 section 10.4.1.1.2, spec/retrieve.md section 6).

Data sets pass through unparsed; only their BulkDataURIs are made absolute. The entity tag changes whenever an
instance of the resource is stored, updated or deleted.
"""

import re
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from dicomstore.v1.resources_pb2 import ResourceRef
from dicomstore.v1.retrieve_service_pb2 import MetadataItem, ResourceState, RetrieveMetadataRequest
from starlette.requests import Request
from starlette.responses import Response

from facade.accept import DICOM_JSON, accepts_json
from facade.addresses import Urls, resource_of, urls_of
from facade.channel import Core
from facade.dicom_json import array, array_chunks, with_bulk_data_urls
from facade.errors import CoreFailure, Refusal
from facade.observe import call_metadata
from facade.query import wishes_of
from facade.streaming import StreamedResponse

_TAG = re.compile(r'(?:W/)?"([^"]*)"|([^\s,"]+)')


async def metadata(request: Request) -> Response:
    """GET …/metadata."""
    if not accepts_json(wishes_of(request)):
        raise Refusal(406, f"Only {DICOM_JSON} can be returned.")
    resource = resource_of(request)
    known = known_tags(request.headers.getlist("if-none-match"))
    core: Core = request.app.state.core
    call = core.retrieve.RetrieveMetadata(
        RetrieveMetadataRequest(resource=resource, known_state=_state(known, resource)),
        metadata=call_metadata(request),
    )
    stream = core.messages(call)
    first = await anext(stream, None)
    if first is None:
        raise CoreFailure("INTERNAL", "", "the stream has no state")
    tag = entity_tag(first.state, resource)
    headers = {"Content-Type": DICOM_JSON, "ETag": f'"{tag}"'}
    if tag in known or "*" in known:
        await stream.aclose()
        return Response(status_code=304, headers={"ETag": f'"{tag}"'})
    urls = urls_of(request)
    if resource.sop_instance_uid:
        items = [item for message in [first, *[each async for each in stream]] for item in message.items]
        return Response(array(_data_sets(items, urls)), 200, headers)
    return StreamedResponse(
        array_chunks(_pages(first, stream, urls)), headers, source=stream, idle_seconds=core.idle_seconds
    )


def entity_tag(state: ResourceState, resource: ResourceRef) -> str:
    """Return the opaque part of a resource's entity tag."""
    return str(state.max_version) if resource.sop_instance_uid else f"{state.max_version}-{state.instance_count}"


def known_tags(headers: Iterable[str]) -> list[str]:
    """Return what If-None-Match names: entity tags, weak or strong, with or without quotes, and perhaps "*"."""
    return [quoted or bare for header in headers for quoted, bare in _TAG.findall(header)]


def _state(known: list[str], resource: ResourceRef) -> ResourceState | None:
    """Return the state that the client has, so that the core need not send it again."""
    pattern = r"(\d{1,18})()" if resource.sop_instance_uid else r"(\d{1,18})-(\d{1,18})"
    if len(known) != 1 or not (match := re.fullmatch(pattern, known[0])):
        return None
    return ResourceState(max_version=int(match[1]), instance_count=int(match[2] or 1))


async def _pages(first: Any, stream: AsyncGenerator[Any, None], urls: Urls) -> AsyncGenerator[list[bytes], None]:
    """Yield the data sets of each message."""
    yield _data_sets(first.items, urls)
    async for message in stream:
        yield _data_sets(message.items, urls)


def _data_sets(items: Iterable[MetadataItem], urls: Urls) -> list[bytes]:
    return [
        with_bulk_data_urls(
            item.dicom_json,
            urls.instance(item.id.study_instance_uid, item.id.series_instance_uid, item.id.sop_instance_uid),
        )
        for item in items
    ]
