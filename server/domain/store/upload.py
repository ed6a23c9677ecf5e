"""An upload: admission, bounds and commit order of the instances that one call sends.

One loop reads messages and passes bytes to the receiver of the open instance. When an instance ends, a task finishes it
while the loop reads on. Results are yielded as they become known.

What an upload holds is bounded by its share of the ingest budget, by `_MOST_FINISHING` instances that are being
finished, and by `_MOST_UNREAD` results that the client has not read: with any of them used up the upload stops reading,
and flow control stops the client.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

from server.domain.flow.ingest_budget import BASE_BYTES, IngestBudget, Share, busy
from server.domain.store.commit_order import CommitOrder
from server.domain.store.receive import PROCESSING_FAILURE, Failed, Receiver, Store, StoreResult, StoreTarget
from server.model.buffer import Buffer
from server.model.call import Call
from server.model.errors import DicomStoreError, InvalidRequest, Reason
from server.model.ids import Address
from server.model.instance import ValidationMode

_MOST_FINISHING = 100
_MOST_UNREAD = 4096
_MOST_RESULTS = 100

_USUAL_HEADER_BYTES = 256 << 10
"""Header of an open instance that the base of a share covers."""

_GROWTH_BYTES = 256 << 10

_FIRST_MESSAGE_SECONDS = 1.0
"""The first message usually follows at once; an upload that has lent its base by then gets the message without it."""

_log = logging.getLogger("dicomstore.store")


class UploadHeader(NamedTuple):
    """What holds for all instances of an upload; see `Store.target`."""

    address: Address
    create_partition: bool
    mode: ValidationMode


class UploadPiece(NamedTuple):
    """A run of bytes of one instance.

    item: ascending numbers of the instances, from 1.
    declared_size_bytes: on the first piece, the size of the whole instance if the client states it.
    crc32c: on the last piece, the checksum of the whole instance if the client states it.
    """

    item: int
    data: Buffer
    is_last: bool
    is_aborted: bool
    declared_size_bytes: int | None
    crc32c: int | None


class UploadMessage(NamedTuple):
    """What a client sends at once. The first message has a header, no other has."""

    header: UploadHeader | None
    pieces: Iterable[UploadPiece]


class UploadResult(NamedTuple):
    """What became of an instance that has ended."""

    item: int
    result: StoreResult


_Messages = AsyncIterator[UploadMessage]


class _Item:
    """One instance: its receiver, and what it holds of the ingest budget beyond the base of the upload's share."""

    def __init__(self, number: int, receiver: Receiver) -> None:
        self.number = number
        self.receiver = receiver
        self.covered_bytes = _USUAL_HEADER_BYTES
        self.grown_bytes = 0
        self.carried_bytes = 0
        self.weight = 0
        self.is_over = False


class Upload:
    """The upload of one call. `max_message_bytes` bounds the bytes of all pieces of a message."""

    def __init__(self, call: Call, store: Store, budget: IngestBudget, max_message_bytes: int) -> None:
        self._call = call
        self._store = store
        self._max_message_bytes = max_message_bytes
        self._share = Share(budget, self._stop_reading)
        self._results: asyncio.Queue[UploadResult | None] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None
        self._last_in_order: CommitOrder | None = None
        self._unread = asyncio.Semaphore(_MOST_UNREAD)
        self._places = asyncio.Semaphore(_MOST_FINISHING)
        self._finishing: set[asyncio.Task[None]] = set()
        self._ended: list[_Item] = []  # in the message at hand
        self._last_number = 0
        self._open: _Item | None = None

    async def run(self, messages: _Messages) -> AsyncIterator[list[UploadResult]]:
        """Read all messages; yield all results, several at once when several are known.

        Raises:
            InvalidRequest: MALFORMED_STREAM.
            Exhausted: BUSY.
            and as `Store.target`.
        """
        self._reading = asyncio.create_task(self._read(messages))
        try:
            while result := await self._results.get():
                ready = [result]
                while len(ready) < _MOST_RESULTS and not self._results.empty():
                    more = self._results.get_nowait()
                    if more is None:
                        self._results.put_nowait(None)  # the end, to be met again by the outer loop
                        break
                    ready.append(more)
                yield ready
                for _ in ready:
                    self._unread.release()
            await self._reading
        finally:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _stop_reading(self) -> None:
        assert self._reading is not None
        self._reading.cancel()

    async def _read(self, messages: _Messages) -> None:
        """Take all messages. However it ends, items that ended are finished first, unless the call is cancelled."""
        try:
            try:
                await self._take_all(messages)
            except DicomStoreError:
                await self._all_finished()
                raise
            except asyncio.CancelledError:
                if not self._share.is_evicted:
                    raise
                await self._all_finished()
                raise busy() from None
            await self._all_finished()
        except asyncio.CancelledError:
            for task in self._finishing:
                task.cancel()
            raise
        finally:
            await self._all_finished()
            if self._open is not None:
                await self._open.receiver.close()
            self._share.close()
            self._results.put_nowait(None)

    async def _take_all(self, messages: _Messages) -> None:
        await self._share.enter()
        incoming = aiter(messages)  # not before: a client with nothing to send would not be refused
        target = await self._take_first(incoming)
        while await self._take_next(incoming, target):
            pass

    async def _take_first(self, messages: _Messages) -> StoreTarget:
        """Take the message with the header; return what holds for all items."""
        first = await self._next(messages, grace_seconds=_FIRST_MESSAGE_SECONDS)
        if first is None or first.header is None:
            raise _malformed("The first message must have the header.")
        header = first.header
        target = await self._store.target(
            self._call, header.address, create_partition=header.create_partition, mode=header.mode
        )
        await self._take(first, target)
        return target

    async def _take_next(self, messages: _Messages, target: StoreTarget) -> bool:
        """Take one more message, which nothing refers to afterwards; return whether there was one."""
        await self._settle()
        message = await self._next(messages)
        if message is None:
            return False
        if message.header is not None:
            raise _malformed("Only the first message may have a header.")
        await self._take(message, target)
        return True

    async def _next(self, messages: _Messages, grace_seconds: float = 0.0) -> UploadMessage | None:
        self._share.rest(lend=self._open is None, grace_seconds=grace_seconds)
        message = await anext(messages, None)
        await self._share.enter()
        return message

    async def _settle(self) -> None:
        """Leave nothing that the base of the share stands for but the open item, so that another message may come."""
        ended, self._ended = [item for item in self._ended if not item.is_over], []
        if self._share.carry(sum(item.weight for item in ended)):
            for item in ended:
                item.carried_bytes = item.weight
        else:
            await self._all_finished()
        if self._open is None:
            await self._share.pass_on()

    async def _take(self, message: UploadMessage, target: StoreTarget) -> None:
        size = 0
        for piece in message.pieces:
            size += len(piece.data)
            if size > self._max_message_bytes:
                raise _malformed(f"A message may carry at most {self._max_message_bytes} bytes.")
            item = self._open or self._begin(piece, target)
            if piece.item != item.number:
                raise _malformed(f"Item {piece.item} begins before item {item.number} has ended.")
            if piece.is_last or piece.is_aborted:
                await self._end(item, piece)
            else:
                await item.receiver.write(piece.data)
                await self._cover_header(item)

    def _begin(self, piece: UploadPiece, target: StoreTarget) -> _Item:
        if piece.item <= self._last_number:
            raise _malformed("Items must have ascending numbers from 1.")
        self._last_number = piece.item
        self._open = _Item(piece.item, self._store.receive(target, piece.declared_size_bytes))
        return self._open

    async def _cover_header(self, item: _Item) -> None:
        """Take from the ingest budget what the header of the open instance needs beyond the usual size."""
        if (missing := item.receiver.header_bytes - item.covered_bytes) > 0:
            growth = max(missing, _GROWTH_BYTES)
            await self._share.grow(growth)
            item.covered_bytes += growth
            item.grown_bytes += growth

    async def _end(self, item: _Item, piece: UploadPiece) -> None:
        await self._unread.acquire()
        await self._places.acquire()
        self._open = None
        item.weight = min(item.receiver.size_bytes + len(piece.data), BASE_BYTES)
        self._ended.append(item)
        self._last_in_order = CommitOrder(self._last_in_order)
        task = asyncio.create_task(self._finish(item, piece, self._last_in_order))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _finish(self, item: _Item, piece: UploadPiece, order: CommitOrder) -> None:
        receiver = item.receiver
        try:
            if piece.is_aborted:
                result = await receiver.abort()
            else:
                await receiver.write(piece.data)
                result = await receiver.finish(piece.crc32c, order)
        except Exception as error:  # noqa: BLE001 - a fault of ours with one instance must not harm its neighbours
            _log.error("unexpected fault request_id=%s", self._call.request_id, exc_info=error)
            result = _UNEXPECTED
        finally:
            await self._leave(item, order)
        self._results.put_nowait(UploadResult(item.number, result))

    async def _leave(self, item: _Item, order: CommitOrder) -> None:
        await item.receiver.close()
        item.is_over = True
        if item.carried_bytes:
            self._share.drop(item.carried_bytes)
        if item.grown_bytes:
            self._share.shrink(item.grown_bytes)
        self._places.release()
        try:
            await order.wait()  # a refused instance must not let later ones overtake earlier ones
        finally:
            order.release()

    async def _all_finished(self) -> None:
        if self._finishing:
            await asyncio.wait(self._finishing)


_UNEXPECTED = Failed(Reason.INTERNAL, "An unexpected error occurred.", PROCESSING_FAILURE)


def _malformed(message: str) -> InvalidRequest:
    return InvalidRequest(Reason.MALFORMED_STREAM, message)
