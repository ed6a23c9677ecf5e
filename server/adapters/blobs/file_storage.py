"""Storage below one directory of a local filesystem; README.md has the format."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

from server.adapters.blobs.archive_records.archive_file import ArchiveFile
from server.adapters.blobs.archive_records.journal import FileJournal
from server.adapters.blobs.archive_records.marks import Marks
from server.adapters.blobs.archive_records.scrub_file import ScrubFile
from server.adapters.blobs.audit_trail.trail import FileAuditTrail
from server.adapters.blobs.packed import PackedBlobs
from server.adapters.blobs.prefixed import PrefixedBlobs
from server.adapters.blobs.segment_files.segments import SUFFIX
from server.ports.blobs import BlobStore


class FileStorage:
    """Storage (see `server.ports.storage`) below one directory. Adopted files are in `folders`, by name."""

    def __init__(self, root: Path, folders: Mapping[str, Path] = MappingProxyType({})) -> None:
        self._root = root
        self._folders = folders
        self.marks = Marks(root)
        self.identity = ArchiveFile(root, self.marks, self._has_blobs)
        self.journal = FileJournal(root)
        self.scrub = ScrubFile(root)
        self.audit = FileAuditTrail(root)

    @property
    def directories(self) -> Sequence[Path]:
        """See the port."""
        return (self._root,)

    @asynccontextmanager
    async def blobs(self) -> AsyncIterator[BlobStore]:
        """See the port."""
        store = await asyncio.to_thread(self.identity.store_id)
        async with PackedBlobs(self._root, folders=self._folders) as blobs:
            yield PrefixedBlobs(blobs, store) if store else blobs

    def gather_records(self) -> None:
        """See the port: this is one store."""

    def close(self) -> None:
        """See the port."""
        self.scrub.close()
        self.journal.close()
        self.marks.leave()

    def _has_blobs(self) -> bool:
        segments = self._root.glob(f"segments/*{SUFFIX}")
        return any(path.stat().st_size for path in segments) or any(self._root.glob("blobs/*/*"))
