"""The identity of the archive in its data directory. All functions block.

archive.json    {"archive": <id>, "bound": whether the index is known to carry the same id,
                 "recovering": whether a recovery of the index has begun and not ended}
.archive-lock   held while a process compares and binds data directory and index
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.adapters.blobs.disk.threads import sync_directory
from server.adapters.blobs.marks import Marks
from server.adapters.blobs.segment_files.segments import SUFFIX
from server.model.archive import ArchiveId, BlobsIdentity, Mark
from server.model.errors import Reason, Unavailable

_NAME = "archive.json"


class ArchiveFile:
    """The identity file of one data directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / _NAME

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the directory if need be, and keep other processes that start on it waiting."""
        with _translated():
            self._root.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._root / ".archive-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def read(self) -> BlobsIdentity:
        """Return what the directory says; it need not exist.

        Raises:
            Unavailable: STORAGE_UNAVAILABLE, also when the file is damaged.
        """
        place = str(self._root.absolute())
        with _translated():
            mark = Marks(self._root).highest()
            has_blobs = mark != Mark() or self._has_blobs()
            try:
                text = self._path.read_bytes()
            except FileNotFoundError:
                return BlobsIdentity(place, None, is_bound=False, has_blobs=has_blobs, mark=mark)
            try:
                facts = json.loads(text)
                is_recovering = bool(facts.get("recovering"))
                return BlobsIdentity(place, str(facts["archive"]), bool(facts["bound"]), has_blobs, mark, is_recovering)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise Unavailable(
                    Reason.STORAGE_UNAVAILABLE, f"{self._path} is damaged: restore it from a backup."
                ) from error

    def write(self, archive: ArchiveId, *, is_bound: bool, is_recovering: bool = False) -> None:
        """Write the file durably, whole or not at all."""
        temporary = self._path.with_suffix(".new")
        with _translated():
            with open(temporary, "w") as file:
                json.dump({"archive": archive, "bound": is_bound, "recovering": is_recovering}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
            sync_directory(self._root)

    def _has_blobs(self) -> bool:
        segments = self._root.glob(f"segments/*{SUFFIX}")
        return any(path.stat().st_size for path in segments) or any(self._root.glob("blobs/*/*"))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(Reason.STORAGE_UNAVAILABLE, f"The data directory can't be used: {error.strerror}.") from error
