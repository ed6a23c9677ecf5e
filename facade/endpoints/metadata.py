"""WADO-RS: metadata of studies, series and instances (PS3.18 section 10.4.1.1.2).

JSON data sets are passed on without parsing; only their BulkDataURIs are made absolute. The entity tag changes whenever
an instance of the resource is stored, updated or deleted. Bodies of studies and series are cached (`body_cache`): each
request sends the state of the cached body to the core, which returns no data if that state is current. Bodies in XML,
and selections of metadata, are not cached.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicomstore.v1.resources_pb2 import Address
from dicomstore.v1.retrieve_service_pb2 import MetadataItem, RetrieveMetadataRequest
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.config import Settings, comma_list
from facade.errors import CoreFailure, Refusal
from facade.multipart import MultipartWriter
from facade.request.addresses import ORIGINAL, Urls, resource_of, urls_of, version_of
from facade.request.azure.external_metadata import requests_external_metadata
from facade.request.catalogue import DICOM_JSON, DICOM_XML
from facade.request.metadata import Selection, Shape, selection_of, shape_of
from facade.request.query import accepted_media_ranges, parameters_of
from facade.response.body_cache import Body, BodyCache, Form, Resource, State
from facade.response.content_coding import CODINGS, coded, coded_chunks, coding_headers, coding_of
from facade.response.dicom_json import array, array_chunks, with_bulk_data_urls, without_bulk_data
from facade.response.dicom_xml import native_xml_of
from facade.response.streaming import StreamedResponse
from facade.response.validators import known_tags
from facade.serving.observe import call_metadata

_STATE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")
_KEPT = {"Cache-Control": "private, no-cache"}
"""The contents of a study or series may change, so clients must revalidate each time."""

_SUFFIXES = tuple(f"-{coding}" for coding in CODINGS)


@dataclass(slots=True)
class _Passed:
    """The data sets of a resource passed on so far, ascending by version."""

    newest: int = 0
    count: int = 0

    def add(self, items: Sequence[MetadataItem]) -> None:
        if items:
            self.newest = items[-1].version
            self.count += len(items)

    def is_all_of(self, state: State) -> bool:
        """Return whether exactly the instances of `state` were passed on, without later or missing ones."""
        return (self.newest, self.count) == state


@dataclass(frozen=True, slots=True)
class _Tags:
    """The entity tags of a resource in one shape and selection, and the tags that the client has."""

    resource: Address
    form: str
    known: Sequence[str]

    def of(self, state: State) -> str:
        """Return the opaque part of the tag without content coding."""
        return entity_tag(state, self.resource) + self.form

    def known_as(self, state: State) -> str | None:
        """Return the client's tag for this state, in any coding; None if the client has another state."""
        return next((each for each in self.known if each == "*" or _uncoded(each) == self.of(state)), None)

    def known_state(self) -> State | None:
        """Return the state that the client has; the core sends no data if it is current."""
        tag = _uncoded(self.known[0]) if len(self.known) == 1 else ""
        if not tag.endswith(self.form) or not (match := _STATE.fullmatch(tag.removesuffix(self.form))):
            return None
        state = State(max_version=int(match[1]), instance_count=int(match[2] or 1))
        return state if self.of(state) == tag else None


async def metadata(request: Request) -> Response:
    """GET …/metadata."""
    shape = shape_of(accepted_media_ranges(request), is_instance="instance" in request.path_params)
    if shape is None:
        raise Refusal(406, f'Only {DICOM_JSON} and multipart/related; type="{DICOM_XML}" can be returned.')
    resource, urls, coding = resource_of(request), urls_of(request), coding_of(request)
    selection = selection_of(parameters_of(request), external_metadata=requests_external_metadata(request))
    core: Core = request.app.state.core
    cache: BodyCache = request.app.state.bodies
    known = [] if selection.is_live else known_tags(request.headers.getlist("if-none-match"))
    version = version_of(request)
    # Of originals, the URLs of bulk data name the version.
    tags = _Tags(resource, shape.tag + selection.tag + ("-original" if version == ORIGINAL else ""), known)
    name, form = _name(resource), Form(urls.base, coding)
    kept = cache.find(name, form) if not (tags.form or version) else None
    core_request = RetrieveMetadataRequest(resource=resource, version=version, **selection.fields())
    if has_state := kept.state if kept else tags.known_state():
        core_request.known_state.max_version, core_request.known_state.instance_count = has_state
    stream = core.messages(core.retrieve.RetrieveMetadata(core_request, metadata=call_metadata(request)))
    first = await _first(stream, cache, name)
    state = State(first.state.max_version, first.state.instance_count)
    if not version:
        cache.learn(name, state)
    headers = _headers(shape, tags.of(state), coding, selection, state)
    if state == has_state:
        await anext(stream, None)  # read the end of the stream, so that the call is not cancelled
    if has := tags.known_as(state):
        await stream.aclose()
        return _not_modified(headers, has)
    if kept and state == has_state:
        return _answer(kept, headers, stream, core)
    complete = _completed(request, urls)
    if shape is Shape.XML_PARTS:
        writer = MultipartWriter()
        headers["Content-Type"] = writer.content_type(DICOM_XML)
        parts = coded_chunks(_xml_parts(first, stream, complete, writer), coding)
        return StreamedResponse(parts, headers, source=stream, idle_seconds=core.idle_seconds)
    if resource.sop_instance_uid:
        items = [item for message in [first, *[each async for each in stream]] for item in message.items]
        if shape is Shape.XML and not items:
            raise Refusal(404, "The selected data set does not exist.")
        body = array(map(complete, items)) if shape is Shape.JSON else await _xml(items[0], complete)
        return Response(await coded(body, coding), 200, headers)
    passed = _Passed()
    chunks = coded_chunks(array_chunks(_pages(first, stream, complete, passed)), coding)
    if not (tags.form or version):
        chunks = cache.filled(name, form, state, chunks, lambda: passed.is_all_of(state))
    return StreamedResponse(chunks, headers, source=stream, idle_seconds=core.idle_seconds)


def _headers(shape: Shape, tag: str, coding: str, selection: Selection, state: State) -> dict[str, str]:
    # Equal strong tags promise equal bytes, and boundaries differ (RFC 9110 section 8.8.1).
    weak = "W/" if shape is Shape.XML_PARTS else ""
    headers = {"Content-Type": shape.media_type, "ETag": f'{weak}"{_in_coding(tag, coding)}"', **_KEPT}
    headers |= coding_headers(coding, "Accept")
    if selection.is_live:
        del headers["ETag"]
        headers["Cache-Control"] = "no-store"
    return headers | {"X-Total-Count": str(state.instance_count)} if selection.is_page else headers


async def _first(stream: AsyncGenerator[Any, None], cache: BodyCache, name: Resource) -> Any:
    """Return the first message, which has the state; a resource not found by the core is dropped from the cache."""
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
    """Return 304 with the client's tag, which may be that of another coding (RFC 9111 section 4.3.4)."""
    weak = headers["ETag"].partition('"')[0]
    tag = headers["ETag"] if tag == "*" else f'{weak}"{tag}"'
    return Response(status_code=304, headers={"ETag": tag, "Vary": headers["Vary"], **_KEPT})


def _answer(body: Body, headers: dict[str, str], stream: AsyncGenerator[Any, None], core: Core) -> Response:
    if len(body.pieces) == 1:
        return Response(body.pieces[0], 200, headers)
    headers = {**headers, "Content-Length": str(body.size_bytes)}
    return StreamedResponse(_each(body.pieces), headers, source=stream, idle_seconds=core.idle_seconds)


async def _each(pieces: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


def entity_tag(state: State, resource: Address) -> str:
    """Return the opaque part of the entity tag of a resource's complete JSON metadata without content coding."""
    return str(state.max_version) if resource.sop_instance_uid else f"{state.max_version}-{state.instance_count}"


def _in_coding(tag: str, coding: str) -> str:
    """Return the tag of a body in a coding; different bytes need a different tag (RFC 9110 section 8.8.3)."""
    return f"{tag}-{coding}" if coding else tag


def _uncoded(tag: str) -> str:
    return next((tag.removesuffix(suffix) for suffix in _SUFFIXES if tag.endswith(suffix)), tag)


def _name(resource: Address) -> Resource:
    return Resource(
        resource.partition, resource.study_instance_uid, resource.series_instance_uid, resource.sop_instance_uid
    )


Complete = Callable[[MetadataItem], bytes]
"""Returns the data set of an item as sent to this client."""


def _completed(request: Request, urls: Urls) -> Complete:
    settings: Settings = request.app.state.settings
    omits = request.path_params["version"].name in comma_list(settings.omit_bulk_data_in)

    if omits:
        return lambda item: without_bulk_data(item.dicom_json)
    has_version = version_of(request) != 0

    def complete(item: MetadataItem) -> bytes:
        uids = item.id
        url = urls.instance(uids.study_instance_uid, uids.series_instance_uid, uids.sop_instance_uid)
        return with_bulk_data_urls(item.dicom_json, url, f"?version={item.version}" if has_version else "")

    return complete


async def _pages(
    first: Any, stream: AsyncGenerator[Any, None], complete: Complete, passed: _Passed
) -> AsyncGenerator[list[bytes], None]:
    """Yield the data sets of each message."""
    passed.add(first.items)
    yield list(map(complete, first.items))
    async for message in stream:
        passed.add(message.items)
        yield list(map(complete, message.items))


async def _xml_parts(
    first: Any, stream: AsyncGenerator[Any, None], complete: Complete, writer: MultipartWriter
) -> AsyncGenerator[bytes, None]:
    """Yield a part for each data set."""
    for item in first.items:
        yield writer.begin(DICOM_XML) + await _xml(item, complete)
    async for message in stream:
        for item in message.items:
            yield writer.begin(DICOM_XML) + await _xml(item, complete)
    yield writer.end()


async def _xml(item: MetadataItem, complete: Complete) -> bytes:
    """Return a data set as XML; the conversion runs in a thread because it takes long."""
    return await asyncio.to_thread(native_xml_of, complete(item))
