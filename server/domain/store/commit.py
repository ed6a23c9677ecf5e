"""Group commit: makes durable instances visible, many in one transaction.

Instances that arrive during a transaction are committed together by the next one, and a transaction waits for a moment
for instances whose bytes are being made durable: it costs nearly the same for one instance and for several. After a
slow transaction it also waits for the clients whose instances have just been stored: they may send the next ones at
once. Without that, some of these would miss it, and each client would wait for two transactions. A client that stores
alone never waits.

The committer also decides about the blobs: it settles them when the index has added them, erases them when the index
has refused them, and asks the index again when the outcome of the transaction is unknown. A blob that the index does
not know is then quarantined, not erased, see `BlobStore.quarantine`.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from common.telemetry.catalogue import COMMIT_INSTANCES
from common.telemetry.tracing import shared
from server.domain.audit.outbox import Outbox
from server.model.audit.call_audit import REPLACED, STORED, CallAudit, StoredItem
from server.model.errors import DicomStoreError
from server.model.instance import Added, AddOutcome, Faulty, Locator, NewInstance
from server.ports.blobs import BlobStore
from server.ports.index import InstanceIndex
from server.ports.outbox import OutboxChanges

_MAX_BATCH = 200

_GATHER_SECONDS = 0.002
"""Longest wait for instances whose bytes are being made durable."""

_SLOW_SECONDS = 0.004
"""Duration from which on a transaction counts as slow, as those of a database on another machine."""

_CLIENTS_WAIT = 0.25
"""Longest wait for clients after a slow transaction, as a part of its duration."""

_MAX_CLIENTS_SECONDS = 0.01

_log = logging.getLogger("dicomstore.commit")

_UNRECORDED = CallAudit()

_Waiting = tuple[NewInstance, "asyncio.Future[AddOutcome]", CallAudit]


class Committer:
    """Makes instances visible. The blob of each must be committed; the committer settles or erases it."""

    def __init__(
        self,
        blobs: BlobStore,
        index: InstanceIndex,
        now: Callable[[], datetime],
        on_change: Callable[[], None],
        quarantine_now: Callable[[], datetime],
        outbox: Outbox | None = None,
    ) -> None:
        """`now` returns the time recorded for changes, `quarantine_now` the clock of quarantine periods. Without an
        `outbox`, transactions have no audit records."""
        self._outbox = outbox
        self._blobs = blobs
        self._index = index
        self._now = now
        self._on_change = on_change
        self._quarantine_now = quarantine_now
        self._waiting: deque[_Waiting] = deque()
        self._work: asyncio.Task[None] | None = None
        self._coming = 0  # instances that are announced
        self._expected = 0  # instances of the clients of the last transaction, if it was slow
        self._expected_until = 0.0  # in time of the event loop
        self._is_enough: Callable[[], bool] = bool
        self._enough: asyncio.Future[None] | None = None  # while a transaction waits for instances
        self._unused: set[Locator] = set()  # to be erased
        self._in_doubt: set[Locator] = set()

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Announce an instance while its bytes are made durable, until it is added within the block, or failed."""
        self._coming += 1
        self._look()
        try:
            yield
        finally:
            self._coming -= 1
            self._look()

    def add(self, instance: NewInstance, audit: CallAudit = _UNRECORDED) -> Awaitable[AddOutcome]:
        """Queue one instance; it becomes visible after those queued before it, together with its audit record.

        When the result is Added, the instance is durable; it may be stored even if the caller is cancelled. If it was
        not added, the caller must discard the new blob, after comparing it if necessary; see `discard`.

        Raises, when awaited:
            Exhausted, Unavailable, NotFound: see `InstanceIndex.add`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[AddOutcome] = loop.create_future()
        self._waiting.append((instance, future, audit))
        if self._work is None or self._work.done():
            self._work = loop.create_task(self._commit_all())
        else:
            self._look()
        return future

    async def replace(self, instance: NewInstance) -> Added | Faulty | None:
        """Make the next version of an instance visible, as `InstanceIndex.add_version`, and settle or erase its blob.

        Raises: as `InstanceIndex.add_version`.
        """
        try:
            outcome = await self._index.add_version(instance, self._now())
        except DicomStoreError as error:
            if error.may_have_happened:
                await self._after_failure([instance.locator])
            else:
                await self.discard([instance.locator])
            raise
        except BaseException:
            self.mark_in_doubt(instance.locator)
            raise
        if not isinstance(outcome, Added):
            await self.discard([instance.locator])
            return outcome
        self._on_change()
        await self._settle([instance.locator])
        return outcome

    async def discard(self, locators: Sequence[Locator]) -> None:
        """Erase blobs that no instance refers to. `resolve_in_doubt` retries a failure."""
        try:
            await self._blobs.delete(locators)
        except DicomStoreError as error:
            _log.warning("could not erase unused blobs count=%d reason=%s", len(locators), error.reason)
            self._unused.update(locators)

    def abandon(self, locator: Locator) -> None:
        """Let `resolve_in_doubt` erase a blob that was refused or never added; for a cancelled caller."""
        self._unused.add(locator)

    def mark_in_doubt(self, locator: Locator) -> None:
        """Let `resolve_in_doubt` decide about a blob that an instance may refer to."""
        self._in_doubt.add(locator)

    async def resolve_in_doubt(self) -> None:
        """Erase unused blobs; ask the index about blobs whose transaction has an unknown outcome.

        Raises: as `InstanceIndex.known` and `BlobStore.delete`; undecided blobs stay recorded.
        """
        if unused := sorted(self._unused):
            await self._blobs.delete(unused)
            self._unused.difference_update(unused)
        await self.resolve(sorted(self._in_doubt))

    async def resolve(self, locators: Sequence[Locator]) -> int:
        """Settle the blobs that the index knows and quarantine the others; return the number of quarantined ones."""
        if not locators:
            return 0
        known = await self._index.known(locators)
        await self._blobs.settle([locator for locator in locators if locator in known])
        unknown = [locator for locator in locators if locator not in known]
        if unknown:
            await self._blobs.quarantine(unknown, self._quarantine_now())
            _log.warning("quarantined blobs that the index does not know count=%d", len(unknown))
        self._in_doubt.difference_update(locators)
        return len(unknown)

    async def _commit_all(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._waiting:
            if (seconds := self._expected_until - clock()) > 0:
                await self._wait(lambda: len(self._waiting) + self._coming >= self._expected, seconds)
            await self._wait(lambda: not self._coming or len(self._waiting) >= _MAX_BATCH, _GATHER_SECONDS)
            began = clock()
            count = await self._commit()
            if (seconds := clock() - began) >= _SLOW_SECONDS:
                self._expected = min(count + len(self._waiting), _MAX_BATCH)
                self._expected_until = clock() + min(seconds * _CLIENTS_WAIT, _MAX_CLIENTS_SECONDS)

    async def _wait(self, is_enough: Callable[[], bool], seconds: float) -> None:
        """Wait for instances, to commit them in the same transaction."""
        if is_enough():
            return
        loop = asyncio.get_running_loop()
        self._is_enough, self._enough = is_enough, loop.create_future()
        timer = loop.call_later(seconds, _end, self._enough)
        try:
            await self._enough
        finally:
            timer.cancel()
            self._enough = None

    def _look(self) -> None:
        """End the wait for instances if there are enough."""
        if self._enough is not None and self._is_enough():
            _end(self._enough)

    async def _commit(self) -> int:
        """Commit instances that are waiting; return how many."""
        batch = _Batch(self._waiting, self._outbox)
        started_ns = time.time_ns()
        try:
            if self._outbox is None:
                outcomes = await self._index.add(batch.take, self._now())
            else:
                outcomes = await self._index.add(batch.take, self._now(), batch.records_of)
        except Exception as error:  # noqa: BLE001 - raised to each waiting caller
            instances = batch.take()  # the index may have failed before it took them
            for future in batch.futures:
                if not future.done():
                    future.set_exception(error)
            locators = [instance.locator for instance in instances]
            batch.failed(error)
            if isinstance(error, DicomStoreError) and not error.may_have_happened:
                await self.discard(locators)
            else:
                await self._after_failure(locators)
            return len(locators)
        batch.committed()
        COMMIT_INSTANCES.of().observe(len(outcomes))
        if traces := batch.traces():
            shared("commit", traces, started_ns, {"dicomstore.instances": len(outcomes)})
        locators = [instance.locator for instance in batch.take()]
        unclaimed = [
            locator
            for locator, future, outcome in zip(locators, batch.futures, outcomes, strict=True)
            if not _set_outcome(future, outcome) and not isinstance(outcome, Added)
        ]
        self._on_change()
        added = [locator for locator, outcome in zip(locators, outcomes, strict=True) if isinstance(outcome, Added)]
        await self._settle(added)
        if unclaimed:
            await self.discard(unclaimed)
        return len(locators)

    async def _settle(self, added: Sequence[Locator]) -> None:
        try:
            await self._blobs.settle(added)
        except DicomStoreError as error:  # the next start asks the index about unsettled blobs
            _log.warning("could not mark committed blobs as settled count=%d reason=%s", len(added), error.reason)

    async def _after_failure(self, locators: Sequence[Locator]) -> None:
        """Ask about a transaction that may have been committed, for instance when the connection broke."""
        self._in_doubt.update(locators)  # not earlier: `resolve` before the transaction would quarantine them
        try:
            await self.resolve(locators)
        except DicomStoreError as error:
            _log.warning("blobs in doubt count=%d reason=%s", len(self._in_doubt), error.reason)


class _Batch:
    """The instances of one transaction, chosen when the index can begin it.

    Other writers may delay the beginning; instances that arrive until then are part of the batch.
    """

    def __init__(self, waiting: deque[_Waiting], outbox: Outbox | None) -> None:
        self._waiting = waiting
        self._outbox = outbox
        self._changes: OutboxChanges | None = None
        self._taken: list[_Waiting] | None = None

    def take(self) -> list[NewInstance]:
        """Return the instances, the same on every call. The index calls it in its thread."""
        if self._taken is None:
            count = min(len(self._waiting), _MAX_BATCH)
            self._taken = [self._waiting.popleft() for _ in range(count)]
        return [instance for instance, _, _ in self._taken]

    @property
    def futures(self) -> list["asyncio.Future[AddOutcome]"]:
        """The futures of their outcomes."""
        return [future for _, future, _ in self._taken or ()]

    def traces(self) -> list[str]:
        """Return the traces of the instances that are recorded, see `NewInstance.trace`."""
        return [instance.trace for instance, _, _ in self._taken or () if instance.trace]

    def records_of(self, outcomes: Sequence[AddOutcome]) -> OutboxChanges:
        """Return the changes in the outbox, see `InstanceIndex.add`."""
        assert self._outbox is not None
        assert self._taken is not None
        self._changes = self._outbox.changes(
            (audit, _stored(instance, outcome))
            for (instance, _, audit), outcome in zip(self._taken, outcomes, strict=True)
            if isinstance(outcome, Added)
        )
        return self._changes

    def committed(self) -> None:
        """Append the records of the transaction to the audit trail."""
        if self._outbox is not None and self._changes is not None:
            self._outbox.committed(self._changes)

    def failed(self, error: Exception) -> None:
        """Note that the transaction failed."""
        if self._outbox is not None and self._changes is not None:
            is_known = isinstance(error, DicomStoreError) and not error.may_have_happened
            self._outbox.failed(self._changes, may_have_happened=not is_known)


def _end(wait: "asyncio.Future[None]") -> None:
    if not wait.done():
        wait.set_result(None)


def _stored(new: NewInstance, added: Added) -> StoredItem:
    id_, outcome = new.id, STORED if added.replaced is None else REPLACED
    return StoredItem(id_.study, id_.series, id_.instance, new.sop_class_uid, outcome, new.size_bytes)


def _set_outcome(future: "asyncio.Future[AddOutcome]", outcome: AddOutcome) -> bool:
    """Set the outcome of a future; return False if its caller has been cancelled."""
    if future.done():
        return False
    future.set_result(outcome)
    return True
