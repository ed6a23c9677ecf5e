"""The journal of blobs that no instance refers to, stored beside the blobs, so that a rebuilt index omits them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from server.model.ids import Address, InstanceId, PartitionName, Uid, Version
from server.model.instance import Locator
from server.model.lifecycle.expiry import Expiry
from server.model.lifecycle.hold import Hold
from server.model.lifecycle.label import Labels
from server.model.lifecycle.version import Provenance
from server.model.store_id import StoreId
from server.model.worklist.workitem import Workitem

Entry = tuple[Locator, Locator | None]
"""A blob, and its copy; None if its instance was deleted."""


class LabelChange(NamedTuple):
    """All labels of a study, series or instance after a change; see `Journal.labelled`."""

    version: int
    time: datetime
    resource: Address
    labels: Labels


class HoldChange(NamedTuple):
    """A hold that was set, or, if it is None, released; see `Journal.held`.

    version: a number from the counters of the index; a later change of the same hold has a greater one.
    """

    version: int
    resource: Address
    name: str
    hold: Hold | None


class ExpiryChange(NamedTuple):
    """The time at which a study expires that was set, or, if it is None, removed; see `Journal.expires`.

    version: a number from the counters of the index; a later change for the same study has a greater one.
    time: from the clock of receipts.
    """

    version: int
    time: datetime
    study: Address
    expiry: Expiry | None


class WorkitemChange(NamedTuple):
    """A workitem after a change, or, if it is None, its removal; see `Journal.workitem_changed`.

    version: as in `HoldChange`.
    workitem: without the values of its search keys.
    """

    version: int
    partition: PartitionName
    uid: Uid
    workitem: Workitem | None


@dataclass(frozen=True, slots=True)
class OpenDeletion:
    """A deletion of many instances whose blobs are not all recorded one by one.

    scope: the study or series, or the partition, in which nothing is stored later.
    stored_later: blobs of instances that were stored in the scope after the deletion.
    """

    scope: Address
    stored_later: set[Locator] = field(default_factory=set)

    def includes(self, instance: InstanceId, locator: Locator) -> bool:
        """Return whether an instance was deleted."""
        return (
            instance.partition == self.scope.partition
            and self.scope.study in (None, instance.study)
            and self.scope.series in (None, instance.series)
            and locator not in self.stored_later
        )


@dataclass(frozen=True, slots=True)
class DeletionEntries:
    """Entries about deletions of many instances, by their number; see `Journal.deleted_all`.

    The beginning and the end of a deletion may be in the journals of different stores.
    """

    begun: Mapping[int, Address] = field(default_factory=dict)
    stored_later: Sequence[tuple[int, Locator]] = ()
    completed: Collection[int] = ()


def open_deletions(journals: Iterable[DeletionEntries]) -> dict[int, OpenDeletion]:
    """Return the deletions that are not completed, by number."""
    all_entries = list(journals)
    found = {number: OpenDeletion(scope) for entries in all_entries for number, scope in entries.begun.items()}
    for entries in all_entries:
        for number, locator in entries.stored_later:
            if number in found:
                found[number].stored_later.add(locator)
    completed = {number for entries in all_entries for number in entries.completed}
    return {number: deletion for number, deletion in found.items() if number not in completed}


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

    def restored(self, blobs: Mapping[Locator, InstanceId]) -> None:
        """Record blobs of deleted instances that this transaction restores. Raises: as above."""
        ...

    def deleted_all(self, deletion: int, scope: Address) -> None:
        """Record that this transaction deletes all instances of a partition, study or series; their blobs follow, by
        `deleted` in later transactions.

        Args:
            deletion: its number.
            scope: address of the partition, study or series.

        Raises: as above.
        """
        ...

    def stored_later(self, deletion: int, locators: Sequence[Locator]) -> None:
        """Record blobs that this transaction adds to the scope of an open deletion. Raises: as above."""
        ...

    def completed(self, deletion: int) -> None:
        """Record that all blobs of a deletion are recorded, including those of this transaction. Raises: as above."""
        ...

    def replaced(self, versions: Mapping[Locator, tuple[Version, Provenance]]) -> None:
        """Record blobs that this transaction makes the next versions of their instances, in ascending order, so that a
        rebuilt index has them as versions. Raises: as above."""
        ...

    def moved(self, moves: Mapping[Locator, Locator]) -> None:
        """Record blobs whose instances this transaction refers to copies; old locator → new one. Raises: as above."""
        ...

    def labelled(self, version: int, time: datetime, resource: Address, labels: Labels) -> None:
        """Record all labels that a study, series or instance has after this transaction. Raises: as above.

        Args:
            version: of the archive, assigned by the transaction; that of a later change is greater.
            time: from the clock of receipts.
        """
        ...

    def held(self, change: HoldChange) -> None:
        """Record that this transaction sets or releases a hold. Raises: as above."""
        ...

    def expires(self, change: ExpiryChange) -> None:
        """Record that this transaction sets or removes the expiry of a study. Raises: as above."""
        ...

    def workitem_changed(self, change: WorkitemChange) -> None:
        """Record a workitem as it is after this transaction, or that it is removed. Raises: as above.

        Partitions are deleted without a record of each of their workitems.
        """
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

    def take_over(
        self, referenced: Callable[[Sequence[Locator]], Collection[Locator]], pending: Callable[[], Collection[int]]
    ) -> None:
        """Decide about transactions of ended processes without a recorded outcome.

        Such a transaction counts as committed if `referenced`, which returns the blobs that an instance refers to,
        returns none of the blobs that it deletes or moves, or some of those that it restores or adds as versions. The
        open deletions are those that `pending` returns. One process may call this at a time, with the right index.

        Raises:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE, or as `referenced`.
        """
        ...

    def entries(self) -> Iterator[Entry]:
        """Yield the blobs of all transactions that were committed or have an unknown outcome."""
        ...

    def restorations(self) -> Iterator[tuple[Locator, InstanceId]]:
        """Yield the blobs that transactions as in `entries` have restored. A blob is deleted if `entries` has it more
        often than this."""
        ...

    def label_changes(self) -> Iterator[LabelChange]:
        """Yield the changes of labels of transactions as in `entries`, in any order."""
        ...

    def versions(self) -> Iterator[tuple[Locator, Version, Provenance]]:
        """Yield the blobs that transactions as in `entries` have made the next versions of their instances."""
        ...

    def hold_changes(self) -> Iterator[HoldChange]:
        """Yield the changes of holds by transactions as in `entries`, in any order."""
        ...

    def expiry_changes(self) -> Iterator[ExpiryChange]:
        """Yield the changes of expiry by transactions as in `entries`, in any order."""
        ...

    def workitem_changes(self) -> Iterator[WorkitemChange]:
        """Yield the changes of workitems by transactions as in `entries`, in any order."""
        ...

    def deleted_partitions(self) -> Mapping[PartitionName, int]:
        """Return the partitions that transactions as in `entries` deleted, each with the number of its last deletion,
        which is a version; they may have been created again."""
        ...

    def deletions(self) -> DeletionEntries:
        """Return what transactions as in `entries` recorded about deletions of many instances; those that are completed
        may be missing."""
        ...

    def open_deletions(self) -> Mapping[int, OpenDeletion]:
        """Return the deletions of transactions as in `entries` that are not completed, by number."""
        ...

    def absorb(self, store: StoreId, journal: "ArchiveJournal") -> None:
        """Record, durably and outside of a transaction, all that the journal of another store lists.

        It replaces what was absorbed from this store before. As long as the other journal is read itself, see
        `leave_out`.

        Raises: as `Journal.deleted`.
        """
        ...

    def leave_out(self, stores: Collection[StoreId]) -> None:
        """Do not read what was absorbed from these stores."""
        ...

    def complete(self, deletions: Collection[int]) -> None:
        """Record, durably and outside of a transaction, that deletions are completed.

        Raises: as `Journal.deleted`.
        """
        ...
