"""Blobs as files: one file a blob, below a directory that several processes may share.

    blobs/3f/3f0c…       committed blobs; the name is random and is the locator
    quarantine/          notes of blobs that the index did not know; see `quarantine`
    ingest/<process>/    open blobs, and a second link to each unsettled one; see `process_directory`

A file is the blob, its trailer (see `records`) and a foot of 16 bytes: a mark, the length of the blob, the CRC-32C of
the two.

A blob is written in the process's own directory, linked to its final name, then file and directory are synced: one
journal commit serves both names (measured 10 % cheaper than sync, rename, sync). The first link stays until the
index has committed, so what a crash left unsettled is found by looking at a few names instead of all blobs.

Bytes are gathered to 1 MiB, if memory allows it, before a thread is asked to write them: fewer hops to a thread.
"""

import logging
import os
import re
import shutil
import struct
import uuid
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from crc32c import crc32c as crc32c_of

from server.adapters.blobs.archive_records.quarantine import Quarantine
from server.adapters.blobs.checksum_cache import KeptBlocks
from server.adapters.blobs.checksums import Checksums
from server.adapters.blobs.disk.memory_allowance import Allowance
from server.adapters.blobs.disk.page_cache import PageCache
from server.adapters.blobs.disk.process_directory import LOCK, ProcessDirectory
from server.adapters.blobs.disk.threads import (
    PIECE_BYTES,
    DiskThreads,
    free_bytes,
    require_directory,
    require_room,
    start_writeback,
    sync_directory,
    write_all,
)
from server.adapters.blobs.records import (
    Blocks,
    Read,
    Trailer,
    damaged,
    length_before,
    missing,
    parse_trailer,
    piece_of,
    read_verified,
    trailer,
    trailer_bytes,
    unknown_receipt,
)
from server.adapters.blobs.uncached_reads import read_past_cache
from server.model.buffer import Buffer
from server.model.errors import DicomStoreError
from server.model.ids import DEFAULT_PARTITION
from server.model.instance import Locator
from server.model.receipt import Receipt
from server.ports.blobs import Relocation, most_piece_bytes

_THREADS = 8
_BACKGROUND_NICENESS = 10
_HELD_BYTES = 16 << 20
_NOTED_AT_ONCE = 500
_MARK = b"DSf1"
_FOOT = struct.Struct("<4sQ")
_FOOT_BYTES = _FOOT.size + 4
_LOCATOR = re.compile(r"[0-9a-f]{32}")
_log = logging.getLogger("dicomstore.blobs")


class FileBlobs:
    """BlobStore (see `server.ports.blobs`) below one directory. Use as an async context manager.

    Args:
        held_bytes: what all writers together may hold in memory; above it they write at once.
        cache: to read through.
    """

    def __init__(self, root: Path, *, held_bytes: int = _HELD_BYTES, cache: PageCache | None = None) -> None:
        self._blobs = root / "blobs"
        self._ingest = ProcessDirectory(root / "ingest")
        self._quarantine = Quarantine(root / "quarantine")
        self._left_behind: dict[Locator, Path] = {}
        self._cache = cache or PageCache()
        self._kept = KeptBlocks()
        self.allowance = Allowance(held_bytes)
        self.threads = DiskThreads(_THREADS)
        self.background = DiskThreads(1, niceness=_BACKGROUND_NICENESS)

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
        self.background.close()

    # Writing

    @asynccontextmanager
    async def open_write(self, size_hint: int | None = None) -> AsyncIterator["_FileBlobWriter"]:
        """See the port."""
        checksums = Checksums()
        async with self.open_file(checksums) as writer:
            yield _FileBlobWriter(writer, checksums)

    @asynccontextmanager
    async def open_file(self, checksums: Checksums) -> AsyncIterator["FileWriter"]:
        """Start a blob whose bytes somebody else adds to `checksums`."""
        writer = FileWriter(self, uuid.uuid4().hex, checksums)
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

    async def read(
        self,
        locator: Locator,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
        crc32c: int | None = None,
    ) -> AsyncGenerator[Buffer]:
        """See the port."""
        with await self._opened(locator) as file:
            fd = file.fileno()
            found = await self._blocks(locator, file, crc32c)
            left = found.length - offset if length is None else length
            if offset + left > found.length or not found.is_of(crc32c):
                raise damaged()
            while left > 0:
                size = piece_of(offset, left, piece_bytes())
                piece = read_verified(lambda size, start: self._cache.read(fd, size, start), 0, found, offset, size)
                if piece is None:
                    piece = await self.threads.run(lambda: _read_verified(file, found, offset, size))  # noqa: B023
                yield piece
                offset += size
                left -= size

    async def _blocks(self, locator: Locator, file: FileIO, crc32c: int | None) -> Blocks:
        """Return the checksums of a blob. Raises: as `_find_blocks`."""
        fd = file.fileno()
        found = self._kept.get(locator)
        if found is None:
            found = _cached_trailer(lambda size, start: self._cache.read(fd, size, start), os.fstat(fd).st_size)
        if found is None:
            found = await self.threads.run(lambda: _find_blocks(file, crc32c))
        self._kept.keep(locator, found)
        return found

    async def read_unverified(self, locator: Locator) -> AsyncGenerator[bytes]:
        """See the port."""
        length = await self.size(locator)
        async with aclosing(read_past_cache(self.background, self.path(locator), 0, length)) as pieces:
            async for piece in pieces:
                yield piece

    async def size(self, locator: Locator) -> int:
        """See the port."""

        with await self._opened(locator) as file:
            return await self.threads.run(lambda: _length_of(file))

    async def receipt(self, locator: Locator) -> tuple[Receipt, int]:
        """See the port."""
        with await self._opened(locator) as file:
            found = await self.threads.run(lambda: _trailer_of(file))
        if found is None:
            raise unknown_receipt()
        return found.receipt, found.crc32c

    async def _opened(self, locator: Locator) -> FileIO:
        """Open a blob: at once if the system has all it takes in memory, by a thread if not."""
        with _missing_if_not_found():
            fd = self._cache.open(self._existing_path(locator))
        return await self.threads.run(lambda: self._open(locator)) if fd is None else FileIO(fd)

    def _open(self, locator: Locator) -> FileIO:
        """Open a blob; blocking. A file object, not a descriptor: it closes itself if its reader was cancelled."""
        with _missing_if_not_found():
            return FileIO(self._existing_path(locator))

    def _existing_path(self, locator: Locator) -> Path:
        if not _LOCATOR.fullmatch(locator):
            raise FileNotFoundError(locator)
        return self.path(locator)

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

    async def quarantine(self, locators: Sequence[Locator], now: datetime) -> None:
        """See the port."""
        for start in range(0, len(locators), _NOTED_AT_ONCE):
            some = locators[start : start + _NOTED_AT_ONCE]
            await self.threads.run(lambda: self._quarantine.note(some, now))  # noqa: B023 - awaited here
        await self.settle(locators)

    async def quarantined(self, until: datetime | None = None) -> AsyncIterator[list[Locator]]:
        """See the port."""
        for name in await self.threads.run(lambda: self._quarantine.names(until)):
            if locators := await self.threads.run(lambda: self._quarantine.read(name)):  # noqa: B023 - awaited here
                yield locators

    async def release(self, locators: Sequence[Locator]) -> None:
        """See the port."""
        await self.threads.run(lambda: self._quarantine.forget(locators))

    async def compact(self, relocation: Relocation) -> bool:
        """See the port: deleting a blob gives back all of its space."""
        return False

    async def walk(self) -> AsyncIterator[tuple[Locator, int]]:
        """See the port."""

        def sizes(directory: Path) -> list[tuple[Locator, int]]:
            with os.scandir(directory) as entries:
                return [(entry.name, _size_of(entry)) for entry in entries if _LOCATOR.fullmatch(entry.name)]

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
        self._quarantine.enter()
        for directory in (self._blobs, self._blobs.parent):
            sync_directory(directory)


class FileWriter:
    """Writes one file."""

    def __init__(self, store: FileBlobs, name: str, checksums: Checksums) -> None:
        self._store = store
        self._name = name
        self._checksums = checksums
        self._gathered: list[Buffer] = []
        self._gathered_bytes = 0
        self._allowed_bytes = 0
        self._end = 0
        self._fd = -1
        self._handed_out = False

    async def write(self, data: Buffer) -> None:
        """See `BlobWriter`."""
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        is_allowed = self._store.allowance.take(len(data))
        if is_allowed:
            self._allowed_bytes += len(data)
        if not is_allowed or self._gathered_bytes >= PIECE_BYTES:
            await self._store.threads.run(self._pass_on)
            self._let_go()

    async def commit(self, receipt: Receipt) -> Locator:
        """See `BlobWriter`."""
        self._gathered += [
            trailer(receipt, self._checksums.all_blocks, self._checksums.length),
            _foot(self._checksums.length),
        ]
        await self._store.threads.run(self._make_durable)
        self._handed_out = True
        return self._name

    async def close(self) -> None:
        """End the writer; erase the blob unless its locator was handed out."""
        self._let_go()
        if self._fd < 0:
            return
        os.close(self._fd)
        if not self._handed_out:
            try:
                await self._store.delete([self._name])
            except DicomStoreError as error:  # invisible as it is; `recover` finds it after the next start
                _log.warning("a discarded blob could not be erased reason=%s", error.reason)

    def _let_go(self) -> None:
        """Give back what was allowed to be gathered."""
        self._store.allowance.give_back(self._allowed_bytes)
        self._allowed_bytes = 0

    def _pass_on(self) -> None:
        begin = self._end
        self._flush()
        if self._end - begin >= PIECE_BYTES:
            start_writeback(self._fd, begin, self._end - begin)  # measured: 400 MB are durable 17 % earlier

    def _flush(self) -> None:
        if self._fd < 0:
            path = self._store.ingest_path(self._name)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        self._end = write_all(self._fd, gathered, self._end)

    def _make_durable(self) -> None:
        self._flush()
        final = self._store.path(self._name)
        os.link(self._store.ingest_path(self._name), final)
        os.fsync(self._fd)
        sync_directory(final.parent)


class _FileBlobWriter:
    """BlobWriter (see `server.ports.blobs`): a file and its checksums."""

    def __init__(self, file: FileWriter, checksums: Checksums) -> None:
        self._file = file
        self._checksums = checksums

    @property
    def crc32c(self) -> int:
        """See the port."""
        return self._checksums.whole

    async def write(self, data: Buffer) -> None:
        """See the port."""
        self._checksums.update(data)
        await self._file.write(data)

    async def commit(self, receipt: Receipt) -> Locator:
        """See the port."""
        return await self._file.commit(receipt)


def _foot(length: int) -> bytes:
    facts = _FOOT.pack(_MARK, length)
    check: int = crc32c_of(facts)
    return facts + check.to_bytes(4, "little")


def _parse_foot(foot: bytes) -> int | None:
    """Return the length of a blob; None if its foot can't be trusted."""
    if len(foot) != _FOOT_BYTES:
        return None
    length: int = _FOOT.unpack(foot[: _FOOT.size])[1]
    return length if foot == _foot(length) else None


def _size_of(entry: "os.DirEntry[str]") -> int:
    """Return the size of a blob, or of its file if that is damaged."""
    size = entry.stat().st_size
    with FileIO(entry.path) as file:
        length = _parse_foot(os.pread(file.fileno(), _FOOT_BYTES, max(0, size - _FOOT_BYTES)))
    return size if length is None else length


def _length_of(file: FileIO) -> int:
    """Return the length of a blob: what its foot says, or the size of the file if that is damaged.

    Raises:
        DataLoss: BLOB_DAMAGED when they contradict each other.
    """
    at = os.fstat(file.fileno()).st_size - _FOOT_BYTES
    length = _parse_foot(os.pread(file.fileno(), _FOOT_BYTES, max(0, at)))
    if length is None:
        length = length_before(at)
    if length is None or length + trailer_bytes(length) != at:
        raise damaged()
    return length


def _trailer_of(file: FileIO) -> Trailer | None:
    """Return the trailer of a blob; None if it can't be trusted. Raises: as `_length_of`."""
    length = _length_of(file)
    return parse_trailer(os.pread(file.fileno(), trailer_bytes(length), length), length)


def _cached_trailer(read: Read, end: int) -> Trailer | None:
    """Return the trailer of a blob whose file ends at `end`; None if it can't be trusted or `read` had None."""
    foot = read(_FOOT_BYTES, end - _FOOT_BYTES) if end >= _FOOT_BYTES else None
    length = None if foot is None else _parse_foot(foot.tobytes())
    if length is None or length + trailer_bytes(length) != end - _FOOT_BYTES:
        return None
    found = read(trailer_bytes(length), length)
    return None if found is None else parse_trailer(found.tobytes(), length)


def _find_blocks(file: FileIO, crc32c: int | None) -> Blocks:
    """Return the checksums of a blob; blocking.

    If its trailer can't be trusted, they are computed again from the bytes, provided that these have `crc32c` together.

    Raises:
        DataLoss: BLOB_DAMAGED
    """
    found = _trailer_of(file)
    if found is not None:
        return found
    length, checksums = _length_of(file), Checksums()
    while crc32c is not None and checksums.length < length:
        piece = os.pread(file.fileno(), min(PIECE_BYTES, length - checksums.length), checksums.length)
        if not piece:
            break
        checksums.update(piece)
    if crc32c is None or checksums.whole != crc32c:
        raise damaged()
    return Blocks(length, crc32c, array("I", checksums.all_blocks))


def _read_verified(file: FileIO, found: Blocks, offset: int, length: int) -> memoryview:
    data = read_verified(lambda size, start: memoryview(os.pread(file.fileno(), size, start)), 0, found, offset, length)
    assert data is not None, "a blocking read always returns data"
    return data


@contextmanager
def _missing_if_not_found() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise missing() from error


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
