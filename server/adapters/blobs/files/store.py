"""Blobs as files: one file per blob, below a directory that several processes may share.

    blobs/3f/3f0c…       committed blobs; the name is random and is the locator
    quarantine/          records of blobs that the index does not know; see `quarantine`
    ingest/<process>/    open blobs, and a second link to each unsettled one; see `process_directory`

A blob is written in the process's own directory, linked to its final name, then file and directory are synced: one
journal commit serves both names (measured 10 % cheaper than sync, rename, sync). The first link stays until the
index has committed, so unsettled blobs are found after a crash by listing a few names instead of all blobs.
"""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from server.adapters.blobs.adopted import AdoptedFiles, AdoptedWriter
from server.adapters.blobs.archive_records.quarantine import Quarantine
from server.adapters.blobs.checksums import Checksums
from server.adapters.blobs.derived import DerivedBlobs, is_derived
from server.adapters.blobs.disk.memory_allowance import Allowance
from server.adapters.blobs.disk.page_cache import PageCache
from server.adapters.blobs.disk.process_directory import LOCK, ProcessDirectory
from server.adapters.blobs.disk.threads import DiskThreads, free_bytes, require_directory, require_room, sync_directory
from server.adapters.blobs.files.layout import size_of
from server.adapters.blobs.files.names import BlobNames, is_locator
from server.adapters.blobs.files.reader import FileReader
from server.adapters.blobs.files.writer import FileBlobWriter, FileWriter
from server.model.buffer import Buffer
from server.model.ids import DEFAULT_PARTITION, PartitionName
from server.model.instance import Locator
from server.model.receipt import Receipt
from server.ports.blobs import Relocation, SharedBytes, most_piece_bytes

_THREADS = 8
_BACKGROUND_NICENESS = 10
_HELD_BYTES = 16 << 20
_NOTED_AT_ONCE = 500


class FileBlobs:
    """BlobStore (see `server.ports.blobs`) below one directory. Use as an async context manager.

    Args:
        held_bytes: memory limit for all writers together; above it they write immediately.
        cache: to read through.
    """

    def __init__(self, root: Path, *, held_bytes: int = _HELD_BYTES, cache: PageCache | None = None) -> None:
        self._blobs = root / "blobs"
        self._ingest = ProcessDirectory(root / "ingest")
        self._quarantine = Quarantine(root / "quarantine")
        self._left_behind: dict[Locator, Path] = {}
        self._allowance = Allowance(held_bytes)
        self.threads = DiskThreads(_THREADS)
        self.background = DiskThreads(1, niceness=_BACKGROUND_NICENESS)
        self._names = BlobNames(self._blobs, self._ingest.path)
        self._reader = FileReader(self._names, cache or PageCache(), self.threads, self.background)
        self._derived = DerivedBlobs(self, AdoptedFiles({}, self.threads, self.background))

    async def __aenter__(self) -> "FileBlobs":
        """Prepare the directories and enter. Raises Unavailable or Exhausted when they can't be written."""
        await self.threads.run(self._enter)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave. Unsettled blobs stay for the next `recover`."""
        await self.threads.run(
            lambda: self._ingest.leave(nothing_left=not self._unsettled(self._ingest.path)),
        )
        self.threads.close()
        self.background.close()

    # Writing

    @asynccontextmanager
    async def open_write(
        self, size_hint: int | None = None, partition: PartitionName | None = None
    ) -> AsyncIterator["FileBlobWriter"]:
        """See the port."""
        checksums = Checksums()
        async with self.open_file(checksums) as writer:
            yield FileBlobWriter(writer, checksums, self._derived)

    def adopt(self, folder: str, path: str) -> AdoptedWriter:
        """See the port."""
        return AdoptedWriter(self._derived, self.open_write, folder, path)

    @asynccontextmanager
    async def open_file(self, checksums: Checksums) -> AsyncIterator["FileWriter"]:
        """Start a blob; the caller adds its bytes to `checksums`."""
        writer = FileWriter(
            checksums=checksums,
            names=self._names,
            threads=self.threads,
            allowance=self._allowance,
            delete=self.delete,
        )
        try:
            yield writer
        finally:
            await writer.close()

    async def settle(self, locators: Sequence[Locator]) -> None:
        """See the port."""

        def unlink() -> None:
            for locator in filter(is_locator, locators):
                _unlink(self._left_behind.pop(locator, self._names.unsettled(locator)))

        await self.threads.run(unlink)

    async def delete(self, locators: Sequence[Locator]) -> None:
        """See the port."""

        def erase() -> None:
            for locator in filter(is_locator, locators):
                # The final name first: a crash in between leaves the other to `recover`.
                _unlink(self._names.committed(locator))
                _unlink(self._left_behind.pop(locator, self._names.unsettled(locator)))

        await self.threads.run(erase)

    # Reading

    def read(
        self,
        locator: Locator,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
        crc32c: int | None = None,
    ) -> AsyncGenerator[Buffer]:
        """See the port."""
        reader = self._derived if is_derived(locator) else self._reader
        return reader.read(locator, offset, length, piece_bytes, crc32c)

    async def read_piece(self, locator: Locator, offset: int, length: int, crc32c: int) -> Buffer:
        """See the port."""
        reader = self._derived if is_derived(locator) else self._reader
        return await reader.read_piece(locator, offset, length, crc32c)

    def read_ahead(self, locators: Sequence[Locator], following: Sequence[Locator] = ()) -> None:
        """See the port: the system reads ahead."""

    def read_unverified(self, locator: Locator) -> AsyncGenerator[bytes]:
        """See the port."""
        return (self._derived if is_derived(locator) else self._reader).read_unverified(locator)

    async def size(self, locator: Locator) -> int:
        """See the port."""
        return await (self._derived if is_derived(locator) else self._reader).size(locator)

    async def receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """See the port."""
        return await (self._derived if is_derived(locator) else self._reader).receipt(locator)

    async def shared(self, locator: Locator) -> SharedBytes | None:
        """See the port."""
        return await self._derived.shared(locator)

    # Parts of derived blobs, see `derived.Parts`

    async def read_own(self, locator: Locator, offset: int, length: int) -> Buffer:
        """Return a verified range of the stored bytes."""
        return await self._reader.read_piece(locator, offset, length)

    async def own_size(self, locator: Locator) -> int:
        """Return the number of stored bytes."""
        return await self._reader.size(locator)

    async def stored_size(self, locator: Locator) -> int:
        """Return the number of stored bytes."""
        return await self._reader.size(locator)

    async def own_receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """Return the receipt, and the CRC-32C of the stored bytes."""
        return await self._reader.receipt(locator)

    def read_own_unverified(self, locator: Locator) -> AsyncGenerator[bytes]:
        """Yield the stored bytes without verification."""
        return self._reader.read_unverified(locator)

    # Maintenance

    async def recover(self) -> AsyncIterator[list[Locator]]:
        """See the port."""
        for directory in await self.threads.run(self._ingest.others):
            lock = await self.threads.run(lambda: self._ingest.take_over(directory))  # noqa: B023 - awaited here
            if lock is None:
                continue
            try:
                left_behind = await self.threads.run(lambda: self._unsettled(directory))  # noqa: B023 - awaited here
                self._left_behind.update({path.name: path for path in left_behind})
                yield [path.name for path in left_behind]
                await self.threads.run(lambda: self._ingest.remove(directory))  # noqa: B023 - awaited here
            finally:
                os.close(lock)

    def _unsettled(self, directory: Path) -> list[Path]:
        """Return the links to committed blobs in a directory and remove all else."""
        committed = []
        for path in directory.iterdir():
            if path.name == LOCK:
                continue
            if is_locator(path.name) and self._names.committed(path.name).exists():
                committed.append(path)
            else:
                path.unlink()
        return committed

    async def quarantine(self, locators: Sequence[Locator], now: datetime) -> None:
        """See the port."""
        for start in range(0, len(locators), _NOTED_AT_ONCE):
            some = locators[start : start + _NOTED_AT_ONCE]
            await self.threads.run(lambda: self._quarantine.add(some, now))  # noqa: B023 - awaited here
        await self.settle(locators)

    async def quarantined(self, until: datetime | None = None) -> AsyncIterator[list[Locator]]:
        """See the port."""
        for name in await self.threads.run(lambda: self._quarantine.names(until)):
            if locators := await self.threads.run(lambda: self._quarantine.read(name)):  # noqa: B023 - awaited here
                yield locators

    async def release(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        await self.threads.run(lambda: self._quarantine.remove(locators))

    async def compact(self, relocation: Relocation) -> bool:
        """See the port: deleting a blob gives back all of its space."""
        return False

    async def walk(self) -> AsyncIterator[tuple[Locator, int]]:
        """See the port."""

        def sizes(directory: Path) -> list[tuple[Locator, int]]:
            with os.scandir(directory) as entries:
                return [(entry.name, size_of(entry)) for entry in entries if is_locator(entry.name)]

        for directory in await self.threads.run(lambda: sorted(self._blobs.iterdir())):
            for found in await self.threads.run(lambda: sizes(directory)):  # noqa: B023 - awaited here
                yield found

    async def check(self) -> None:
        """See the port."""
        await self.threads.run(lambda: require_directory(self._blobs))

    async def check_writing(self, size_bytes: int = 0) -> None:
        """See the port."""
        await self.threads.run(lambda: require_room(self._ingest.path, size_bytes))
        async with self.open_write() as writer:
            await writer.write(b"check")
            locator = await writer.commit(Receipt(DEFAULT_PARTITION, datetime.now(UTC), 0))
        await self.delete([locator])

    async def free_bytes(self) -> int:
        """See the port."""
        return await self.threads.run(lambda: free_bytes(self._blobs))

    def _enter(self) -> None:
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._ingest.enter()
        self._quarantine.enter()
        for directory in (self._blobs, self._blobs.parent):
            sync_directory(directory)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
