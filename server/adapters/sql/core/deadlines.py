"""Time limits for SQLite queries, which SQLite supports only through a progress callback."""

import time

from sqlalchemy.engine.interfaces import DBAPIConnection

_STEPS = 20_000
"""Instructions of SQLite's virtual machine between two callbacks: less than a millisecond, and no cost for small
queries."""


class Deadline:
    """The time limit of the current statement of a connection, which is interrupted with SQLITE_INTERRUPT."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = float("inf")

    def watch(self, connection: DBAPIConnection) -> None:
        """Register the callback with an SQLite connection."""
        connection.set_progress_handler(self._is_over, _STEPS)

    def start(self) -> None:
        """Start the time limit now."""
        self._end = time.monotonic() + self._seconds

    def _is_over(self) -> bool:
        return time.monotonic() > self._end
