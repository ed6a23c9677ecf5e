"""WADO-RS: bulk data and pixel data (PS3.18 sections 10.4.1.1.5 and 10.4.1.1.6).

A single value is the body or one part, whole or as a byte range. All values, or all pixel data, of a resource are
parts: one for each value or frame.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dicomstore.v1.resources_pb2 import Address, ByteRange
from dicomstore.v1.retrieve_service_pb2 import (
    BulkDataHead,
    BulkDataItemHead,
    RetrieveAllBulkDataRequest,
    RetrieveBulkDataRequest,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.browsers.media_types import safe_media_type
from facade.channel import Core
from facade.errors import CoreFailure, Refusal
from facade.request.accept import MediaRange, Offer, acceptable, negotiate, offer_for
from facade.request.addresses import Urls, resource_of, urls_of, version_of
from facade.request.catalogue import OCTET_STREAM, Resource
from facade.request.query import accepted_media_ranges
from facade.request.ranges import content_range, range_applies, range_of
from facade.response.objects import Buffer, Objects, Parts, body
from facade.response.omissions import partial_headers, status_of
from facade.response.streaming import StreamedResponse
from facade.response.validators import cache_control, cached, varies
from facade.serving.observe import call_metadata

_PIXELS = ("7FE00010", "7FE00008", "7FE00009")
_NOT_ACCEPTABLE = f"Only {OCTET_STREAM} and the value's own media type can be returned, with multipart/related or not."


@dataclass(frozen=True, slots=True)
class _Form:
    """Media type and envelope of a value."""

    content_type: str
    multipart: bool


@dataclass(slots=True)
class _Opened:
    """A response of the core whose first message has arrived. `part` is the requested range; None means the whole."""

    head: BulkDataHead
    first: Any
    stream: AsyncGenerator[Any, None]
    part: ByteRange | None

    async def data(self) -> AsyncGenerator[Buffer, None]:
        """Yield the bytes."""
        if data := self.first.data:
            yield data
        async for message in self.stream:
            if data := message.data:
                yield data


async def bulk_data(request: Request) -> Response:
    """GET …/bulkdata/{path}: a value as the body, or with multipart/related as one part."""
    return await _value(request, request.path_params["path"], accepted_media_ranges(request))


async def all_bulk_data(request: Request) -> Response:
    """GET …/bulkdata: all values of a study, series or instance."""
    return await _all(request, accepted_media_ranges(request), pixels_only=False)


async def pixel_data(request: Request) -> Response:
    """GET …/pixeldata: all frames of a study, series or instance; of an instance also as one body, such as a video.

    Viewers play videos from here if the metadata has no BulkDataURI: `…/pixeldata?accept=video/mp4`.
    """
    media_ranges = accepted_media_ranges(request)
    is_single = bool(media_ranges) and not media_ranges[0].is_multipart and media_ranges[0].name != "*/*"
    if "instance" in request.path_params and is_single:
        for path in _PIXELS[:-1]:
            try:
                return await _value(request, path, media_ranges)
            except CoreFailure as failure:
                if failure.reason != "BULK_DATA_NOT_FOUND":
                    raise
        return await _value(request, _PIXELS[-1], media_ranges)
    return await _all(request, media_ranges, pixels_only=True)


# ---------------------------------------------------------------------------------------------------------------------
# One value


async def _value(request: Request, path: str, media_ranges: Sequence[MediaRange]) -> Response:
    instance = resource_of(request)
    if not any(_may_be(media_range) for media_range in media_ranges):
        raise Refusal(406, _NOT_ACCEPTABLE)
    requested = range_of(request)
    needs_head = requested is not None and (requested.needs_size or "if-range" in request.headers)
    opened = await _open(request, instance, path, None if requested is None or needs_head else requested.for_core())
    form = _form(opened.head, media_ranges)
    if form is None:
        await opened.stream.aclose()
        raise Refusal(406, _NOT_ACCEPTABLE)
    head = opened.head
    validators = cached(request, head.version, form.content_type)
    if validators.is_known and not form.multipart:
        await opened.stream.aclose()
        return validators.not_modified()
    size_bytes = head.size_bytes if head.HasField("size_bytes") else None
    part = None
    if requested is not None and size_bytes and range_applies(request, validators.tag):
        if (part := requested.within(size_bytes)) is None:
            await opened.stream.aclose()
            raise CoreFailure("RANGE_NOT_SATISFIABLE", "", "", {"size_bytes": str(size_bytes)})
        if opened.part is None:
            await opened.stream.aclose()
            opened = await _open(request, instance, path, part)
    url = f"{_instance_url(urls_of(request), instance)}/bulkdata/{path}"
    parts = Parts(lambda _: form.content_type, lambda _: url)
    headers = dict(validators.headers)
    length = part.length_bytes if part else size_bytes
    if form.multipart:
        del headers["ETag"]  # boundaries differ
        headers["Content-Type"] = parts.content_type(form.content_type.partition(";")[0])
        length = None if length is None else length + parts.size_bytes(None)
    else:
        headers["Content-Type"] = form.content_type
        headers |= {"Accept-Ranges": "bytes"} if size_bytes is not None else {}
    if length is not None:
        headers["Content-Length"] = str(length)
    if part is not None and size_bytes is not None:
        headers["Content-Range"] = content_range(part, size_bytes)
    core: Core = request.app.state.core
    return StreamedResponse(
        _framed(opened, parts) if form.multipart else opened.data(),
        headers,
        source=opened.stream,
        status_code=206 if part else 200,
        idle_seconds=core.idle_seconds,
    )


async def _framed(opened: _Opened, parts: Parts) -> AsyncGenerator[Buffer, None]:
    yield parts.begin(None)
    async for data in opened.data():
        yield data
    yield parts.end()


def _instance_url(urls: Urls, uids: Address) -> str:
    return urls.instance(uids.study_instance_uid, uids.series_instance_uid, uids.sop_instance_uid)


async def _open(request: Request, instance: Address, path: str, part: ByteRange | None) -> _Opened:
    """Start the call and wait for its first message; an empty value is requested as a whole."""
    core: Core = request.app.state.core
    wanted = RetrieveBulkDataRequest(instance=instance, path=path, range=part, version=version_of(request))
    stream = core.messages(core.retrieve.RetrieveBulkData(wanted, metadata=call_metadata(request)))
    try:
        first = await anext(stream, None)
    except CoreFailure as failure:
        # A range of an empty value is meaningless and may be ignored (RFC 9110 section 14.2).
        if failure.reason != "RANGE_NOT_SATISFIABLE" or failure.metadata.get("size_bytes") != "0":
            raise
        return await _open(request, instance, path, None)
    if first is None:
        raise CoreFailure("INTERNAL", "", "the stream has no head")
    return _Opened(first.head, first, stream, part)


def _name(media_range: MediaRange) -> str:
    return media_range.parameters.get("type", "").lower() if media_range.is_multipart else media_range.name


def _may_be(media_range: MediaRange) -> bool:
    """Return whether a media range can match some value; only the core knows the media type of the value."""
    kind = _name(media_range).partition("/")[0]
    return bool(negotiate(Resource.BULK_DATA, [media_range])) or kind in (
        "image",
        "video",
        "text",
        "application",
        "model",
    )


def _form(head: BulkDataHead, media_ranges: Sequence[MediaRange]) -> _Form | None:
    """Return the preferred form of a value: its own media type if the client names it, or application/octet-stream."""
    own = head.media_type
    for media_range in media_ranges:
        if own and _name(media_range) in (own, f"{own.partition('/')[0]}/*"):
            return _Form(safe_media_type(own), media_range.is_multipart)
        if offer := offer_for(negotiate(Resource.BULK_DATA, [media_range]), head.transfer_syntax_uid):
            return _Form(f"{OCTET_STREAM}; transfer-syntax={head.transfer_syntax_uid}", offer.multipart)
    return None


# ---------------------------------------------------------------------------------------------------------------------
# All values


async def _all(request: Request, media_ranges: Sequence[MediaRange], *, pixels_only: bool) -> Response:
    offers = [offer for offer in negotiate(Resource.FRAMES, media_ranges) if offer.multipart]
    if not offers:
        raise Refusal(406, 'Only multipart/related can be returned, e.g. with type="application/octet-stream".')
    if not pixels_only:
        # The values must match the metadata, so the stored form is preferred among all acceptable ones.
        offers = [replace(offer, quality=1.0) for offer in offers]
    core: Core = request.app.state.core
    call = core.retrieve.RetrieveAllBulkData(
        RetrieveAllBulkDataRequest(
            resource=resource_of(request),
            pixel_data_only=pixels_only,
            version=version_of(request),
            **acceptable(offers),
        ),
        metadata=call_metadata(request),
    )
    objects = Objects(core.messages(call), request.state.request_id)
    batches = objects.batches()
    first = await anext(batches, None)
    if first is None:
        raise CoreFailure("INTERNAL", "", "the stream has no values")
    urls = urls_of(request)

    def label(head: BulkDataItemHead) -> str:
        return _item_label(offers, head)

    def location(head: BulkDataItemHead) -> str:
        url = _instance_url(urls, head.id)
        return f"{url}/frames/{head.frame}" if pixels_only and head.frame else f"{url}/bulkdata/{head.path}"

    parts = Parts(label, location)
    headers = {
        "Content-Type": parts.content_type(label(first[0]).partition(";")[0]),  # type: ignore[arg-type]
        "Cache-Control": cache_control(request),
        "Vary": varies(request, "Accept"),
    }
    return StreamedResponse(
        body(first, batches, parts),
        {**headers, **partial_headers(objects.omission)},
        source=batches,
        idle_seconds=core.idle_seconds,
        status_code=status_of(objects.omission),
    )


def _item_label(offers: Sequence[Offer], head: BulkDataItemHead) -> str:
    """Return the media type of a part: the accepted one for pixel data, otherwise application/octet-stream."""
    syntax = head.transfer_syntax_uid
    offer = offer_for(offers, syntax) if head.path in _PIXELS else None
    return f"{offer.label(syntax) if offer else OCTET_STREAM}; transfer-syntax={syntax}"
