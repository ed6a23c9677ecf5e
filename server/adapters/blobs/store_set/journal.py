"""The journals of several stores. All calls block."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain

from server.model.ids import InstanceId, PartitionName, Version
from server.model.instance import Locator
from server.model.lifecycle.version import Provenance
from server.model.store_id import StoreId
from server.ports.journal import (
    ArchiveJournal,
    DeletionEntries,
    Entry,
    ExpiryChange,
    HoldChange,
    LabelChange,
    OpenDeletion,
    WorkitemChange,
    open_deletions,
)


class SetJournal:
    """ArchiveJournal (see `server.ports.journal`): all are read, that of the primary store is written.

    Args:
        journals: that of the primary store first.
        stores: returns the ids of their stores. What one journal has absorbed from one of these is not read twice.
    """

    def __init__(self, journals: Sequence[ArchiveJournal], stores: Callable[[], Collection[StoreId]]) -> None:
        self._journals = journals
        self._stores = stores
        primary = journals[0]
        self.deleted = primary.deleted
        self.restored = primary.restored
        self.deleted_all = primary.deleted_all
        self.stored_later = primary.stored_later
        self.completed = primary.completed
        self.replaced = primary.replaced
        self.moved = primary.moved
        self.labelled = primary.labelled
        self.held = primary.held
        self.expires = primary.expires
        self.workitem_changed = primary.workitem_changed
        self.prepare = primary.prepare
        self.committed = primary.committed
        self.ended = primary.ended
        self.rolled_back = primary.rolled_back
        self.complete = primary.complete
        self.absorb = primary.absorb

    def leave_out(self, stores: Collection[StoreId]) -> None:
        """See the port."""
        for journal in self._journals:
            journal.leave_out(stores)

    def _read(self) -> Sequence[ArchiveJournal]:
        self.leave_out(self._stores())
        return self._journals

    def take_over(
        self, referenced: Callable[[Sequence[Locator]], Collection[Locator]], pending: Callable[[], Collection[int]]
    ) -> None:
        """See the port."""
        for journal in self._journals:
            journal.take_over(referenced, pending)

    def entries(self) -> Iterator[Entry]:
        """See the port."""
        return chain.from_iterable(journal.entries() for journal in self._read())

    def restorations(self) -> Iterator[tuple[Locator, InstanceId]]:
        """See the port."""
        return chain.from_iterable(journal.restorations() for journal in self._read())

    def label_changes(self) -> Iterator[LabelChange]:
        """See the port."""
        return chain.from_iterable(journal.label_changes() for journal in self._read())

    def versions(self) -> Iterator[tuple[Locator, Version, Provenance]]:
        """See the port."""
        return chain.from_iterable(journal.versions() for journal in self._read())

    def hold_changes(self) -> Iterator[HoldChange]:
        """See the port."""
        return chain.from_iterable(journal.hold_changes() for journal in self._read())

    def expiry_changes(self) -> Iterator[ExpiryChange]:
        """See the port."""
        return chain.from_iterable(journal.expiry_changes() for journal in self._read())

    def workitem_changes(self) -> Iterator[WorkitemChange]:
        """See the port."""
        return chain.from_iterable(journal.workitem_changes() for journal in self._read())

    def deleted_partitions(self) -> Mapping[PartitionName, int]:
        """See the port."""
        found: dict[PartitionName, int] = {}
        for journal in self._read():
            for name, number in journal.deleted_partitions().items():
                found[name] = max(found.get(name, 0), number)
        return found

    def deletions(self) -> DeletionEntries:
        """See the port."""
        found = [journal.deletions() for journal in self._read()]
        return DeletionEntries(
            {number: scope for entries in found for number, scope in entries.begun.items()},
            [one for entries in found for one in entries.stored_later],
            {number for entries in found for number in entries.completed},
        )

    def open_deletions(self) -> Mapping[int, OpenDeletion]:
        """See the port."""
        return open_deletions(journal.deletions() for journal in self._read())
