"""WADO-RS: rendered resources and thumbnails (PS3.18 sections 10.4.1.1.3 and 10.4.1.1.4).

The rendering of one instance or frame is the body; several renderings are parts. A single body has an entity tag, which
depends on the version of the instance and the rendering parameters. Documents and videos support byte ranges.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from dicomstore.v1.resources_pb2 import ByteRange
from dicomstore.v1.retrieve_service_pb2 import (
    RenderedHead,
    ResourceState,
    RetrieveMetadataRequest,
    RetrieveRenderedRequest,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.browsers.media_types import safe_media_type
from facade.channel import Core
from facade.endpoints.wado import parse_frames
from facade.errors import CoreFailure
from facade.request.accept import ANY, MediaRange
from facade.request.addresses import resource_of, urls_of, version_of
from facade.request.catalogue import DOCUMENTS, MOVING, STILL
from facade.request.ranges import content_range, range_applies, range_of
from facade.request.rendering import acceptable_media_types, covers, form_of, rendered_request, wants_envelope
from facade.response.objects import Bare, Buffer, Envelope, Objects, Parts, Run, body, enveloped
from facade.response.omissions import PARTIAL_CONTENT, partial_headers, status_of
from facade.response.streaming import BuffersResponse, StreamedResponse
from facade.response.validators import cache_control, cached, known_tags, varies
from facade.serving.observe import call_metadata

_HEAD_ONLY = ByteRange(offset_bytes=0, length_bytes=1)
"""A range of one byte, to get only the head of a document or video."""

_MAX_VERSION_DIGITS = 18

_SUFFIXES: Mapping[str, str] = {
    "application/pdf": "pdf",
    "text/xml": "xml",
    "application/xml": "xml",
    "model/stl": "stl",
    "model/obj": "obj",
    "model/mtl": "mtl",
    "video/mpeg": "mpg",
    "video/mp4": "mp4",
}


async def rendered(request: Request) -> Response:
    """GET …/rendered of a study, a series or an instance."""
    return await _answer(request, [])


async def rendered_frames(request: Request) -> Response:
    """GET …/frames/{list}/rendered: rendered frames in the requested order."""
    return await _answer(request, parse_frames(request.path_params["frames"]))


async def thumbnail(request: Request) -> Response:
    """GET …/thumbnail of a study, a series, an instance or a frame: a thumbnail or an icon."""
    resource = resource_of(request)
    wanted = rendered_request(request)
    wanted.resource.CopyFrom(resource)
    wanted.thumbnail = True
    wanted.version = version_of(request)
    if "frames" in request.path_params:
        wanted.frames.append(parse_frames(request.path_params["frames"])[0])
    names, media_ranges = acceptable_media_types(request, STILL)
    wanted.acceptable_media_types.extend(names)
    return await alone(request, wanted, media_ranges)


async def _answer(request: Request, frames: list[int]) -> Response:
    resource = resource_of(request)
    wanted = rendered_request(request)
    wanted.resource.CopyFrom(resource)
    wanted.frames.extend(frames)
    wanted.version = version_of(request)
    names, media_ranges = acceptable_media_types(request, STILL if frames else (*STILL, *MOVING, *DOCUMENTS))
    wanted.acceptable_media_types.extend(names)
    if resource.sop_instance_uid and len(frames) < 2:
        return await alone(request, wanted, media_ranges)
    return await _in_parts(request, wanted, media_ranges)


# ---------------------------------------------------------------------------------------------------------------------
# One body


async def alone(request: Request, wanted: RetrieveRenderedRequest, media_ranges: list[MediaRange]) -> Response:
    """Answer with one rendering: of an instance, of a frame, or a thumbnail."""
    form = form_of(wanted)
    if (unchanged := await _unchanged(request, wanted, form)) is not None:
        return unchanged
    requested = None if wanted.thumbnail else range_of(request)
    is_probe = requested is not None and (requested.needs_size or "if-range" in request.headers)
    opened = await _open(request, wanted, _HEAD_ONLY if is_probe else requested.for_core() if requested else None)
    head = opened.head
    if wants_envelope(media_ranges, head.media_type):
        return await _sent(request, opened if not requested else await opened.again(None), _parts(request), 200)
    validators = cached(request, head.version, form)
    if validators.is_known:
        await opened.batches.aclose()
        return validators.not_modified()
    headers = {"Content-Type": _labelled(head), **validators.headers, **_disposition(head)}
    if not opened.has_parts:
        return await _sent(request, opened, Bare(), 200, headers)
    headers["Accept-Ranges"] = "bytes"
    if requested is None or not range_applies(request, validators.tag):
        return await _sent(request, opened if not is_probe else await opened.again(None), Bare(), 200, headers)
    part = requested.within(head.size_bytes)
    if part is None:
        await opened.batches.aclose()
        raise CoreFailure("RANGE_NOT_SATISFIABLE", "", "", {"size_bytes": str(head.size_bytes)})
    if is_probe:
        opened = await opened.again(part)
    headers["Content-Range"] = content_range(part, head.size_bytes)
    return await _sent(request, opened, Bare(), 206, headers | {"Content-Length": str(part.length_bytes)})


async def _unchanged(request: Request, wanted: RetrieveRenderedRequest, form: str) -> Response | None:
    """Return 304 if the client has the current rendering of an instance; this does not render it."""
    named = [tag for tag in known_tags(request.headers.getlist("if-none-match")) if tag.endswith(f"-{form}")]
    version = named[0].removesuffix(f"-{form}") if named else ""
    if not wanted.resource.sop_instance_uid or not version.isdecimal() or len(version) > _MAX_VERSION_DIGITS:
        return None
    state = ResourceState(max_version=int(version), instance_count=1)
    core: Core = request.app.state.core
    core_request = RetrieveMetadataRequest(
        resource=wanted.resource,
        known_state=state,
        include_fields=["SOPInstanceUID"],
        limit=1,
        version=wanted.version,
    )
    stream = core.messages(core.retrieve.RetrieveMetadata(core_request, metadata=call_metadata(request)))
    async with aclosing(stream):
        first = await anext(stream, None)
        validators = cached(request, version, form)
        return validators.not_modified() if first is not None and first.state == state and validators.is_known else None


def _labelled(head: RenderedHead) -> str:
    return "text/html; charset=utf-8" if head.media_type == "text/html" else safe_media_type(head.media_type)


def _disposition(head: RenderedHead) -> dict[str, str]:
    """Return the Content-Disposition of a document or video, with a file name."""
    suffix = _SUFFIXES.get(head.media_type)
    return {"Content-Disposition": f'inline; filename="{head.id.sop_instance_uid}.{suffix}"'} if suffix else {}


# ---------------------------------------------------------------------------------------------------------------------
# Parts


async def _in_parts(request: Request, wanted: RetrieveRenderedRequest, media_ranges: list[MediaRange]) -> Response:
    """Respond with a part for each rendering; a single image is the body if the client names its media type."""
    opened = await _open(request, wanted, None)
    if wanted.frames or not _names_single_part(media_ranges, opened.head.media_type):
        return await _sent(request, opened, _parts(request), 200)
    held, is_alone = await _one_image(opened)
    if is_alone:
        whole: list[Buffer] = [run for batch in held for run in batch if isinstance(run, (bytes, memoryview))]
        headers = {
            "Content-Type": opened.head.media_type,
            "Cache-Control": cache_control(request),
            "Vary": varies(request, "Accept"),
        }
        headers |= partial_headers(opened.objects.omission)
        return BuffersResponse(whole, status_of(opened.objects.omission), headers)
    return await _sent(request, replace(opened, batches=_chained(held[1:], opened.batches)), _parts(request), 200)


def _names_single_part(media_ranges: list[MediaRange], media_type: str) -> bool:
    """Return whether the first media range that covers an image type names it without multipart/related."""
    if media_type not in (*STILL, *MOVING):
        return False
    first = next(
        (media_range for media_range in media_ranges if media_range.is_multipart or covers(media_range, media_type)),
        None,
    )
    return first is not None and not first.is_multipart and first.name != ANY


async def _one_image(opened: "_Opened") -> tuple[list[list[Run]], bool]:
    """Return the batches up to the end of the stream or the head of a second image, and whether there is only one."""
    held: list[list[Run]] = [opened.first]
    heads = 0
    batch: list[Run] | None = opened.first
    while batch is not None:
        heads += sum(not isinstance(run, (bytes, memoryview)) for run in batch)
        if heads > 1:
            return held, False
        if (batch := await anext(opened.batches, None)) is not None:
            held.append(batch)
    return held, True


async def _chained(held: list[list[Run]], rest: AsyncGenerator[list[Run], None]) -> AsyncGenerator[list[Run], None]:
    async with aclosing(rest):
        for batch in held:
            yield batch
        async for batch in rest:
            yield batch


def _parts(request: Request) -> Parts:
    urls = urls_of(request)

    def locate(head: RenderedHead) -> str:
        url = urls.instance(head.id.study_instance_uid, head.id.series_instance_uid, head.id.sop_instance_uid)
        return f"{url}/frames/{head.frame}/rendered" if head.frame else f"{url}/rendered"

    return Parts(_labelled, locate)


# ---------------------------------------------------------------------------------------------------------------------
# From the core to the client


@dataclass(frozen=True, slots=True)
class _Opened:
    """A response of the core whose first message has arrived."""

    request: Request
    wanted: RetrieveRenderedRequest
    objects: Objects
    batches: AsyncGenerator[list[Run], None]
    first: list[Run]

    @property
    def head(self) -> Any:
        return self.first[0]

    @property
    def has_parts(self) -> bool:
        """Whether it is a document or video, for which the core supports byte ranges."""
        head = self.head
        return head.HasField("range") or head.media_type not in (*STILL, *MOVING, "text/html")

    async def again(self, part: ByteRange | None) -> "_Opened":
        """Repeat the call for another range, or for the whole."""
        await self.batches.aclose()
        return await _open(self.request, self.wanted, part)


async def _open(request: Request, wanted: RetrieveRenderedRequest, part: ByteRange | None) -> _Opened:
    core: Core = request.app.state.core
    core_request = RetrieveRenderedRequest()
    core_request.CopyFrom(wanted)
    if part is not None:
        core_request.range.CopyFrom(part)
    stream = core.messages(core.retrieve.RetrieveRendered(core_request, metadata=call_metadata(request)))
    objects = Objects(stream, request.state.request_id)
    batches = objects.batches()
    first = await anext(batches, None)
    if first is None:
        raise CoreFailure("INTERNAL", "", "the stream has no objects")
    return _Opened(request, wanted, objects, batches, first)


async def _sent(
    request: Request, opened: _Opened, envelope: Envelope, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the response for an opened call; a single object that is complete already is not streamed."""
    sent_headers = dict(headers or {"Cache-Control": cache_control(request), "Vary": varies(request, "Accept")})
    if opened.objects.omission.count:
        sent_headers |= partial_headers(opened.objects.omission, "frame" if opened.wanted.frames else "instance")
        status = PARTIAL_CONTENT
    head, is_one = opened.head, bool(opened.wanted.resource.sop_instance_uid) and len(opened.wanted.frames) < 2
    if isinstance(envelope, Parts):
        sent_headers["Content-Type"] = envelope.content_type(head.media_type)
    elif head.HasField("size_bytes"):
        sent_headers.setdefault("Content-Length", str(head.size_bytes))
    if is_one and opened.objects.complete and request.method != "HEAD":
        runs = [run for batch in [opened.first, *[batch async for batch in opened.batches]] for run in batch]
        return BuffersResponse([*enveloped(runs, envelope), envelope.end()], status, sent_headers)
    core: Core = request.app.state.core
    return StreamedResponse(
        body(opened.first, opened.batches, envelope),
        sent_headers,
        source=opened.batches,
        idle_seconds=core.idle_seconds,
        status_code=status,
    )
