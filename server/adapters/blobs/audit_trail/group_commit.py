"""The thread that appends records to the audit trail: one write and one sync for all records that wait.

Records that nobody waits for are written shortly after. Checkpoints are made between commits, so nobody waits
for them, and not for those of other processes.
"""

import asyncio
import errno
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

import orjson

from server.adapters.blobs.audit_trail.chain import BrokenLogError, Clock, NewRecords, Writer, new_record
from server.adapters.blobs.audit_trail.log_lines import SEPARATOR
from server.model.errors import DicomStoreError, Exhausted, Reason, Unavailable
from server.ports.audit import DeferredRecord, OnRows

_SOON_SECONDS = 0.05
_CHECKPOINT_SECONDS = 10.0
_UPKEEP_SECONDS = 3600.0
_MAX_BATCH = 2000
_MAX_DEFERRED = 32
_MANY = 20
_MANY_SECONDS = 1.0
_MANY_BYTES = 1 << 20
MAX_PENDING_BYTES = 4 << 20
_SEPARATOR = SEPARATOR.decode()

_NEVER = float("inf")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_log = logging.getLogger("dicomstore.audit")


class GroupCommit:
    """Appends records for one event loop.

    Args:
        new_writer: returns an entered writer; called again when the files of the writer before have an unknown state.
            Raises: OSError, DicomStoreError.
        upkeep: called about once an hour and at the start, on the thread. Raises: OSError, DicomStoreError.
        flush_seconds: time after which records are written that nobody waits for; while there are many, a second, or
            until there is a megabyte of them.
    """

    def __init__(self, new_writer: Callable[[], Writer], upkeep: Callable[[], None], *, flush_seconds: float) -> None:
        self._new_writer = new_writer
        self._flush_seconds = self._delay = flush_seconds
        self._upkeep = upkeep
        self._loop = asyncio.get_running_loop()
        self._clock = Clock()
        self._pending: deque[NewRecords] = deque()
        self._pending_bytes = 0
        self._held: dict[DeferredRecord, None] = {}  # later than the pending ones
        self._deferred: list[DeferredRecord] = []  # too
        self.on_rows: OnRows = lambda rows, failure: None
        """See the port."""
        self._room: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None  # calls `_write_now`
        self._is_due = False  # the thread was told to write, and has not begun
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_closing = False
        self._writer: Writer | None = None
        self._lost = 0
        self._lost_since_ns = 0
        self._sealed_at = 0.0
        self.failure: DicomStoreError | None = None
        """Why the last records could not be written; None if they were."""
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self, writer: Writer) -> None:
        """Start with an entered writer."""
        self._writer = writer
        self._thread.start()

    async def close(self) -> None:
        """Write what is pending, seal it and end the thread."""
        self._encode()
        self._stop_timer()
        self._is_closing = True
        self._wakes.put(None)
        await asyncio.to_thread(self._thread.join)

    def append_deferred(self, record: DeferredRecord) -> bool:
        """Append a record shortly after, and encode it before; return `is_backlogged`.

        Records are encoded together, because the code is in the caches of the processor from the second one on, and not
        by the thread, whose processor does not have the data.
        """
        deferred = self._deferred
        deferred.append(record)
        if self._timer is None:
            self._set_timer(self._delay)
        if len(deferred) >= _MAX_DEFERRED:
            self._encode_deferred()
            if self._pending_bytes > _MANY_BYTES:
                self._write_now()
        return self._pending_bytes > MAX_PENDING_BYTES

    def hold(self, record: DeferredRecord) -> None:
        """See the port."""
        self._held[record] = None
        if self._timer is None:
            self._set_timer(self._delay)

    def is_held(self, record: DeferredRecord) -> bool:
        """See the port."""
        return record in self._held

    def release(self, record: DeferredRecord) -> None:
        """See the port."""
        del self._held[record]
        self.append_deferred(record)

    def _encode(self) -> None:
        """Encode the deferred and the held records."""
        if self._held:
            self._deferred += self._held
            self._held = {}
        if self._deferred:
            self._encode_deferred()

    def _encode_deferred(self) -> None:
        """Encode the deferred records. They become one object: the fewer live until the next write, the more room
        the caches have."""
        deferred, self._deferred = self._deferred, []
        clock, texts, rows, in_index = self._clock, list[str](), list[int](), 0
        offset = time.time() - time.monotonic()
        for one in deferred:
            try:
                members = one.members()
            except Exception as error:  # noqa: BLE001 - the others are written all the same
                _log.error("a record of the audit trail cannot be encoded", exc_info=error)
                continue
            texts.append(f'{{"time":"{clock.text(one.ended + offset)}",{members}}}')
            if one.row:
                rows.append(one.row)
                in_index += one.is_in_index
        if texts:
            text = _SEPARATOR.join(texts).encode(errors="replace")
            self._pending_bytes += len(text)
            unique = len(texts) - in_index
            self._pending.append(NewRecords(text, len(texts), text[9:36], rows=rows, unique=unique))

    def append(self, data: bytes, *, may_use_reserve: bool = False) -> bool:
        """Append a record shortly after; return `is_backlogged`."""
        self._add(data, may_use_reserve=may_use_reserve)
        if self._timer is None:
            self._write_within(self._delay)
        return self._pending_bytes > MAX_PENDING_BYTES

    def _add(self, data: bytes, written: "asyncio.Future[None] | None" = None, *, may_use_reserve: bool) -> None:
        self._encode()
        record = new_record(data, self._clock.now(), written, may_use_reserve=may_use_reserve)
        self._pending_bytes += len(record.text)
        self._pending.append(record)

    def append_durably(
        self, data: bytes, *, may_use_reserve: bool = False, soon: bool = False
    ) -> "asyncio.Future[None]":
        """Append a record; the future has a result when it is durable.

        Args:
            soon: wait for others that can be written with it, at most until `expedite`.

        Raises, when awaited:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        self._add(data, future, may_use_reserve=may_use_reserve)
        if soon:
            self._write_within(_SOON_SECONDS)
        else:
            self._write_now()
        return future

    def expedite(self) -> None:
        """Write the pending records now."""
        self._write_now()

    def append_from_thread(self, data: bytes) -> None:
        """Append a record from any thread."""
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self.append, data)

    @property
    def is_backlogged(self) -> bool:
        """True if callers must wait for `room` before they append more."""
        return self._pending_bytes > MAX_PENDING_BYTES

    async def room(self) -> None:
        """Wait until fewer records are pending."""
        while self.is_backlogged:
            self._write_now()
            if self._room is None:
                self._room = self._loop.create_future()
            await asyncio.shield(self._room)

    def _write_within(self, seconds: float) -> None:
        """Set the timer, unless the thread is about to write."""
        if not self._is_due:
            self._set_timer(seconds)

    def _set_timer(self, seconds: float) -> None:
        """Set the timer. It is one of the event loop, because waking the thread to set a time costs more."""
        due = self._loop.time() + seconds
        if self._timer is None or due < self._timer.when():
            self._stop_timer()
            self._timer = self._loop.call_at(due, self._write_now)

    def _write_now(self) -> None:
        self._encode()
        self._stop_timer()
        if self._pending and not self._is_due:
            self._is_due = True
            self._wakes.put(None)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # On the thread

    def _run(self) -> None:
        next_upkeep = 0.0
        while not (self._is_closing and not self._pending):
            seconds = min(self._checkpoint_due(), next_upkeep) - time.monotonic()
            if not self._is_closing:
                with suppress(queue.Empty):
                    self._wakes.get(timeout=max(0.0, min(seconds, _UPKEEP_SECONDS)))
            self._is_due = False  # before the records are taken: later ones set it again
            self._commit_pending()
            with suppress_and_log("checkpoint"):
                self._checkpoint_if_due()
            if time.monotonic() >= next_upkeep and not self._is_closing:
                next_upkeep = time.monotonic() + _UPKEEP_SECONDS
                with suppress_and_log("upkeep"):
                    self._upkeep()
        if self._writer is not None:
            with suppress_and_log("last checkpoint"):
                self._writer.close()

    def _checkpoint_due(self) -> float:
        writer = self._writer
        if writer is None or writer.number == writer.sealed:
            return _NEVER
        return self._sealed_at + _CHECKPOINT_SECONDS

    def _checkpoint_if_due(self) -> None:
        writer = self._writer
        if writer is None or writer.number == writer.sealed:
            return
        if writer.sealed == 0 or time.monotonic() >= self._sealed_at + _CHECKPOINT_SECONDS:
            self._sealed_at = time.monotonic()  # also after a failure, to try again later
            writer.checkpoint()

    def _commit_pending(self) -> None:
        left = len(self._pending)  # later ones have a time of their own, and checkpoints are made meanwhile
        total = 0
        while left:
            batch: list[NewRecords] = []
            count = 0
            while left and count < _MAX_BATCH:
                left -= 1
                batch.append(self._pending.popleft())
                count += batch[-1].total
            total += count
            failure, failed = self._commit(batch)
            size = sum([len(one.text) for one in batch])
            results = [
                (one, failure if index in failed else None)
                for index, one in enumerate(batch)
                if one.written is not None or one.rows
            ]
            with suppress(RuntimeError):  # the loop was closed
                self._loop.call_soon_threadsafe(self._done, size, failure, results)
        # A write takes as much CPU time as a hundred records.
        self._delay = max(self._flush_seconds, _MANY_SECONDS) if total > _MANY else self._flush_seconds

    def _commit(self, batch: list[NewRecords]) -> tuple[DicomStoreError | None, Collection[int]]:
        """Write a batch; return why some could not be written, and their positions in the batch."""
        try:
            self._write(batch)
        except (OSError, DicomStoreError) as error:
            failure = _translated(error)
        else:
            return None, ()
        failed = set(range(len(batch)))
        reserved = [index for index, one in enumerate(batch) if one.may_use_reserve]
        if reserved and failure.reason is Reason.STORAGE_FULL:
            with suppress(OSError, DicomStoreError):
                self._write([batch[index] for index in reserved])
                failed.difference_update(reserved)
        self._count_lost([batch[index] for index in failed])
        return failure, failed

    def _write(self, records: list[NewRecords]) -> None:
        if self._writer is None:
            self._writer = self._new_writer()
        lost = self._lost
        if lost:
            facts = {"kind": "lost", "records": lost, "since": self._lost_since_ns // 1_000_000_000}
            is_reserved = all(one.may_use_reserve for one in records)
            records = [new_record(orjson.dumps(facts), records[0].time, may_use_reserve=is_reserved), *records]
        try:
            self._writer.write(records)
        except BrokenLogError:
            self._writer.abandon()
            self._writer = None
            raise
        self._lost = 0

    def _count_lost(self, failed: list[NewRecords]) -> None:
        lost = sum(one.unique for one in failed)
        if lost and not self._lost:
            self._lost_since_ns = time.time_ns()
        self._lost += lost

    # On the event loop

    def _done(
        self,
        size: int,
        failure: DicomStoreError | None,
        results: Sequence[tuple[NewRecords, DicomStoreError | None]],
    ) -> None:
        self._pending_bytes -= size
        if (failure is None) != (self.failure is None):
            _log.log(
                logging.ERROR if failure else logging.INFO,
                "the audit trail %s",
                f"cannot be written: {failure.message}" if failure else "is written again",
            )
        self.failure = failure
        for records, error in results:
            if records.written is not None:
                _resolve(records.written, error)
            if records.rows:
                self.on_rows(records.rows, error)
        if self._room is not None and not self.is_backlogged:
            self._room.set_result(None)
            self._room = None


def _resolve(future: "asyncio.Future[None]", error: DicomStoreError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # the caller may have been cancelled


class suppress_and_log:
    """Logs errors of the disk instead of raising them."""

    def __init__(self, task: str) -> None:
        self._task = task

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """Return true for errors that were logged."""
        if isinstance(error, (OSError, DicomStoreError)):
            _log.warning("%s of the audit trail failed error=%s", self._task, type(error).__name__)
            return True
        return False


def _translated(error: OSError | DicomStoreError) -> DicomStoreError:
    if isinstance(error, DicomStoreError):
        return error
    if error.errno in _NO_ROOM:
        return Exhausted(Reason.STORAGE_FULL, "The audit trail cannot be written: the disk is full.")
    return Unavailable(Reason.STORAGE_UNAVAILABLE, "The audit trail cannot be written.")
