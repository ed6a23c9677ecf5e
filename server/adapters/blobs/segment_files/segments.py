"""Segment files: many small blobs one after another. All functions block.

    <directory>/<segment>.seg    records: a header of 12 bytes, the blob, its trailer (see `records`)

A header is the mark (live, live and derived, or erased), the length of the blob, and the CRC-32C of these two. Bytes
are only appended, and later only erased. Damage to one record never affects another: nothing after a damaged header is
cut or removed, and records are read by their locators without their headers.
"""

import ctypes
import os
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from crc32c import crc32c as crc32c_of

from server.adapters.blobs.checksums import BLOCK_BYTES
from server.adapters.blobs.derived import SUFFIX as DERIVED_SUFFIX
from server.adapters.blobs.disk.threads import sync_directory, write_all
from server.adapters.blobs.records import (
    Read,
    Trailer,
    damaged,
    missing,
    parse_trailer,
    read_verified,
    trailer_bytes,
    unknown_receipt,
)
from server.model.buffer import Buffer
from server.model.errors import DataLoss
from server.model.instance import Locator

HEADER_BYTES = 12
SUFFIX = ".seg"
_FACTS = struct.Struct("<4sI")
LIVE, _DERIVED, _ERASED = b"DSr2", b"DSd2", b"DSx2"
_LIVE_MARKS = (LIVE, _DERIVED)
_LOCATOR = re.compile(rf"([0-9a-f]{{32}})-([0-9a-f]{{1,8}})-([0-9a-f]{{1,8}})({DERIVED_SUFFIX})?")
_PUNCH_HOLE_KEEP_SIZE = 3

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Record:
    """The position of a blob: the offset is that of its header.

    is_derived: see `server.adapters.blobs.derived`.
    """

    segment: str
    offset: int
    length: int
    is_derived: bool = False

    @property
    def end(self) -> int:
        """Start of the next record."""
        return self.offset + record_bytes(self.length)

    @property
    def locator(self) -> Locator:
        """The locator of the record."""
        return f"{self.segment}-{self.offset:x}-{self.length:x}{DERIVED_SUFFIX if self.is_derived else ''}"

    @property
    def header(self) -> bytes:
        """The header of the live record."""
        return header(_DERIVED if self.is_derived else LIVE, self.length)


@lru_cache(maxsize=1024)  # several reads of one blob mostly follow each other
def record_of(locator: Locator) -> Record | None:
    """Return the record of a locator; None if it is not in a segment."""
    match = _LOCATOR.fullmatch(locator)
    return Record(match[1], int(match[2], 16), int(match[3], 16), bool(match[4])) if match else None


def record_bytes(length: int) -> int:
    """Return the size of the record of a blob of `length` bytes."""
    return HEADER_BYTES + length + trailer_bytes(length)


def path_of(directory: Path, segment: str) -> Path:
    """Return the file of a segment."""
    return directory / f"{segment}{SUFFIX}"


class Segment:
    """A segment that this process appends to."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.end = 0
        self.is_broken = False
        self._fd = os.open(path_of(directory, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        sync_directory(directory)

    def append(self, blobs: Sequence[tuple[Sequence[Buffer], bool]]) -> list[Record]:
        """Append blobs and make them durable together.

        Args:
            blobs: each in pieces with its trailer as the last one, and whether it is derived.

        Raises:
            OSError: none of them is in the segment. If it `is_broken` then, it must not be used any more.
        """
        records: list[Record] = []
        buffers: list[Buffer] = []
        end = self.end
        for pieces, is_derived in blobs:
            record = Record(self.name, end, sum(map(len, pieces[:-1])), is_derived)
            records.append(record)
            buffers.append(record.header)
            buffers += pieces
            end = record.end
        try:
            write_all(self._fd, buffers, self.end)
        except OSError:
            with suppress(OSError):  # the next record overwrites what can't be cut off
                os.ftruncate(self._fd, self.end)
            raise
        try:
            os.fdatasync(self._fd)
        except OSError:
            self.is_broken = True  # the durable part is unknown
            raise
        self.end = end
        return records

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def header(mark: bytes, length: int) -> bytes:
    """Return the header of a record."""
    facts = _FACTS.pack(mark, length)
    check: int = crc32c_of(facts)
    return facts + check.to_bytes(4, "little")


def live_records(fd: int, segment: str) -> Iterator[Record]:
    """Yield the live records of a segment, up to its end or an invalid header."""
    size = os.fstat(fd).st_size
    for offset, mark, length in _headers(fd):
        if mark in _LIVE_MARKS and offset + record_bytes(length) <= size:
            yield Record(segment, offset, length, mark == _DERIVED)


def erased_until(fd: int, start: int = 0) -> int:
    """Return the position of the first live record, or of the first invalid header, from the record at `start` on.

    If there is neither, it is the size of the segment, which then has no live blobs.
    """
    end = start
    for offset, mark, length in _headers(fd, start):
        if mark in _LIVE_MARKS:
            return offset
        end = offset + record_bytes(length)
    return end


def live_bytes(fd: int) -> int | None:
    """Return the size of all live records with their headers; None if a header is invalid."""
    size, end = 0, 0
    for offset, mark, length in _headers(fd):
        end = offset + record_bytes(length)
        if mark in _LIVE_MARKS:
            size += end - offset
    return size if end == os.fstat(fd).st_size else None


def cut_torn_tail(fd: int) -> None:
    """Cut off a last record that an ended process did not finish writing: its header is complete, the rest is not."""
    size = os.fstat(fd).st_size
    for offset, _, length in _headers(fd):
        if offset + record_bytes(length) > size:
            os.ftruncate(fd, offset)
            os.fsync(fd)


def _headers(fd: int, offset: int = 0) -> Iterator[tuple[int, bytes, int]]:
    """Yield (offset, mark, length) of each record, up to the first invalid header."""
    size = os.fstat(fd).st_size
    while offset + HEADER_BYTES <= size:
        found = os.pread(fd, HEADER_BYTES, offset)
        mark, length = _FACTS.unpack(found[: _FACTS.size])
        if found != header(mark, length):
            return
        yield offset, mark, length
        offset += record_bytes(length)


def read_record(
    read: Read, record: Record, offset: int = 0, length: int | None = None, crc32c: int | None = None
) -> Buffer | None:
    """Read a range of a blob, with `read(size, offset)` of its segment; None if that returned None.

    Bytes that match their checksums need no header. A record that is being erased is therefore read, or missing: it is
    marked as erased before its bytes are.

    Args:
        crc32c: of the whole blob, from the index. It alone verifies a read of the whole blob, even with a damaged
            trailer.

    Raises:
        DataLoss: BLOB_MISSING when there is no such live record, BLOB_DAMAGED when its bytes have changed or end
            before the range does.
    """
    wanted = max(0, record.length - offset) if length is None else length
    if crc32c is not None and not offset and 0 < wanted == record.length:
        return _read_whole(read, record, crc32c)
    if 0 < record.length <= BLOCK_BYTES:
        view = _read_small(read, record, offset, wanted, crc32c)
        if view is not None:
            return view
    end = read(trailer_bytes(record.length), _trailer_at(record))
    if end is None:
        return None
    found = parse_trailer(end.tobytes(), record.length)
    is_within = offset + wanted <= record.length
    if found is not None and found.is_of(crc32c) and is_within:
        try:
            return read_verified(read, record.offset + HEADER_BYTES, found, offset, wanted) if wanted else b""
        except DataLoss:
            _lost(read, record)
            return None
    if crc32c is None or not record.length or not is_within:
        _lost(read, record)
        return None
    whole = _read_whole(read, record, crc32c)
    return None if whole is None else whole[offset : offset + wanted]


def _read_small(read: Read, record: Record, offset: int, length: int, crc32c: int | None) -> memoryview | None:
    """Read a range of a blob of one block, which is read and verified anyway, together with the trailer behind it; None
    if it cannot be, for any reason."""
    view = read(record.length + trailer_bytes(record.length), record.offset + HEADER_BYTES)
    if view is None or offset + length > record.length:
        return None
    block = view[: record.length]
    found = parse_trailer(view[record.length :].tobytes(), record.length)
    is_valid = found is not None and found.is_of(crc32c) and crc32c_of(block) == found.blocks[0]
    return block[offset : offset + length] if is_valid else None


def _read_whole(read: Read, record: Record, crc32c: int) -> memoryview | None:
    view = read(record.length, record.offset + HEADER_BYTES)
    if view is None:
        return None
    if crc32c_of(view) == crc32c and len(view) == record.length:
        return view
    _lost(read, record)
    return None


def _lost(read: Read, record: Record) -> None:
    """Raise the cause why the bytes of a record can't be read; do nothing if `read` returned None.

    Raises:
        DataLoss: BLOB_MISSING for an erased record or none, otherwise BLOB_DAMAGED.
    """
    view = read(HEADER_BYTES, record.offset)
    found = None if view is None else view.tobytes()
    end = read(trailer_bytes(record.length), _trailer_at(record))
    if found is None or end is None:
        return
    is_record = parse_trailer(end.tobytes(), record.length) is not None
    if found == record.header or (is_record and found != header(_ERASED, record.length)):
        raise damaged()
    raise missing()


def cached_trailer(read: Read, record: Record) -> Trailer | None:
    """Return the trailer of a blob; None if `read` returns None, or `read_trailer` has to find out what is wrong."""
    end = read(trailer_bytes(record.length), _trailer_at(record))
    return None if end is None else parse_trailer(end.tobytes(), record.length)


def read_trailer(fd: int, record: Record) -> Trailer:
    """Read the trailer of a blob; blocking.

    Raises:
        DataLoss: BLOB_MISSING when there is no such live record, BLOB_DAMAGED when its trailer is invalid.
    """
    end = os.pread(fd, trailer_bytes(record.length), _trailer_at(record))
    parsed = parse_trailer(end, record.length)
    if parsed is not None:
        return parsed
    if os.pread(fd, HEADER_BYTES, record.offset) == record.header:
        raise unknown_receipt()
    raise missing()


def _trailer_at(record: Record) -> int:
    return record.offset + HEADER_BYTES + record.length


def erase(fd: int, records: Sequence[Record]) -> None:
    """Mark records as erased, replace their bytes by zeros, and make that durable."""
    for record in records:
        if not _is_erasable(fd, record):
            continue
        os.pwrite(fd, header(_ERASED, record.length), record.offset)
        _zero(fd, record.offset + HEADER_BYTES, record_bytes(record.length) - HEADER_BYTES)
    os.fdatasync(fd)


def _is_erasable(fd: int, record: Record) -> bool:
    """Return whether a record exists, by its header, or by its trailer if the header is damaged."""
    found = os.pread(fd, HEADER_BYTES, record.offset)
    if found in (record.header, header(_ERASED, record.length)):
        return found[:4] != _ERASED
    return parse_trailer(os.pread(fd, trailer_bytes(record.length), _trailer_at(record)), record.length) is not None


def _zero(fd: int, offset: int, length: int) -> None:
    """Punch a hole, which reads as zeros and frees whole blocks; write zeros where holes are not supported."""
    if length and _libc.fallocate(fd, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_longlong(offset), ctypes.c_longlong(length)):
        os.pwrite(fd, bytes(length), offset)
