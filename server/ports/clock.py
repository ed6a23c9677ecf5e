"""The record of the clock for deadlines."""

from datetime import datetime
from typing import Protocol


class ClockRecord(Protocol):
    """The latest time that any process has recorded. It never goes back.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) and Exhausted (STORAGE_FULL).
    """

    async def latest(self) -> datetime | None:
        """Return the recorded time; None if there is none yet."""
        ...

    async def advance(self, time: datetime) -> datetime:
        """Record a time, unless a later one is recorded, and return the later of the two."""
        ...
