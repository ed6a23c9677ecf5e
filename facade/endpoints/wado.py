"""WADO-RS: retrieve studies, series, instances and frames (PS3.18 section 10.4, spec/retrieve.md).

What the client accepts becomes an ordered list of transfer syntaxes; the core picks, and says with each object which
one it is. Errors found before the first byte are clean statuses. Afterwards an object that can't be read at all is
left out of a multipart answer, and one that breaks off in its middle breaks off the connection.
"""

import logging
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from dicomstore.v1.resources_pb2 import ItemError
from dicomstore.v1.retrieve_service_pb2 import (
    FrameHead,
    FramePiece,
    InstanceHead,
    RetrievedPiece,
    RetrieveFramesRequest,
    RetrieveInstancesRequest,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.accept import Offer, negotiate, offer_for
from facade.addresses import instance_of, resource_of
from facade.catalogue import Resource
from facade.channel import Core
from facade.errors import CoreFailure, Refusal, reason_name
from facade.multipart import MultipartWriter
from facade.observe import call_metadata
from facade.query import wishes_of
from facade.streaming import StreamedResponse

log = logging.getLogger(__name__)

_NUMBER = re.compile("[0-9]+")
_MAX_FRAME_DIGITS = 9
"""No object has more frames than a 32-bit number can count."""

_LARGE_BYTES = 64 * 1024

Head = InstanceHead | FrameHead
Run = Head | bytes
"""What a stream consists of: a head for each object, then its bytes."""


async def instances(request: Request) -> Response:
    """GET a study, a series or an instance."""
    resource = resource_of(request)
    kind = Resource.INSTANCE if resource.sop_instance_uid else Resource.STUDY
    offers = _offers(request, kind)
    core: Core = request.app.state.core
    call = core.retrieve.RetrieveInstances(
        RetrieveInstancesRequest(resource=resource, acceptable_transfer_syntax_uids=_syntaxes(offers)),
        metadata=call_metadata(request),
    )
    count = 1 if kind is Resource.INSTANCE else None
    return await _answer(request, core.messages(call), offers, count)


async def frames(request: Request) -> Response:
    """GET …/frames/{list}: parts in the order asked for."""
    resource = resource_of(request)
    numbers = parse_frames(request.path_params["frames"])
    offers = _offers(request, Resource.FRAMES)
    if len(numbers) > 1:
        offers = [offer for offer in offers if offer.multipart]
        if not offers:
            raise Refusal(400, "Only one frame can be returned without multipart/related.")
    core: Core = request.app.state.core
    call = core.retrieve.RetrieveFrames(
        RetrieveFramesRequest(
            instance=instance_of(resource), frames=numbers, acceptable_transfer_syntax_uids=_syntaxes(offers)
        ),
        metadata=call_metadata(request),
    )
    return await _answer(request, core.messages(call), offers, len(numbers))


def parse_frames(text: str) -> list[int]:
    """Return the numbers of a frame list.

    Raises:
        Refusal: 400, the list is empty or something in it is not a number from 1; 404, no object has so many frames.
    """
    entries = text.split(",")
    if not all(_NUMBER.fullmatch(entry) for entry in entries):
        raise Refusal(400, "The frame list must be numbers greater than 0, separated by commas.")
    significant = [entry.lstrip("0") for entry in entries]
    if not all(significant):
        raise Refusal(400, "Frame numbers begin at 1.")
    if max(map(len, significant)) > _MAX_FRAME_DIGITS:
        raise Refusal(404, "The specified frame does not exist.")
    return [int(entry) for entry in significant]


def _offers(request: Request, kind: Resource) -> list[Offer]:
    if offers := negotiate(kind, wishes_of(request)):
        return offers
    raise Refusal(406, f"Nothing in the Accept header can be returned. {_SERVED[kind]}")


_SERVED = {
    Resource.STUDY: 'Possible is multipart/related; type="application/dicom", with an optional transfer-syntax.',
    Resource.INSTANCE: 'Possible are application/dicom and multipart/related; type="application/dicom", '
    "with an optional transfer-syntax.",
    Resource.FRAMES: 'Possible are multipart/related; type="application/octet-stream" and the media types of '
    "PS3.18 Table 8.7.3-5, with an optional transfer-syntax; one frame also without multipart/related.",
}


def _syntaxes(offers: Sequence[Offer]) -> list[str]:
    return list(dict.fromkeys(offer.transfer_syntax for offer in offers))


# ---------------------------------------------------------------------------------------------------------------------
# From the core's stream to an answer


@dataclass(slots=True)
class _Objects:
    """The objects of a stream, batch by batch, and how many of them are complete."""

    stream: AsyncGenerator[Any, None]
    request_id: str
    complete: int = 0

    async def batches(self) -> AsyncGenerator[list[Run], None]:
        """Yield what each message brings; no batch is empty. Objects that fail before their first byte are left out.

        Raises:
            CoreFailure: the call failed; an object failed in its middle; all objects failed.
        """
        head: Head | None = None  # of an object none of which has been handed on yet
        is_open = False  # part of an object has been handed on, and more is to come
        is_empty = True
        last_failure: ItemError | None = None
        async with aclosing(self.stream):
            async for message in self.stream:
                batch: list[Run] = []
                for piece in message.pieces:
                    data = piece.data  # a copy each time it is asked for
                    if piece.HasField("head"):
                        head = piece.head
                    if (failed := _failure_in(piece)) is not None:
                        if is_open:
                            raise _as_core_failure(failed)
                        log.error(
                            "instance left out sop_instance_uid=%s reason=%s request_id=%s",
                            failed.sop_instance_uid,
                            reason_name(failed.reason),
                            self.request_id,
                        )
                        head, last_failure = None, failed
                        continue
                    if head is not None and (data or piece.last):
                        batch.append(head)
                        head, is_open, is_empty = None, True, False
                    if data:
                        batch.append(data)
                    if piece.last:
                        self.complete += 1
                        is_open = False
                if batch:
                    yield batch
        if is_empty and last_failure is not None:
            raise _as_core_failure(last_failure)


def _failure_in(piece: RetrievedPiece | FramePiece) -> ItemError | None:
    return piece.failed if isinstance(piece, RetrievedPiece) and piece.HasField("failed") else None


def _as_core_failure(failed: ItemError) -> CoreFailure:
    return CoreFailure(reason_name(failed.reason), "", failed.message)


async def _answer(
    request: Request, stream: AsyncGenerator[Any, None], offers: Sequence[Offer], count: int | None
) -> Response:
    """Answer with the objects of `stream`, of which there are `count` if that is known."""
    objects = _Objects(stream, request.state.request_id)
    batches = objects.batches()
    first = await anext(batches, None)
    if first is None:  # a study without instances is no study
        raise CoreFailure("INTERNAL", "", "the stream has no objects")
    head = first[0]
    assert not isinstance(head, bytes)
    offer = offer_for(offers, head.transfer_syntax_uid)
    if offer is None:
        await batches.aclose()
        raise CoreFailure("INTERNAL", "", "the core sent a transfer syntax that was not asked for")
    writer = MultipartWriter() if offer.multipart else None
    content_type = writer.content_type(offer.media_type) if writer else _labelled(offer, head)
    headers = {"Content-Type": content_type}
    if objects.complete == count:  # small answers need not be streamed
        rest = [batch async for batch in batches]
        parts = [_framed(run, writer, offers) for batch in [first, *rest] for run in batch]
        return Response(b"".join([*parts, writer.end() if writer else b""]), 200, headers)
    if count == 1 and head.HasField("size_bytes"):
        frame = len(_framed(head, MultipartWriter(), offers)) + len(MultipartWriter().end()) + 2 if writer else 0
        headers["Content-Length"] = str(head.size_bytes + frame)
    core: Core = request.app.state.core
    return StreamedResponse(
        _body(first, batches, writer, offers), headers, source=batches, idle_seconds=core.idle_seconds
    )


async def _body(
    first: list[Run],
    batches: AsyncGenerator[list[Run], None],
    writer: MultipartWriter | None,
    offers: Sequence[Offer],
) -> AsyncGenerator[bytes, None]:
    """Yield the body; small things together, while large ones are not copied once more to be joined with them."""
    batch: list[Run] | None = first
    while batch is not None:
        small: list[bytes] = []
        for run in batch:
            data = _framed(run, writer, offers)
            if len(data) < _LARGE_BYTES:
                small.append(data)
                continue
            if small:
                yield b"".join(small)
                small = []
            yield data
        if small:
            yield b"".join(small)
        batch = await anext(batches, None)
    if writer is not None:
        yield writer.end()


def _framed(run: Run, writer: MultipartWriter | None, offers: Sequence[Offer]) -> bytes:
    if isinstance(run, bytes):
        return run
    if writer is None:
        return b""
    offer = offer_for(offers, run.transfer_syntax_uid) or offers[0]
    return writer.begin(_labelled(offer, run))


def _labelled(offer: Offer, head: Head) -> str:
    """Return the media type of one object; viewers decode by the transfer syntax named in it."""
    return f"{offer.media_type}; transfer-syntax={head.transfer_syntax_uid}"
