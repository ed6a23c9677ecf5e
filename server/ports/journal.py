"""Which blobs no instance needs any more, kept beside the blobs, so that an index rebuilt from them omits these."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from server.model.instance import Locator


class Journal(Protocol):
    """Written by the thread that writes to the index: blobs are noted within a transaction, and count if it commits.

    All calls block.
    """

    def deleted(self, locators: Sequence[Locator]) -> None:
        """Note blobs of instances that this transaction deletes.

        Raises:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    def moved(self, moves: Mapping[Locator, Locator]) -> None:
        """Note blobs whose instances name copies from this transaction on; old locator → new one. Raises: as above."""
        ...

    def prepare(self) -> None:
        """Make durable what was noted in this transaction. To be called before its commit. Raises: as above."""
        ...

    def committed(self) -> None:
        """Say that the transaction was committed. Never fails: what can't be noted is asked about later."""
        ...

    def ended(self) -> None:
        """Say that it is not known whether the transaction was committed."""
        ...

    def rolled_back(self) -> None:
        """Say that the transaction was not committed. Never fails, as above."""
        ...
