"""Reading the records of all writers, in order of time or as they are appended. All functions block.

Memory and open files are bounded by the number of writers that wrote at the same time.
"""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from server.adapters.blobs.audit_trail.log_lines import Fault, LogFile, first_number, has_line, last_line, lines
from server.adapters.blobs.audit_trail.place import Place
from server.model.audit.trail import Positions, StoredRecord, WriterId


def records(place: Place, start: str = "", end: str = "") -> Iterator[StoredRecord]:
    """Yield the records with `start` <= time < `end`, in order of time. An empty limit is none.

    A file that is damaged is read up to the damage. Raises: OSError.
    """
    place = place.snapshot()
    waiting = sorted(_starts(place, start), reverse=True)
    heap: list[tuple[StoredRecord, Iterator[StoredRecord]]] = []
    while waiting or heap:
        while waiting and (not heap or waiting[-1][0] <= heap[0][0].time):
            _, writer = waiting.pop()
            _push(heap, _writer_records(place, writer, start))
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


def _starts(place: Place, start: str) -> Iterator[tuple[str, WriterId]]:
    """Yield time of the first record and name of each writer with records at or after `start`."""
    for writer in place.writers():
        files = place.files(writer)
        if not files:
            continue
        with suppress(FileNotFoundError):  # removed meanwhile
            if start and place.ends_before(files[-1], start):
                continue
            if first := place.first_time(files[0]):
                yield max(first, start), writer


def _writer_records(place: Place, writer: WriterId, start: str) -> Iterator[StoredRecord]:
    last = 0
    files = place.files(writer)
    for index, file in enumerate(files):
        with suppress(FileNotFoundError):
            if start and index + 1 < len(files) and (place.first_time(files[index + 1]) or start) < start:
                continue
            for line in lines(file):
                if isinstance(line, Fault):
                    break
                for record in line.records:
                    if record.time >= start and record.number > last:
                        last = record.number
                        yield StoredRecord(record.time, writer, record.number, record.data)


@dataclass(slots=True)
class _Cursor:
    number: int  # of the last record that was read
    file: LogFile | None = None
    offset: int = 0


class Tail:
    """Reads records as they are appended, each once, from given positions on.

    Args:
        positions: of the last processed record of each writer; other writers are read from the beginning.
    """

    def __init__(self, place: Place, positions: Positions) -> None:
        self._place = place
        self._cursors = {writer: _Cursor(number) for writer, number in positions.items()}
        self._finished: set[WriterId] = set()

    @classmethod
    def at_end(cls, place: Place) -> "Tail":
        """Return a tail that begins after the present records."""
        tail = cls(place, {})
        present = place.snapshot()
        for writer in present.writers():
            files = present.files(writer)
            last = last_line(files[-1]) if files else None
            if last is not None:
                tail._cursors[writer] = _Cursor(last.last.number, files[-1], last.end)
        return tail

    @property
    def positions(self) -> Positions:
        """The positions after the records that were returned, of writers that exist."""
        return {writer: cursor.number for writer, cursor in self._cursors.items()}

    def poll(self, limit: int) -> list[StoredRecord]:
        """Return at most about `limit` new records, those of each poll in order of time. Raises: OSError."""
        found: list[StoredRecord] = []
        present = self._place.writers()
        for gone in self._cursors.keys() - set(present):
            del self._cursors[gone]
            self._finished.discard(gone)
        for writer in present:
            if writer not in self._finished and len(found) < limit:
                self._read(writer, limit - len(found), found)
        return sorted(found)

    def _read(self, writer: WriterId, limit: int, found: list[StoredRecord]) -> None:
        cursor = self._cursors.setdefault(writer, _Cursor(0))
        is_complete = self._place.has_ended(writer)  # before listing: nothing is appended after it has ended
        files = self._place.files(writer)
        count = 0
        _open_current(cursor, files)
        while cursor.file is not None:
            count += self._read_file(writer, cursor.file, cursor, limit - count, found)
            if count >= limit:
                return
            following = [file for file in files if file.name > cursor.file.name]
            if not following:
                break
            cursor.file, cursor.offset = following[0], 0
        if is_complete:
            self._finished.add(writer)

    @staticmethod
    def _read_file(
        writer: WriterId, file: LogFile, cursor: _Cursor, limit: int, found: list[StoredRecord]
    ) -> int:  # fmt: skip
        count = 0
        with suppress(FileNotFoundError):
            if not has_line(file, cursor.offset):
                return 0
            for line in lines(file, cursor.offset):
                if isinstance(line, Fault):
                    break
                cursor.offset = line.end
                for record in line.records:
                    if record.number > cursor.number:
                        cursor.number = record.number
                        found.append(StoredRecord(record.time, writer, record.number, record.data))
                        count += 1
                if count >= limit:
                    break
        return count


def _open_current(cursor: _Cursor, files: Sequence[LogFile]) -> None:
    """Set the file to read; another one if the last one was removed or joined with others."""
    if cursor.file is not None and cursor.file not in files:
        cursor.file = None
    if cursor.file is None and files:
        before = [file for file in files if first_number(file) <= cursor.number + 1]
        cursor.file, cursor.offset = (before or files)[-1 if before else 0], 0
