"""Reading and watching the change feed (docs/api.md)."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from server.domain.access import Access
from server.domain.consumers import Consumers
from server.domain.sequencer import Sequencer
from server.model.access import Action
from server.model.call import Call
from server.model.change import Change, ChangeWindow
from server.model.errors import InvalidRequest, NotFound, Reason, Unavailable
from server.ports.index import ChangeLog

_PAGE = 100
_POLL_SECONDS = 1.0
DEFAULT_CHECKPOINT_SECONDS = 15.0


class ChangeFeed:
    """The change feed, and the notification of its watchers.

    New entries of this process notify watchers at once, those of other processes within 100 ms. In addition watchers
    poll once a second.
    """

    def __init__(self, access: Access, changes: ChangeLog, sequencer: Sequencer, consumers: Consumers) -> None:
        self._access = access
        self._changes = changes
        self._sequencer = sequencer
        self._consumers = consumers
        sequencer.subscribe(self.notify)
        self._changed = asyncio.Event()
        self._closing = False
        self._watchers = 0
        self._listening: asyncio.Task[None] | None = None

    def notify(self) -> None:
        """Wake all watchers, because there are new entries."""
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """End all watches."""
        self._closing = True
        self.notify()

    async def list(self, call: Call, window: ChangeWindow) -> list[Change]:
        """Return the entries of a window in the permitted partitions, ascending.

        Raises:
            InvalidRequest: INVALID_FIELD.
        """
        permitted = self._access.permit_partitions(call, Action.READ)
        if window.after_sequence < 0 or window.skip < 0:
            field = "after_sequence" if window.after_sequence < 0 else "skip"
            raise InvalidRequest(Reason.INVALID_FIELD, f"{field} must not be negative.", field=field)
        if window.start and window.end and window.end <= window.start:
            raise InvalidRequest(Reason.INVALID_FIELD, "end_time must be after start_time.", field="end_time")
        await self._sequencer.catch_up()
        changes = await self._changes.list(replace(window, partitions=permitted))
        call.audit.items = len(changes)
        return changes

    async def latest(self, call: Call, metadata: bool) -> Change:
        """Return the newest entry in the permitted partitions. Raises NotFound (NO_CHANGES)."""
        permitted = self._access.permit_partitions(call, Action.READ)
        await self._sequencer.catch_up()
        change = await self._changes.latest(metadata, permitted)
        if change is None:
            raise NotFound(Reason.NO_CHANGES, "The change feed is empty.")
        return change

    async def watch(
        self, call: Call, after_sequence: int, *, metadata: bool, checkpoint_seconds: float, consumer: str = ""
    ) -> AsyncIterator[tuple[Sequence[Change], int]]:
        """Yield new entries with the last sequence sent; a first checkpoint at once, later ones when idle.

        An idle watch has a checkpoint after each `checkpoint_seconds`.

        With access to some partitions, these are the entries of those, and checkpoints do not advance for others: the
        archive does not reveal how much is stored elsewhere, and the index finds the next entry at the same cost.

        Args:
            consumer: start after its position; requires an `after_sequence` of 0.

        Raises:
            InvalidRequest: INVALID_FIELD.
            NotFound: CONSUMER_NOT_FOUND, the consumer belongs to another principal.
            Unavailable: SHUTTING_DOWN.
        """
        permitted = self._access.permit_partitions(call, Action.READ)
        if after_sequence < 0:
            raise InvalidRequest(Reason.INVALID_FIELD, "after_sequence must not be negative.", field="after_sequence")
        if checkpoint_seconds < 1:
            raise InvalidRequest(
                Reason.INVALID_FIELD, "checkpoint_interval must be at least 1 s.", field="checkpoint_interval"
            )
        if consumer and after_sequence:
            message = "A watch starts after a sequence or after the position of a consumer."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="after_sequence")
        if consumer:
            after_sequence = await self._consumers.start(call, consumer)
        with self._notified():
            window = ChangeWindow(limit=_PAGE, after_sequence=after_sequence, metadata=metadata, partitions=permitted)
            async for found in self._watch(window, checkpoint_seconds):
                call.audit.items += len(found[0])
                yield found

    @contextmanager
    def _notified(self) -> Iterator[None]:
        """Listen to notifications of the database while there is a watcher; this takes a connection."""
        self._watchers += 1
        if self._listening is None:
            self._listening = asyncio.create_task(self._changes.listen(self.notify))
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._listening.cancel()
                self._listening = None

    async def _watch(
        self, window: ChangeWindow, checkpoint_seconds: float
    ) -> AsyncIterator[tuple[Sequence[Change], int]]:
        clock = asyncio.get_running_loop().time
        due = clock()  # the first message is sent at once
        while not self._closing:
            changed = self._changed  # taken before the query, so that no notification is missed
            entries = await self._changes.list(window)
            if entries:
                window = replace(window, after_sequence=entries[-1].sequence)
            if entries or clock() >= due:
                yield entries, window.after_sequence
                due = clock() + checkpoint_seconds
            if not entries:
                await _wait(changed, min(_POLL_SECONDS, max(due - clock(), 0.01)))
        raise Unavailable(Reason.SHUTTING_DOWN, "The server is shutting down.")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
