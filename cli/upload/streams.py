"""Sends files over several parallel StoreInstances streams, and reconnects broken ones.

Guarantees: the listener gets exactly one result for every file found, unless `upload` raises. Memory contains at most
one message per stream, a bounded number of unanswered file names, and a bounded queue of found files.
A broken stream is reopened and its unanswered files are sent again, which is safe, because files that were already
stored are reported as identical. After `MAX_FRUITLESS_BREAKS` consecutive breaks without any outcome the upload fails.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import grpc
from dicomstore.v1 import store_service_pb2 as pb
from dicomstore.v1 import store_service_pb2_grpc

from cli.connection import Target
from cli.errors import NOT_EXECUTED, Failure, explain, reason_of
from cli.upload.files import PIECE_BYTES, Batch, LocalFile, Unreadable, batches, walk
from cli.upload.messages import Content, NotDicom, Unsendable, given_up, pieces, read_all, whole
from cli.upload.results import Listener, Result, Status, result_of

UNANSWERED_FILES = 256
"""Maximum number of unanswered files of a stream."""

STALLED_S = 120.0
"""Idle timeout of a stream."""

RECONNECT_S = 30.0
"""Time limit for reconnecting to the core."""

MAX_FRUITLESS_BREAKS = 3
"""Maximum number of consecutive streams that break without any outcome. If the core refuses a call during a write, the
error may be only gRPC's "Internal error from Core"; the next attempt then returns the reason."""

PAUSE_S = 0.5
"""Pause between a break and the next attempt."""

_QUEUED_BATCHES = 32
_CALL_OVER = (grpc.aio.AioRpcError, asyncio.InvalidStateError)
"""Exceptions of a write to an ended call; the reader gets the reason."""


async def upload(
    target: Target,
    channel: grpc.aio.Channel,
    paths: Iterable[Path],
    *,
    header: pb.StoreHeader,
    streams: int,
    listener: Listener,
) -> None:
    """Send all files of `paths`.

    Raises:
        Failure: the core refused the call, or became unreachable.
    """
    queue: asyncio.Queue[Batch | None] = asyncio.Queue(_QUEUED_BATCHES)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_find(paths, queue, listener))
            for _ in range(streams):
                group.create_task(_Sender(target, channel, header, queue, listener).run())
    except BaseExceptionGroup as several:
        # The first failure cancels the other tasks and is the one to report.
        raise next((error for error in several.exceptions if isinstance(error, Failure)), several) from None


async def _find(paths: Iterable[Path], queue: asyncio.Queue[Batch | None], listener: Listener) -> None:
    """Fill the queue, then end it with None, which every sender puts back for the next."""
    found = batches(walk(paths))
    while some := await asyncio.to_thread(_take, found):
        for item in some:
            if isinstance(item, Unreadable):
                listener.ended(Result(item.path, Status.FAILED, reason="UNREADABLE_FILE", message=item.message))
            else:
                await queue.put(item)
    await queue.put(None)


def _take(found: Iterator[Batch | Unreadable]) -> list[Batch | Unreadable]:
    return list(islice(found, 8))


@dataclass(frozen=True, slots=True)
class _Broken:
    """The reason for the early end of a stream. A refusal by the core is final."""

    failure: Failure
    is_final: bool = False


@dataclass(slots=True)
class _Sending:
    """A file in transfer."""

    file: LocalFile
    sent_bytes: int = 0


@dataclass(slots=True)
class _Stream:
    """One call and its unanswered files."""

    call: grpc.aio.StreamStreamCall[pb.StoreInstancesRequest, pb.StoreInstancesResponse]
    unanswered: dict[int, _Sending] = field(default_factory=dict)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    answered: int = 0
    moves: int = 0
    last_item: int = 0
    written: bool = False
    """True when all files were sent; the core ends the call after the last outcome."""

    def begin(self, batch: Batch) -> list[tuple[int, LocalFile]]:
        """Number the files and register them as unanswered."""
        items = list(enumerate(batch, self.last_item + 1))
        self.last_item += len(items)
        self.unanswered.update((item, _Sending(file)) for item, file in items)
        return items

    def end(self, item: int) -> _Sending | None:
        """Remove an unanswered file; None if it was removed before."""
        sending = self.unanswered.pop(item, None)
        if len(self.unanswered) < UNANSWERED_FILES:
            self.room.set()
        return sending

    async def write(self, request: pb.StoreInstancesRequest) -> None:
        """Send one message, subject to flow control."""
        await self.call.write(request)
        self.moves += 1


class _Sender:
    """Takes batches from the queue and sends them over one stream at a time."""

    def __init__(
        self,
        target: Target,
        channel: grpc.aio.Channel,
        header: pb.StoreHeader,
        queue: asyncio.Queue[Batch | None],
        listener: Listener,
    ) -> None:
        self._target = target
        self._channel = channel
        self._header = header
        self._queue = queue
        self._listener = listener
        self._again: list[Batch] = []

    async def run(self) -> None:
        """Run until the queue has ended and every file has its result."""
        fruitless = 0
        while (first := await self._next()) is not None:
            stream = self._open()
            broken = await self._use(stream, first)
            if broken is None:
                return
            self._take_back(stream)
            fruitless = 0 if stream.answered else fruitless + 1
            if broken.is_final or fruitless == MAX_FRUITLESS_BREAKS:
                raise broken.failure
            await self._reconnect(broken.failure)

    async def _next(self) -> Batch | None:
        if self._again:
            return self._again.pop()
        batch = await self._queue.get()
        if batch is None:
            self._queue.put_nowait(None)  # cannot be full: an entry was just removed, and nothing follows it
        return batch

    def _open(self) -> _Stream:
        stub = store_service_pb2_grpc.StoreServiceStub(self._channel)
        return _Stream(stub.StoreInstances(metadata=self._target.metadata()))

    def _take_back(self, stream: _Stream) -> None:
        """Queue the unanswered files of a broken stream again, batched as if just found."""
        files = [sending.file for sending in stream.unanswered.values()]
        self._listener.sent(-sum(sending.sent_bytes for sending in stream.unanswered.values()))
        self._again += [batch for batch in batches(files) if not isinstance(batch, Unreadable)]

    async def _reconnect(self, failure: Failure) -> None:
        """Wait until the core is reachable, after a pause in which a stopping core can end."""
        await asyncio.sleep(PAUSE_S)
        try:
            await asyncio.wait_for(self._channel.channel_ready(), RECONNECT_S)
        except TimeoutError:
            raise Failure(
                f"lost the connection to the core: {failure.message}",
                hint="run the same command again; files that are stored already are not stored twice",
                exit_code=NOT_EXECUTED,
            ) from None

    async def _use(self, stream: _Stream, first: Batch) -> _Broken | None:
        """Run one stream to its end; returns the reason if it broke, otherwise None."""
        writer = asyncio.create_task(self._write(stream, first))
        reader = asyncio.create_task(self._read(stream))
        watcher = asyncio.create_task(self._watch(stream))
        try:
            await reader
            if stream.unanswered or not stream.written:
                return _Broken(Failure("the core ended the stream without answering every item"))
            await writer
        except grpc.aio.AioRpcError as error:
            refused = reason_of(error) is not None and error.code() is not grpc.StatusCode.UNAVAILABLE
            return _Broken(explain(error, self._target.core), is_final=refused)
        except asyncio.CancelledError:
            if not watcher.done():
                raise
            return _Broken(Failure(f"no progress for {STALLED_S:.0f} s"))
        finally:
            for task in (writer, reader, watcher):
                task.cancel()
            await asyncio.gather(writer, reader, watcher, return_exceptions=True)
            stream.call.cancel()
        return None

    async def _watch(self, stream: _Stream) -> None:
        """Cancel the call at the idle timeout."""
        seen = -1
        while seen != stream.moves or not (stream.unanswered or stream.written):
            seen = stream.moves
            await asyncio.sleep(STALLED_S)
        stream.call.cancel()

    async def _read(self, stream: _Stream) -> None:
        async for response in stream.call:
            stream.moves += 1
            for outcome in response.outcomes:
                if sending := stream.end(outcome.item):
                    stream.answered += 1
                    self._listener.ended(result_of(sending.file.path, sending.file.size_bytes, outcome))

    async def _write(self, stream: _Stream, first: Batch) -> None:
        # There must be no await between getting a batch and begin(), or a break there would lose it.
        items = stream.begin(first)
        try:
            await stream.write(pb.StoreInstancesRequest(header=self._header))
            while True:
                if items[0][1].size_bytes > PIECE_BYTES:
                    await self._send_large(stream, *items[0])
                else:
                    await self._send_small(stream, items)
                while len(stream.unanswered) >= UNANSWERED_FILES:
                    stream.room.clear()
                    await stream.room.wait()
                batch = await self._next()
                if batch is None:
                    break
                items = stream.begin(batch)
            stream.written = True
            await stream.call.done_writing()
        except _CALL_OVER:
            return

    async def _send_small(self, stream: _Stream, items: list[tuple[int, LocalFile]]) -> None:
        request = pb.StoreInstancesRequest()
        contents = await asyncio.to_thread(read_all, [file for _, file in items])
        for (item, file), content in zip(items, contents, strict=True):
            if isinstance(content, Content):
                request.pieces.append(whole(item, content))
            else:
                stream.end(item)
                self._not_sent(file, content)
        if not request.pieces:
            return
        await stream.write(request)
        for piece in request.pieces:
            self._note_sent(stream, piece)

    async def _send_large(self, stream: _Stream, item: int, file: LocalFile) -> None:
        begun = False
        try:
            async with aclosing(pieces(item, file)) as all_pieces:
                async for piece in all_pieces:
                    await stream.write(pb.StoreInstancesRequest(pieces=[piece]))
                    begun = True
                    self._note_sent(stream, piece)
        except (NotDicom, Unsendable) as refusal:
            sending = stream.end(item)
            if begun:
                await stream.write(pb.StoreInstancesRequest(pieces=[given_up(item)]))
            if sending:
                self._listener.sent(-sending.sent_bytes)
                self._not_sent(file, refusal)

    def _note_sent(self, stream: _Stream, piece: pb.InstancePiece) -> None:
        self._listener.sent(len(piece.data))
        if sending := stream.unanswered.get(piece.item):
            sending.sent_bytes += len(piece.data)

    def _not_sent(self, file: LocalFile, refusal: NotDicom | Unsendable) -> None:
        self._listener.sent(file.size_bytes)  # its bytes are part of the total
        if isinstance(refusal, NotDicom):
            self._listener.ended(Result(file.path, Status.SKIPPED, file.size_bytes))
        else:
            self._listener.ended(
                Result(file.path, Status.FAILED, file.size_bytes, reason="UNREADABLE_FILE", message=str(refusal))
            )
