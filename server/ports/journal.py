"""The blobs that no instance needs any more, recorded beside the blobs, so that a rebuilt index omits them."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from server.model.instance import Locator

Entry = tuple[Locator, Locator | None]
"""A blob, and its copy; None if its instance was deleted."""


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
        """Make the notes of this transaction durable. To be called before its commit. Raises: as above."""
        ...

    def committed(self) -> None:
        """Note that the transaction was committed. Never fails: without the note, the index is asked later."""
        ...

    def ended(self) -> None:
        """Note that it is unknown whether the transaction was committed."""
        ...

    def rolled_back(self) -> None:
        """Note that the transaction was not committed. Never fails, as above."""
        ...


class ArchiveJournal(Journal, Protocol):
    """The journals of all processes, to be read when an index is opened or rebuilt. All calls block."""

    def take_over(self, named: Callable[[Sequence[Locator]], Collection[Locator]]) -> None:
        """Decide about transactions of ended processes of which no end is noted.

        One counts as committed if `named`, which returns those blobs that an instance names, returns none of its blobs.
        To be called while no other process does, with the right index.

        Raises:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE, or as `named`.
        """
        ...

    def entries(self) -> Iterator[Entry]:
        """Yield the blobs of all committed transactions, and of those of which that is not known."""
        ...
