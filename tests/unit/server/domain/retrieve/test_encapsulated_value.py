"""Encapsulated pixel data as one value, its joined fragments."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest
from crc32c import crc32c as crc32c_of

from server.adapters.blobs.memory.blobs import MemoryBlobs
from server.domain.flow.response_budget import MIN_PIECE_BYTES, ResponseBudget
from server.domain.retrieve.blob_reader import BlobReader
from server.domain.retrieve.encapsulated_value import FragmentReader, Fragments
from server.model.errors import WrongState
from server.model.ids import DEFAULT_PARTITION, InstanceId, Uid, Version
from server.model.instance import Locator, StoredInstance
from server.ports.blobs import most_piece_bytes
from tests.contract.blobs import RECEIPT
from tests.data import JPEG_BASELINE, encapsulated

ID = InstanceId(DEFAULT_PARTITION, Uid("1.2"), Uid("1.3"), Uid("1.4"))


class CountedBlobs(MemoryBlobs):
    """Blobs that record the ranges read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []

    async def read(
        self,
        locator: Locator,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
        crc32c: int | None = None,
    ) -> AsyncIterator[bytes]:
        self.reads.append(length or 0)
        async for piece in super().read(locator, offset, length, piece_bytes, crc32c):
            yield piece


async def stored(blobs: MemoryBlobs, lead: int, items: bytes) -> StoredInstance:
    body = bytes(lead) + items + b"\xfe\xff\xdd\xe0\0\0\0\0"
    async with blobs.open_write() as writer:
        await writer.write(body)
        locator = await writer.commit(RECEIPT)
    return StoredInstance(ID, Version(1), "1.5", JPEG_BASELINE, len(body), crc32c_of(body), locator)


async def value(reader: FragmentReader, blob: StoredInstance, found: Fragments, offset: int, length: int) -> bytes:
    return b"".join([chunk async for chunk in reader.read(blob, found, offset, length)])


@pytest.mark.parametrize("sizes", [[10], [2, 4, 6], [0, 8, 0, 0, 2, 0], [300_000, 2, 500_000], [40] * 3000])
async def test_every_range_of_the_value_is_that_range_of_the_joined_fragments(sizes: list[int]) -> None:
    chance = random.Random(1)
    pieces = [chance.randbytes(size) for size in sizes]
    whole = b"".join(pieces)
    items = encapsulated([[piece] for piece in pieces])
    # The smallest pieces, so that they begin at every position within fragments and item headers.
    reader = FragmentReader(BlobReader(blobs := MemoryBlobs(), ResponseBudget(0)))
    blob = await stored(blobs, 100, items)
    found = await reader.find(blob, 100, len(items))
    assert found.size_bytes == len(whole)
    assert await value(reader, blob, found, 0, len(whole)) == whole
    for _ in range(60):
        offset = chance.randrange(len(whole))
        length = chance.randrange(len(whole) - offset) + 1
        assert await value(reader, blob, found, offset, length) == whole[offset : offset + length]
    for edge in found.ends:
        start = max(0, edge - 1)
        assert await value(reader, blob, found, start, min(2, len(whole) - start)) == whole[start : start + 2]


async def test_finding_large_fragments_does_not_read_them() -> None:
    items = encapsulated([[bytes(4 << 20)] for _ in range(8)])
    reader = FragmentReader(BlobReader(blobs := CountedBlobs(), ResponseBudget(64 << 20)))
    blob = await stored(blobs, 0, items)
    await reader.find(blob, 0, len(items))
    assert sum(blobs.reads) < 8 << 10
    assert len(blobs.reads) <= 9


async def test_small_fragments_are_found_with_few_reads() -> None:
    items = encapsulated([[bytes(100)] for _ in range(50_000)])
    reader = FragmentReader(BlobReader(blobs := CountedBlobs(), ResponseBudget(0)))
    blob = await stored(blobs, 0, items)
    await reader.find(blob, 0, len(items))
    assert len(blobs.reads) <= len(items) // MIN_PIECE_BYTES + 3


async def test_concurrent_callers_share_one_pass_over_the_item_headers() -> None:
    items = encapsulated([[bytes(4 << 20)] for _ in range(4)])
    reader = FragmentReader(BlobReader(blobs := CountedBlobs(), ResponseBudget(64 << 20)))
    blob = await stored(blobs, 0, items)
    found = await asyncio.gather(*(reader.find(blob, 0, len(items)) for _ in range(10)))
    assert len({id(each) for each in found}) == 1
    assert len(blobs.reads) <= 5


@pytest.mark.parametrize(
    "items",
    [
        encapsulated([[b"1234"]]) + b"something else",
        encapsulated([[b"1234"]])[:-1],
        encapsulated([[b"1234"]]) + b"\xfe\xff",
        encapsulated([[b"1234"]]) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff1234",
    ],
)
async def test_invalid_items_are_unreadable(items: bytes) -> None:
    reader = FragmentReader(BlobReader(blobs := MemoryBlobs(), ResponseBudget(0)))
    blob = await stored(blobs, 6, items)
    with pytest.raises(WrongState):
        await reader.find(blob, 6, len(items))
