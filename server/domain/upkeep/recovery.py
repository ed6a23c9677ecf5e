"""Rebuilds an index from the blobs, or completes one that has lost transactions.

Missing instances are read from the blobs and added in the order of receipt, and then their later versions in the order
of the journal; deletes, restorations and moves in the journal are repeated in an index that lacks them. Nothing is
erased: blobs that need no index entry are quarantined. An interrupted recovery is repeated from the beginning and skips
its earlier results.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import orjson
from crc32c import crc32c as crc32c_of

from server.dicom.ingest.reader import Description, InstanceReader
from server.dicom.worklist.search_keys import search_values
from server.domain.store.receive import new_instance
from server.model.damage import Damage
from server.model.errors import DataLoss, DicomStoreError, Reason
from server.model.ids import Address, InstanceId, PartitionName, Version
from server.model.instance import Added, AlreadyStored, Locator, NewInstance, OnHold, StoredInstance, ValidationMode
from server.model.lifecycle.version import Provenance
from server.model.receipt import Receipt
from server.ports.blobs import BlobStore
from server.ports.index import InstanceIndex, Partitions
from server.ports.journal import ExpiryChange, HoldChange, LabelChange, OpenDeletion, WorkitemChange
from server.ports.lifecycle.blob_moves import BlobMoves
from server.ports.lifecycle.expiries import Expiries
from server.ports.lifecycle.holds import Holds
from server.ports.lifecycle.labels import LabelRecord
from server.ports.spool import Spool
from server.ports.worklist.workitems import WorkitemRecord

_PAGE = 500
_MAX_BATCH = 100
_MAX_HELD_BYTES = 16 << 20
_MAX_EXAMPLES = 20
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
_log = logging.getLogger("dicomstore.recovery")


@dataclass
class Recovered:
    """The result of a recovery. `examples` has at most `_MAX_EXAMPLES` of the blobs that could not be indexed."""

    known: int = 0
    added: int = 0
    damaged: int = 0
    deleted: int = 0
    moved: int = 0
    retired: int = 0
    duplicates: int = 0
    quarantined: int = 0
    unreadable: int = 0
    labelled: int = 0
    workitems: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Read:
    """An instance read from its blob."""

    instance: NewInstance
    receipt: Receipt
    is_damaged: bool


class Recovery:
    """One recovery. No other process may use the archive at the same time.

    Args:
        retired: blobs from the journal that no instance refers to any more, each with its copy or None.
        restored: from the journal; blobs whose instances were deleted and restored.
        versions: from the journal; blobs that are versions after the first one of their instances.
        deletions: from the journal; deletions of many instances that are not all among `retired`.
        label_changes: from the journal.
        hold_changes: from the journal.
        expiry_changes: from the journal.
        workitem_changes: from the journal.
        deleted_partitions: from the journal.
        retention: time before deleted bytes are erased.
        with_quarantined: also index quarantined blobs. A complete index did not have them, so they are uploads without
            acknowledgement, and indexing them may restore deleted instances.
    """

    def __init__(
        self,
        *,
        blobs: BlobStore,
        index: InstanceIndex,
        partitions: Partitions,
        spool: Spool,
        retired: Iterable[tuple[Locator, Locator | None]],
        restored: Iterable[tuple[Locator, InstanceId]] = (),
        versions: Iterable[tuple[Locator, Version, Provenance]] = (),
        deletions: Collection[OpenDeletion] = (),
        labels: LabelRecord,
        label_changes: Iterable[LabelChange] = (),
        moves: BlobMoves,
        holds: Holds,
        hold_changes: Iterable[HoldChange] = (),
        expiries: Expiries,
        expiry_changes: Iterable[ExpiryChange] = (),
        workitems: WorkitemRecord,
        workitem_changes: Iterable[WorkitemChange] = (),
        deleted_partitions: Mapping[PartitionName, int] = MappingProxyType({}),
        now: Callable[[], datetime],
        retention: timedelta,
        max_header_bytes: int,
        with_quarantined: bool = False,
    ) -> None:
        self._blobs = blobs
        self._index = index
        self._partitions = partitions
        self._spool = spool
        self._retired = retired
        self._restored = restored
        self._versions = versions
        self._deletions = deletions
        self._labels = labels
        self._label_changes = label_changes
        self._moves = moves
        self._holds = holds
        self._expiries = expiries
        self._expiry_changes = expiry_changes
        self._last_holds: dict[tuple[Address, str], HoldChange] = {}
        for change in hold_changes:
            last = self._last_holds.setdefault((change.resource, change.name), change)
            if change.version > last.version:
                self._last_holds[change.resource, change.name] = change
        self._workitems = workitems
        self._workitem_changes = workitem_changes
        self._deleted_partitions = deleted_partitions
        self._now = now
        self._retention = retention
        self._max_header_bytes = max_header_bytes
        self._with_quarantined = with_quarantined
        self._made: set[PartitionName] = set()
        self._with_workitems: set[PartitionName] = set()
        self._done = Recovered()

    async def run(self) -> Recovered:
        """Run the recovery and return its result.

        Raises: as the blob store and the index.
        """
        self._spool.add_retired(self._retired)
        self._spool.add_restored(self._restored)
        self._spool.add_versions(self._versions)
        for deletion in self._deletions:  # blobs stored later may have moved since
            current = [self._spool.current_locator(locator) for locator in deletion.stored_later]
            deletion.stored_later.update(filter(None, current))
        await self._release_holds()
        await self._repeat_changes()
        if not self._with_quarantined:
            async for batch in self._blobs.quarantined():
                self._spool.exclude(batch)
        await self._collect()
        for to_add in self._spool.in_order(_MAX_BATCH):
            await self._add_all(to_add)
        await self._restore_labels()
        await self._restore_holds()
        await self._restore_expiries()
        await self._restore_workitems()
        await self._delete_partitions()
        return self._done

    async def _release_holds(self) -> None:
        """Release the holds that an older index has, as they prevent changes that were made after their release."""
        for resource, name in self._last_holds:
            await self._holds.release(resource, name)

    async def _restore_holds(self) -> None:
        """Set the last holds of the journal."""
        for last in self._last_holds.values():
            if last.hold is not None and not await self._holds.set(last.hold):
                _log.warning("a hold was not restored, because there is nothing to hold study=%s", last.resource.study)

    async def _delete_partitions(self) -> None:
        """Delete the deleted partitions that are in an older index, unless they were created again and are in use."""
        for name in self._deleted_partitions.keys() - self._with_workitems:
            if not await self._index.find(Address(name), limit=1):
                await self._partitions.delete(name, self._now())

    async def _restore_workitems(self) -> None:
        """Put the workitems into the state of the journal. Those of a partition end with its deletion."""
        self._spool.add_workitems(self._workitem_changes)
        for version, partition, uid, workitem in self._spool.workitems():
            if workitem is None or version < self._deleted_partitions.get(partition, 0):
                await self._workitems.restore(partition, uid, None)
                continue
            await self._require_partition(partition, workitem.modified)
            values = search_values(orjson.loads(workitem.data_set))
            self._done.workitems += await self._workitems.restore(partition, uid, replace(workitem, values=values))
            self._with_workitems.add(partition)

    async def _restore_labels(self) -> None:
        """Set the labels of the journal.

        A resource whose first instance was received after the last change of labels is another one with the same UIDs.
        """
        self._spool.add_labels(self._label_changes)
        for version, time, resource, labels in self._spool.labels():
            if await self._existed(resource, time):
                await self._labels.change(resource, lambda _, labels=labels: labels, time)  # type: ignore[misc]
                self._done.labelled += bool(labels)
            else:
                _log.info("labels without a resource version=%d", version)

    async def _restore_expiries(self) -> None:
        """Set the expiries of the journal, as labels."""
        self._spool.add_expiries(self._expiry_changes)
        for _, time, study, expiry in self._spool.expiries():
            if await self._existed(study, time):
                await self._expiries.set(study, expiry, time)

    async def _existed(self, resource: Address, time: datetime) -> bool:
        """Return whether the first instance of a resource was received before a time."""
        # The times of added instances are exact; the index has those of transactions, which may be a little later.
        times = (self._spool.first_time(resource), await self._index.first_stored(resource))
        return any(first is not None and first <= time for first in times)

    async def _repeat_changes(self) -> None:
        """Repeat the restorations, deletes and moves in the journal."""
        for some in self._spool.restored(_PAGE):
            locators = [locator for locator, _ in some]
            deleted = await self._index.known(locators) - await self._index.referenced(locators) if some else set()
            for locator, instance in some:
                if locator in deleted:
                    await self._index.undelete(instance.address, self._now(), _ALWAYS)
        after = 0
        while page := await self._index.locators(after, _PAGE):
            moves: dict[Locator, Locator] = {}
            for stored in page:
                place = self._spool.current_locator(stored.locator)
                if place is None or self._is_deleted(stored.id, place):
                    self._done.deleted += await self._index.delete(
                        stored.id.address, self._now(), self._now() + self._retention
                    )
                elif place != stored.locator and await self._exists(place):
                    moves[stored.locator] = place
            if moves:
                self._done.moved += len(await self._index.relocate(moves, self._now() + self._retention))
            after = page[-1].version
        for pairs in self._spool.moved(_PAGE):  # earlier versions, and deleted instances
            known = await self._index.known([old for old, _ in pairs])
            copies = {old: new for old, new in pairs if old in known and await self._is_at(new, not_at=old)}
            if copies:
                self._done.moved += await self._moves.repeat(copies, self._now() + self._retention)

    async def _collect(self) -> None:
        """Write the blobs to be indexed to the spool."""
        batch: list[Locator] = []
        async for locator, _ in self._blobs.walk():
            batch.append(locator)
            if len(batch) == _PAGE:
                await self._collect_unknown(batch)
                batch = []
        await self._collect_unknown(batch)

    async def _collect_unknown(self, locators: Sequence[Locator]) -> None:
        known = await self._index.known(locators) if locators else set[Locator]()
        self._done.known += len(known)
        retired = []
        for locator in locators:
            if locator in known:
                continue
            if self._spool.is_excluded(locator):
                self._done.quarantined += 1
                continue
            if self._spool.current_locator(locator) != locator:
                retired.append(locator)
                continue
            try:
                receipt, _ = await self._blobs.receipt(locator)
            except DataLoss as loss:
                self._leave_out(locator, loss)
                continue
            self._spool.add(locator, receipt)
        if retired:
            self._done.retired += len(retired)
            await self._blobs.quarantine(retired, self._now())

    async def _add_all(self, batch: Sequence[tuple[Locator, Receipt]]) -> None:
        some: list[_Read] = []
        deleted: list[Locator] = []
        held_bytes = 0
        for locator, receipt in batch:
            try:
                read = await self._read(locator, receipt)
            except DicomStoreError as error:
                self._leave_out(locator, error)
                continue
            if self._is_deleted(read.instance.id, locator):
                deleted.append(locator)
                continue
            some.append(read)
            held_bytes += len(read.instance.dicom_json) + (
                len(read.instance.pixels.table) if read.instance.pixels else 0
            )
            if held_bytes > _MAX_HELD_BYTES:
                await self._add(some)
                some, held_bytes = [], 0
        if some:
            await self._add(some)
        if deleted:
            self._done.retired += len(deleted)
            await self._blobs.quarantine(deleted, self._now())

    def _is_deleted(self, instance: InstanceId, locator: Locator) -> bool:
        return any(deletion.includes(instance, locator) for deletion in self._deletions)

    async def _read(self, locator: Locator, receipt: Receipt) -> _Read:
        """Read an instance from its blob, damaged or not.

        Raises: as `InstanceReader` and `BlobStore.read`.
        """
        reader = InstanceReader(ValidationMode.LENIENT, self._max_header_bytes)
        size_bytes = await self._blobs.size(locator)
        crc = 0
        async for piece in self._blobs.read_unverified(locator):
            crc = crc32c_of(piece, crc)
            reader.feed(piece)
        description: Description = reader.finish()
        if description.errors:
            raise DataLoss(Reason.BLOB_DAMAGED, "The stored bytes do not contain valid UIDs.")
        _, recorded = await self._blobs.receipt(locator)
        instance = new_instance(
            description,
            partition=receipt.partition,
            size_bytes=size_bytes,
            crc32c=recorded,
            locator=locator,
            must_be_indexed=False,
        )
        if (provenance := self._spool.provenance(locator)) is not None:
            instance = replace(instance, provenance=provenance, may_replace=True)
        return _Read(instance, receipt, crc != recorded)

    async def _add(self, some: Sequence[_Read]) -> None:
        for read in some:
            await self._require_partition(read.receipt.partition, read.receipt.time)
        outcomes = await self._index.add([read.instance for read in some], some[-1].receipt.time)
        duplicates = []
        for read, outcome in zip(some, outcomes, strict=True):
            if isinstance(outcome, Added):
                self._done.added += 1
                self._spool.add_resource(read.instance.id, read.receipt.time)
                if read.is_damaged:
                    self._done.damaged += 1
                    await self._index.add_damage(outcome.version, Damage(is_changed=True))
            elif isinstance(outcome, OnHold) or (
                isinstance(outcome, AlreadyStored) and not await self._replaces(outcome.existing, read.instance)
            ):
                duplicates.append(read.instance.locator)
        if duplicates:
            self._done.duplicates += len(duplicates)
            await self._blobs.quarantine(duplicates, self._now())

    async def _replaces(self, existing: StoredInstance, new: NewInstance) -> bool:
        """If the bytes of an existing instance are gone, refer it to a copy of them; return True if so."""
        is_copy = (existing.size_bytes, existing.crc32c) == (new.size_bytes, new.crc32c)
        if not is_copy or await self._exists(existing.locator):
            return False
        moved = await self._index.relocate({existing.locator: new.locator}, self._now() + self._retention)
        self._done.moved += len(moved)
        return bool(moved)

    async def _require_partition(self, name: PartitionName, time: datetime) -> None:
        if name not in self._made:
            if await self._partitions.get(name) is None:
                await self._partitions.create(name, time)
            self._made.add(name)

    async def _is_at(self, copy: Locator, *, not_at: Locator) -> bool:
        """Return whether a blob is, or was until it was erased, where it was moved to."""
        return await self._exists(copy) or not await self._exists(not_at)

    async def _exists(self, locator: Locator) -> bool:
        try:
            await self._blobs.size(locator)
        except DataLoss as loss:
            return loss.reason is not Reason.BLOB_MISSING
        return True

    def _leave_out(self, locator: Locator, error: DicomStoreError) -> None:
        self._done.unreadable += 1
        if len(self._done.examples) < _MAX_EXAMPLES:
            self._done.examples.append(f"not indexed: {locator} ({error.reason})")
        _log.warning("could not index a blob locator=%s reason=%s", locator, error.reason)
