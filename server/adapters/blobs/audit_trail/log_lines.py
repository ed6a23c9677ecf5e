"""Files of chained records. All functions block.

A line is `<digest> <record>`: the record is a JSON object that begins with its number and time, and the digest, in
hexadecimal, is the SHA-256 of the digest before and the record. The first record of a file has the digest before it, so
that a file can be checked alone; in the first file of a writer that is `START`.

A file that is being written has unused space at its end: zeros, which no record contains. If its writer was killed,
they may follow an incomplete line.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, Protocol

import orjson

from server.model.audit.trail import MAX_RECORD_BYTES

START = bytes(32)
SUFFIX = ".log"

_LINE = re.compile(rb'([0-9a-f]{64}) (\{"n":([0-9]{1,19}),"time":"([0-9TZ:.-]{27})",[^\n\0]*\})\n')
_MAX_LINE = MAX_RECORD_BYTES + 256
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


class Line(NamedTuple):
    """A complete line; `end` is the position after it."""

    end: int
    number: int
    time: str
    digest: bytes
    record: bytes


class Fault(Enum):
    """Why the reading of a file ended before its end."""

    INCOMPLETE = "incomplete line at the end"
    UNWRITTEN = "zeros before other bytes"
    MALFORMED = "malformed line"
    CHANGED = "digest does not match"
    GAP = "number out of order"


@dataclass(slots=True)
class Scan:
    """State of a chain after some of its records: facts of the last one, and the position after it."""

    number: int
    digest: bytes
    end: int = 0
    time: str = ""
    record: bytes = b""
    fault: Fault | None = None


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


def digest_of(previous: bytes, record: bytes) -> bytes:
    """Return the digest of a record."""
    return hashlib.sha256(previous + record).digest()


def formatted(digest: bytes, record: bytes) -> bytes:
    """Return a line."""
    return digest.hex().encode() + b" " + record + b"\n"


def parsed(line: bytes, end: int) -> Line | None:
    """Return a line; None if it is malformed."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    digest, record, number, time = found.groups()
    return Line(end, int(number), time.decode(), bytes.fromhex(digest.decode()), record)


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
    """Yield the state of the chain before the first record of a file, and after each valid one.

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
            state.number, state.digest = line.number - 1, _previous_in(line.record)
        if line.digest != digest_of(state.digest, line.record):
            state.fault = Fault.CHANGED
        elif line.number != state.number + 1:
            state.fault = Fault.GAP
        if state.fault is not None:
            yield state
            return
        state.number, state.digest, state.end, state.time = line.number, line.digest, line.end, line.time
        state.record = line.record
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
