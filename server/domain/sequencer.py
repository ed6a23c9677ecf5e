"""Numbering the entries of the change feed after their commits, and carrying on deletions of many instances."""

import asyncio
import logging
from collections.abc import Callable

from server.model.errors import DicomStoreError, Reason
from server.ports.index import ChangeLog

_POLL_SECONDS = 1.0
_REST_SECONDS = 0.02
"""Between two rounds: entries that are committed meanwhile are numbered together."""

_LONGEST_WAIT_SECONDS = 1.0
_log = logging.getLogger("dicomstore.changes")


class Sequencer:
    """Every process has one. It does a round after each commit of its own, and one a second for what others left.

    Where entries are numbered when they are committed, only deletions are left to do.
    """

    def __init__(self, changes: ChangeLog) -> None:
        self._changes = changes
        self._numbered: Callable[[], None] = lambda: None
        self._committed = 0
        self._sequenced = 0
        self._woken = asyncio.Event()
        self._is_awaited = asyncio.Event()
        self._round_ended = asyncio.Event()

    def subscribe(self, numbered: Callable[[], None]) -> None:
        """Have `numbered` called when there may be new entries to be seen."""
        self._numbered = numbered

    def stored(self) -> None:
        """Take note that instances were stored."""
        if self._changes.is_numbered_later:
            self._wake()
        else:
            self._numbered()

    def deleted(self) -> None:
        """Take note that instances were deleted."""
        self._wake()
        if not self._changes.is_numbered_later:
            self._numbered()

    def _wake(self) -> None:
        self._committed += 1
        self._woken.set()

    async def caught_up(self) -> None:
        """Wait until all that this process has committed is numbered, or for a second."""
        wanted = self._committed
        if self._sequenced >= wanted:
            return
        self._is_awaited.set()
        try:
            async with asyncio.timeout(_LONGEST_WAIT_SECONDS):
                while self._sequenced < wanted:
                    await self._round_ended.wait()
        except TimeoutError:
            return

    async def run(self) -> None:
        """Work until cancelled. After a failure the next round tries again."""
        while True:
            self._woken.clear()
            self._is_awaited.clear()
            committed = self._committed
            try:
                while await self._changes.sequence():
                    self._numbered()
                self._sequenced = committed
            except DicomStoreError as error:
                if error.reason is not Reason.ARCHIVE_READ_ONLY:
                    _log.warning("numbering the change feed failed reason=%s", error.reason)
            self._round_ended.set()
            self._round_ended = asyncio.Event()
            await _wait(self._is_awaited, _REST_SECONDS)
            await _wait(self._woken, _POLL_SECONDS)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
