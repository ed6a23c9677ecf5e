"""Packed objects: small blobs that were committed at the same time, in one object.

    blob, trailer       of each, see `records`
    directory           offset and length of each blob (u32 each; the highest bit of the length marks derived ones)
    foot                mark `DSp1`, number of blobs (u32), CRC-32C of directory, mark and number

All integers are little-endian. A reader that knows offset and length, from the locator, needs nothing else; the
directory is for listings.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from server.adapters.blobs.checksums import crc32c_of
from server.adapters.blobs.records import trailer_bytes
from server.model.buffer import Buffer

_ENTRY = struct.Struct("<II")
_FOOT = struct.Struct("<4sII")
_MARK = b"DSp1"
_DERIVED = 1 << 31

USUAL_END_BYTES = 4096
"""Enough for the directory of most objects."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A blob in a packed object: the offset of its first byte, and its length."""

    offset: int
    length: int
    is_derived: bool = False

    @property
    def stored_bytes(self) -> int:
        """The size of the blob with its trailer."""
        return self.length + trailer_bytes(self.length)


def pack(blobs: Sequence[tuple[Sequence[Buffer], bool]]) -> tuple[bytes, list[Entry]]:
    """Return the content of an object with these blobs, and their entries.

    Args:
        blobs: each in pieces with its trailer as the last one, and whether it is derived.
    """
    entries: list[Entry] = []
    parts: list[Buffer] = []
    end = 0
    for pieces, is_derived in blobs:
        entry = Entry(end, sum(map(len, pieces[:-1])), is_derived)
        entries.append(entry)
        parts += pieces
        end += entry.stored_bytes
    directory = b"".join(_ENTRY.pack(entry.offset, entry.length | _DERIVED * entry.is_derived) for entry in entries)
    return b"".join((*parts, directory, _foot(directory, len(entries)))), entries


def end_bytes(count: int) -> int:
    """Return the size of directory and foot of an object with `count` blobs."""
    return count * _ENTRY.size + _FOOT.size


def parse_count(end: memoryview) -> int | None:
    """Return the number of blobs from the last bytes of an object; None if its foot is damaged. It is not verified."""
    if len(end) < _FOOT.size:
        return None
    mark, count, _ = _FOOT.unpack(end[-_FOOT.size :])
    return int(count) if mark == _MARK else None


def parse_directory(end: memoryview, size_bytes: int) -> list[Entry] | None:
    """Return the entries of an object of `size_bytes` whose last bytes are `end`; None if they are damaged."""
    count = parse_count(end)
    if count is None or end_bytes(count) > len(end):
        return None
    directory = bytes(end[len(end) - end_bytes(count) : len(end) - _FOOT.size])
    if bytes(end[-_FOOT.size :]) != _foot(directory, count):
        return None
    entries = [
        Entry(offset, length & ~_DERIVED, bool(length & _DERIVED)) for offset, length in _ENTRY.iter_unpack(directory)
    ]
    last = entries[-1].offset + entries[-1].stored_bytes if entries else 0
    return entries if last + end_bytes(count) == size_bytes else None


def _foot(directory: bytes, count: int) -> bytes:
    check = crc32c_of(_FOOT.pack(_MARK, count, 0), crc32c_of(directory))
    return _FOOT.pack(_MARK, count, check)
