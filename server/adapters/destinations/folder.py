"""Files in a folder. Symbolic links below the permitted folder are never followed."""

import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath

from server.model.buffer import Buffer
from server.ports.lifecycle.exports import DestinationError

_PARTIAL = ".partial"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PERMANENT = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EEXIST, errno.EISDIR)


class FolderTarget:
    """`server.adapters.destinations.writing.Target` in a folder.

    A file is written below `.partial` in the folder of its operation, synced, and renamed.

    Args:
        path: the folder; created when a file is written.
        roots: the folders below which files may be written. They exist, and may themselves be symbolic links.
    """

    def __init__(self, path: str, roots: Sequence[str]) -> None:
        below = [root for root in roots if PurePosixPath(path).is_relative_to(root)]
        if not below:
            raise DestinationError("Exports to this folder are not permitted on this machine.", may_pass=False)
        self._root = max(below, key=len)
        self._parts = PurePosixPath(path).relative_to(self._root).parts

    def put(self, path: str, data: Buffer) -> None:
        """See `Target`."""
        upload = self.begin(path)
        try:
            upload.write(data)
            upload.commit()
        except BaseException:
            upload.abort()
            raise

    def begin(self, path: str) -> "FileUpload":
        """See `Target`."""
        *folders, name = path.split("/")
        with _translated(), self._directory(*folders[:1], _PARTIAL) as partial, self._directory(*folders) as target:
            return FileUpload(os.dup(partial), os.dup(target), name)

    def clean_up(self, path: str) -> None:
        """See `Target`."""
        with _translated(), self._directory(path) as folder:
            try:
                partial = os.open(_PARTIAL, _DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            except FileNotFoundError:
                return
            try:
                for name in os.listdir(partial):
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=partial)
            finally:
                os.close(partial)
            with suppress(FileNotFoundError, OSError):
                os.rmdir(_PARTIAL, dir_fd=folder)
            os.fsync(folder)

    @contextmanager
    def _directory(self, *parts: str) -> Iterator[int]:
        """Open a directory below the folder, and create it if it does not exist."""
        descriptor = os.open(self._root, _DIRECTORY)
        try:
            for part in (*self._parts, *parts):
                try:
                    below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                except FileNotFoundError:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o750, dir_fd=descriptor)
                        os.fsync(descriptor)
                    below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)


class FileUpload:
    """`server.adapters.destinations.writing.Upload` of a file; takes the descriptors of two directories."""

    def __init__(self, partial: int, target: int, name: str) -> None:
        self._partial, self._target, self._name = partial, target, name
        self._temporary = secrets.token_hex(16)
        self._file = -1
        try:
            self._file = os.open(self._temporary, _NEW_FILE, 0o640, dir_fd=partial)
        except OSError:
            self._close()
            raise

    def write(self, data: Buffer) -> None:
        """See `Upload`."""
        with _translated():
            left = memoryview(data)
            while left:
                left = left[os.write(self._file, left) :]

    def commit(self) -> None:
        """See `Upload`."""
        with _translated():
            os.fsync(self._file)
            os.rename(self._temporary, self._name, src_dir_fd=self._partial, dst_dir_fd=self._target)
            os.fsync(self._target)
            self._close()

    def abort(self) -> None:
        """See `Upload`."""
        if self._file >= 0:
            with suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._partial)
            self._close()

    def _close(self) -> None:
        for descriptor in (self._file, self._partial, self._target):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._partial = self._target = -1


@contextmanager
def _translated() -> Iterator[None]:
    """Raise DestinationError instead of OSError, whose text contains paths."""
    try:
        yield
    except OSError as error:
        raise _error(error.errno or 0) from None


def _error(number: int) -> DestinationError:
    if number in (errno.ELOOP, errno.ENOTDIR):
        text = "The path of the folder contains a symbolic link, or something that is not a folder."
        return DestinationError(text, may_pass=False)
    if number in _FULL:
        return DestinationError("The disk of the destination is full.", may_pass=True)
    if number == errno.ENOENT:
        return DestinationError("The permitted folder does not exist on this machine.", may_pass=False)
    cause = errno.errorcode.get(number, str(number))
    return DestinationError(f"The folder cannot be written to ({cause}).", may_pass=number not in _PERMANENT)
