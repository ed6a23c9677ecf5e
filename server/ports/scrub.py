"""How far the scrub has come."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from server.model.scrub import ScrubPosition


class ScrubRecord(Protocol):
    """Kept for all processes that share the blobs."""

    def held(self) -> AbstractAsyncContextManager[bool]:
        """Keep other processes from scrubbing; False if another one does."""
        ...

    async def load(self) -> ScrubPosition | None:
        """Return what was saved last; None if there is nothing that can be read.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    async def save(self, position: ScrubPosition) -> None:
        """Keep a position, durably.

        Raises:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...
