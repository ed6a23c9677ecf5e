"""Retrieval of instances and frames: negotiation, envelope, validators and ranges.

The acceptable forms become a ranked list of transfer syntaxes; the core selects one for each object and names it in the
object's head. Errors before the first byte become error statuses; objects that are unavailable then are omitted from a
response with others (206). If an object fails later, the connection is closed.

A single object without envelope has an entity tag and supports byte ranges. For HEAD only the heads of the objects are
requested from the core; likewise, at first, for a conditional request or a suffix range. The bytes are then requested
if they are needed.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dicomstore.v1.resources_pb2 import ByteRange
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import CoreFailure
from facade.request.accept import Offer, acceptable, offer_for
from facade.request.catalogue import DICOM as DICOM_TYPE
from facade.request.catalogue import OCTET_STREAM, ZIP
from facade.request.ranges import content_range, range_applies, range_of
from facade.response.objects import Bare, Envelope, Objects, Parts, Run, body, enveloped
from facade.response.omissions import PARTIAL_CONTENT, partial_headers, status_of
from facade.response.streaming import BuffersResponse, StreamedResponse
from facade.response.validators import Cached, cache_control, cached, varies
from facade.response.zip_archive import Archive


@dataclass(frozen=True, slots=True)
class Retrieval:
    """A retrieval request.

    offers: the acceptable forms, best first.
    count: number of objects, if it is known.
    ask: starts the call with these fields of the request: acceptable forms, `range`, `head_only`. `range` is used only
        if `count` is 1.
    locate: returns the URL of an object for its head.
    name: file name for a saved response, without suffix.
    noun: noun for an object in warnings, in the singular.
    """

    request: Request
    offers: Sequence[Offer]
    count: int | None
    ask: Callable[[dict[str, Any]], AsyncGenerator[Any, None]]
    locate: Callable[[Any], str]
    name: str
    noun: str = "instance"

    @property
    def is_bare(self) -> bool:
        """Whether the response is one object without envelope, whatever form the core selects."""
        return self.count == 1 and not any(offer.multipart or offer.media_type == ZIP for offer in self.offers)


@dataclass(slots=True)
class _Opened:
    """A response of the core whose first message has arrived."""

    objects: Objects
    batches: AsyncGenerator[list[Run], None]
    first: list[Run]
    offer: Offer
    offers: Sequence[Offer]
    part: ByteRange | None
    head_only: bool

    @property
    def head(self) -> Any:
        return self.first[0]

    @property
    def size_bytes(self) -> int | None:
        """Size of the first object, if it is known."""
        return self.head.size_bytes if self.head.HasField("size_bytes") else None

    def label(self, head: Any) -> str:
        """Return the media type of an object, with its transfer syntax, which viewers need for decoding."""
        offer = offer_for(self.offers, head.transfer_syntax_uid) or self.offer
        return f"{offer.label(head.transfer_syntax_uid)}; transfer-syntax={head.transfer_syntax_uid}"


async def answer(retrieval: Retrieval) -> Response:
    """Return the response for a retrieval request.

    Raises:
        CoreFailure: an error of the core; RANGE_NOT_SATISFIABLE.
    """
    opened = await _open(retrieval, *_first_wish(retrieval))
    if opened.offer.media_type == ZIP:
        return await _archived(retrieval, opened)
    if opened.offer.multipart:
        return await _in_parts(retrieval, opened)
    return await _alone(retrieval, opened)


def _first_wish(retrieval: Retrieval) -> tuple[ByteRange | None, bool]:
    """Return the range of the first call, and whether it requests only heads."""
    request = retrieval.request
    if request.method == "HEAD":
        return None, True
    if not retrieval.is_bare:
        return None, False
    requested = range_of(request)
    if "if-none-match" in request.headers or (requested and requested.needs_size):
        return None, True
    return requested.for_core() if requested else None, False


async def _open(
    retrieval: Retrieval, part: ByteRange | None, head_only: bool = False, *, is_repeated: bool = False
) -> _Opened:
    """Call the core and wait for the first object. If the object has no ranges, it is requested as a whole.

    The core records damage that it finds, and the next time selects another acceptable form. The call is therefore
    repeated once if damage is found before anything is sent.
    """
    offers = retrieval.offers
    stream = retrieval.ask({**acceptable(offers), "range": part, "head_only": head_only})
    objects = Objects(stream, retrieval.request.state.request_id)
    batches = objects.batches()
    try:
        first = await anext(batches, None)
    except CoreFailure as failure:
        if objects.has_found_damage and not is_repeated:
            return await _open(retrieval, part, head_only, is_repeated=True)
        if part is None or not _has_no_parts(failure):
            raise
        return await _open(retrieval, None)
    if objects.has_found_damage and not is_repeated:
        await batches.aclose()
        return await _open(retrieval, part, head_only, is_repeated=True)
    head: Any = first[0] if first else None
    offer = offer_for(offers, head.transfer_syntax_uid) if head is not None else None
    if offer is None:
        await batches.aclose()
        raise CoreFailure("INTERNAL", "", "the stream has no objects, or their form is not acceptable")
    assert first is not None
    return _Opened(objects, batches, first, offer, offers, part, head_only)


def _has_no_parts(failure: CoreFailure) -> bool:
    """Return whether the range is to be ignored (RFC 9110, 14.2) because the object is transcoded or empty."""
    return (failure.reason == "INVALID_FIELD" and failure.metadata.get("field") == "range") or (
        failure.reason == "RANGE_NOT_SATISFIABLE" and failure.metadata.get("size_bytes") == "0"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Multipart, ZIP archive, single body


async def _in_parts(retrieval: Retrieval, opened: _Opened) -> Response:
    parts = Parts(opened.label, retrieval.locate)
    headers = _kept(retrieval, parts.content_type(opened.offer.label(opened.head.transfer_syntax_uid)))
    is_small = opened.objects.complete == retrieval.count  # then BuffersResponse sets the Content-Length
    if retrieval.count == 1 and opened.size_bytes is not None and (not is_small or retrieval.request.method == "HEAD"):
        headers["Content-Length"] = str(opened.size_bytes + parts.size_bytes(opened.head))
    return await _sent(retrieval, opened, parts, headers)


async def _archived(retrieval: Retrieval, opened: _Opened) -> Response:
    headers = _kept(retrieval, ZIP) | {"Content-Disposition": f'attachment; filename="{retrieval.name}.zip"'}
    return await _streamed(retrieval, opened, Archive(opened.objects.omission), headers)


def _kept(retrieval: Retrieval, content_type: str) -> dict[str, str]:
    """Return the headers of a body without entity tag."""
    return {
        "Content-Type": content_type,
        "Cache-Control": cache_control(retrieval.request),
        "Vary": varies(retrieval.request, "Accept"),
    }


async def _alone(retrieval: Retrieval, opened: _Opened) -> Response:
    request, head, size_bytes = retrieval.request, opened.head, opened.size_bytes
    validators = _validators(request, opened)
    if validators is not None and validators.is_known:
        await opened.batches.aclose()
        return validators.not_modified()
    headers = {
        "Content-Type": opened.label(head),
        **(validators.headers if validators else {"Vary": varies(request, "Accept")}),
    }
    requested = (
        range_of(request) if retrieval.count == 1 and validators and range_applies(request, validators.tag) else None
    )
    part = None
    if size_bytes is not None:
        headers |= {"Accept-Ranges": "bytes", "Content-Length": str(size_bytes)}
        if requested is not None and (part := requested.within(size_bytes)) is None:
            await opened.batches.aclose()
            raise CoreFailure("RANGE_NOT_SATISFIABLE", "", "", {"size_bytes": str(size_bytes)})
    if request.method != "HEAD" and (opened.head_only or opened.part != _asked(opened, part)):
        await opened.batches.aclose()
        opened = await _open(retrieval, part)
    if part is None or (opened.part is None and not opened.head_only):
        return await _sent(retrieval, opened, Bare(), headers)
    assert size_bytes is not None
    headers |= {"Content-Length": str(part.length_bytes), "Content-Range": content_range(part, size_bytes)}
    return await _streamed(retrieval, opened, Bare(), headers, 206)


def _asked(opened: _Opened, part: ByteRange | None) -> ByteRange | None:
    """Return the range of the call that `opened` must have had to answer with `part`."""
    if part is None or opened.part is None or opened.size_bytes is None:
        return part
    has = opened.part
    end = has.offset_bytes + has.length_bytes if has.length_bytes else opened.size_bytes
    is_same = has.offset_bytes == part.offset_bytes and min(end, opened.size_bytes) == end_of(part)
    return has if is_same else part


def end_of(part: ByteRange) -> int:
    """Return the end (exclusive) of a range with a length."""
    return part.offset_bytes + part.length_bytes


def _validators(request: Request, opened: _Opened) -> Cached | None:
    """Return the entity tag and its headers; None if the version is unknown."""
    if not opened.head.version:
        return None
    syntax = opened.head.transfer_syntax_uid
    kind = opened.offer.label(syntax)
    form = syntax if kind in (OCTET_STREAM, DICOM_TYPE) else f"{syntax}-{kind.rpartition('/')[2]}"
    if opened.size_bytes is None:  # transcoded, possibly into the transfer syntax that its file claims to have
        form += "-re-encoded"
    return cached(request, opened.head.version, form)


async def _sent(retrieval: Retrieval, opened: _Opened, envelope: Envelope, headers: dict[str, str]) -> Response:
    """Return the response; one that is complete already is not streamed."""
    if retrieval.request.method != "HEAD" and opened.objects.complete == retrieval.count:
        runs = [run for batch in [opened.first, *[batch async for batch in opened.batches]] for run in batch]
        omission = opened.objects.omission
        sent_headers = {**headers, **partial_headers(omission, retrieval.noun)}
        return BuffersResponse([*enveloped(runs, envelope), envelope.end()], status_of(omission), sent_headers)
    return await _streamed(retrieval, opened, envelope, headers)


async def _streamed(
    retrieval: Retrieval, opened: _Opened, envelope: Envelope, headers: dict[str, str], status: int = 200
) -> Response:
    core: Core = retrieval.request.app.state.core
    omission = opened.objects.omission
    return StreamedResponse(
        body(opened.first, opened.batches, envelope),
        {**headers, **partial_headers(omission, retrieval.noun)},
        source=opened.batches,
        idle_seconds=core.idle_seconds,
        status_code=PARTIAL_CONTENT if omission.count else status,
    )
