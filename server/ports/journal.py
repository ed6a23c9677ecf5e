"""The journal of blobs that no instance refers to, stored beside the blobs, so that a rebuilt index omits them."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from server.model.instance import Locator

Entry = tuple[Locator, Locator | None]
"""A blob, and its copy; None if its instance was deleted."""


class Journal(Protocol):
    """Written by the thread that writes to the index: entries belong to a transaction, and count if it commits.

    All calls block.
    """

    def deleted(self, locators: Sequence[Locator]) -> None:
        """Record blobs of instances that this transaction deletes.

        Raises:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        ...

    def moved(self, moves: Mapping[Locator, Locator]) -> None:
        """Record blobs whose instances this transaction refers to copies; old locator → new one. Raises: as above."""
        ...

    def prepare(self) -> None:
        """Make the entries of this transaction durable. Call it before the commit. Raises: as above."""
        ...

    def committed(self) -> None:
        """Record that the transaction was committed. Never fails: without this record the index is asked later."""
        ...

    def ended(self) -> None:
        """Record that the outcome of the transaction is unknown."""
        ...

    def rolled_back(self) -> None:
        """Record that the transaction was not committed. Never fails, as above."""
        ...


class ArchiveJournal(Journal, Protocol):
    """The journals of all processes, to be read when an index is opened or rebuilt. All calls block."""

    def take_over(self, referenced: Callable[[Sequence[Locator]], Collection[Locator]]) -> None:
        """Decide about transactions of ended processes without a recorded outcome.

        A transaction counts as committed if `referenced`, which returns the blobs that an instance refers to, returns
        none of its blobs. One process may call this at a time, with the right index.

        Raises:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE, or as `referenced`.
        """
        ...

    def entries(self) -> Iterator[Entry]:
        """Yield the blobs of all transactions that were committed or have an unknown outcome."""
        ...
