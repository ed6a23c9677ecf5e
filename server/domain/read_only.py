"""The read-only state of the archive.

An index that is older than its data directory lacks instances that were acknowledged. It is still read. Nothing is
stored, deleted, recovered or erased, because each of these would treat an instance that the index lacks as one that
does not exist.
"""

import logging

from server.model.errors import Reason, Unavailable

_log = logging.getLogger("dicomstore")


class ReadOnlyState:
    """Asked before anything is changed. `cause` says why nothing may be, for people who run the archive."""

    def __init__(self, cause: str = "") -> None:
        self.cause = cause
        if cause:
            _log.error("the archive is read-only: %s", cause)

    def restrict(self, cause: str) -> None:
        """Make the archive read-only, until the program is started again. Called in any thread."""
        if not self.cause:
            self.cause = cause
            _log.error("the archive is read-only from now on: %s", cause)

    def require_writable(self) -> None:
        """Raise Unavailable (ARCHIVE_READ_ONLY) if nothing may be changed."""
        if self.cause:
            raise Unavailable(Reason.ARCHIVE_READ_ONLY, "The archive is read-only: its index has lost transactions.")

    async def check(self) -> None:
        """The same, for health."""
        self.require_writable()
