"""Processes that write to one SQLite file, one after the other.

SQLite lets one of them write and has the others look again, at growing intervals of up to 100 ms: who comes late waits
long, and longer the busier the others are. Here they wait for a lock on a file beside the database, which the kernel
hands over at once, and which it takes from a process that dies. It only brings them in line: what keeps the database
whole is SQLite's own lock, which a writer takes when its turn has come.
"""

import fcntl
import os
from types import TracebackType

from server.model.errors import Reason, Unavailable


class Turns:
    """A context for writing. This one lets everybody in, for databases that bring writers in line themselves."""

    def __enter__(self) -> None:
        """Wait for the turn; blocking."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the turn."""

    def close(self) -> None:
        """Let go of what was opened."""


class FileTurns(Turns):
    """A context that one process at a time is in. For one thread.

    Args:
        database: file that there is to be; without it, nobody waits and nothing is made.
        makes: the file is made in this turn, so it need not be there.
    """

    def __init__(self, database: str, *, makes: bool = False) -> None:
        self._database = database
        self._makes = makes
        self._file: int | None = None

    def __enter__(self) -> None:
        """Wait for the turn; blocking. Raises: Unavailable (DATABASE_UNAVAILABLE)."""
        try:
            if self._file is None and (self._makes or os.path.exists(self._database)):
                self._file = os.open(f"{self._database}-turns", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError as error:
            raise Unavailable(
                Reason.DATABASE_UNAVAILABLE, "The lock file next to the database cannot be opened or locked."
            ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the turn."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, which ends a turn, too."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
