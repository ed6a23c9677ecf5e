"""What is stored, and how to find it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from server.model.change import Change, ChangeWindow
from server.model.damage import Damage
from server.model.ids import Address, InstanceId, PartitionName, Version
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
from server.model.partition import Partition
from server.model.search.query import Match, Query

Batch = Sequence[NewInstance] | Callable[[], Sequence[NewInstance]]
"""Instances, or a function that returns them."""


class InstanceIndex(Protocol):
    """The one authority on what exists. Each call is one transaction; a call that returned is durable.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached and
    Exhausted (STORAGE_FULL) when its disk is full; those that may change something, and `known`, raise Unavailable
    (ARCHIVE_READ_ONLY) when nothing may be changed. Calls with a partition that does not exist behave as if it
    were empty, except `add`, which raises NotFound (PARTITION_NOT_FOUND).
    """

    async def add(self, instances: Batch, now: datetime) -> list[AddOutcome]:
        """Make instances visible, all in one transaction; one outcome each, in order.

        A function says which instances when the transaction begins, so that it can name those that came while earlier
        ones ran. It is called in any thread, and must return the same if it is called again.

        For each: instance, series and study rows, counters, metadata, frame and bulk index and the change-feed entry.
        Study and series attributes follow "latest wins": each non-empty value overwrites, an empty one never does.
        The first of two instances with the same identity is added, the second is AlreadyStored. Faulty is one that
        must be indexed by all extended query tags there are at that moment and can't be.
        """
        ...

    async def delete(
        self, resource: Address, now: datetime, erase_after: datetime, *, reason: str = "", author: str = ""
    ) -> int:
        """Delete a study, series or instance in one transaction and return the number of instances.

        From its commit on they are not found in any way, series and studies without instances vanish, and they can be
        stored again. They are kept with their blobs until these are erased, at `erase_after` at the earliest. Of many
        instances, the entries in the change feed are written afterwards, by `ChangeLog.sequence`; no later entry is
        seen before them.
        """
        ...

    async def undelete(self, resource: Address, now: datetime, not_erased_at: datetime) -> int:
        """Bring back the deleted instances of a study, series or instance; return how many came back.

        Those whose blobs are to be erased after `not_erased_at` can come back. An identity that exists stays as it is;
        of several deleted instances of one identity, the last comes back. Each gets a new version, and an entry in the
        change feed as if it had been stored; its earlier contents come back as well. Many come back in several
        transactions; a call that was interrupted is repeated.
        """
        ...

    async def add_version(
        self, instance: NewInstance, now: datetime, *, reason: str, author: str
    ) -> Added | Faulty | None:
        """Give an instance a new content, which becomes the current one; None if there is no such instance.

        The content that it had is kept with its blob. Study and series attributes follow "latest wins", as for `add`.
        """
        ...

    async def history(self, instance: InstanceId) -> Sequence[InstanceVersion]:
        """Return the contents of an instance, oldest first; empty if there is no such instance."""
        ...

    async def find(self, resource: Address, after: int = 0, limit: int = 500) -> list[StoredInstance]:
        """Return the instances of a resource with a version greater than `after`, ascending, at most `limit`."""
        ...

    async def damaged(self, resource: Address, after: int, limit: int) -> list[StoredInstance]:
        """Return those instances of `find` that are known to be damaged."""
        ...

    async def add_damage(self, version: Version, damage: Damage) -> None:
        """Record damage of an instance, beside what is known already; nothing happens if there is no such instance."""
        ...

    async def remove_damage(self, version: Version, damage: Damage) -> None:
        """Forget damage of an instance that turned out to be repaired."""
        ...

    async def state(self, resource: Address) -> ResourceState | None:
        """Return the state of a study, series or instance; None if it does not exist."""
        ...

    async def metadata(self, resource: Address, after: int, limit: int) -> list[InstanceMetadata]:
        """Return the metadata of a resource's instances with a version greater than `after`, ascending."""
        ...

    async def frames(
        self, instance: InstanceId, frames: Sequence[int]
    ) -> tuple[StoredInstance, PixelLayout | None, dict[int, tuple[int, int]]] | None:
        """Return the instance, its pixel layout with an empty table, and the table records of the frames asked for.

        Frames count from 1; those beyond the last are left out. The records are empty for native pixel data.
        Reads in proportion to the frames asked for, not to the frames there are. None if there is no such instance.
        """
        ...

    async def bulk(self, instance: InstanceId, path: str) -> tuple[StoredInstance, BulkElement | None] | None:
        """Return the instance and the bulk element at `path`; None if there is no such instance."""
        ...

    async def bulk_elements(self, version: int, after: str, limit: int) -> list[BulkElement]:
        """Return the bulk elements of the instance with that version whose path is greater than `after`, ascending.

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
        """Return how many matches a query has on all its pages; limit, skip and position are not looked at.

        Exact when it was counted. Costs next to nothing without conditions on studies, or within a study or series;
        else it costs what it takes to walk through the matches.

        Raises:
            InvalidRequest: as `search`.
        """
        ...

    async def known(self, locators: Collection[Locator]) -> set[Locator]:
        """Return those locators that a visible instance or a queued erasure names.

        The answer is final: a transaction of `add` that seemed to fail can't become visible after it.
        """
        ...

    async def named(self, locators: Collection[Locator]) -> set[Locator]:
        """Return those locators that a visible instance names."""
        ...

    async def relocate(self, moves: Mapping[Locator, Locator], erase_after: datetime) -> set[Locator]:
        """Let instances name copies of their blobs, in one transaction; `moves` is old locator → new one.

        Queues the old blobs to be erased at `erase_after`, so that whoever has found them may still read them.
        Takes a version. Returns the old locators of those that were moved. Others have no visible instance any more:
        nothing names their copies then, and what is queued for them stays as it is.
        """
        ...

    async def erasable(self, now: datetime, limit: int) -> list[Locator]:
        """Return blobs whose time to be erased has come, oldest first."""
        ...

    async def erased(self, locators: Sequence[Locator]) -> None:
        """Take blobs off the queue of `erasable`."""
        ...

    async def locators(self, after: int, limit: int) -> list[StoredInstance]:
        """Return all visible instances of all partitions by version, ascending from `after`; for audits."""
        ...

    async def check(self) -> None:
        """Prove that the database answers and has the schema this program needs."""
        ...

    async def check_writing(self) -> None:
        """Prove that the database takes a change; it changes nothing."""
        ...


class ChangeLog(Protocol):
    """The change feed. Written by the calls of `InstanceIndex` that change what exists, in their transactions.

    Sequences and times ascend together, and no entry appears below one that could already be read. Sequences may have
    gaps.

    is_numbered_later: entries are seen once `sequence` has numbered them, not when they are committed.
    """

    is_numbered_later: bool

    async def sequence(self) -> bool:
        """Number some committed entries that have no sequence, and carry on deletions of many instances.

        Returns whether there may be more to do. Any number of processes may call it; what one leaves unfinished,
        another does. Raises: as `InstanceIndex` does.
        """
        ...

    async def listen(self, changed: Callable[[], None]) -> None:
        """Call `changed` when entries were numbered, by any process, until cancelled. Returns if that is not told.

        Some calls may be missing, so a reader must look for entries by itself now and then.
        """
        ...

    async def list(self, window: ChangeWindow) -> list[Change]:
        """Return the entries of a window, ascending."""
        ...

    async def latest(self, metadata: bool) -> Change | None:
        """Return the entry with the highest sequence; None when the feed is empty."""
        ...


class Partitions(Protocol):
    """The partitions. The default one always exists."""

    async def list(self) -> list[Partition]:
        """Return all, in order of creation."""
        ...

    async def get(self, name: PartitionName) -> Partition | None:
        """Return one; None if it does not exist."""
        ...

    async def create(self, name: PartitionName, now: datetime) -> Partition | None:
        """Create one and return it; None if it exists already."""
        ...
