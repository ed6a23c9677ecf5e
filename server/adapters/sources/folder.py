"""A folder as a source of imports, and as a location for files that could not be imported.

No link below the folder is followed: whoever may write there could otherwise import any file that the archive can read.
"""

import asyncio
import errno
import heapq
import itertools
import os
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import NamedTuple, TypeVar

from server.adapters.blobs.disk.threads import as_errors_of_the_store
from server.adapters.sources.directories import opened_directory
from server.model.buffer import Buffer
from server.model.errors import Reason, Unavailable
from server.ports.imports import Gone, SourceFault, SourceFile

_PIECE_BYTES = 1 << 20
_MAX_NAMES = 20_000
"""Names of one directory in memory; a directory with more is read once for each so many."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_LINK = "It is a symbolic link, which is not followed."
_CHANGED = "The file was changed while it was read."

_T = TypeVar("_T")


class _Entry(NamedTuple):
    """An entry of a directory: `kind` is "d" for a directory, "f" for a file, "l" for a link."""

    name: str
    kind: str


Listed = SourceFile | tuple[str, SourceFault]


class FolderSource:
    """`server.ports.imports.Source` of a folder, whose path has no links."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._walk: Iterator[Listed] = iter(())
        self._walked: str | None = None  # the last name that `_walk` has yielded

    async def page(self, after: str, limit: int) -> Sequence[Listed]:
        """See the port."""
        return await asyncio.to_thread(self._page, after, limit)

    def _page(self, after: str, limit: int) -> Sequence[Listed]:
        self._require_root()
        if self._walked != after:
            self._walk = self._files("", after.split("/") if after else [])
        found = list(itertools.islice(self._walk, limit))
        if found:
            last = found[-1]
            self._walked = last.name if isinstance(last, SourceFile) else last[0]
        else:
            self._walked = None
        return found

    async def count(self, seconds: float) -> int:
        """See the port."""
        return await asyncio.to_thread(self._count, time.monotonic() + seconds)

    def _count(self, end: float) -> int:
        count, directories = 0, [self._root]
        while directories:
            with suppress(OSError), os.scandir(directories.pop()) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        count += 1
                        if not count % 1000 and time.monotonic() > end:
                            return 0
        return count

    async def contents(self, files: Sequence[SourceFile]) -> Sequence[Buffer | SourceFault | Gone]:
        """See the port."""
        return await asyncio.to_thread(lambda: [self._content(file) for file in files])

    def _content(self, file: SourceFile) -> Buffer | SourceFault | Gone:
        try:
            with self._opened(file.name) as opened:
                content = opened.read(file.size_bytes)
                self._require_unchanged(opened, file)
                return content or b""
        except (SourceFault, Gone) as fault:
            return fault
        except OSError as error:
            return _fault(error)

    async def read(self, file: SourceFile) -> AsyncGenerator[Buffer]:
        """See the port."""
        opened = await asyncio.to_thread(self._opened, file.name)
        try:
            left = file.size_bytes
            while left:
                size = min(left, _PIECE_BYTES)
                try:
                    piece = await asyncio.to_thread(opened.read, size)
                except OSError as error:
                    raise _fault(error) from error
                if not piece:
                    raise SourceFault(_CHANGED)
                yield piece
                left -= len(piece)
            self._require_unchanged(opened, file)
        finally:
            opened.close()

    async def delete(self, files: Sequence[SourceFile]) -> Collection[SourceFile]:
        """See the port."""
        return await asyncio.to_thread(lambda: [file for file in files if not self._is_deleted(file)])

    def _is_deleted(self, file: SourceFile) -> bool:
        *directories, name = file.name.split("/")
        try:
            with opened_directory(self._root, directories) as directory:
                fd = os.open(name, _READ, dir_fd=directory)
                with FileIO(fd) as opened:
                    self._require_unchanged(opened, file)
                os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            return os.path.isdir(self._root)
        except (OSError, SourceFault):
            return False
        return True

    def _opened(self, name: str) -> FileIO:
        """Open a file below the folder. Raises: SourceFault, Gone, Unavailable."""
        path = os.path.join(self._root, name)
        try:
            fd = os.open(path, _READ)
        except (FileNotFoundError, NotADirectoryError):
            self._require_root()
            raise Gone from None
        except OSError as error:
            raise _fault(error) from error
        opened = FileIO(fd)
        if os.readlink(f"/proc/self/fd/{fd}") != path:  # a directory on the way is a link
            opened.close()
            raise SourceFault(_LINK)
        return opened

    def _require_unchanged(self, opened: FileIO, file: SourceFile) -> None:
        if _listed(file.name, os.fstat(opened.fileno())).etag != file.etag:
            raise SourceFault(_CHANGED)

    def _require_root(self) -> None:
        if not os.path.isdir(self._root):
            raise _unreachable()

    def _files(self, directory: str, after: Sequence[str]) -> Iterator[Listed]:
        """Yield the files below a directory, whose path ends with "/", in order, from the one after a path on."""
        first = after[0] if after else ""
        try:
            if len(after) > 1:
                yield from self._files_of(directory, _Entry(first, "d"), after[1:])
            for entry in _entries(os.path.join(self._root, directory), first):
                yield from self._files_of(directory, entry, ())
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if not directory:
                raise _unreachable() from error
            yield directory.rstrip("/"), _fault(error)

    def _files_of(self, directory: str, entry: _Entry, after: Sequence[str]) -> Iterator[Listed]:
        name = directory + entry.name
        if entry.kind == "d":
            yield from self._files(f"{name}/", after)
        elif entry.kind == "l":
            yield name, SourceFault(_LINK)
        else:
            with suppress(FileNotFoundError):
                yield _listed(name, os.lstat(os.path.join(self._root, name)))


class FolderErrors:
    """`server.ports.imports.ErrorLocation` in a folder, whose path has no links."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def add(self, name: str, record: bytes, content: AsyncIterator[Buffer] | None) -> None:
        """See the port."""
        if content is not None:
            await self._write(name, content)
        await self._write(f"{name}.error.json", _pieces(record))

    async def _write(self, path: str, content: AsyncIterator[Buffer]) -> None:
        *directories, name = path.split("/")
        temporary = f".{uuid.uuid4().hex}"

        def open_directory() -> int:
            try:
                return stack.enter_context(opened_directory(str(self._root), directories, creates=True))
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                message = "A folder for errors of the import is a link."
                raise Unavailable(Reason.STORAGE_UNAVAILABLE, message) from error

        def finish() -> None:
            os.fsync(file.fileno())
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)

        with ExitStack() as stack:
            directory = await _run(open_directory)
            file = await _run(
                lambda: stack.enter_context(FileIO(os.open(temporary, _NEW, 0o640, dir_fd=directory), "w"))
            )
            try:
                async for piece in content:
                    await _run(lambda: _write_all(file, piece))  # noqa: B023 - awaited here
                await _run(finish)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=directory)
                raise


async def _pieces(data: bytes) -> AsyncIterator[Buffer]:
    yield data


def _write_all(file: FileIO, piece: Buffer) -> None:
    left = memoryview(piece)
    while left:
        left = left[file.write(left) :]


async def _run(work: Callable[[], _T]) -> _T:
    """Run `work` on a thread. Raises: Exhausted, Unavailable."""

    def translated() -> _T:
        with as_errors_of_the_store():
            return work()

    return await asyncio.to_thread(translated)


def _entries(directory: str, after: str) -> Iterator[_Entry]:
    """Yield the entries of a directory with names after `after`, in order; neither hidden ones nor devices."""
    while True:
        with os.scandir(directory) as found:
            wanted = (
                _Entry(entry.name, kind)
                for entry in found
                if entry.name > after and entry.name[0] != "." and (kind := _kind(entry))
            )
            some = heapq.nsmallest(_MAX_NAMES, wanted)
        yield from some
        if len(some) < _MAX_NAMES:
            return
        after = some[-1].name


def _kind(entry: "os.DirEntry[str]") -> str:
    if entry.is_file(follow_symlinks=False):
        return "f"
    if entry.is_dir(follow_symlinks=False):
        return "d"
    return "l" if entry.is_symlink() else ""


def _listed(name: str, found: os.stat_result) -> SourceFile:
    # The time of the last change of the entry cannot be set by programs, unlike that of the content.
    changed = datetime.fromtimestamp(max(found.st_mtime, found.st_ctime), UTC)
    return SourceFile(name, found.st_size, f"{found.st_size}-{found.st_mtime_ns}", changed)


def _fault(error: OSError) -> SourceFault:
    if error.errno == errno.ELOOP:
        return SourceFault(_LINK)
    return SourceFault(f"The file cannot be read: {os.strerror(error.errno or errno.EIO)}.")


def _unreachable() -> Unavailable:
    return Unavailable(Reason.STORAGE_UNAVAILABLE, "The folder of the import is not reachable.")
