"""WADO-RS: metadata of studies, series and instances (PS3.18 section 10.4.1.1.2, spec/retrieve.md section 6).

Data sets pass through unparsed; only their BulkDataURIs are made absolute. The entity tag changes whenever an
instance of the resource is stored, updated or deleted. Bodies of studies and series are kept (`body_cache`): each
request asks the core, and tells it the state of the body that is kept; if that is current, the core sends no more.
"""

import re
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicomstore.v1.resources_pb2 import ResourceRef
from dicomstore.v1.retrieve_service_pb2 import MetadataItem, RetrieveMetadataRequest
from starlette.requests import Request
from starlette.responses import Response

from facade.accept import accepts_json
from facade.addresses import Urls, resource_of, urls_of
from facade.body_cache import Body, BodyCache, Form, Resource, State
from facade.catalogue import DICOM_JSON
from facade.channel import Core
from facade.content_coding import coded, coded_chunks, coding_headers, coding_of
from facade.dicom_json import array, array_chunks, with_bulk_data_urls
from facade.errors import CoreFailure, Refusal
from facade.observe import call_metadata
from facade.query import wishes_of
from facade.streaming import StreamedResponse

_TAG = re.compile(r'(?:W/)?"([^"]*)"|([^\s,"]+)')
_STATE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")
_CODED = "-gzip"


@dataclass(slots=True)
class _Passed:
    """How much of a resource has been passed on, ascending by version."""

    newest: int = 0
    count: int = 0

    def add(self, items: Sequence[MetadataItem]) -> None:
        if items:
            self.newest = items[-1].version
            self.count += len(items)

    def is_all_of(self, state: State) -> bool:
        """Say whether exactly the instances of `state` were passed on: no later one, and none deleted meanwhile."""
        return (self.newest, self.count) == state


async def metadata(request: Request) -> Response:
    """GET …/metadata."""
    if not accepts_json(wishes_of(request)):
        raise Refusal(406, f"Only {DICOM_JSON} can be returned.")
    resource, urls, coding = resource_of(request), urls_of(request), coding_of(request)
    known = known_tags(request.headers.getlist("if-none-match"))
    core: Core = request.app.state.core
    cache: BodyCache = request.app.state.bodies
    name, form = _name(resource), Form(urls.base, coding)
    kept = cache.find(name, form)
    question = RetrieveMetadataRequest(resource=resource)
    has_state = kept.state if kept else _state(known, resource)
    if has_state:
        question.known_state.max_version, question.known_state.instance_count = has_state
    stream = core.messages(core.retrieve.RetrieveMetadata(question, metadata=call_metadata(request)))
    first = await _first(stream, cache, name)
    state = State(first.state.max_version, first.state.instance_count)
    cache.learn(name, state)
    tag = entity_tag(state, resource)
    headers = {"Content-Type": DICOM_JSON, "ETag": f'"{_in_coding(tag, coding)}"', **coding_headers(coding)}
    if state == has_state:
        await anext(stream, None)  # there is no more to come; the call shall end well and not by being cancelled
    if has := [each for each in known if each == "*" or each.removesuffix(_CODED) == tag]:
        await stream.aclose()
        return _not_modified(headers, has[0])
    if kept and state == has_state:
        return _answer(kept, headers, stream, core)
    if resource.sop_instance_uid:
        items = [item for message in [first, *[each async for each in stream]] for item in message.items]
        return Response(await coded(array(_data_sets(items, urls)), coding), 200, headers)
    passed = _Passed()
    chunks = coded_chunks(array_chunks(_pages(first, stream, urls, passed)), coding)
    filled = cache.filled(name, form, state, chunks, lambda: passed.is_all_of(state))
    return StreamedResponse(filled, headers, source=stream, idle_seconds=core.idle_seconds)


async def _first(stream: AsyncGenerator[Any, None], cache: BodyCache, name: Resource) -> Any:
    """Return the message with the state; what the core does not find is dropped from the cache."""
    try:
        first = await anext(stream, None)
    except CoreFailure as failure:
        if failure.code == "NOT_FOUND":
            cache.learn(name, None)
        raise
    if first is None:
        raise CoreFailure("INTERNAL", "", "the stream has no state")
    return first


def _not_modified(headers: Mapping[str, str], tag: str) -> Response:
    """Return 304 with the tag that the client has, in whichever coding it has the body (RFC 9111 section 4.3.4)."""
    tag = headers["ETag"] if tag == "*" else f'"{tag}"'
    return Response(status_code=304, headers={"ETag": tag, "Vary": headers["Vary"]})


def _answer(body: Body, headers: dict[str, str], stream: AsyncGenerator[Any, None], core: Core) -> Response:
    if len(body.pieces) == 1:
        return Response(body.pieces[0], 200, headers)
    headers = {**headers, "Content-Length": str(body.size_bytes)}
    return StreamedResponse(_each(body.pieces), headers, source=stream, idle_seconds=core.idle_seconds)


async def _each(pieces: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


def entity_tag(state: State, resource: ResourceRef) -> str:
    """Return the opaque part of a resource's entity tag, as it is without a content coding."""
    return str(state.max_version) if resource.sop_instance_uid else f"{state.max_version}-{state.instance_count}"


def known_tags(headers: Iterable[str]) -> list[str]:
    """Return what If-None-Match names: entity tags, weak or strong, with or without quotes, and perhaps "*"."""
    return [quoted or bare for header in headers for quoted, bare in _TAG.findall(header)]


def _in_coding(tag: str, coding: str) -> str:
    """Return the tag of a body in a coding: other bytes, so another tag (RFC 9110 section 8.8.3)."""
    return tag + _CODED if coding else tag


def _state(known: list[str], resource: ResourceRef) -> State | None:
    """Return the state that the client has, so that the core need not send it again."""
    tag = known[0].removesuffix(_CODED) if len(known) == 1 else ""
    if not (match := _STATE.fullmatch(tag)):
        return None
    state = State(max_version=int(match[1]), instance_count=int(match[2] or 1))
    return state if entity_tag(state, resource) == tag else None


def _name(resource: ResourceRef) -> Resource:
    return Resource(
        resource.partition, resource.study_instance_uid, resource.series_instance_uid, resource.sop_instance_uid
    )


async def _pages(
    first: Any, stream: AsyncGenerator[Any, None], urls: Urls, passed: _Passed
) -> AsyncGenerator[list[bytes], None]:
    """Yield the data sets of each message."""
    passed.add(first.items)
    yield _data_sets(first.items, urls)
    async for message in stream:
        passed.add(message.items)
        yield _data_sets(message.items, urls)


def _data_sets(items: Iterable[MetadataItem], urls: Urls) -> list[bytes]:
    data_sets = []
    for item in items:
        uids = item.id
        url = urls.instance(uids.study_instance_uid, uids.series_instance_uid, uids.sop_instance_uid)
        data_sets.append(with_bulk_data_urls(item.dicom_json, url))
    return data_sets
