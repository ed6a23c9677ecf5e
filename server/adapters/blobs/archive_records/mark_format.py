"""The content of a mark: version, sequence and shard as 64-bit little-endian integers, and their CRC-32C."""

import struct

from crc32c import crc32c as crc32c_of

from server.model.archive import Mark

_FACTS = struct.Struct("<QQQ")
_CHECK = struct.Struct("<I")


def packed_mark(mark: Mark) -> bytes:
    """Return the content."""
    facts = _FACTS.pack(mark.version, mark.sequence, mark.shard)
    return facts + _CHECK.pack(crc32c_of(facts))


def parsed_mark(data: bytes) -> Mark | None:
    """Return the mark; None if the content is damaged."""
    facts = data[: _FACTS.size]
    if len(data) != _FACTS.size + _CHECK.size or data != facts + _CHECK.pack(crc32c_of(facts)):
        return None
    return Mark(*_FACTS.unpack(facts))
