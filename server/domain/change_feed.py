"""Reading the change feed (spec: change-feed.md)."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from server.domain.access import Access, Action
from server.model.call import Call
from server.model.change import Change, ChangeWindow
from server.model.errors import InvalidRequest, NotFound, Reason, Unavailable
from server.model.ids import ARCHIVE
from server.ports.index import ChangeLog

_PAGE = 100
_POLL_SECONDS = 1.0
DEFAULT_CHECKPOINT_SECONDS = 15.0


class ChangeFeed:
    """The feed, and the bell that wakes its watchers.

    What this process commits rings the bell. What other processes commit on the same database is found by looking
    once a second while somebody watches.
    """

    def __init__(self, access: Access, changes: ChangeLog) -> None:
        self._access = access
        self._changes = changes
        self._rung = asyncio.Event()
        self._closing = False

    def ring(self) -> None:
        """Say that there is something new."""
        self._rung.set()
        self._rung = asyncio.Event()

    def close(self) -> None:
        """End all watches."""
        self._closing = True
        self.ring()

    async def list(self, call: Call, window: ChangeWindow) -> list[Change]:
        """Return the entries of a window, ascending.

        Raises:
            InvalidRequest: INVALID_FIELD.
        """
        await self._access.permit(call, Action.READ, ARCHIVE)
        if window.after_sequence < 0 or window.skip < 0:
            field = "after_sequence" if window.after_sequence < 0 else "skip"
            raise InvalidRequest(Reason.INVALID_FIELD, f"{field} must not be negative.", field=field)
        if window.start and window.end and window.end <= window.start:
            raise InvalidRequest(Reason.INVALID_FIELD, "end_time must be after start_time.", field="end_time")
        return await self._changes.list(window)

    async def latest(self, call: Call, metadata: bool) -> Change:
        """Return the newest entry. Raises NotFound (NO_CHANGES)."""
        await self._access.permit(call, Action.READ, ARCHIVE)
        change = await self._changes.latest(metadata)
        if change is None:
            raise NotFound(Reason.NO_CHANGES, "The change feed is empty.")
        return change

    async def watch(
        self, call: Call, after_sequence: int, *, metadata: bool, checkpoint_seconds: float
    ) -> AsyncIterator[tuple[Sequence[Change], int]]:
        """Yield entries as they come, with the last sequence sent; without entries every `checkpoint_seconds`.

        Raises:
            InvalidRequest: INVALID_FIELD.
            Unavailable: SHUTTING_DOWN.
        """
        await self._access.permit(call, Action.READ, ARCHIVE)
        if after_sequence < 0:
            raise InvalidRequest(Reason.INVALID_FIELD, "after_sequence must not be negative.", field="after_sequence")
        if checkpoint_seconds < 1:
            raise InvalidRequest(
                Reason.INVALID_FIELD, "checkpoint_interval must be at least 1 s.", field="checkpoint_interval"
            )
        clock = asyncio.get_running_loop().time
        due = clock() + checkpoint_seconds
        while not self._closing:
            rung = self._rung  # taken before looking, so that nothing falls in between
            window = ChangeWindow(limit=_PAGE, after_sequence=after_sequence, metadata=metadata)
            entries = await self._changes.list(window)
            if entries:
                after_sequence = entries[-1].sequence
            if entries or clock() >= due:
                yield entries, after_sequence
                due = clock() + checkpoint_seconds
            if not entries:
                await _wait(rung, min(_POLL_SECONDS, max(due - clock(), 0.01)))
        raise Unavailable(Reason.SHUTTING_DOWN, "The server is shutting down.")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
