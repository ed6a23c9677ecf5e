"""Adopted blobs: their bytes are in a file of a folder that the archive only reads.

Stored is a record of the file, as a derived blob without own bytes (see `derived`):

    facts      size of the file, number of blocks (64-bit little-endian integers), length of the folder's name (u16)
    names      name of the folder in the settings, and path below it, in UTF-8
    blocks     CRC-32C of each block of 64 KiB

So records of adopted files are durable, and are found after a crash, moved, walked, and used to rebuild an index like
all blobs.
"""

import os
import struct
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from server.adapters.blobs.checksums import Checksums
from server.adapters.blobs.derived import DerivedBlobs, OwnWriter
from server.adapters.blobs.disk.threads import PIECE_BYTES, DiskThreads
from server.adapters.blobs.records import Blocks, damaged, missing, read_verified
from server.model.buffer import Buffer
from server.model.errors import DataLoss, Reason, Unavailable
from server.model.instance import Locator
from server.model.receipt import Receipt
from server.ports.blobs import Derived, Tail

_FACTS = struct.Struct("<QQHI")


@dataclass(frozen=True, slots=True)
class AdoptedFile:
    """The record of a file.

    folder, path: name of the folder in the settings, and path below it.
    blocks: CRC-32C of each block of 64 KiB.
    """

    folder: str
    path: str
    size_bytes: int
    blocks: Sequence[int]

    def encoded(self) -> bytes:
        """Return the stored form."""
        names = [name.encode("utf-8", "surrogateescape") for name in (self.folder, self.path)]
        facts = _FACTS.pack(self.size_bytes, len(self.blocks), len(names[0]), len(names[1]))
        return facts + b"".join(names) + struct.pack(f"<{len(self.blocks)}I", *self.blocks)


def adopted_file(data: bytes) -> AdoptedFile:
    """Return the record with a stored form, whose bytes were verified. Raises: DataLoss (BLOB_DAMAGED)."""
    try:
        size_bytes, count, folder_bytes, path_bytes = _FACTS.unpack_from(data)
        at = _FACTS.size + folder_bytes
        folder, path = data[_FACTS.size : at], data[at : at + path_bytes]
        blocks = struct.unpack_from(f"<{count}I", data, at + path_bytes)
    except struct.error:
        raise DataLoss(Reason.BLOB_DAMAGED, "The record of an adopted file is damaged.") from None
    name, below = (text.decode("utf-8", "surrogateescape") for text in (folder, path))
    return AdoptedFile(name, below, size_bytes, blocks)


class AdoptedFiles:
    """Reads adopted files; each range is verified by the checksums of its blocks.

    Args:
        folders: their paths by name.
        threads: for all reads.
        background: for reads of low priority.
    """

    def __init__(self, folders: Mapping[str, Path], threads: DiskThreads, background: DiskThreads) -> None:
        self._folders = folders
        self._threads = threads
        self._background = background

    async def read_piece(self, record: bytes, crc32c: int, offset: int, length: int) -> Buffer:
        """Return a verified range of at most `MAX_PIECE_BYTES`.

        Args:
            record: of the file.
            crc32c: of the whole file.

        Raises: as `BlobStore.adopt` describes.
        """
        file = adopted_file(record)
        blocks = Blocks(file.size_bytes, crc32c, file.blocks)

        def read() -> Buffer:
            with self._opened(file) as opened:
                piece = read_verified(lambda size, at: _read(opened, size, at), 0, blocks, offset, length)
                assert piece is not None, "a blocking read returns data"
                return piece

        return await self._threads.run(read)

    async def read_unverified(self, record: bytes) -> AsyncGenerator[bytes]:
        """Yield all bytes that the file has now. Raises: as `read_piece`; BLOB_DAMAGED when it is truncated."""
        file, offset = adopted_file(record), 0
        with ExitStack() as stack:  # closes the file also if the caller is cancelled while it is opened
            opened = await self._background.run(lambda: stack.enter_context(self._opened(file)))
            while piece := await self._background.run(lambda: os.pread(opened.fileno(), PIECE_BYTES, offset)):  # noqa: B023
                offset += len(piece)
                yield piece
                _drop_cached(opened, offset)
        if offset < file.size_bytes:
            raise damaged()

    async def check(self, record: bytes) -> None:
        """Check that the file exists and has its size. Raises: as `read_piece`."""
        file = adopted_file(record)

        def check() -> None:
            with self._opened(file) as opened:
                if os.fstat(opened.fileno()).st_size != file.size_bytes:
                    raise damaged()

        await self._threads.run(check)

    def _opened(self, file: AdoptedFile) -> FileIO:
        """Open a file; blocking. Links are not followed."""
        root = self._folders.get(file.folder)
        if root is None:
            raise _away("an adopted folder is not in the settings")
        path = os.path.join(root.resolve(), file.path)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            # A mount point of a share that is not mounted is an empty directory: its files are not lost.
            if _is_empty(root):
                raise _away("an adopted folder does not exist, or is empty") from None
            raise missing() from None
        opened = FileIO(fd)
        if os.readlink(f"/proc/self/fd/{fd}") != path:
            opened.close()
            raise missing()
        return opened


class AdoptedWriter:
    """BlobWriter (see `server.ports.blobs`) of a blob whose bytes stay in a file. Use as an async context manager."""

    def __init__(
        self,
        derived: DerivedBlobs,
        open_write: Callable[[int], AbstractAsyncContextManager[OwnWriter]],
        folder: str,
        path: str,
    ) -> None:
        self._derived = derived
        self._open_write = open_write
        self._folder = folder
        self._path = path
        self._checksums = Checksums()

    async def __aenter__(self) -> "AdoptedWriter":
        """Enter."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave: nothing was written."""

    @property
    def crc32c(self) -> int:
        """See the port."""
        return self._checksums.whole

    async def write(self, data: Buffer) -> None:
        """See the port."""
        self._checksums.update(data)

    async def commit(self, receipt: Receipt) -> Locator:
        """See the port."""
        checksums = self._checksums
        record = AdoptedFile(self._folder, self._path, checksums.length, checksums.all_blocks).encoded()
        async with self._open_write(len(record)) as own:
            await own.write(record)
            return await self._derived.commit_adopted(own, checksums.length, checksums.whole, receipt)

    async def commit_before(self, tail: Tail, receipt: Receipt) -> Derived:
        """Never called: only files that are received as a whole are adopted."""
        raise AssertionError("A file is adopted as a whole.")


def _read(opened: FileIO, size: int, at: int) -> memoryview:
    buffer = memoryview(bytearray(size))
    done = 0
    while done < size and (count := os.preadv(opened.fileno(), [buffer[done:]], at + done)):
        done += count
    return buffer[:done]


def _drop_cached(opened: FileIO, end: int) -> None:
    os.posix_fadvise(opened.fileno(), 0, end, os.POSIX_FADV_DONTNEED)


def _is_empty(root: Path) -> bool:
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is None
    except OSError:
        return True


def _away(cause: str) -> Unavailable:
    return Unavailable(Reason.STORAGE_UNAVAILABLE, f"The file of the instance is not reachable: {cause}.")
