"""The position of the scrub."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from server.model.scrub import ScrubPosition


class ScrubRecord(Protocol):
    """Shared by all processes that use the same blobs."""

    def held(self) -> AbstractAsyncContextManager[bool]:
        """Keep other processes from scrubbing; False if another one scrubs."""
        ...

    async def load(self) -> ScrubPosition | None:
        """Return the position that was saved last; None if there is none that can be read.

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
