"""The pace of work in the background, which leaves capacity to the processes that answer requests."""

import asyncio
import time

_MAX_REST_SECONDS = 5.0


class Pace:
    """Limits how fast one call of a step works.

    Args:
        bytes_per_second: the limit; 0 for none, but a rest as long as the work.
    """

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._began = time.monotonic()
        self._bytes = 0

    async def spend(self, count: int) -> None:
        """Account for bytes that were processed, and wait if they were too many for the time."""
        self._bytes += count
        if self._rate:
            await asyncio.sleep(max(0.0, self._bytes / self._rate - self._elapsed))

    async def rest(self) -> None:
        """Wait after the work."""
        if not self._rate:
            await asyncio.sleep(min(self._elapsed, _MAX_REST_SECONDS))

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began
