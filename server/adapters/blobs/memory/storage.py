"""The storage of one process, and the records of an archive beside the blobs."""

import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from server.adapters.blobs.archive_records.journal_lines import Line, LineJournal, lines_of, parsed
from server.adapters.blobs.audit_trail.trail import FileAuditTrail
from server.adapters.blobs.memory.blobs import MemoryBlobs
from server.adapters.blobs.prefixed import PrefixedBlobs
from server.model.archive import ArchiveId, BlobsIdentity, Mark
from server.model.instance import Locator
from server.model.storage.scrub import ScrubPosition
from server.model.store_id import NO_ID, StoreId, new_store_id
from server.ports.blobs import BlobStore
from server.ports.journal import ArchiveJournal


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

    def gather_records(self) -> None:
        """See the port: this is one store."""

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


class MemoryJournal(LineJournal):
    """ArchiveJournal (see `server.ports.journal`)."""

    def __init__(self) -> None:
        self._noted: list[str] = []
        self._counted: list[str] = []
        self._absorbed: dict[StoreId, list[str]] = {}
        self._left_out: Collection[StoreId] = ()

    def note(self, lines: Iterator[str]) -> None:
        """See the base class."""
        self._noted += lines

    def prepare(self) -> None:
        """See the port: nothing can be made durable."""

    def committed(self) -> None:
        """See the port."""
        self._counted += self._noted
        self._noted = []

    def ended(self) -> None:
        """See the port: a transaction without an end counts as committed."""
        self.committed()

    def rolled_back(self) -> None:
        """See the port."""
        self._noted = []

    def take_over(
        self, referenced: Callable[[Sequence[Locator]], Collection[Locator]], pending: Callable[[], Collection[int]]
    ) -> None:
        """See the port: there are no other processes."""

    def absorb(self, store: StoreId, journal: ArchiveJournal) -> None:
        """See the port."""
        self._absorbed[store] = [*lines_of(journal)]

    def leave_out(self, stores: Collection[StoreId]) -> None:
        """See the port."""
        self._left_out = stores

    def effective_lines(self) -> Iterator[Line]:
        """See the base class."""
        absorbed = (lines for store, lines in self._absorbed.items() if store not in self._left_out)
        return parsed(chain(self._counted, self._noted, *absorbed))


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
