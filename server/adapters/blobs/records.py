"""The trailer after the bytes of a blob, in a segment or a separate file, and verified reads.

    trailer    time of receipt in microseconds since 1970 UTC, version (64-bit little-endian integers), partition (64
               bytes, padded with NUL), CRC-32C of the blob, CRC-32C of each block of 64 KiB, CRC-32C of the trailer

Its size follows from that of the blob. The CRC-32C of the blob ties the blocks to the checksum in the index.
"""

import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from server.adapters.blobs.checksums import BLOCK_BYTES, Checksums, crc32c_of
from server.model.errors import DataLoss, Reason
from server.model.ids import PartitionName
from server.model.receipt import Receipt

_FACTS = struct.Struct("<QQ64sI")
_CRC = struct.Struct("<I")
_CHECK_BYTES = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Read = Callable[[int, int], memoryview | None]
"""Reads (size, offset) of a file: fewer bytes at its end, None if it would have to wait for them."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """The checksums of a blob.

    length: of the blob.
    crc32c: of the blob.
    blocks: CRC-32C of each block.
    """

    length: int
    crc32c: int
    blocks: Sequence[int]

    def is_of(self, crc32c: int | None) -> bool:
        """Return whether they belong to the blob with this CRC-32C; None matches any."""
        return crc32c is None or crc32c == self.crc32c


@dataclass(frozen=True, slots=True)
class Trailer(Blocks):
    """A trailer with a correct checksum.

    facts: the encoded receipt and CRC-32C; most readers need only the checksums.
    """

    facts: bytes

    @property
    def receipt(self) -> Receipt:
        """The receipt of the blob."""
        time, version, partition, _ = _FACTS.unpack_from(self.facts)
        return Receipt(PartitionName(partition.rstrip(b"\0").decode("ascii")), _EPOCH + time * _MICROSECOND, version)


def trailer_bytes(length: int) -> int:
    """Return the size of the trailer of a blob of `length` bytes."""
    return _FACTS.size + 4 * -(-length // BLOCK_BYTES) + _CHECK_BYTES


def length_before(end: int) -> int | None:
    """Return the length of the blob whose trailer ends at `end` of a file; None if there is none."""
    rest = end - _FACTS.size - _CHECK_BYTES
    length = rest - 4 * -(-rest // (BLOCK_BYTES + 4))
    return length if rest >= 0 and length + trailer_bytes(length) == end else None


def trailer(receipt: Receipt, checksums: Checksums) -> bytes:
    """Return the trailer of a blob with these checksums."""
    time = (receipt.time - _EPOCH) // _MICROSECOND
    facts = _FACTS.pack(time, receipt.version, receipt.partition.encode("ascii"), checksums.whole)
    blocks = checksums.all_blocks
    facts += struct.pack(f"<{len(blocks)}I", *blocks)
    check: int = crc32c_of(facts)
    return facts + check.to_bytes(_CHECK_BYTES, "little")


def parse_trailer(data: bytes, length: int) -> Trailer | None:
    """Return the content of the trailer of a blob of `length` bytes; None if it is damaged."""
    facts, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if len(data) != trailer_bytes(length) or crc32c_of(facts) != int.from_bytes(check, "little"):
        return None
    (crc32c,) = _CRC.unpack_from(facts, _FACTS.size - _CRC.size)
    blocks = array("I", facts[_FACTS.size :])
    if sys.byteorder == "big":
        blocks.byteswap()
    return Trailer(length, crc32c, blocks, facts)


def read_verified(read: Read, at: int, found: Blocks, offset: int, length: int) -> memoryview | None:
    """Read a range of a blob that begins at `at` of its file; None if `read` returned None.

    All blocks that the range touches are read and verified; the result is a view of them.

    Raises:
        DataLoss: BLOB_DAMAGED when the blocks have changed or are cut off.
    """
    lead = offset % BLOCK_BYTES
    begin = offset - lead
    end = min(-(-(offset + length) // BLOCK_BYTES) * BLOCK_BYTES, found.length)
    view = read(end - begin, at + begin)
    if view is None:
        return None
    if len(view) != end - begin:
        raise damaged()
    blocks = iter(found.blocks[begin // BLOCK_BYTES :])
    for start in range(0, len(view), BLOCK_BYTES):
        if crc32c_of(view[start : start + BLOCK_BYTES]) != next(blocks):
            raise damaged()
    return view[lead : lead + length]


def piece_of(offset: int, left: int, piece_bytes: int) -> int:
    """Return the size of the next read of `left` bytes from `offset`: if possible up to the end of a block."""
    if left <= piece_bytes:
        return left
    end = (offset + piece_bytes) // BLOCK_BYTES * BLOCK_BYTES
    return end - offset if end > offset else piece_bytes


def damaged() -> DataLoss:
    """Return the error for bytes that differ from those that were written."""
    return DataLoss(Reason.BLOB_DAMAGED, "The stored bytes of the instance are truncated or have changed.")


def missing() -> DataLoss:
    """Return the error for a missing blob."""
    return DataLoss(Reason.BLOB_MISSING, "The stored bytes of the instance are missing.")


def unknown_receipt() -> DataLoss:
    """Return the error for a damaged trailer."""
    return DataLoss(Reason.BLOB_DAMAGED, "The record stored with the bytes of the instance has changed.")
