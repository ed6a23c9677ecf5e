"""The clock for deadlines of erasing. It never jumps, even if the system clock does.

Within a process it advances with the monotonic clock. After a restart it continues from the last recorded time: never
before it, and later only if the system clock is ahead by a plausible amount. A system clock that is far ahead may be
wrong, so nothing expires until an operator confirms it.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from server.ports.clock import ClockRecord

_NOTICEABLE = timedelta(minutes=5)
_log = logging.getLogger("dicomstore.clock")


class SteadyClock:
    """Time in UTC that only advances.

    Args:
        record: stores the latest time for all processes.
        wall: the system clock.
        elapsed: the monotonic clock, in seconds.
        largest_jump: plausible advance of the system clock over the recorded time at start.
    """

    def __init__(
        self,
        record: ClockRecord,
        wall: Callable[[], datetime],
        elapsed: Callable[[], float],
        largest_jump: timedelta,
    ) -> None:
        self._record = record
        self._wall = wall
        self._elapsed = elapsed
        self._largest_jump = largest_jump
        self._base = wall()
        self._base_elapsed = elapsed()

    def now(self) -> datetime:
        """Return the time. Call `start` first."""
        return self._base + timedelta(seconds=self._elapsed() - self._base_elapsed)

    async def start(self) -> None:
        """Set the clock to the system time, within the limits of the recorded time.

        Raises: as `ClockRecord.latest`.
        """
        wall, recorded = self._wall(), await self._record.latest()
        if problem := clock_problem(recorded, wall, self._largest_jump):
            _log.warning("clock: %s", problem)
            wall = recorded or wall
        self._set(max(wall, recorded or wall))

    async def tick(self) -> None:
        """Record the time, and advance to a later time recorded by another process or an operator.

        Raises: as `ClockRecord.advance`.
        """
        recorded = await self._record.advance(self.now())
        if recorded > self.now():
            self._set(recorded)

    def _set(self, time: datetime) -> None:
        self._base, self._base_elapsed = time, self._elapsed()


def clock_problem(recorded: datetime | None, wall: datetime, largest_jump: timedelta) -> str:
    """Return a description of how the system clock contradicts the recorded time; "" if it does not."""
    if recorded is None or _NOTICEABLE >= recorded - wall >= -largest_jump:
        return ""
    if recorded > wall:
        return f"the system clock is behind the recorded time by {_rounded(recorded - wall)}: correct it"
    return (
        f"the system clock is ahead of the recorded time by {_rounded(wall - recorded)}; deletion deadlines are "
        "suspended: correct it, or confirm it with `dicomstore accept-clock`"
    )


def _rounded(time: timedelta) -> timedelta:
    return timedelta(seconds=round(time.total_seconds()))
