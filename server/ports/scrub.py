"""The position of the scrub."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from server.model.storage.scrub import ScrubPosition


class ScrubRecord(Protocol):
    """Shared by all processes that use the same blobs."""

    def held(self) -> AbstractAsyncContextManager[bool]:
        """Lock out other processes; False if another one is scrubbing."""
        ...

    async def load(self) -> ScrubPosition | None:
        """Return the last saved position; None if there is none or it is unreadable.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    async def save(self, position: ScrubPosition) -> None:
        """Save a position durably.

        Raises:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...
