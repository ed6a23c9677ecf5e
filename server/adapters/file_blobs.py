"""Blobs as files: one file a blob, below a directory that several processes may share.

    blobs/3f/3f0c…       committed blobs; the name is random and is the locator
    ingest/<process>/    open blobs, and a second link to each unsettled one; see `process_directory`

A blob is written in the process's own directory, linked to its final name, then file and directory are synced: one
journal commit serves both names (measured 10 % cheaper than sync, rename, sync). The first link stays until the
index has committed, so what a crash left unsettled is found by looking at a few names instead of all blobs.

Bytes are gathered to 1 MiB before a thread is asked to write them, so a small blob costs one hop to a thread in all.
"""

import logging
import os
import re
import shutil
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path

from server.adapters.disk import PIECE_BYTES, DiskThreads, sync_directory, write_all
from server.adapters.process_directory import LOCK, ProcessDirectory
from server.model.errors import DataLoss, DicomStoreError, Reason
from server.model.instance import Locator

_THREADS = 8
_LOCATOR = re.compile(r"[0-9a-f]{32}")
_log = logging.getLogger("dicomstore.blobs")


class FileBlobs:
    """BlobStore (see `server.ports.blobs`) below one directory. Use as an async context manager."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        self._ingest = ProcessDirectory(root / "ingest")
        self._left_behind: dict[Locator, Path] = {}
        self.threads = DiskThreads(_THREADS)

    async def __aenter__(self) -> "FileBlobs":
        """Prepare the directories and enter. Raises Unavailable or Exhausted when they can't be written."""
        await self.threads.run(self._enter)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave. What is unsettled stays for the next `recover`."""
        await self.threads.run(
            lambda: self._ingest.leave(nothing_left=not self._unsettled(self._ingest.path)),
        )
        self.threads.close()

    # Writing

    @asynccontextmanager
    async def open_write(self, size_hint: int | None = None) -> AsyncIterator["FileWriter"]:
        """See the port."""
        writer = FileWriter(self, uuid.uuid4().hex)
        try:
            yield writer
        finally:
            await writer.close()

    async def settle(self, locators: Sequence[Locator]) -> None:
        """See the port."""

        def unlink() -> None:
            for locator in filter(_LOCATOR.fullmatch, locators):
                _unlink(self._left_behind.pop(locator, self.ingest_path(locator)))

        await self.threads.run(unlink)

    async def delete(self, locators: Sequence[Locator]) -> None:
        """See the port."""

        def erase() -> None:
            for locator in filter(_LOCATOR.fullmatch, locators):
                _unlink(self.path(locator))  # the final name first: a crash in between leaves it to `recover`
                _unlink(self._left_behind.pop(locator, self.ingest_path(locator)))

        await self.threads.run(erase)

    # Reading

    async def read(self, locator: Locator, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """See the port."""
        file, piece, left = await self.threads.run(lambda: self._open_read(locator, offset, length))
        with file:
            while piece:
                yield piece
                offset += len(piece)
                left -= len(piece)
                if not left:
                    return
                piece = await self.threads.run(lambda: _pread(file, min(left, PIECE_BYTES), offset))  # noqa: B023

    async def size(self, locator: Locator) -> int:
        """See the port."""

        def look() -> int:
            with self._open(locator) as file:
                return os.fstat(file.fileno()).st_size

        return await self.threads.run(look)

    def _open(self, locator: Locator) -> FileIO:
        try:
            if not _LOCATOR.fullmatch(locator):
                raise FileNotFoundError(locator)
            return FileIO(self.path(locator))
        except FileNotFoundError as missing:
            raise DataLoss(Reason.BLOB_MISSING, "The bytes of the instance are missing.") from missing

    def _open_read(self, locator: Locator, offset: int, length: int | None) -> tuple[FileIO, bytes, int]:
        """Open a blob and read its first piece in one go; return file, piece, and bytes wanted in all.

        A file object, not a descriptor: if the caller was cancelled meanwhile, it closes itself.
        """
        file = self._open(locator)
        try:
            wanted = os.fstat(file.fileno()).st_size - offset if length is None else length
            return file, _pread(file, min(wanted, PIECE_BYTES), offset) if wanted > 0 else b"", wanted
        except BaseException:
            file.close()
            raise

    # Keeping house

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
                await self.threads.run(lambda: shutil.rmtree(directory))  # noqa: B023 - awaited here
            finally:
                os.close(lock)

    def _unsettled(self, directory: Path) -> list[Path]:
        """Return the links to committed blobs in a directory and remove all else."""
        committed = []
        for path in directory.iterdir():
            if path.name == LOCK:
                continue
            if _LOCATOR.fullmatch(path.name) and self.path(path.name).exists():
                committed.append(path)
            else:
                path.unlink()
        return committed

    async def walk(self) -> AsyncIterator[tuple[Locator, int]]:
        """See the port."""

        def sizes(directory: Path) -> list[tuple[Locator, int]]:
            with os.scandir(directory) as entries:
                return [(entry.name, entry.stat().st_size) for entry in entries]

        for directory in await self.threads.run(lambda: sorted(self._blobs.iterdir())):
            for found in await self.threads.run(lambda: sizes(directory)):  # noqa: B023 - awaited here
                yield found

    async def check(self) -> None:
        """See the port."""
        async with self.open_write() as writer:
            await writer.write(b"check")
            locator = await writer.commit()
        await self.delete([locator])

    def path(self, locator: Locator) -> Path:
        """Return the final name of a blob."""
        return self._blobs / locator[:2] / locator

    def ingest_path(self, locator: Locator) -> Path:
        """Return the name of a blob of this process until it is settled."""
        return self._ingest.path / locator

    def _enter(self) -> None:
        for number in range(256):
            (self._blobs / f"{number:02x}").mkdir(parents=True, exist_ok=True)
        self._ingest.enter()
        for directory in (self._blobs, self._blobs.parent):
            sync_directory(directory)


class FileWriter:
    """BlobWriter (see `server.ports.blobs`)."""

    def __init__(self, store: FileBlobs, name: str) -> None:
        self._store = store
        self._name = name
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._fd = -1
        self._handed_out = False

    async def write(self, data: bytes) -> None:
        """See the port."""
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= PIECE_BYTES:
            await self._store.threads.run(self._flush)

    async def commit(self) -> Locator:
        """See the port."""
        await self._store.threads.run(self._make_durable)
        self._handed_out = True
        return self._name

    async def close(self) -> None:
        """End the writer; erase the blob unless its locator was handed out."""
        if self._fd < 0:
            return
        os.close(self._fd)
        if not self._handed_out:
            try:
                await self._store.delete([self._name])
            except DicomStoreError as error:  # invisible as it is; `recover` finds it after the next start
                _log.warning("a discarded blob could not be erased reason=%s", error.reason)

    def _flush(self) -> None:
        if self._fd < 0:
            path = self._store.ingest_path(self._name)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        for data in gathered:
            write_all(self._fd, data)

    def _make_durable(self) -> None:
        self._flush()
        final = self._store.path(self._name)
        os.link(self._store.ingest_path(self._name), final)
        os.fsync(self._fd)
        sync_directory(final.parent)


def _pread(file: FileIO, size: int, offset: int) -> bytes:
    data = os.pread(file.fileno(), size, offset)
    if len(data) != size:
        raise DataLoss(Reason.BLOB_DAMAGED, "The bytes of the instance are cut off.")
    return data


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
