"""Layout of the file of one blob: the blob, its trailer (see `records`), and a foot of 16 bytes.

The foot is a mark, the length of the blob, and the CRC-32C of the two. All functions block, except `cached_trailer`
with a non-blocking `read`.
"""

import os
import struct
from array import array
from io import FileIO

from crc32c import crc32c as crc32c_of

from server.adapters.blobs.checksums import Checksums
from server.adapters.blobs.disk.threads import PIECE_BYTES
from server.adapters.blobs.records import (
    Blocks,
    Read,
    Trailer,
    damaged,
    length_before,
    parse_trailer,
    read_verified,
    trailer_bytes,
)

_MARK = b"DSf1"
_FOOT = struct.Struct("<4sQ")
_FOOT_BYTES = _FOOT.size + 4


def foot(length: int) -> bytes:
    """Return the foot of the file of a blob of `length` bytes."""
    facts = _FOOT.pack(_MARK, length)
    check: int = crc32c_of(facts)
    return facts + check.to_bytes(4, "little")


def _parse_foot(data: bytes) -> int | None:
    """Return the length of a blob; None if its foot is invalid."""
    if len(data) != _FOOT_BYTES:
        return None
    length: int = _FOOT.unpack(data[: _FOOT.size])[1]
    return length if data == foot(length) else None


def size_of(entry: "os.DirEntry[str]") -> int:
    """Return the size of a blob, or of its file if that is damaged."""
    size = entry.stat().st_size
    with FileIO(entry.path) as file:
        length = _parse_foot(os.pread(file.fileno(), _FOOT_BYTES, max(0, size - _FOOT_BYTES)))
    return size if length is None else length


def length_of(file: FileIO) -> int:
    """Return the length of a blob from its foot, or from the size of the file if the foot is damaged.

    Raises:
        DataLoss: BLOB_DAMAGED when they contradict each other.
    """
    at = os.fstat(file.fileno()).st_size - _FOOT_BYTES
    length = _parse_foot(os.pread(file.fileno(), _FOOT_BYTES, max(0, at)))
    if length is None:
        length = length_before(at)
    if length is None or length + trailer_bytes(length) != at:
        raise damaged()
    return length


def trailer_of(file: FileIO) -> Trailer | None:
    """Return the trailer of a blob; None if it is invalid. Raises: as `length_of`."""
    length = length_of(file)
    return parse_trailer(os.pread(file.fileno(), trailer_bytes(length), length), length)


def cached_trailer(read: Read, end: int) -> Trailer | None:
    """Return the trailer of a blob whose file ends at `end`; None if it is invalid or `read` returned None."""
    end_bytes = read(_FOOT_BYTES, end - _FOOT_BYTES) if end >= _FOOT_BYTES else None
    length = None if end_bytes is None else _parse_foot(end_bytes.tobytes())
    if length is None or length + trailer_bytes(length) != end - _FOOT_BYTES:
        return None
    found = read(trailer_bytes(length), length)
    return None if found is None else parse_trailer(found.tobytes(), length)


def find_blocks(file: FileIO, crc32c: int | None) -> Blocks:
    """Return the checksums of a blob; blocking.

    If the trailer is invalid, they are computed from the bytes, provided that the CRC-32C of these is `crc32c`.

    Raises:
        DataLoss: BLOB_DAMAGED
    """
    found = trailer_of(file)
    if found is not None:
        return found
    length, checksums = length_of(file), Checksums()
    while crc32c is not None and checksums.length < length:
        piece = os.pread(file.fileno(), min(PIECE_BYTES, length - checksums.length), checksums.length)
        if not piece:
            break
        checksums.update(piece)
    if crc32c is None or checksums.whole != crc32c:
        raise damaged()
    return Blocks(length, crc32c, array("I", checksums.all_blocks))


def read_blocking(file: FileIO, found: Blocks, offset: int, length: int) -> memoryview:
    """Read a range of a blob and wait for it. Raises: as `read_verified`."""
    data = read_verified(lambda size, start: memoryview(os.pread(file.fileno(), size, start)), 0, found, offset, length)
    assert data is not None, "a blocking read always returns data"
    return data
