"""From durable bytes to visible instances, many in one transaction.

While one transaction runs, those who come meanwhile gather; the next transaction takes them together. A lone
instance never waits. The blobs are looked after here in every outcome: settled when the index has them, erased when
it refused them, and asked about again when the database did not say what became of them. That the index does not know
a blob is no reason to erase it: it is quarantined then, see `BlobStore.quarantine`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from server.model.errors import DicomStoreError
from server.model.instance import Added, AddOutcome, Locator, NewInstance
from server.ports.blobs import BlobStore
from server.ports.index import InstanceIndex

_MOST_AT_ONCE = 200
_log = logging.getLogger("dicomstore.commit")

_Waiting = tuple[NewInstance, "asyncio.Future[AddOutcome]"]


class Committer:
    """Makes instances visible; the blob of each must be committed and becomes the committer's to look after."""

    def __init__(
        self,
        blobs: BlobStore,
        index: InstanceIndex,
        now: Callable[[], datetime],
        on_change: Callable[[], None],
        quarantine_now: Callable[[], datetime],
    ) -> None:
        """Begin; `now` is the time of changes, `quarantine_now` the time by which a quarantine begins and ends."""
        self._blobs = blobs
        self._index = index
        self._now = now
        self._on_change = on_change
        self._quarantine_now = quarantine_now
        self._waiting: deque[_Waiting] = deque()
        self._work: asyncio.Task[None] | None = None
        self._unused: set[Locator] = set()  # to be erased
        self._in_doubt: set[Locator] = set()

    def add(self, instance: NewInstance) -> Awaitable[AddOutcome]:
        """Queue one instance at once; the result makes it visible, after those that were queued before.

        When the result is Added, the instance is durable; a cancelled caller may find it stored. If it was not
        added, the new blob is left to the caller, who may want to compare it; see `discard`.

        Raises, when awaited:
            Exhausted, Unavailable, NotFound: see `InstanceIndex.add`.
        """
        future: asyncio.Future[AddOutcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((instance, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._commit_all())
        return future

    async def discard(self, locators: Sequence[Locator]) -> None:
        """Erase blobs that no instance will name; if that fails now, it is tried again by `settle_doubts`."""
        try:
            await self._blobs.delete(locators)
        except DicomStoreError as error:
            _log.warning("could not erase unused blobs count=%d reason=%s", len(locators), error.reason)
            self._unused.update(locators)

    def abandon(self, locator: Locator) -> None:
        """Leave a blob that was refused or never added to `settle_doubts`; for a caller that was cancelled."""
        self._unused.add(locator)

    def doubt(self, locator: Locator) -> None:
        """Leave a blob that an instance may or may not name to `settle_doubts`."""
        self._in_doubt.add(locator)

    async def settle_doubts(self) -> None:
        """Erase what is unused; ask the index about blobs whose transaction ended without an answer.

        Raises: as `InstanceIndex.known` and `BlobStore.delete`; what is still in doubt stays so.
        """
        if unused := sorted(self._unused):
            await self._blobs.delete(unused)
            self._unused.difference_update(unused)
        await self.resolve(sorted(self._in_doubt))

    async def resolve(self, locators: Sequence[Locator]) -> int:
        """Settle those of `locators` that the index names and quarantine the others; return how many these are."""
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
        while self._waiting:
            await self._commit()

    async def _commit(self) -> None:
        batch = _Batch(self._waiting)
        try:
            outcomes = await self._index.add(batch.take, self._now())
        except Exception as error:  # noqa: BLE001 - handed on to each of those who wait
            instances = batch.take()  # the index may have failed before it did
            for future in batch.futures:
                if not future.done():
                    future.set_exception(error)
            locators = [instance.locator for instance in instances]
            if isinstance(error, DicomStoreError) and not error.may_have_happened:
                await self.discard(locators)
            else:
                await self._after_failure(locators)
            return
        locators = [instance.locator for instance in batch.take()]
        unheard = [
            locator
            for locator, future, outcome in zip(locators, batch.futures, outcomes, strict=True)
            if not _tell(future, outcome) and not isinstance(outcome, Added)
        ]
        self._on_change()
        added = [locator for locator, outcome in zip(locators, outcomes, strict=True) if isinstance(outcome, Added)]
        try:
            await self._blobs.settle(added)
        except DicomStoreError as error:  # they stay unsettled, which costs a question at the next start
            _log.warning("could not mark committed blobs as settled count=%d reason=%s", len(added), error.reason)
        if unheard:
            await self.discard(unheard)

    async def _after_failure(self, locators: Sequence[Locator]) -> None:
        """Ask about a transaction that may have been committed: a connection that broke does not say."""
        self._in_doubt.update(locators)  # not earlier: a question before the transaction would quarantine them
        try:
            await self.resolve(locators)
        except DicomStoreError as error:
            _log.warning("blobs in doubt count=%d reason=%s", len(self._in_doubt), error.reason)


class _Batch:
    """Those of the waiting who are committed together: who they are is settled when the index can begin.

    Others write meanwhile, in this process and elsewhere; whoever comes in that time comes along.
    """

    def __init__(self, waiting: deque[_Waiting]) -> None:
        self._waiting = waiting
        self._taken: list[_Waiting] | None = None

    def take(self) -> list[NewInstance]:
        """Return the instances, the same each time. Called in a thread of the index, the only one that takes any."""
        if self._taken is None:
            count = min(len(self._waiting), _MOST_AT_ONCE)
            self._taken = [self._waiting.popleft() for _ in range(count)]
        return [instance for instance, _ in self._taken]

    @property
    def futures(self) -> list["asyncio.Future[AddOutcome]"]:
        """Where their outcomes are waited for."""
        return [future for _, future in self._taken or ()]


def _tell(future: "asyncio.Future[AddOutcome]", outcome: AddOutcome) -> bool:
    """Hand an outcome to whoever waits for it; return false if nobody does any more."""
    if future.done():
        return False
    future.set_result(outcome)
    return True
