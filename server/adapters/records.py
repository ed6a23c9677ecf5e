"""What stands behind the bytes of a blob, in a segment as in a file of its own.

    trailer    time of receipt in microseconds since 1970 UTC, version (64-bit little-endian integers), partition (64
               bytes, padded with NUL), CRC-32C of each block of 64 KiB, CRC-32C of the trailer

Its size follows from the blob's.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import google_crc32c

from server.adapters.checksums import BLOCK_BYTES, blocks_of
from server.model.errors import DataLoss, Reason
from server.model.ids import PartitionName
from server.model.receipt import Receipt

_FACTS = struct.Struct("<QQ64s")
_CHECK_BYTES = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Trailer:
    """A trailer that can be trusted."""

    receipt: Receipt
    blocks: Sequence[int]

    def fits(self, data: bytes) -> bool:
        """Say whether these are the bytes that the trailer was made for."""
        return list(self.blocks) == blocks_of(data)


def trailer_bytes(length: int) -> int:
    """Return the size of the trailer of a blob of `length` bytes."""
    return _FACTS.size + 4 * -(-length // BLOCK_BYTES) + _CHECK_BYTES


def trailer(receipt: Receipt, blocks: Sequence[int]) -> bytes:
    """Return the trailer of a blob."""
    time = (receipt.time - _EPOCH) // _MICROSECOND
    facts = _FACTS.pack(time, receipt.version, receipt.partition.encode("ascii"))
    facts += struct.pack(f"<{len(blocks)}I", *blocks)
    check: int = google_crc32c.value(facts)
    return facts + check.to_bytes(_CHECK_BYTES, "little")


def parse_trailer(data: bytes, length: int) -> Trailer | None:
    """Return what the trailer of a blob of `length` bytes says; None if it can't be trusted."""
    facts, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if len(data) != trailer_bytes(length) or google_crc32c.value(facts) != int.from_bytes(check, "little"):
        return None
    time, version, partition = _FACTS.unpack(facts[: _FACTS.size])
    blocks = struct.unpack(f"<{(len(facts) - _FACTS.size) // 4}I", facts[_FACTS.size :])
    name = PartitionName(partition.rstrip(b"\0").decode("ascii"))
    return Trailer(Receipt(name, _EPOCH + time * _MICROSECOND, version), blocks)


def unknown_receipt() -> DataLoss:
    """Return the error for a trailer that can't be trusted."""
    return DataLoss(Reason.BLOB_DAMAGED, "What was recorded with the bytes of the instance has changed.")
