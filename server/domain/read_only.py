"""The read-only state of the archive.

An index that is older than its data directory lacks acknowledged instances. Reads are still served. Stores, deletes,
recovery and erasure are refused, because each would treat an instance missing in the index as non-existent.
"""

import logging

from server.model.errors import Reason, Unavailable

_log = logging.getLogger("dicomstore")


class ReadOnlyState:
    """The state, which every change checks first. `cause` is the reason for operators; empty means writable."""

    def __init__(self, cause: str = "") -> None:
        self.cause = cause
        if cause:
            _log.error("the archive is read-only: %s", cause)

    def restrict(self, cause: str) -> None:
        """Make the archive read-only until the process restarts. Thread-safe."""
        if not self.cause:
            self.cause = cause
            _log.error("the archive is read-only from now on: %s", cause)

    def require_writable(self) -> None:
        """Raise Unavailable (ARCHIVE_READ_ONLY) if the archive is read-only."""
        if self.cause:
            raise Unavailable(Reason.ARCHIVE_READ_ONLY, "The archive is read-only: its index has lost transactions.")

    async def check(self) -> None:
        """`require_writable` as a health check."""
        self.require_writable()
