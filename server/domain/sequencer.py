"""Assigning sequence numbers to change-feed entries and events of workitems after their commit, and expanding deletions
of many instances."""

import asyncio
import logging
import time
from collections.abc import Callable

from common.telemetry.catalogue import CHANGE_FEED_SECONDS
from common.telemetry.tracing import performed
from server.model.errors import DicomStoreError, Reason
from server.ports.index import ChangeLog, Sequenced

_POLL_SECONDS = 1.0
_PAUSE_SECONDS = 0.04
"""Pause between two rounds, so that one round numbers the entries of several commits."""

_MAX_PAUSE_SECONDS = 0.2
"""Longest pause of a process that writes a small part of the entries; others number them meanwhile."""

_MAX_WAIT_SECONDS = 1.0
_log = logging.getLogger("dicomstore.changes")


class Sequencer:
    """The sequencer of this process: runs a round after each commit, and every second for entries of other processes.

    A round numbers the entries of all processes. Each process pauses in inverse proportion to its part of the entries,
    so that there are about as many rounds together as one process alone would run.

    Where a commit numbers its entries itself, only deletions remain.
    """

    def __init__(self, changes: ChangeLog) -> None:
        self._changes = changes
        self._subscribers: list[Callable[[], None]] = []
        self._begun = 0
        self._ended = 0
        self._woken = asyncio.Event()
        self._is_awaited = asyncio.Event()
        self._round_ended = asyncio.Event()

    def subscribe(self, numbered: Callable[[], None]) -> None:
        """Register a function to call when new entries, or events of workitems, may be visible."""
        self._subscribers.append(numbered)

    def _numbered(self) -> None:
        for subscriber in self._subscribers:
            subscriber()

    def stored(self) -> None:
        """To be called after instances have been stored, or events of workitems were written."""
        if self._changes.is_numbered_later:
            self._woken.set()
        else:
            self._numbered()

    def deleted(self) -> None:
        """To be called after instances have been deleted."""
        self._woken.set()
        if not self._changes.is_numbered_later:
            self._numbered()

    async def catch_up(self) -> None:
        """Wait for a round, for at most a second, so that the entries of all commits before this call are visible.

        A round of this process numbers the entries of other processes as well.
        """
        wanted = self._begun + 1
        self._is_awaited.set()
        self._woken.set()
        try:
            async with asyncio.timeout(_MAX_WAIT_SECONDS):
                while self._ended < wanted:
                    await self._round_ended.wait()
        except TimeoutError:
            return

    async def run(self) -> None:
        """Run rounds until cancelled. The next round retries after a failure."""
        while True:
            self._woken.clear()
            self._is_awaited.clear()
            self._begun += 1
            try:
                result = Sequenced.MAY_HAVE_MORE
                while result is Sequenced.MAY_HAVE_MORE:
                    began, started = time.time_ns(), time.perf_counter()
                    result = await self._changes.sequence()
                    if result is not Sequenced.NOTHING:
                        CHANGE_FEED_SECONDS.of().observe(time.perf_counter() - started)
                        performed("number changes", began, {})
                        self._numbered()
            except DicomStoreError as error:
                if error.reason is not Reason.ARCHIVE_READ_ONLY:
                    _log.warning("numbering the change feed failed reason=%s", error.reason)
            self._ended = self._begun
            self._round_ended.set()
            self._round_ended = asyncio.Event()
            await _wait(self._is_awaited, min(_PAUSE_SECONDS / max(self._changes.share, 0.01), _MAX_PAUSE_SECONDS))
            await _wait(self._woken, _POLL_SECONDS)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
