"""From a question for instances or frames to its answer: form, envelope, validators, ranges.

What the client accepts becomes a ranked list of transfer syntaxes; the core picks, and says with each object which one
it is. Errors found before the first byte are clean statuses, and objects that are known to be unavailable then are left
out of a response that has others, which says so (206). An object that fails afterwards breaks off the connection.

An object that comes alone, without an envelope, has an entity tag and may be requested in parts. HEAD is answered from
the heads of the objects, which is all that the core is then asked for. So is, at first, a request with a condition, or
one for the last bytes; the bytes are requested afterwards, if they are wanted.
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
from facade.request.ranges import content_range, range_of, still_wanted
from facade.response.objects import Bare, Envelope, Objects, Parts, Run, body, enveloped
from facade.response.omissions import PARTIAL_CONTENT, partial_headers, status_of
from facade.response.streaming import BuffersResponse, StreamedResponse
from facade.response.validators import Cached, cache_control, cached
from facade.response.zip_archive import Archive


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for.

    offers: the forms it may be answered in, best first.
    count: number of objects, if that is known.
    ask: begins the call with these fields of the request: what is acceptable, `range`, `head_only`. A range is only
        asked for when `count` is 1.
    locate: URL of one object by its head.
    name: of a file that the answer is saved to, without suffix.
    noun: what an object is, in the singular.
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
        """Say whether the answer will be one object without an envelope, whatever the core picks."""
        return self.count == 1 and not any(offer.multipart or offer.media_type == ZIP for offer in self.offers)


@dataclass(slots=True)
class _Opened:
    """An answer of the core that has begun."""

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
        """Size of the whole first object, if it is known."""
        return self.head.size_bytes if self.head.HasField("size_bytes") else None

    def label(self, head: Any) -> str:
        """Return the media type of one object; viewers decode by the transfer syntax named in it."""
        offer = offer_for(self.offers, head.transfer_syntax_uid) or self.offer
        return f"{offer.label(head.transfer_syntax_uid)}; transfer-syntax={head.transfer_syntax_uid}"


async def answer(question: Question) -> Response:
    """Answer a question.

    Raises:
        CoreFailure: as the core says; RANGE_NOT_SATISFIABLE.
    """
    opened = await _open(question, *_first_wish(question))
    if opened.offer.media_type == ZIP:
        return await _archived(question, opened)
    if opened.offer.multipart:
        return await _in_parts(question, opened)
    return await _alone(question, opened)


def _first_wish(question: Question) -> tuple[ByteRange | None, bool]:
    """Return the range to begin with, and whether heads are enough."""
    request = question.request
    if request.method == "HEAD":
        return None, True
    if not question.is_bare:
        return None, False
    wish = range_of(request)
    if "if-none-match" in request.headers or (wish and wish.needs_size):
        return None, True
    return wish.as_asked() if wish else None, False


async def _open(
    question: Question, part: ByteRange | None, head_only: bool = False, *, is_repeated: bool = False
) -> _Opened:
    """Make a call of the core up to its first object. What it has no parts of, it is asked for as a whole.

    The core records damage that it finds, and chooses another form the next time if one is acceptable. So it is asked
    again if it finds damage before anything is sent.
    """
    offers = question.offers
    stream = question.ask({**acceptable(offers), "range": part, "head_only": head_only})
    objects = Objects(stream, question.request.state.request_id)
    batches = objects.batches()
    try:
        first = await anext(batches, None)
    except CoreFailure as failure:
        if objects.has_found_damage and not is_repeated:
            return await _open(question, part, head_only, is_repeated=True)
        if part is None or not _has_no_parts(failure):
            raise
        return await _open(question, None)
    if objects.has_found_damage and not is_repeated:
        await batches.aclose()
        return await _open(question, part, head_only, is_repeated=True)
    head: Any = first[0] if first else None
    offer = offer_for(offers, head.transfer_syntax_uid) if head is not None else None
    if offer is None:
        await batches.aclose()
        raise CoreFailure("INTERNAL", "", "the stream has no objects, or in a form that is not acceptable")
    assert first is not None
    return _Opened(objects, batches, first, offer, offers, part, head_only)


def _has_no_parts(failure: CoreFailure) -> bool:
    """Say whether a range has no meaning, and may then be ignored (RFC 9110 section 14.2): re-encoded or empty."""
    return (failure.reason == "INVALID_FIELD" and failure.metadata.get("field") == "range") or (
        failure.reason == "RANGE_NOT_SATISFIABLE" and failure.metadata.get("size_bytes") == "0"
    )


# ---------------------------------------------------------------------------------------------------------------------
# The three shapes of an answer


async def _in_parts(question: Question, opened: _Opened) -> Response:
    parts = Parts(opened.label, question.locate)
    headers = _kept(question, parts.content_type(opened.offer.label(opened.head.transfer_syntax_uid)))
    is_small = opened.objects.complete == question.count  # and then its size shows when it is put together
    if question.count == 1 and opened.size_bytes is not None and (not is_small or question.request.method == "HEAD"):
        headers["Content-Length"] = str(opened.size_bytes + parts.size_bytes(opened.head))
    return await _sent(question, opened, parts, headers)


async def _archived(question: Question, opened: _Opened) -> Response:
    headers = _kept(question, ZIP) | {"Content-Disposition": f'attachment; filename="{question.name}.zip"'}
    return await _streamed(question, opened, Archive(opened.objects.omission), headers)


def _kept(question: Question, content_type: str) -> dict[str, str]:
    """Return the headers of a body that has no entity tag."""
    return {"Content-Type": content_type, "Cache-Control": cache_control(question.request), "Vary": "Accept"}


async def _alone(question: Question, opened: _Opened) -> Response:
    request, head, size_bytes = question.request, opened.head, opened.size_bytes
    said = _validators(request, opened)
    if said is not None and said.is_known:
        await opened.batches.aclose()
        return said.not_modified()
    headers = {"Content-Type": opened.label(head), **(said.headers if said else {"Vary": "Accept"})}
    wish = range_of(request) if question.count == 1 and said and still_wanted(request, said.tag) else None
    part = None
    if size_bytes is not None:
        headers |= {"Accept-Ranges": "bytes", "Content-Length": str(size_bytes)}
        if wish is not None and (part := wish.within(size_bytes)) is None:
            await opened.batches.aclose()
            raise CoreFailure("RANGE_NOT_SATISFIABLE", "", "", {"size_bytes": str(size_bytes)})
    if request.method != "HEAD" and (opened.head_only or opened.part != _asked(opened, part)):
        await opened.batches.aclose()
        opened = await _open(question, part)
    if part is None or (opened.part is None and not opened.head_only):
        return await _sent(question, opened, Bare(), headers)
    assert size_bytes is not None
    headers |= {"Content-Length": str(part.length_bytes), "Content-Range": content_range(part, size_bytes)}
    return await _streamed(question, opened, Bare(), headers, 206)


def _asked(opened: _Opened, part: ByteRange | None) -> ByteRange | None:
    """Return what the core must have been asked for so that its answer is `part`."""
    if part is None or opened.part is None or opened.size_bytes is None:
        return part
    has = opened.part
    end = has.offset_bytes + has.length_bytes if has.length_bytes else opened.size_bytes
    is_same = has.offset_bytes == part.offset_bytes and min(end, opened.size_bytes) == end_of(part)
    return has if is_same else part


def end_of(part: ByteRange) -> int:
    """Return the position behind a range that has a length."""
    return part.offset_bytes + part.length_bytes


def _validators(request: Request, opened: _Opened) -> Cached | None:
    """Return the entity tag and what goes with it; None if the version is not known."""
    if not opened.head.version:
        return None
    syntax = opened.head.transfer_syntax_uid
    kind = opened.offer.label(syntax)
    form = syntax if kind in (OCTET_STREAM, DICOM_TYPE) else f"{syntax}-{kind.rpartition('/')[2]}"
    if opened.size_bytes is None:  # it is re-encoded, maybe into the transfer syntax that its file claims to have
        form += "-re-encoded"
    return cached(request, opened.head.version, form)


async def _sent(question: Question, opened: _Opened, envelope: Envelope, headers: dict[str, str]) -> Response:
    """Answer with everything that is available. Small answers need not be streamed."""
    if question.request.method != "HEAD" and opened.objects.complete == question.count:
        runs = [run for batch in [opened.first, *[batch async for batch in opened.batches]] for run in batch]
        omission = opened.objects.omission
        said = {**headers, **partial_headers(omission, question.noun)}
        return BuffersResponse([*enveloped(runs, envelope), envelope.end()], status_of(omission), said)
    return await _streamed(question, opened, envelope, headers)


async def _streamed(
    question: Question, opened: _Opened, envelope: Envelope, headers: dict[str, str], status: int = 200
) -> Response:
    core: Core = question.request.app.state.core
    omission = opened.objects.omission
    return StreamedResponse(
        body(opened.first, opened.batches, envelope),
        {**headers, **partial_headers(omission, question.noun)},
        source=opened.batches,
        idle_seconds=core.idle_seconds,
        status_code=PARTIAL_CONTENT if omission.count else status,
    )
