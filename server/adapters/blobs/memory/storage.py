"""The storage of one process, and the records of an archive beside the blobs."""

import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from server.adapters.blobs.audit_trail.trail import FileAuditTrail
from server.adapters.blobs.memory.blobs import MemoryBlobs
from server.adapters.blobs.prefixed import PrefixedBlobs
from server.model.archive import ArchiveId, BlobsIdentity, Mark
from server.model.ids import Address, InstanceId, PartitionName, Version
from server.model.instance import Locator
from server.model.lifecycle.label import Labels
from server.model.lifecycle.version import Provenance
from server.model.storage.scrub import ScrubPosition
from server.model.store_id import NO_ID, new_store_id
from server.ports.blobs import BlobStore
from server.ports.journal import DeletionEntries, Entry, HoldChange, LabelChange, OpenDeletion, open_deletions


class MemoryStorage:
    """Storage (see `server.ports.storage`) that lives as long as the object."""

    def __init__(self) -> None:
        self._blobs = MemoryBlobs()
        self.marks = MemoryMarks()
        self.identity = MemoryIdentity(self.marks, self._blobs)
        self.journal = MemoryJournal()
        self.scrub = MemoryScrubRecord()
        self._directory: TemporaryDirectory[str] | None = None

    @property
    def directories(self) -> Sequence[Path]:
        """See the port."""
        return ()

    @property
    def audit(self) -> FileAuditTrail:
        """See the port: below a temporary directory, because the format is one of files."""
        if self._directory is None:
            self._directory = TemporaryDirectory(prefix="dicomstore-audit-")
        return FileAuditTrail(Path(self._directory.name))

    @asynccontextmanager
    async def blobs(self) -> AsyncIterator[BlobStore]:
        """See the port."""
        store = self.identity.store_id
        yield PrefixedBlobs(self._blobs, store) if store else self._blobs

    def close(self) -> None:
        """See the port."""
        if self._directory is not None:
            self._directory.cleanup()


class MemoryMarks:
    """MarkRecord (see `server.ports.archive`)."""

    def __init__(self) -> None:
        self.latest = Mark()

    def enter(self) -> Mark:
        """See the port."""
        return self.latest

    def record(self, mark: Mark) -> None:
        """See the port."""
        self.latest = mark

    def is_in_use(self) -> bool:
        """See the port: no other process can use it."""
        return False


class MemoryIdentity:
    """IdentityRecord (see `server.ports.archive`)."""

    def __init__(self, marks: MemoryMarks, blobs: MemoryBlobs) -> None:
        self._marks = marks
        self._blobs = blobs
        self._lock = threading.Lock()
        self._archive: ArchiveId | None = None
        self._is_bound = self._is_recovering = self._requires_authentication = False
        self.store_id = NO_ID

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See the port."""
        with self._lock:
            yield

    def read(self) -> BlobsIdentity:
        """See the port."""
        mark = self._marks.latest
        has_blobs = mark != Mark() or not self._blobs.is_empty
        return BlobsIdentity(
            "memory",
            self._archive,
            self._is_bound,
            has_blobs,
            mark,
            self._is_recovering,
            self._requires_authentication,
            frozenset((self.store_id,)),
        )

    def write(self, archive: ArchiveId, *, is_bound: bool, is_recovering: bool = False) -> None:
        """See the port."""
        self._archive, self._is_bound, self._is_recovering = archive, is_bound, is_recovering

    def assign_store_id(self) -> None:
        """See the port."""
        self.store_id = self.store_id or new_store_id()

    def require_authentication(self) -> None:
        """See the port."""
        self._requires_authentication = True


class MemoryJournal:
    """ArchiveJournal (see `server.ports.journal`)."""

    def __init__(self) -> None:
        self._noted: list[Entry] = []
        self._counted: list[Entry] = []
        self._restored: list[tuple[Locator, InstanceId]] = []
        self._versions: list[tuple[Locator, Version, Provenance]] = []
        self._labelled: list[LabelChange] = []
        self._held: list[HoldChange] = []
        self._deleted_partitions: list[PartitionName] = []
        self._begun: dict[int, Address] = {}
        self._stored_later: list[tuple[int, Locator]] = []
        self._completed: set[int] = set()
        self._undo: list[Callable[[], object]] = []

    def deleted(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        self._noted += [(locator, None) for locator in locators]

    def restored(self, blobs: Mapping[Locator, InstanceId]) -> None:
        """See the port."""
        before = len(self._restored)
        self._restored += blobs.items()
        self._undo.append(lambda: self._restored.__delitem__(slice(before, None)))

    def deleted_all(self, deletion: int, scope: Address) -> None:
        """See the port."""
        self._begun[deletion] = scope
        self._undo.append(lambda: self._begun.pop(deletion))
        if scope.study is None:
            self._deleted_partitions.append(scope.partition)
            self._undo.append(self._deleted_partitions.pop)

    def stored_later(self, deletion: int, locators: Sequence[Locator]) -> None:
        """See the port."""
        self._stored_later += [(deletion, locator) for locator in locators]

    def completed(self, deletion: int) -> None:
        """See the port."""
        self._completed.add(deletion)
        self._undo.append(lambda: self._completed.discard(deletion))

    def moved(self, moves: Mapping[Locator, Locator]) -> None:
        """See the port."""
        self._noted += moves.items()

    def replaced(self, versions: Mapping[Locator, tuple[Version, Provenance]]) -> None:
        """See the port."""
        before = len(self._versions)
        self._versions += [(locator, *one) for locator, one in versions.items()]
        self._undo.append(lambda: self._versions.__delitem__(slice(before, None)))

    def labelled(self, version: int, time: datetime, resource: Address, labels: Labels) -> None:
        """See the port."""
        self._labelled.append(LabelChange(version, time, resource, labels))
        self._undo.append(self._labelled.pop)

    def held(self, change: HoldChange) -> None:
        """See the port."""
        self._held.append(change)
        self._undo.append(self._held.pop)

    def prepare(self) -> None:
        """See the port: nothing can be made durable."""

    def committed(self) -> None:
        """See the port."""
        self._counted += self._noted
        self._noted = []
        self._undo = []

    def ended(self) -> None:
        """See the port: a transaction without an end counts as committed."""
        self.committed()

    def rolled_back(self) -> None:
        """See the port."""
        self._noted = []
        while self._undo:
            self._undo.pop()()

    def take_over(
        self, referenced: Callable[[Sequence[Locator]], Collection[Locator]], pending: Callable[[], Collection[int]]
    ) -> None:
        """See the port: there are no other processes."""

    def entries(self) -> Iterator[Entry]:
        """See the port."""
        yield from self._counted
        yield from self._noted

    def restorations(self) -> Iterator[tuple[Locator, InstanceId]]:
        """See the port."""
        yield from self._restored

    def versions(self) -> Iterator[tuple[Locator, Version, Provenance]]:
        """See the port."""
        yield from self._versions

    def label_changes(self) -> Iterator[LabelChange]:
        """See the port."""
        yield from self._labelled

    def hold_changes(self) -> Iterator[HoldChange]:
        """See the port."""
        yield from self._held

    def deleted_partitions(self) -> Collection[PartitionName]:
        """See the port."""
        return frozenset(self._deleted_partitions)

    def deletions(self) -> DeletionEntries:
        """See the port."""
        return DeletionEntries(dict(self._begun), list(self._stored_later), set(self._completed))

    def open_deletions(self) -> Mapping[int, OpenDeletion]:
        """See the port."""
        return open_deletions([self.deletions()])

    def complete(self, deletions: Collection[int]) -> None:
        """See the port."""
        self._completed.update(deletions)


class MemoryScrubRecord:
    """ScrubRecord (see `server.ports.scrub`)."""

    def __init__(self) -> None:
        self._position: ScrubPosition | None = None
        self._is_held = False

    @asynccontextmanager
    async def held(self) -> AsyncIterator[bool]:
        """See the port."""
        if self._is_held:
            yield False
            return
        self._is_held = True
        try:
            yield True
        finally:
            self._is_held = False

    async def load(self) -> ScrubPosition | None:
        """See the port."""
        return self._position

    async def save(self, position: ScrubPosition) -> None:
        """See the port."""
        self._position = position
