"""How long SQLite may take for an answer: it has no time-out of its own, but asks now and then whether to go on."""

import time

from sqlalchemy.engine.interfaces import DBAPIConnection

_STEPS = 20_000
"""Instructions of SQLite's machine between two questions: less than a millisecond, and no cost for small answers."""


class Deadline:
    """The end of what a connection is doing; it is stopped then, with SQLITE_INTERRUPT."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = float("inf")

    def watch(self, connection: DBAPIConnection) -> None:
        """Stop what a connection of SQLite does for too long."""
        connection.set_progress_handler(self._is_over, _STEPS)

    def start(self) -> None:
        """Count from now."""
        self._end = time.monotonic() + self._seconds

    def _is_over(self) -> bool:
        return time.monotonic() > self._end
