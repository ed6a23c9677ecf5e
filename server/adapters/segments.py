"""Segment files: many small blobs one after another. Blocking functions; `packed_blobs` calls them on threads.

    <directory>/<segment>.seg    records: a header of 12 bytes, the blob, its trailer (see `records`)

A header is the mark (living or dead), the length of the blob, and the CRC-32C of these two. Bytes are only ever
appended, and afterwards only ever erased. Damage to one record never costs another: where a header can't be trusted
nothing behind it is cut or removed, and records are read by their locators without it.
"""

import ctypes
import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from server.adapters.checksums import combined
from server.adapters.disk import Buffer, sync_directory, write_all
from server.adapters.records import parse_trailer, trailer_bytes, unknown_receipt
from server.model.errors import DataLoss, Reason
from server.model.instance import Locator
from server.model.receipt import Receipt

HEADER_BYTES = 12
SUFFIX = ".seg"
_FACTS = struct.Struct("<4sI")
LIVING, _DEAD = b"DSr2", b"DSx2"
_LOCATOR = re.compile(r"([0-9a-f]{32})-([0-9a-f]{1,8})-([0-9a-f]{1,8})")
_PUNCH_HOLE_KEEP_SIZE = 3

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Record:
    """Where a blob lies: the offset is that of its header."""

    segment: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.offset + record_bytes(self.length)

    @property
    def locator(self) -> Locator:
        """The record as the index keeps it."""
        return f"{self.segment}-{self.offset:x}-{self.length:x}"


def record_of(locator: Locator) -> Record | None:
    """Return the record that a locator names; None if it is not one of a segment."""
    match = _LOCATOR.fullmatch(locator)
    return Record(match[1], int(match[2], 16), int(match[3], 16)) if match else None


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

    def append(self, blobs: Sequence[Sequence[bytes]]) -> list[Record]:
        """Append blobs, each given in pieces of which the last is its trailer, and make them durable together.

        Raises:
            OSError: none of them is in the segment. If it `is_broken` now, it must not be used any more.
        """
        records: list[Record] = []
        buffers: list[Buffer] = []
        end = self.end
        for pieces in blobs:
            record = Record(self.name, end, sum(map(len, pieces[:-1])))
            records.append(record)
            buffers.append(header(LIVING, record.length))
            buffers += pieces
            end = record.end
        try:
            write_all(self._fd, buffers, self.end)
        except OSError:
            with suppress(OSError):  # what can't be cut off is overwritten by the next
                os.ftruncate(self._fd, self.end)
            raise
        try:
            os.fdatasync(self._fd)
        except OSError:
            self.is_broken = True  # nobody knows what of it is durable
            raise
        self.end = end
        return records

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def header(mark: bytes, length: int) -> bytes:
    """Return the header of a record."""
    facts = _FACTS.pack(mark, length)
    check: int = google_crc32c.value(facts)
    return facts + check.to_bytes(4, "little")


def living(fd: int) -> Iterator[tuple[int, int]]:
    """Yield (offset, length) of the living records of a segment, up to its end or a header that can't be trusted."""
    size = os.fstat(fd).st_size
    for offset, mark, length in _headers(fd):
        if mark == LIVING and offset + record_bytes(length) <= size:
            yield offset, length


def dead_until(fd: int, start: int = 0) -> int:
    """Return where the first living record from the record at `start` begins, or the first that can't be trusted.

    The size of the segment if there is none, which then certainly holds nothing any more.
    """
    end = start
    for offset, mark, length in _headers(fd, start):
        if mark == LIVING:
            return offset
        end = offset + record_bytes(length)
    return end


def living_bytes(fd: int) -> int | None:
    """Return the size of all living records with their headers; None if a header can't be trusted."""
    size, end = 0, 0
    for offset, mark, length in _headers(fd):
        end = offset + record_bytes(length)
        if mark == LIVING:
            size += end - offset
    return size if end == os.fstat(fd).st_size else None


def cut_torn_tail(fd: int) -> None:
    """Cut off a last record that a dead process did not finish writing: its header is whole, the rest is not."""
    size = os.fstat(fd).st_size
    for offset, _, length in _headers(fd):
        if offset + record_bytes(length) > size:
            os.ftruncate(fd, offset)
            os.fsync(fd)


def _headers(fd: int, offset: int = 0) -> Iterator[tuple[int, bytes, int]]:
    """Yield (offset, mark, length) of one record after the other, as long as headers can be trusted."""
    size = os.fstat(fd).st_size
    while offset + HEADER_BYTES <= size:
        found = os.pread(fd, HEADER_BYTES, offset)
        mark, length = _FACTS.unpack(found[: _FACTS.size])
        if found != header(mark, length):
            return
        yield offset, mark, length
        offset += record_bytes(length)


def read_record(
    read: Callable[[int, int], bytes | None], record: Record, offset: int = 0, length: int | None = None
) -> bytes | None:
    """Read a range of a blob, with `read(size, offset)` of its segment; None if that had None.

    First the bytes, then the header: a record is marked dead before its bytes go, so a header that says living vouches
    for the bytes that were read before. A whole blob is compared with its checksums; of a range nothing is but that the
    record is the one that was written there.

    Raises:
        DataLoss: BLOB_MISSING when there is no such living record, BLOB_DAMAGED when its bytes have changed or end
            before the range does.
    """
    wanted = max(0, record.length - offset) if length is None else length
    is_within = offset + wanted <= record.length
    data = read(wanted, record.offset + HEADER_BYTES + offset) if is_within and wanted else b""
    is_whole = wanted == record.length
    end = read(trailer_bytes(record.length), _trailer_at(record)) if is_whole else b""
    found = read(HEADER_BYTES, record.offset)
    if data is None or end is None or found is None:
        return None
    if not _is_living(found, record):
        raise missing()
    if not is_within or len(data) != wanted or (is_whole and _has_changed(data, end)):
        raise DataLoss(Reason.BLOB_DAMAGED, "The bytes of the instance are cut off or have changed.")
    return data


def read_receipt(fd: int, record: Record) -> tuple[Receipt, int]:
    """Read what was recorded with a blob, and its checksum.

    Raises:
        DataLoss: BLOB_MISSING when there is no such living record, BLOB_DAMAGED when its trailer can't be trusted.
    """
    end = os.pread(fd, trailer_bytes(record.length), _trailer_at(record))
    if not _is_living(os.pread(fd, HEADER_BYTES, record.offset), record):
        raise missing()
    parsed = parse_trailer(end, record.length)
    if parsed is None:
        raise unknown_receipt()
    return parsed.receipt, combined(parsed.blocks, record.length)


def _trailer_at(record: Record) -> int:
    return record.offset + HEADER_BYTES + record.length


def _is_living(found: bytes, record: Record) -> bool:
    return len(found) == HEADER_BYTES and _FACTS.unpack(found[: _FACTS.size]) == (LIVING, record.length)


def _has_changed(data: bytes, end: bytes) -> bool:
    """Compare a blob with the checksums in its trailer, if that can be trusted itself."""
    parsed = parse_trailer(end, len(data))
    return parsed is not None and not parsed.fits(data)


def missing() -> DataLoss:
    """Return the error for a blob that is not there."""
    return DataLoss(Reason.BLOB_MISSING, "The bytes of the instance are missing.")


def erase(fd: int, records: Sequence[Record]) -> None:
    """Mark records dead, replace their bytes by zeros, and make that durable."""
    for record in records:
        if not _is_living(os.pread(fd, HEADER_BYTES, record.offset), record):
            continue
        os.pwrite(fd, header(_DEAD, record.length), record.offset)
        _zero(fd, record.offset + HEADER_BYTES, record_bytes(record.length) - HEADER_BYTES)
    os.fdatasync(fd)


def _zero(fd: int, offset: int, length: int) -> None:
    """Punch a hole, which reads as zeros and gives whole blocks back; write zeros where holes are not to be had."""
    if length and _libc.fallocate(fd, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_longlong(offset), ctypes.c_longlong(length)):
        os.pwrite(fd, bytes(length), offset)
