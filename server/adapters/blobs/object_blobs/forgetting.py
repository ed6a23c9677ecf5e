"""Removes erased blobs from the cache and the memory of this process, whichever process has erased them.

    <cache>/erased-<store id>    number of the list of erased blobs up to which the parts of all were removed

Each process reads new lists (see `erased_lists`) once a minute, and each list a second time ten minutes later: a
request that was in progress may have returned a blob that was erased meanwhile. The number in the file is that of the
last list that was read twice, so that a process that starts continues there. A cache without this file, or one for
which lists are missing, is emptied; then lists are read from a day before that on.
"""

import asyncio
import logging
import os
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from server.adapters.blobs.disk.threads import DiskThreads
from server.adapters.blobs.object_blobs.cache import PartCache
from server.adapters.blobs.object_blobs.erased_lists import ErasedLists, Missing
from server.adapters.blobs.object_blobs.names import Place
from server.model.errors import DicomStoreError

_SECONDS = 60.0
_AGAIN_SECONDS = 600.0
_DAY = timedelta(days=1)
"""Clocks differ by less than this."""

_log = logging.getLogger("dicomstore.blobs")


class Forgetting:
    """For one process.

    Args:
        threads: for requests and the disk.
        forget: removes blobs from memory and cache.
        store_id: of the store; may be empty.
    """

    def __init__(
        self,
        lists: ErasedLists,
        cache: PartCache,
        threads: DiskThreads,
        forget: Callable[[Sequence[Place]], Awaitable[None]],
        store_id: str,
    ) -> None:
        self._lists = lists
        self._cache = cache
        self._threads = threads
        self._forget = forget
        self._file = cache.directory / f"erased-{store_id}"
        self._began = datetime.now(UTC)  # when the cache was empty, if it had no file
        self._once: int | None = None  # the last list that was read
        self._twice = 0
        self._again: deque[tuple[float, int]] = deque()  # when lists were read, and the last of them
        self._has_failed = False

    def prepare(self) -> None:
        """Empty a cache of which it is unknown what was erased; blocks for the disk. To be called before any read."""
        if self._number() is None:
            self._cache.clear()

    async def run(self) -> None:
        """Read lists at an interval until cancelled."""
        while True:
            try:
                await self.turn()
                self._has_failed = False
            except DicomStoreError as error:
                if not self._has_failed:
                    _log.warning(
                        "the lists of erased blobs can't be read; the cache keeps these reason=%s", error.reason
                    )
                self._has_failed = True
            await asyncio.sleep(_SECONDS)

    async def turn(self) -> None:
        """Read the lists that are new or due. Raises: as `ObjectClient`."""
        for _ in range(2):  # the second time with an empty cache; if lists are missing again, the next turn goes on
            try:
                await self._read_new_and_due()
            except Missing:
                _log.warning("the blob cache is emptied: some of it may have been erased while it was not in use")
                self._once = None
                self._again.clear()
                await self._threads.run(self._empty)
            else:
                return

    async def _read_new_and_due(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._once is None:
            self._once = self._twice = await self._start()
        if (last := await self._read(self._once, None)) > self._once:
            self._once = last
            self._again.append((now, last))
        while self._again and self._again[0][0] + _AGAIN_SECONDS <= now:
            self._twice = await self._read(self._twice, self._again[0][1])
            self._again.popleft()
            await self._threads.run(lambda: self._save(self._twice))

    async def _read(self, after: int, until: int | None) -> int:
        """Forget what the lists after a number say; return the number of the last one."""
        lists = self._lists.after(after)
        while (found := await self._threads.run(lambda: next(lists, None))) is not None:
            number, places = found
            if until is not None and number > until:
                break
            await self._forget(places)
            after = number
        return after

    async def _start(self) -> int:
        """Return the number from which to continue."""
        number = await self._threads.run(self._number)
        if number is None:  # nothing was cached before this process or another one has started
            number = await self._threads.run(lambda: self._lists.last_before(self._began - _DAY))
            if number:
                await self._forget(await self._threads.run(lambda: self._lists.read(number)))
            await self._threads.run(lambda: self._save(number))
        return number

    def _number(self) -> int | None:
        try:
            return int(self._file.read_text("ascii"))
        except (OSError, ValueError):
            return None

    def _empty(self) -> None:
        self._began = datetime.now(UTC)
        with suppress(OSError):
            self._file.unlink(missing_ok=True)
        self._cache.clear()

    def _save(self, number: int) -> None:
        """Record the number for processes that start later; without it they empty the cache."""
        new = self._cache.spill / uuid.uuid4().hex
        try:
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(f"{number}\n", "ascii")
            os.replace(new, self._file)
        except OSError:
            with suppress(OSError):
                new.unlink(missing_ok=True)
