"""Blobs as files: one file a blob, in a directory that several processes may share.

    blobs/3f/3f0c…   committed blobs; the name is random and is the locator
    ingest/.lock     held while a process enters or leaves
    ingest/<id>/     one directory a process: its open blobs, and a second link to each unsettled one
    ingest/<id>/.lock  locked as long as the process lives, by the kernel

A blob is written in the process's own directory, linked to its final name, then file and directory are synced: one
journal commit serves both names (measured 10 % cheaper than sync, rename, sync). The first link stays until the
index has committed, so what a crash left unsettled is found by looking at a few names instead of all blobs.

Bytes are gathered to 1 MiB before a thread is asked to write them, so a small blob costs one hop to a thread in all.
"""

import asyncio
import errno
import fcntl
import logging
import os
import re
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from io import FileIO
from pathlib import Path
from typing import TypeVar

from server.model.errors import DataLoss, DicomStoreError, Exhausted, Reason, Unavailable
from server.model.instance import Locator

PIECE_BYTES = 1 << 20
_THREADS = 8
_LOCATOR = re.compile(r"[0-9a-f]{32}")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_T = TypeVar("_T")
_log = logging.getLogger("dicomstore.blobs")


class FileBlobs:
    """BlobStore (see `server.ports.blobs`) below one directory. Use as an async context manager."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        self._ingest = root / "ingest"
        self._own = self._ingest / uuid.uuid4().hex
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="blobs")
        self._left_behind: dict[Locator, Path] = {}
        self._lock_fd = -1

    async def __aenter__(self) -> "FileBlobs":
        """Prepare the directories and enter. Raises Unavailable or Exhausted when they can't be written."""
        await self.run(self._enter)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave. What is unsettled stays for the next `recover`."""
        await self.run(self._leave)
        self._threads.shutdown()

    # Writing

    @asynccontextmanager
    async def open_write(self, size_hint: int | None = None) -> AsyncIterator["_Writer"]:
        """See the port."""
        writer = _Writer(self, uuid.uuid4().hex)
        try:
            yield writer
        finally:
            await writer.close()

    async def settle(self, locators: Sequence[Locator]) -> None:
        """See the port."""

        def unlink() -> None:
            for locator in locators:
                _unlink(self._left_behind.pop(locator, self.ingest_path(locator)))

        await self.run(unlink)

    async def delete(self, locators: Sequence[Locator]) -> None:
        """See the port."""

        def erase() -> None:
            for locator in locators:
                if _LOCATOR.fullmatch(locator):
                    _unlink(self.path(locator))  # the final name first: a crash in between leaves it to `recover`
                    _unlink(self._left_behind.pop(locator, self.ingest_path(locator)))

        await self.run(erase)

    # Reading

    async def read(self, locator: Locator, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """See the port."""
        file, piece, left = await self.run(lambda: self._open_read(locator, offset, length))
        with file:
            while piece:
                yield piece
                offset += len(piece)
                left -= len(piece)
                if not left:
                    return
                piece = await self.run(lambda: _pread(file, min(left, PIECE_BYTES), offset))  # noqa: B023 - awaited

    async def size(self, locator: Locator) -> int:
        """See the port."""

        def look() -> int:
            with self._open(locator) as file:
                return os.fstat(file.fileno()).st_size

        return await self.run(look)

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

    async def recover(self) -> AsyncIterator[Locator]:
        """See the port."""
        for directory in await self.run(lambda: sorted(self._ingest.iterdir())):
            if directory == self._own or not directory.is_dir():
                continue
            lock = await self.run(lambda: self._take_over(directory))  # noqa: B023 - awaited here
            if lock is None:
                continue
            try:
                for left_behind in await self.run(lambda: self._unsettled(directory)):  # noqa: B023 - awaited here
                    self._left_behind[left_behind.name] = left_behind
                    yield left_behind.name
                await self.run(lambda: shutil.rmtree(directory))  # noqa: B023 - awaited here
            finally:
                os.close(lock)

    def _take_over(self, directory: Path) -> int | None:
        """Lock the directory of another process and return the lock's descriptor; None if that process lives."""
        with _locked(self._ingest / ".lock"):
            fd = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return None
        return fd

    def _unsettled(self, directory: Path) -> list[Path]:
        """Return the links to committed blobs in a directory and remove all else."""
        committed = []
        for path in directory.iterdir():
            if path.name == ".lock":
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

        for directory in await self.run(lambda: sorted(self._blobs.iterdir())):
            for found in await self.run(lambda: sizes(directory)):  # noqa: B023 - awaited here
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
        return self._own / locator

    def _enter(self) -> None:
        self._ingest.mkdir(parents=True, exist_ok=True)
        for number in range(256):
            (self._blobs / f"{number:02x}").mkdir(parents=True, exist_ok=True)
        for directory in (self._blobs, self._blobs.parent):
            _sync_directory(directory)
        with _locked(self._ingest / ".lock"):
            self._own.mkdir()
            self._lock_fd = os.open(self._own / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)

    def _leave(self) -> None:
        if not self._unsettled(self._own):
            shutil.rmtree(self._own)
        os.close(self._lock_fd)

    async def run(self, work: Callable[[], _T]) -> _T:
        """Do work on a thread. A cancelled caller waits for its end, so that nobody closes a file under it."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, _translated, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # has been looked at: nobody is left to hear of it
            raise


class _Writer:
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
            await self._store.run(self._flush)

    async def commit(self) -> Locator:
        """See the port."""
        await self._store.run(self._make_durable)
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
            self._fd = os.open(
                self._store.ingest_path(self._name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640
            )
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        for data in gathered:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]

    def _make_durable(self) -> None:
        self._flush()
        final = self._store.path(self._name)
        os.link(self._store.ingest_path(self._name), final)
        os.fsync(self._fd)
        _sync_directory(final.parent)


def _pread(file: FileIO, size: int, offset: int) -> bytes:
    data = os.pread(file.fileno(), size, offset)
    if len(data) != size:
        raise DataLoss(Reason.BLOB_DAMAGED, "The bytes of the instance are cut off.")
    return data


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _translated(work: Callable[[], _T]) -> _T:
    """Run work; an error of the operating system becomes one of ours."""
    try:
        return work()
    except OSError as error:
        raise _ours(error) from error


def _ours(error: OSError) -> DicomStoreError:
    if error.errno in _NO_ROOM:
        return Exhausted(Reason.STORAGE_FULL, "The blob store is full.")
    return Unavailable(Reason.STORAGE_UNAVAILABLE, "The blob store can't be used at the moment.")
