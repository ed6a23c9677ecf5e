"""Order of processes that write to one SQLite file.

SQLite lets one process write while the others retry at growing intervals of up to 100 ms, so that a process can wait
long under load. Here they wait for a lock on a file next to the database, which the kernel passes on at once, also when
a process
dies. It only provides the order: integrity depends on SQLite's own lock, which a writer takes afterwards.
"""

import fcntl
import os
from types import TracebackType

from server.model.errors import Reason, Unavailable


class WriteOrder:
    """Context manager for writing. This base class imposes no order, for databases that do so themselves."""

    def __enter__(self) -> None:
        """Wait for permission to write; blocking."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the next process write."""

    def close(self) -> None:
        """Release resources."""


class FileWriteOrder(WriteOrder):
    """Context manager that one process at a time can enter. For one thread.

    Args:
        database: the database file; if it does not exist, there is no lock.
        makes: the file is created in this context, so it need not exist.
    """

    def __init__(self, database: str, *, makes: bool = False) -> None:
        self._database = database
        self._makes = makes
        self._file: int | None = None

    def __enter__(self) -> None:
        """Wait for the lock; blocking. Raises: Unavailable (DATABASE_UNAVAILABLE)."""
        try:
            if self._file is None and (self._makes or os.path.exists(self._database)):
                self._file = os.open(f"{self._database}-write-order", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError as error:
            raise Unavailable(
                Reason.DATABASE_UNAVAILABLE, "The lock file next to the database cannot be opened or locked."
            ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, which also releases the lock."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
