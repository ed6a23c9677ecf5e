"""Whether the archive may be changed.

An index that is older than its data directory does not know instances that were acknowledged. Reading goes on with what
it knows; nothing is stored, deleted, recovered or erased, since each of these would take what it does not know for
nothing.
"""

import logging

from server.model.errors import Reason, Unavailable

_log = logging.getLogger("dicomstore")


class Access:
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
