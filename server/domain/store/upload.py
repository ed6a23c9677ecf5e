"""An upload: admission, bounds and commit order of the instances that one call sends.

One loop reads messages and passes bytes to the receiver of the open instance. When an instance is complete, a task
finishes it while the loop continues to read. Results are yielded when they are known.

The memory of an upload is bounded by its reservation in the ingest budget, by `_MAX_FINISHING` instances in their
finishing tasks, and by `_MAX_UNREAD` results that the client has not read. At any of these limits the upload stops
reading, and flow control stops the client.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple, Protocol

from server.dicom.elements.external_metadata import ExternalAttribute
from server.domain.flow.ingest_budget import BASE_BYTES, IngestBudget, Reservation, busy
from server.domain.store.commit_order import CommitOrder
from server.domain.store.receive import PROCESSING_FAILURE, Failed, Receiver, StoreResult, StoreTarget
from server.model.audit.call_audit import IDENTICAL, REPLACED, STORED, StoredItem
from server.model.buffer import Buffer
from server.model.call import Call
from server.model.errors import DicomStoreError, InvalidRequest, Reason
from server.model.ids import Address
from server.model.instance import ValidationMode
from server.model.partition import DuplicatePolicy

_MAX_FINISHING = 100
_MAX_UNREAD = 4096
_MAX_RESULTS = 100

_USUAL_HEADER_BYTES = 256 << 10
"""Header bytes of an open instance that the base of a reservation covers."""

_GROWTH_BYTES = 256 << 10

_FIRST_MESSAGE_SECONDS = 1.0
"""Delay before the base is lent: the first message usually follows at once and would arrive without a base."""

_log = logging.getLogger("dicomstore.store")


class UploadHeader(NamedTuple):
    """The target of all instances of an upload; see `Store.target`."""

    address: Address
    create_partition: bool
    mode: ValidationMode
    duplicates: DuplicatePolicy | None
    reason: str
    external: Sequence[ExternalAttribute] = ()
    expires_after: timedelta | None = None


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
    """A message of the client. Only the first one has a header."""

    header: UploadHeader | None
    pieces: Iterable[UploadPiece]


class UploadResult(NamedTuple):
    """The result of one instance."""

    item: int
    result: StoreResult


_Messages = AsyncIterator[UploadMessage]


class _Item:
    """One instance: its receiver, and its bytes in the ingest budget beyond the base of the reservation."""

    def __init__(self, number: int, receiver: Receiver) -> None:
        self.number = number
        self.receiver = receiver
        self.covered_header_bytes = _USUAL_HEADER_BYTES
        self.reserved_header_bytes = 0
        self.finishing_bytes = 0
        self.budget_bytes = 0
        self.is_finished = False


class Destination(Protocol):
    """What an upload needs of `Store`."""

    async def target(
        self,
        call: Call,
        address: Address,
        *,
        create_partition: bool,
        mode: ValidationMode,
        duplicates: DuplicatePolicy | None = None,
        reason: str = "",
        external: Sequence[ExternalAttribute] = (),
        expires_after: timedelta | None = None,
    ) -> StoreTarget:
        """See `Store`."""
        ...

    def receive(self, target: StoreTarget, declared_size_bytes: int | None = None) -> Receiver:
        """See `Store`."""
        ...


class Upload:
    """The upload of one call. `max_message_bytes` bounds the bytes of all pieces of a message."""

    def __init__(self, call: Call, store: Destination, budget: IngestBudget, max_message_bytes: int) -> None:
        self._call = call
        self._store = store
        self._max_message_bytes = max_message_bytes
        self._reservation = Reservation(budget, self._stop_reading, call.client)
        self._results: list[UploadResult] = []
        self._has_ended = False
        self._change: asyncio.Future[None] | None = None  # of the two above, while `run` waits for it
        self._reading: asyncio.Task[None] | None = None
        self._last_in_order: CommitOrder | None = None
        self._unread = 0  # results
        self._at_work = 0  # instances in their finishing tasks, until their blob is released
        self._slot: asyncio.Future[None] | None = None  # of these two, while `_end` waits for it
        self._finishing: set[asyncio.Task[None]] = set()
        self._all_done: asyncio.Future[None] | None = None  # of these tasks, while `_all_finished` waits for it
        self._ended: list[_Item] = []  # in the current message
        self._last_number = 0
        self._open: _Item | None = None

    async def run(self, messages: _Messages) -> AsyncGenerator[list[UploadResult]]:
        """Read all messages and yield all results, in batches when several are known.

        Raises:
            InvalidRequest: MALFORMED_STREAM.
            Exhausted: BUSY.
            and as `Store.target` and `CallAudit.stored`.
        """
        self._reading = asyncio.get_running_loop().create_task(self._read(messages))
        try:
            while ready := await self._next_results():
                await self._call.audit.stored(self._call, [_audited(done.result) for done in ready])
                yield ready
                self._unread -= len(ready)
                self._free_slot()
            await self._reading
        finally:
            if not self._reading.done():
                self._reading.cancel()
                await asyncio.wait([self._reading])

    async def _next_results(self) -> list[UploadResult]:
        """Wait for results and return the first ones; nothing at the end."""
        while not self._results and not self._has_ended:
            self._change = asyncio.get_running_loop().create_future()
            await self._change
        ready, self._results = self._results[:_MAX_RESULTS], self._results[_MAX_RESULTS:]
        return ready

    def _notify(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    def _stop_reading(self) -> None:
        assert self._reading is not None
        self._reading.cancel()

    async def _read(self, messages: _Messages) -> None:
        """Process all messages. Complete items are finished before this ends, unless the call is cancelled."""
        try:
            try:
                await self._process_all(messages)
            except DicomStoreError:
                await self._all_finished()
                raise
            except asyncio.CancelledError:
                if not self._reservation.is_evicted:
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
            self._reservation.close()
            self._has_ended = True
            self._notify()

    async def _process_all(self, messages: _Messages) -> None:
        await self._reservation.acquire()
        incoming = aiter(messages)  # only now: a client that sends nothing would otherwise not be refused
        target = await self._process_first(incoming)
        while await self._process_next(incoming, target):
            pass

    async def _process_first(self, messages: _Messages) -> StoreTarget:
        """Process the message with the header; return the target."""
        first = await self._next(messages, grace_seconds=_FIRST_MESSAGE_SECONDS)
        if first is None or first.header is None:
            raise _malformed("The first message must have the header.")
        header = first.header
        target = await self._store.target(
            self._call,
            header.address,
            create_partition=header.create_partition,
            mode=header.mode,
            duplicates=header.duplicates,
            reason=header.reason,
            external=header.external,
            expires_after=header.expires_after,
        )
        await self._process(first, target)
        return target

    async def _process_next(self, messages: _Messages, target: StoreTarget) -> bool:
        """Process one more message, without keeping a reference to it; return False at the end of the stream."""
        await self._free_base()
        message = await self._next(messages)
        if message is None:
            return False
        if message.header is not None:
            raise _malformed("Only the first message may have a header.")
        await self._process(message, target)
        return True

    async def _next(self, messages: _Messages, grace_seconds: float = 0.0) -> UploadMessage | None:
        self._reservation.await_client(lend=self._open is None, grace_seconds=grace_seconds)
        message = await anext(messages, None)
        await self._reservation.acquire()
        return message

    async def _free_base(self) -> None:
        """Make the base cover only the open item, so that the next message can be read."""
        ended, self._ended = [item for item in self._ended if not item.is_finished], []
        if self._reservation.reserve_finishing(sum(item.budget_bytes for item in ended)):
            for item in ended:
                item.finishing_bytes = item.budget_bytes
        else:
            await self._all_finished()
        if self._open is None:
            await self._reservation.yield_to_waiting()

    async def _process(self, message: UploadMessage, target: StoreTarget) -> None:
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
                if (missing := item.receiver.header_bytes - item.covered_header_bytes) > 0:
                    await self._cover_header(item, missing)

    def _begin(self, piece: UploadPiece, target: StoreTarget) -> _Item:
        if piece.item <= self._last_number:
            raise _malformed("Items must have ascending numbers from 1.")
        self._last_number = piece.item
        self._open = _Item(piece.item, self._store.receive(target, piece.declared_size_bytes))
        return self._open

    async def _cover_header(self, item: _Item, missing: int) -> None:
        """Reserve at least the missing bytes for the header of the open instance beyond the usual size."""
        growth = max(missing, _GROWTH_BYTES)
        await self._reservation.reserve_header(growth)
        item.covered_header_bytes += growth
        item.reserved_header_bytes += growth

    async def _end(self, item: _Item, piece: UploadPiece) -> None:
        while self._unread >= _MAX_UNREAD or self._at_work >= _MAX_FINISHING:
            self._slot = asyncio.get_running_loop().create_future()
            await self._slot
        self._unread += 1
        self._at_work += 1
        self._open = None
        item.budget_bytes = min(item.receiver.size_bytes + len(piece.data), BASE_BYTES)
        self._ended.append(item)
        self._last_in_order = CommitOrder(self._last_in_order)
        task = asyncio.get_running_loop().create_task(self._finish(item, piece, self._last_in_order))
        self._finishing.add(task)
        task.add_done_callback(self._finished)

    async def _finish(self, item: _Item, piece: UploadPiece, order: CommitOrder) -> None:
        receiver = item.receiver
        try:
            if piece.is_aborted:
                result = await receiver.abort()
            else:
                await receiver.write(piece.data)
                result = await receiver.finish(piece.crc32c, order)
        except Exception as error:  # noqa: BLE001 - an internal error of one instance must not affect the others
            _log.error("unexpected fault request_id=%s", self._call.request_id, exc_info=error)
            result = _UNEXPECTED
        finally:
            await self._release(item, order)
        self._results.append(UploadResult(item.number, result))
        self._notify()

    async def _release(self, item: _Item, order: CommitOrder) -> None:
        await item.receiver.close()
        item.is_finished = True
        if item.finishing_bytes:
            self._reservation.release_finishing(item.finishing_bytes)
        if item.reserved_header_bytes:
            self._reservation.release_header(item.reserved_header_bytes)
        self._at_work -= 1
        self._free_slot()
        try:
            await order.wait()  # later instances must not overtake earlier ones, even after a refused one
        finally:
            order.release()

    def _free_slot(self) -> None:
        if self._slot is not None and not self._slot.done():
            self._slot.set_result(None)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._finishing.discard(task)
        if self._all_done is not None and not self._finishing and not self._all_done.done():
            self._all_done.set_result(None)

    async def _all_finished(self) -> None:
        while self._finishing:
            self._all_done = asyncio.get_running_loop().create_future()
            await self._all_done


def _audited(result: StoreResult) -> StoredItem:
    if isinstance(result, Failed):
        return StoredItem(
            result.study_uid, result.series_uid, result.sop_uid, result.sop_class_uid, result.reason.value, 0
        )
    outcome = IDENTICAL if result.identical else STORED if result.replaced is None else REPLACED
    id_ = result.id
    return StoredItem(id_.study, id_.series, id_.instance, result.sop_class_uid, outcome, result.size_bytes)


_UNEXPECTED = Failed(reason=Reason.INTERNAL, message="An unexpected error occurred.", failure_reason=PROCESSING_FAILURE)


def _malformed(message: str) -> InvalidRequest:
    return InvalidRequest(Reason.MALFORMED_STREAM, message)
