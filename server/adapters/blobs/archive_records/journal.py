"""The journal of blobs that no instance refers to, as files (see `server.ports.journal`). All functions block.

    <root>/journal/<process>    lines of one process, see `journal_lines`; `history` has those of ended processes,
                                `absorbed-<store id>` those of another store

The entries of a transaction are synced before its commit; its end is not synced and may be missing.
"""

import errno
import fcntl
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from server.adapters.blobs.archive_records.journal_lines import (
    Line,
    LineJournal,
    decided_by,
    effective,
    lines_of,
    without_completed,
)
from server.adapters.blobs.disk.file_lock import lock_if_free
from server.adapters.blobs.disk.reserve import Reserve
from server.adapters.blobs.disk.threads import as_errors_of_the_store, sync_directory
from server.model.instance import Locator
from server.model.store_id import StoreId
from server.ports.journal import ArchiveJournal

_HISTORY, _ABSORBED = "history", "absorbed-"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}

_T = TypeVar("_T")


class FileJournal(LineJournal):
    """ArchiveJournal (see `server.ports.journal`) below a directory, which may use the reserve beside it."""

    def __init__(self, root: Path) -> None:
        self._reserve = Reserve(root)
        self._directory = root / "journal"
        self._path = self._directory / uuid.uuid4().hex
        self._fd = -1
        self._is_open = False  # a transaction has entries
        self._is_torn = False  # the last line may be incomplete
        self._left_out: Collection[str] = ()

    # Writing

    def prepare(self) -> None:
        """See the port."""
        if self._is_open:
            with as_errors_of_the_store():
                os.fsync(self._fd)

    def committed(self) -> None:
        """See the port."""
        self._end(b"C\n")

    def rolled_back(self) -> None:
        """See the port."""
        self._end(b"V\n")

    def close(self) -> None:
        """Close the file; the next process takes it over."""
        if self._fd >= 0:
            with suppress(OSError):
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def ended(self) -> None:
        """See the port."""
        self._is_open = False

    def note(self, lines: Iterator[str]) -> None:
        """See the base class."""
        with as_errors_of_the_store():
            if self._fd < 0:
                self._with_room(self._begin)
            begin = "" if self._is_open else "T\n"
            self._is_open = True
            self._write((begin + "".join(lines)).encode("ascii"))

    def _begin(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o640)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        sync_directory(self._directory)
        sync_directory(self._directory.parent)

    def _end(self, line: bytes) -> None:
        if self._is_open:
            self._is_open = False
            with suppress(OSError):
                self._write(line)

    def _write(self, data: bytes) -> None:
        left = memoryview(b"\n" + data if self._is_torn else data)
        self._is_torn = True
        while left:
            left = left[self._with_room(lambda: os.write(self._fd, left)) :]  # noqa: B023 - called immediately
        self._is_torn = False

    def _with_room(self, work: Callable[[], _T]) -> _T:
        """Run work that needs disk space, from the reserve if necessary."""
        try:
            return work()
        except OSError as error:
            if error.errno not in _NO_ROOM or not self._reserve.draw():
                raise
            return work()

    # Reading

    def take_over(
        self, referenced: Callable[[Sequence[Locator]], Collection[Locator]], pending: Callable[[], Collection[int]]
    ) -> None:
        """See the port: the entries of ended processes move to `history`."""
        with as_errors_of_the_store():
            for path in self._paths():
                fd = lock_if_free(path, create=False)
                if fd is None:
                    continue
                try:
                    if path.name != _HISTORY and not path.name.startswith(_ABSORBED):
                        lines = effective(partial(_texts, path), decided_by(referenced))
                        self._append_to_history(without_completed(lines, pending))
                        path.unlink()
                finally:
                    os.close(fd)

    def absorb(self, store: StoreId, journal: ArchiveJournal) -> None:
        """See the port."""
        with as_errors_of_the_store():
            self._directory.mkdir(parents=True, exist_ok=True)
            path = self._directory / f"{_ABSORBED}{store}"
            fresh = self._directory.parent / f"{path.name}.new"
            with open(fresh, "w", encoding="ascii") as file:
                file.writelines(lines_of(journal))
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
            sync_directory(self._directory)

    def leave_out(self, stores: Collection[StoreId]) -> None:
        """See the port."""
        self._left_out = {f"{_ABSORBED}{store}" for store in stores}

    def effective_lines(self) -> Iterator[Line]:
        """See the base class."""
        for path in self._paths():
            if path.name in self._left_out:
                continue
            yield from effective(partial(_texts, path), lambda _, __: True)

    def _append_to_history(self, lines: Iterator[Line]) -> None:
        with open(self._directory / _HISTORY, "ab") as file:
            for line in lines:
                file.write(f"{' '.join(line)}\n".encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self._directory)

    def _paths(self) -> list[Path]:
        return sorted(self._directory.iterdir()) if self._directory.exists() else []


def _texts(path: Path) -> Iterator[str]:
    with open(path, encoding="ascii", errors="replace") as file:
        yield from file
