"""Room on disk for the work of a recovery, which may concern more blobs than fit into memory."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from server.model.instance import Locator
from server.model.receipt import Receipt


class Spool(Protocol):
    """Blobs that no instance needs any more, quarantined ones, and blobs by time of receipt. All calls block."""

    def retire(self, entries: Iterable[tuple[Locator, Locator | None]]) -> None:
        """Take blobs, each with its copy, or None if its instance was deleted."""
        ...

    def fate(self, locator: Locator) -> Locator | None:
        """Return where the bytes of a blob are now: itself if it was not retired; None if its instance was deleted."""
        ...

    def set_aside(self, locators: Iterable[Locator]) -> None:
        """Take blobs that are not to be indexed."""
        ...

    def is_set_aside(self, locator: Locator) -> bool:
        """Say whether a blob was set aside."""
        ...

    def add(self, locator: Locator, receipt: Receipt) -> None:
        """Take a blob that is to be indexed."""
        ...

    def in_order(self, count: int) -> Iterator[Sequence[tuple[Locator, Receipt]]]:
        """Yield the blobs that were added, `count` at a time, by time of receipt."""
        ...
