"""Files of chained records. All functions block.

A line is `<digest> <number> <records>`: one record or several, separated by tabs. A record is a JSON object, without
tabs, that begins with its time; the first one has this number, the others the following ones. The digest, in
hexadecimal, is the SHA-256 of the digest before and the rest of the line. The first record of a file has the digest
before it, so that a file can be checked alone; in the first file of a writer that is `START`. Earlier versions wrote
`<digest> <record>`, with the number as the first member of the record.

A file that is being written has unused space at its end: zeros, which no record contains. If its writer was killed,
they may follow an incomplete line.
"""

import hashlib
import os
import re
from binascii import hexlify
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, Protocol

import orjson

from server.model.audit.trail import MAX_RECORD_BYTES

START = bytes(32)
SUFFIX = ".log"

MAX_GROUP_BYTES = 32 << 10
"""A line, and a group of records that are appended together, gets no more records when it has this size."""

SEPARATOR = b"\t"
"""Between the records of a line. In JSON it would be an escape."""

_LINE = re.compile(rb"([0-9a-f]{64}) ([^\n\0]*)\n")
_RECORDS = re.compile(rb"([0-9]{1,19}) (.*)", re.DOTALL)
_RECORD = re.compile(rb'\{"time":"([0-9TZ:.-]{27})",.*\}', re.DOTALL)
_NUMBERED = re.compile(rb'\{"n":([0-9]{1,19}),"time":"([0-9TZ:.-]{27})",.*\}', re.DOTALL)
_MAX_LINE = 4 * (MAX_GROUP_BYTES + MAX_RECORD_BYTES)
_READ_BYTES = 1 << 20


class LogFile(Protocol):
    """A file of chained records, or of the list of checkpoints. A `Path` is one."""

    @property
    def name(self) -> str:
        """The name; its form is that of `log_lines.file_name` or of `list_state.list_name`."""
        ...

    def open(self, mode: Literal["rb"], buffering: int) -> BinaryIO:
        """Open the file. Raises: FileNotFoundError, if it was removed; OSError."""
        ...


class Record(NamedTuple):
    """A record: `data` is a JSON object that begins with number and time."""

    number: int
    time: str
    data: bytes


class Line(NamedTuple):
    """A complete line.

    end: position after it.
    text: its records, as the digest covers them.
    records: at least one.
    """

    end: int
    digest: bytes
    text: bytes
    records: Sequence[Record]

    @property
    def first(self) -> Record:
        """The first record."""
        return self.records[0]

    @property
    def last(self) -> Record:
        """The last record."""
        return self.records[-1]


class Fault(Enum):
    """Why the reading of a file ended before its end."""

    INCOMPLETE = "incomplete line at the end"
    UNWRITTEN = "zeros before other bytes"
    MALFORMED = "malformed line"
    CHANGED = "digest does not match"
    GAP = "number out of order"


@dataclass(slots=True)
class Scan:
    """State of a chain after some of its lines.

    number, time: of the last record.
    digest, end, records: of the last line, and the position after it.
    """

    number: int
    digest: bytes
    end: int = 0
    time: str = ""
    records: Sequence[Record] = ()
    fault: Fault | None = None

    def contradicts(self, number: int, digest: str) -> bool:
        """Return whether the last line has this record, and the digest up to it, in hexadecimal, is another one."""
        has_it = bool(self.records) and self.records[0].number <= number <= self.number
        return has_it and (number != self.number or digest != self.digest.hex())


def file_name(first_number: int) -> str:
    """Return the name of a file by the number of its first record. Names are in order of the numbers."""
    return f"{first_number:019d}{SUFFIX}"


def first_number(path: LogFile) -> int:
    """Return the number of the first record of a file by its name; 0 if the name is not one of a log file."""
    stem = path.name.removesuffix(SUFFIX)
    return int(stem) if path.name.endswith(SUFFIX) and len(stem) == 19 and stem.isdecimal() else 0


def log_files(directory: Path) -> list[Path]:
    """Return the log files of a writer in order; empty if there is no such directory."""
    try:
        return sorted(path for path in directory.iterdir() if first_number(path))
    except FileNotFoundError:
        return []


def digest_of(previous: bytes, text: bytes) -> bytes:
    """Return the digest of a line."""
    return hashlib.sha256(previous + text).digest()


def formatted(digest: bytes, text: bytes) -> bytes:
    """Return a line."""
    return b"%b %b\n" % (hexlify(digest), text)


def parsed(line: bytes, end: int) -> Line | None:
    """Return a line; None if it is malformed."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    digest, text = found.groups()
    records = _records(text)
    return Line(end, bytes.fromhex(digest.decode()), text, records) if records else None


def _records(text: bytes) -> Sequence[Record]:
    """Return the records of a line; none if they are malformed."""
    if numbered := _NUMBERED.fullmatch(text):  # written by an earlier version
        return [Record(int(numbered[1]), numbered[2].decode(), text)]
    if (parts := _RECORDS.fullmatch(text)) is None:
        return ()
    records = []
    for number, data in enumerate(parts[2].split(SEPARATOR), int(parts[1])):
        if (found := _RECORD.fullmatch(data)) is None:
            return ()
        records.append(Record(number, found[1].decode(), b'{"n":%d,%b' % (number, data[1:])))
    return records


def lines(path: LogFile, start: int = 0) -> Iterator[Line | Fault]:
    """Yield the lines from a position on; a fault ends the iteration. Memory is bounded by the length of a line.

    Zeros up to the end of the file are no fault. Zeros before other bytes may be left by a power failure: parts of a
    file reach the disk in any order.

    Raises: OSError.
    """
    with path.open("rb", _READ_BYTES) as file:
        file.seek(start)
        position = start
        while text := file.readline(_MAX_LINE):
            position += len(text)
            if b"\0" in text:
                used = text.rstrip(b"\0")
                if b"\0" in used or any(piece.strip(b"\0") for piece in _pieces(file)):
                    yield Fault.UNWRITTEN
                elif used:
                    yield Fault.INCOMPLETE
                return
            if not text.endswith(b"\n"):
                is_last = len(text) < _MAX_LINE and position >= _size(file)
                yield Fault.INCOMPLETE if is_last else Fault.MALFORMED
                return
            line = parsed(text, position)
            if line is None:
                yield Fault.MALFORMED
                return
            yield line


def has_line(path: LogFile, position: int) -> bool:
    """Return whether a line begins at a position, maybe an incomplete one. Raises: OSError."""
    with path.open("rb", 0) as file:
        file.seek(position)
        return file.read(1) not in (b"", b"\0")


def used_bytes(path: LogFile) -> int:
    """Return the size of a file without the unused space at its end. Raises: OSError."""
    with path.open("rb", _READ_BYTES) as file:
        position = _size(file)
        while position > 0:
            start = max(0, position - _READ_BYTES)
            file.seek(start)
            used = file.read(position - start).rstrip(b"\0")
            if used:
                return start + len(used)
            position = start
    return 0


def _size(file: BinaryIO) -> int:
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(position)
    return size


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_READ_BYTES), b"")


def scan(path: LogFile, before: Scan | None) -> Iterator[Scan]:
    """Yield the state of the chain before the first record of a file, and after each valid line.

    The last one has a fault, if there is any. The yielded object is the same each time.

    Args:
        before: the state at the end of the file before; None takes it from the first record of this file.
    """
    if before is None:
        state = Scan(first_number(path) - 1, START)
    else:
        state = Scan(before.number, before.digest, 0, before.time)
    yield state
    is_first = before is None
    for line in lines(path):
        if isinstance(line, Fault):
            state.fault = line
            yield state
            return
        if is_first:
            is_first = False
            state.number, state.digest = line.first.number - 1, _previous_in(line.first.data)
        if line.digest != digest_of(state.digest, line.text):
            state.fault = Fault.CHANGED
        elif line.first.number != state.number + 1:
            state.fault = Fault.GAP
        if state.fault is not None:
            yield state
            return
        state.number, state.time = line.last.number, line.last.time
        state.digest, state.end, state.records = line.digest, line.end, line.records
        yield state


def last_line(path: LogFile) -> Line | None:
    """Return the last complete line of a file; None if there is none. Raises: OSError."""
    size = used_bytes(path)
    with path.open("rb", _READ_BYTES) as file:
        length = min(size, 2 * _MAX_LINE)
        file.seek(size - length)
        tail = file.read(length)
    complete = tail[: tail.rfind(b"\n") + 1]
    while complete:
        start = complete.rfind(b"\n", 0, len(complete) - 1) + 1
        line = parsed(complete[start:], size - len(tail) + len(complete))
        if line is not None:
            return line
        complete = complete[:start]  # a power failure may leave a line that was not written completely
    return None


def _previous_in(record: bytes) -> bytes:
    try:
        return bytes.fromhex(orjson.loads(record)["previous"])
    except (ValueError, KeyError, TypeError):
        return START
