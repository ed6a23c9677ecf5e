"""The index of stored instances, and the change feed."""

import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from server.model.change import Change, ChangeWindow
from server.model.damage import Damage
from server.model.ids import Address, InstanceId, PartitionName, Uid, Version
from server.model.instance import (
    Added,
    AddOutcome,
    BulkElement,
    Faulty,
    InstanceMetadata,
    InstanceVersion,
    Locator,
    NewInstance,
    PixelLayout,
    ResourceState,
    StoredInstance,
)
from server.model.lifecycle.deletion import Deletion, DeletionQuery
from server.model.lifecycle.erasure import ErasedVersion
from server.model.lifecycle.kept import KeptVersion
from server.model.partition import DuplicatePolicy, Partition, PartitionUsage
from server.model.search.query import Match, Query
from server.ports.outbox import DeletionRecordOf, RecordsOf

Batch = Sequence[NewInstance] | Callable[[], Sequence[NewInstance]]
"""Instances, or a function that returns them."""


class InstanceIndex(Protocol):
    """The authority on which instances exist. Each call is one transaction; its effects are durable when it returns.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached and
    Exhausted (STORAGE_FULL) when its disk is full; those with effects, and `known`, raise Unavailable
    (ARCHIVE_READ_ONLY) when the archive is read-only. `delete`, `erase_now` and `add_version` raise WrongState
    (ON_HOLD) if there is a hold on the resource, on a part of it, or on what contains it. Calls with a partition that
    does not exist behave as if it were empty, except `add`, which raises NotFound (PARTITION_NOT_FOUND).
    """

    async def add(self, instances: Batch, now: datetime, records_of: RecordsOf | None = None) -> list[AddOutcome]:
        """Make instances visible, all in one transaction; one outcome each, in order.

        A function returns the instances when the transaction begins, so that it includes those that arrived during
        earlier transactions. It is called in any thread, and must return the same instances when called again.

        If an instance was added, `records_of` states what changes in the outbox in the same transaction.

        For each: instance, series and study rows, counters, metadata, frame and bulk index and the change-feed entry.
        Study and series attributes follow "latest wins": each non-empty value overwrites, an empty one never does.
        The first of two instances with the same identity is added, the second is AlreadyStored, or, if it may replace
        the first, its next version: see `NewInstance.may_replace`. Faulty is an instance that must be indexed by all
        current extended query tags and can't be.
        """
        ...

    async def delete(
        self,
        resource: Address,
        now: datetime,
        erase_after: datetime,
        *,
        reason: str = "",
        author: str = "",
        record_of: DeletionRecordOf | None = None,
    ) -> int:
        """Delete a study, series or instance in one transaction and return the number of instances.

        If there were any, `record_of` states what changes in the outbox in the same transaction.

        From its commit on they are not found in any way, series and studies without instances vanish, and they can be
        stored again. They are kept with their blobs until these are erased, at `erase_after` at the earliest. Of many
        instances, the entries in the change feed are written afterwards, by `ChangeLog.sequence`; no later entry is
        seen before them.
        """
        ...

    async def undelete(self, resource: Address, now: datetime, not_erased_at: datetime) -> int:
        """Restore the deleted instances of a study, series or instance; return their number.

        Instances whose blobs are to be erased after `not_erased_at` can be restored. An existing identity does not
        change; of several deleted instances of one identity, the last one is restored. Each gets a new version, and an
        entry in the change feed as if it had been stored; its earlier contents are restored as well. Many instances are
        restored in several transactions; an interrupted call can be repeated.
        """
        ...

    async def erase_now(self, resource: Address, now: datetime, *, reason: str = "", author: str = "") -> int:
        """Make the deleted instances of a study, series or instance due for erasure at `now`; return their number.

        Those that are due already are not counted. From its return on they can't be restored. Many instances are
        changed in several transactions; an interrupted call can be repeated.
        """
        ...

    async def deletions(self, query: DeletionQuery, before: int | None, limit: int) -> list[Deletion]:
        """Return deletions, newest first, with keys below `before`.

        A deletion exists until all of its instances are restored or erased.
        """
        ...

    async def add_version(self, instance: NewInstance, now: datetime) -> Added | Faulty | None:
        """Give an instance a new content, which becomes the current one; None if there is no such instance.

        The previous content remains with its blob. Study and series attributes follow "latest wins", as for `add`.
        `NewInstance.provenance` is part of the history.
        """
        ...

    async def history(self, resource: Address, after: int = 0, limit: int = 500) -> Sequence[InstanceVersion]:
        """Return the versions of a study, series or instance that are greater than `after`, ascending, at most `limit`.

        Those of deleted instances are not part of it.
        """
        ...

    async def find(
        self, resource: Address, after: int = 0, limit: int = 500, *, as_of: int | None = None
    ) -> list[StoredInstance]:
        """Return the instances of a resource with a version greater than `after`, ascending, at most `limit`.

        With `as_of`, those that were current when this was the highest version of the resource, except deleted ones:
        pages read with the same value are parts of one state.
        """
        ...

    async def find_by_uid(self, partition: PartitionName, uids: Collection[Uid]) -> list[StoredInstance]:
        """Return the instances of a partition with these SOP Instance UIDs, in any study and series."""
        ...

    async def find_originals(self, resource: Address, after: int = 0, limit: int = 500) -> list[StoredInstance]:
        """As `find`, for the versions before the first update: the last ones that were stored, not updated or reverted
        to. Updates do not change the result."""
        ...

    async def original_state(self, resource: Address) -> ResourceState | None:
        """As `state`, for `find_originals`."""
        ...

    async def damaged(self, resource: Address, after: int, limit: int) -> list[StoredInstance]:
        """Return those instances of `find` that are known to be damaged."""
        ...

    async def add_damage(self, version: Version, damage: Damage) -> None:
        """Add damage to that recorded for an instance; no effect if there is no such instance."""
        ...

    async def remove_damage(self, version: Version, damage: Damage) -> None:
        """Remove recorded damage of an instance that has been repaired."""
        ...

    async def state(self, resource: Address) -> ResourceState | None:
        """Return the state of a study, series or instance; None if it does not exist."""
        ...

    async def first_stored(self, resource: Address) -> datetime | None:
        """Return when the first version of the oldest instance of a study, series or instance was stored.

        None if it does not exist.
        """
        ...

    async def metadata(
        self, resource: Address, after: int, limit: int, as_of: int | None = None
    ) -> list[InstanceMetadata]:
        """Return the metadata of a resource's instances with a version greater than `after`, ascending; `as_of` as for
        `find`."""
        ...

    async def find_version(self, instance: InstanceId, version: Version) -> StoredInstance | None:
        """Return a version of an instance, current or not; None if there is no such instance or version."""
        ...

    async def dicom_json(self, instance: InstanceId, version: Version) -> bytes | None:
        """Return the metadata of a version of an instance; None if there is no such instance or version."""
        ...

    async def frames(
        self, instance: InstanceId, frames: Sequence[int], version: Version | None = None
    ) -> tuple[StoredInstance, PixelLayout | None, dict[int, tuple[int, int]]] | None:
        """Return a version of an instance, its pixel layout with an empty table, and the table records of the requested
        frames.

        Without `version`, it is the current one. Frames count from 1; those beyond the last are left out. The records
        are empty for native pixel data. Reads only the requested records. None if there is no such instance or version.
        """
        ...

    async def bulk(
        self, instance: InstanceId, path: str, version: Version | None = None
    ) -> tuple[StoredInstance, BulkElement | None] | None:
        """Return a version of an instance, and its bulk element at `path`; None if there is no such instance or
        version."""
        ...

    async def bulk_elements(self, instance: InstanceId, version: Version, after: str, limit: int) -> list[BulkElement]:
        """Return the bulk elements of a version whose path is greater than `after`, ascending.

        Paths are compared by their characters. Empty when the instance is gone.
        """
        ...

    async def version_at(self, resource: Address, position: int) -> int | None:
        """Return the version of one of a resource's instances in ascending order, from 0; None if there is none.

        Reads nothing else of it and of those before it.
        """
        ...

    async def search(self, query: Query) -> list[Match]:
        """Return the matches of a query, in descending order of key.

        Raises:
            InvalidRequest: INVALID_QUERY, more than 10,000 values or 200 patterns.
        """
        ...

    async def count(self, query: Query) -> int:
        """Return the number of matches of a query on all pages; limit, skip and position are ignored.

        Takes constant time without conditions on studies, or within a study or series; otherwise it counts the
        matches.

        Raises:
            InvalidRequest: as `search`.
        """
        ...

    async def known(self, locators: Collection[Locator]) -> set[Locator]:
        """Return the locators that a visible instance or a queued erasure refers to.

        The result is final: a transaction of `add` with unknown outcome can't become visible after this call.
        """
        ...

    async def referenced(self, locators: Collection[Locator]) -> set[Locator]:
        """Return the locators that a visible instance refers to, also those of its earlier versions."""
        ...

    async def relocate(self, moves: Mapping[Locator, Locator], erase_after: datetime) -> set[Locator]:
        """Refer instances to copies of their blobs, in one transaction; `moves` is old locator → new one.

        Queues the old blobs for erasure at `erase_after`, so that readers with an old locator can finish. Assigns a new
        version. Returns the old locators of the moved ones. The others are not those of a current version: nothing
        refers to their copies, and their queued erasures do not change.
        """
        ...

    async def begin_erasure(self, now: datetime, limit: int) -> list[Locator]:
        """Return blobs that are due for erasure, oldest first, without those of instances on hold.

        From its return on, these instances can be neither put on hold nor restored.
        """
        ...

    async def deleted_versions(self, locators: Sequence[Locator]) -> list[ErasedVersion]:
        """Return the versions of deleted instances with these blobs; others, such as old copies, are left out."""
        ...

    async def erased(self, locators: Sequence[Locator]) -> None:
        """Remove blobs from the queue of `begin_erasure`."""
        ...

    async def locators(self, after: int, limit: int) -> list[StoredInstance]:
        """Return all visible instances of all partitions by version, ascending from `after`; for audits."""
        ...

    async def kept_versions(self, after: int, limit: int) -> list[KeptVersion]:
        """Return all versions whose bytes are kept, ascending from `after`; for verification.

        These are all versions of instances, also of deleted ones until their erasure begins.
        """
        ...

    async def check(self) -> None:
        """Check that the database responds and has the required schema."""
        ...

    async def check_writing(self) -> None:
        """Check that the database accepts writes, without changing anything."""
        ...


class Sequenced(enum.Enum):
    """Result of `ChangeLog.sequence`: whether entries became visible, and whether there may be more."""

    NOTHING = enum.auto()
    ALL = enum.auto()
    MAY_HAVE_MORE = enum.auto()


class ChangeLog(Protocol):
    """The change feed. The calls of `InstanceIndex` that store or delete write it in their transactions.

    Sequences and times ascend together, and no entry appears below one that could already be read. Sequences may have
    gaps.

    is_numbered_later: entries become visible when `sequence` has numbered them, not when they are committed.
    share: part of the entries of all processes between the last two calls of `sequence` that this process has written.
    """

    is_numbered_later: bool
    share: float

    async def sequence(self) -> Sequenced:
        """Assign sequence numbers to some committed entries, and continue the expansion of deletions of many instances.

        Any number of processes may call it, and each continues the work of the others. Raises: as `InstanceIndex`.
        """
        ...

    async def listen(self, changed: Callable[[], None]) -> None:
        """Call `changed` soon after any process has numbered entries, until cancelled.

        Calls may be missing, so a reader must also poll.
        """
        ...

    async def list(self, window: ChangeWindow) -> list[Change]:
        """Return the entries of a window, ascending."""
        ...

    async def latest(self, metadata: bool, partitions: frozenset[PartitionName] | None = None) -> Change | None:
        """Return the entry with the highest sequence, of some partitions or all; None if there is no entry."""
        ...


class Partitions(Protocol):
    """The partitions. The default one always exists."""

    async def list(self, names: Collection[PartitionName] | None = None) -> list[Partition]:
        """Return all, or those with some names, in order of creation."""
        ...

    async def get(self, name: PartitionName) -> Partition | None:
        """Return one; None if it does not exist."""
        ...

    async def stored_bytes(self, name: PartitionName) -> int:
        """Return the size of all versions of its instances; those of deleted ones count until they are erased."""
        ...

    async def usage(self, names: Collection[PartitionName] | None = None) -> Sequence[PartitionUsage]:
        """Return the contents of all partitions, or of those with some names, in order of creation."""
        ...

    async def create(self, name: PartitionName, now: datetime) -> Partition | None:
        """Create one and return it; None if it already exists.

        One that was deleted returns with its key, and with its deleted instances that are not erased yet.

        Raises:
            WrongState: PARTITION_BEING_DELETED, its studies have not all been deleted.
        """
        ...

    async def delete(self, name: PartitionName, now: datetime) -> bool:
        """Delete one with all its instances; return False if it does not exist.

        From its return on it does not exist, and nothing can be stored in it. `purge` deletes its studies.

        Raises:
            WrongState: ON_HOLD, there is a hold in it.
        """
        ...

    async def purge(self, now: datetime, erase_after: datetime, *, reason: str, author: str) -> Address | None:
        """Delete a study of a deleted partition, as `InstanceIndex.delete` does, or some of its workitems if it has no
        studies; return what was deleted of, None if there is nothing to delete.

        Any number of processes may call it, and each continues the work of the others.
        """
        ...

    async def update(self, name: PartitionName, duplicates: DuplicatePolicy | None) -> Partition | None:
        """Set the policy of one and return it; None if it does not exist."""
        ...
