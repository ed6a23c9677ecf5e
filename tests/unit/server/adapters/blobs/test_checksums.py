"""Checksums of a blob and of its blocks in one pass (server/adapters/blobs/checksums.py)."""

import random

import pytest
from crc32c import crc32c as crc32c_of

from server.adapters.blobs.checksums import BLOCK_BYTES, Checksums


@pytest.mark.parametrize(
    "size", [0, 1, 100, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES, 500_000, 1_234_567]
)
@pytest.mark.parametrize("piece", [1000, BLOCK_BYTES, 70_000, 1 << 20])
def test_the_checksum_of_a_blob_is_combined_from_those_of_its_blocks(size: int, piece: int) -> None:
    data = random.Random(size).randbytes(size)
    checksums = Checksums()
    for start in range(0, size, piece):
        checksums.update(data[start : start + piece])
    assert checksums.whole == crc32c_of(data)
    assert checksums.length == size
    assert checksums.all_blocks == [
        crc32c_of(data[start : start + BLOCK_BYTES]) for start in range(0, size, BLOCK_BYTES)
    ]
