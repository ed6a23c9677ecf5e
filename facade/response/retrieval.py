"""From a question for instances or frames to its answer: form, envelope, validators, ranges.

What the client accepts becomes a ranked list of transfer syntaxes; the core picks, and says with each object which one
it is. Errors found before the first byte are clean statuses, and objects that are known to be unavailable then are left
out of a response that has others, which says so (206). An object that fails afterwards breaks off the connection.

An object that comes alone, without an envelope, has an entity tag and may be had in parts. Who asks with a condition,
or with HEAD, or for the last bytes, is answered from the head of the object; its bytes are asked for afterwards, if
they are wanted.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dicomstore.v1.resources_pb2 import ByteRange
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import CoreFailure, Refusal
from facade.request.accept import STORED, Offer, acceptable, offer_for
from facade.request.catalogue import DICOM as DICOM_TYPE
from facade.request.catalogue import OCTET_STREAM, ZIP, media_type_of
from facade.request.ranges import content_range, range_of, still_wanted
from facade.response.objects import Bare, Envelope, Objects, Parts, Run, body
from facade.response.omissions import PARTIAL_CONTENT, partial_headers, status_of
from facade.response.streaming import StreamedResponse
from facade.response.validators import Cached, cache_control, cached
from facade.response.zip_archive import Archive

_HEAD_ONLY = ByteRange(offset_bytes=0, length_bytes=1)
"""The core can't be asked for a head alone; this is next to nothing."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for.

    offers: the forms it may be answered in, best first.
    count: number of objects, if that is known.
    ask: begins the call: transfer syntaxes, their qualities, a range. A range is only asked for when `count` is 1.
    locate: URL of one object by its head.
    name: of a file that the answer is saved to, without suffix.
    noun: what an object is, in the singular.
    """

    request: Request
    offers: Sequence[Offer]
    count: int | None
    ask: Callable[[list[str], list[float], ByteRange | None], AsyncGenerator[Any, None]]
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
        Refusal: 406, the stored form is none of those asked for.
        CoreFailure: as the core says; RANGE_NOT_SATISFIABLE.
    """
    opened = await _open(question, _first_part(question))
    if opened.offer.media_type == ZIP:
        return await _archived(question, opened)
    if opened.offer.multipart:
        return await _in_parts(question, opened)
    return await _alone(question, opened)


def _first_part(question: Question) -> ByteRange | None:
    """Return the range to begin with."""
    request = question.request
    if not question.is_bare:
        return None
    wish = range_of(request)
    if request.method == "HEAD" or "if-none-match" in request.headers or (wish and wish.needs_size):
        return _HEAD_ONLY
    return wish.as_asked() if wish else None


async def _open(question: Question, part: ByteRange | None) -> _Opened:
    """Begin to retrieve: in the best form that can be had, which may be the second try if the first was "as stored".

    The stored form may be welcome only in some transfer syntaxes, which the core can't be told.
    """
    offers = question.offers
    while True:
        objects, batches, first, part = await _begin(question, offers, part)
        head = first[0]
        assert not isinstance(head, bytes)
        offer = offer_for(offers, head.transfer_syntax_uid)
        if offer is not None:
            return _Opened(objects, batches, first, offer, offers, part)
        await batches.aclose()
        offers = [each for each in offers if each.transfer_syntax != STORED]
        if not offers:
            raise Refusal(406, _unwanted(head.transfer_syntax_uid))


async def _begin(
    question: Question, offers: Sequence[Offer], part: ByteRange | None, *, is_repeated: bool = False
) -> tuple[Objects, AsyncGenerator[list[Run], None], list[Run], ByteRange | None]:
    """Make a call of the core up to its first object. What it has no parts of, it is asked for as a whole.

    The core records damage that it finds, and chooses another form the next time if one is acceptable. So it is asked
    again if it finds damage before anything is sent.
    """
    syntaxes, qualities = acceptable(offers)
    objects = Objects(question.ask(syntaxes, qualities, part), question.request.state.request_id)
    batches = objects.batches()
    try:
        first = await anext(batches, None)
    except CoreFailure as failure:
        if objects.has_found_damage and not is_repeated:
            return await _begin(question, offers, part, is_repeated=True)
        if part is None or not _has_no_parts(failure):
            raise
        return await _begin(question, offers, None)
    if objects.has_found_damage and not is_repeated:
        await batches.aclose()
        return await _begin(question, offers, part, is_repeated=True)
    if first is None:  # a study without instances is no study
        raise CoreFailure("INTERNAL", "", "the stream has no objects")
    return objects, batches, first, part


def _has_no_parts(failure: CoreFailure) -> bool:
    """Say whether a range has no meaning, and may then be ignored (RFC 9110 section 14.2): re-encoded or empty."""
    return (failure.reason == "INVALID_FIELD" and failure.metadata.get("field") == "range") or (
        failure.reason == "RANGE_NOT_SATISFIABLE" and failure.metadata.get("size_bytes") == "0"
    )


def _unwanted(transfer_syntax: str) -> str:
    return (
        f"The resource is stored in transfer syntax {transfer_syntax} and can't be returned in any of those asked for. "
        f"Possible are {media_type_of(transfer_syntax)} and transfer-syntax=*."
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
    if request.method != "HEAD" and opened.part != _asked(opened, part):
        await opened.batches.aclose()
        opened = await _open(question, part)
    if part is None or opened.part is None:
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
        batches = [opened.first, *[batch async for batch in opened.batches]]
        pieces = [
            envelope.data(run) if isinstance(run, bytes) else envelope.begin(run) for batch in batches for run in batch
        ]
        whole = b"".join([*pieces, envelope.end()])
        omission = opened.objects.omission
        said = {**headers, **partial_headers(omission, question.noun), "Content-Length": str(len(whole))}
        return Response(whole, status_of(omission), said)
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
