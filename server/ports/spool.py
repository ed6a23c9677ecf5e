"""Temporary storage on disk for a recovery, which may handle more blobs than fit in memory."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Protocol

from server.model.ids import Address, InstanceId, Version
from server.model.instance import Locator
from server.model.lifecycle.version import Provenance
from server.model.receipt import Receipt
from server.ports.journal import ExpiryChange, LabelChange, WorkitemChange


class Spool(Protocol):
    """Blobs that no instance refers to any more, quarantined blobs, and blobs by time of receipt. All calls block."""

    def add_retired(self, entries: Iterable[tuple[Locator, Locator | None]]) -> None:
        """Add retired blobs, each with its copy, or None if its instance was deleted. Add each deletion once."""
        ...

    def add_restored(self, blobs: Iterable[tuple[Locator, InstanceId]]) -> None:
        """Add the restorations of deleted blobs. Blobs count as deleted that were deleted more often than restored."""
        ...

    def add_versions(self, versions: Iterable[tuple[Locator, Version, Provenance]]) -> None:
        """Add blobs that are versions after the first one of their instances, after retired and restored ones."""
        ...

    def provenance(self, locator: Locator) -> Provenance | None:
        """Return the provenance of a version after the first one; None if a blob is the first version."""
        ...

    def restored(self, count: int) -> Iterator[Sequence[tuple[Locator, InstanceId]]]:
        """Yield the restored blobs whose instance was not deleted again, `count` at a time."""
        ...

    def current_locator(self, locator: Locator) -> Locator | None:
        """Return the current locator of a blob: itself if it was not retired; None if its instance was deleted."""
        ...

    def moved(self, count: int) -> Iterator[Sequence[tuple[Locator, Locator]]]:
        """Yield the blobs that were copied, whether deleted or not, each with its last copy, `count` at a time."""
        ...

    def exclude(self, locators: Iterable[Locator]) -> None:
        """Add blobs that must not be indexed."""
        ...

    def is_excluded(self, locator: Locator) -> bool:
        """True if a blob must not be indexed."""
        ...

    def add(self, locator: Locator, receipt: Receipt) -> None:
        """Add a blob to index."""
        ...

    def add_labels(self, changes: Iterable[LabelChange]) -> None:
        """Add changes of labels; of each study, series and instance the last one counts."""
        ...

    def labels(self) -> Iterator[LabelChange]:
        """Yield the last change of the labels of each study, series and instance."""
        ...

    def add_expiries(self, changes: Iterable[ExpiryChange]) -> None:
        """Add changes of expiry; of each study the last one counts."""
        ...

    def expiries(self) -> Iterator[ExpiryChange]:
        """Yield the last change of the expiry of each study."""
        ...

    def add_workitems(self, changes: Iterable[WorkitemChange]) -> None:
        """Add changes of workitems; of each workitem the last one counts."""
        ...

    def workitems(self) -> Iterator[WorkitemChange]:
        """Yield the last change of each workitem, in the order of these changes."""
        ...

    def add_resource(self, instance: InstanceId, time: datetime) -> None:
        """Add an instance that was received at a time."""
        ...

    def first_time(self, resource: Address) -> datetime | None:
        """Return when the first added instance of a study, series or instance was received; None if there is none."""
        ...

    def in_order(self, count: int) -> Iterator[Sequence[tuple[Locator, Receipt]]]:
        """Yield the added blobs by time of receipt, then the versions after the first ones by number, `count` at a
        time."""
        ...
