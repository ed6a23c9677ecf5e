"""Reading the records of all writers, in order of time or as they are appended. All functions block.

Memory and open files are bounded by the number of writers that wrote at the same time.
"""

import heapq
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.adapters.blobs.audit_trail.log_lines import (
    Fault,
    Line,
    first_number,
    has_line,
    last_line,
    lines,
    log_files,
)
from server.adapters.blobs.audit_trail.log_writer import LOCK
from server.adapters.blobs.disk.file_lock import lock_if_free
from server.model.audit.trail import Positions, StoredRecord, WriterId


def records(root: Path, start: str = "", end: str = "") -> Iterator[StoredRecord]:
    """Yield the records with `start` <= time < `end`, in order of time. An empty limit is none.

    A file that is damaged is read up to the damage. Raises: OSError.
    """
    waiting = sorted(_starts(root, start), reverse=True)
    heap: list[tuple[StoredRecord, Iterator[StoredRecord]]] = []
    while waiting or heap:
        while waiting and (not heap or waiting[-1][0] <= heap[0][0].time):
            _, path = waiting.pop()
            _push(heap, _writer_records(path, start))
        if not heap:
            continue
        record, rest = heapq.heappop(heap)
        if end and record.time >= end:
            return
        yield record
        _push(heap, rest)


def _push(heap: "list[tuple[StoredRecord, Iterator[StoredRecord]]]", rest: Iterator[StoredRecord]) -> None:
    following = next(rest, None)
    if following is not None:
        heapq.heappush(heap, (following, rest))  # records differ in writer or number, so iterators are not compared


def _starts(root: Path, start: str) -> Iterator[tuple[str, Path]]:
    """Yield time of the first record and directory of each writer with records at or after `start`."""
    for directory in directories(root):
        files = log_files(directory)
        if not files:
            continue
        with suppress(FileNotFoundError):  # removed meanwhile
            if start:
                last = last_line(files[-1])
                if last is not None and last.time < start:
                    continue
            first = next(lines(files[0]), None)
            if isinstance(first, Line):
                yield max(first.time, start), directory


def _writer_records(directory: Path, start: str) -> Iterator[StoredRecord]:
    files = log_files(directory)
    for index, path in enumerate(files):
        with suppress(FileNotFoundError):
            if start and index + 1 < len(files):
                following = next(lines(files[index + 1]), None)
                if isinstance(following, Line) and following.time < start:
                    continue
            for line in lines(path):
                if isinstance(line, Fault):
                    break
                if line.time >= start:
                    yield StoredRecord(line.time, directory.name, line.number, line.record)


def directories(root: Path) -> list[Path]:
    """Return the directories of writers."""
    try:
        return [path for path in (root / "writers").iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []


@dataclass(slots=True)
class _Cursor:
    number: int  # of the last record that was read
    path: Path | None = None
    offset: int = 0


class Tail:
    """Reads records as they are appended, each once, from given positions on.

    Args:
        positions: of the last processed record of each writer; other writers are read from the beginning.
    """

    def __init__(self, root: Path, positions: Positions) -> None:
        self._root = root
        self._cursors = {writer: _Cursor(number) for writer, number in positions.items()}
        self._finished: set[WriterId] = set()

    @classmethod
    def at_end(cls, root: Path) -> "Tail":
        """Return a tail that begins after the present records."""
        tail = cls(root, {})
        for directory in directories(root):
            files = log_files(directory)
            last = last_line(files[-1]) if files else None
            if last is not None:
                tail._cursors[directory.name] = _Cursor(last.number, files[-1], last.end)
        return tail

    @property
    def positions(self) -> Positions:
        """The positions after the records that were returned, of writers that exist."""
        return {writer: cursor.number for writer, cursor in self._cursors.items()}

    def poll(self, limit: int) -> list[StoredRecord]:
        """Return at most about `limit` new records, those of each poll in order of time. Raises: OSError."""
        found: list[StoredRecord] = []
        present = directories(self._root)
        names = {directory.name for directory in present}
        for gone in [writer for writer in self._cursors if writer not in names]:
            del self._cursors[gone]
            self._finished.discard(gone)
        for directory in present:
            if directory.name not in self._finished and len(found) < limit:
                self._read(directory, limit - len(found), found)
        return sorted(found)

    def _read(self, directory: Path, limit: int, found: list[StoredRecord]) -> None:
        cursor = self._cursors.setdefault(directory.name, _Cursor(0))
        is_complete = has_ended(directory)  # before reading: nothing is appended after it has ended
        count = 0
        while count < limit:
            if cursor.path is None and not self._open(directory, cursor):
                break
            count += self._read_file(directory.name, cursor, limit - count, found)
            if count >= limit:
                return
            if not self._open_next(directory, cursor):
                break
        if is_complete and count < limit:
            self._finished.add(directory.name)

    @staticmethod
    def _open(directory: Path, cursor: _Cursor) -> bool:
        files = log_files(directory)
        if not files:
            return False
        before = [path for path in files if first_number(path) <= cursor.number + 1]
        cursor.path, cursor.offset = (before or files)[-1 if before else 0], 0
        return True

    @staticmethod
    def _open_next(directory: Path, cursor: _Cursor) -> bool:
        assert cursor.path is not None
        following = [path for path in log_files(directory) if path.name > cursor.path.name]
        if following:
            cursor.path, cursor.offset = following[0], 0
        return bool(following)

    @staticmethod
    def _read_file(writer: WriterId, cursor: _Cursor, limit: int, found: list[StoredRecord]) -> int:
        assert cursor.path is not None
        count = 0
        with suppress(FileNotFoundError):
            if not has_line(cursor.path, cursor.offset):
                return 0
            for line in lines(cursor.path, cursor.offset):
                if isinstance(line, Fault):
                    break
                cursor.offset = line.end
                if line.number <= cursor.number:
                    continue
                cursor.number = line.number
                found.append(StoredRecord(line.time, writer, line.number, line.record))
                count += 1
                if count >= limit:
                    break
        return count


def has_ended(directory: Path) -> bool:
    """Return whether the process that wrote to a directory has ended."""
    try:
        fd = lock_if_free(directory / LOCK, create=False)
    except FileNotFoundError:
        return False
    if fd is None:
        return False
    os.close(fd)
    return True
