"""The contract suite of BlobStore on several stores, and what is true of several only."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from server.adapters.blobs.memory.blobs import MemoryBlobs
from server.adapters.blobs.packed import PackedBlobs
from server.adapters.blobs.prefixed import PrefixedBlobs
from server.adapters.blobs.store_set.blobs import StoreSetBlobs
from server.model.errors import DataLoss, Reason
from server.model.store_id import store_of
from server.ports.blobs import BlobStore, SharedBytes
from tests.contract.blobs import NOON, BlobStoreContract, all_blobs, crc32c_of, derive, get, put, quarantined

NEW = "00c0ffee"


class TestPrefixedBlobs(BlobStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[BlobStore]:
        async with PackedBlobs(tmp_path) as blobs:
            yield PrefixedBlobs(blobs, NEW)


class TestStoreSetBlobs(BlobStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[BlobStore]:
        async with PackedBlobs(tmp_path) as new, PackedBlobs(tmp_path / "old") as old:
            yield StoreSetBlobs(NEW, {NEW: PrefixedBlobs(new, NEW), "": old})


@pytest.fixture(params=["", "01d01d01"])
async def old(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    """The store until now, without and with an id."""
    async with PackedBlobs(tmp_path / "old") as blobs:
        yield PrefixedBlobs(blobs, request.param) if request.param else blobs


@pytest.fixture
async def both(tmp_path: Path, old: BlobStore) -> AsyncIterator[StoreSetBlobs]:
    async with AsyncExitStack() as stack:
        new = PrefixedBlobs(await stack.enter_async_context(PackedBlobs(tmp_path / "new")), NEW)
        yield StoreSetBlobs(NEW, {NEW: new, store_of(await put(old, b"")): old})


async def test_blobs_of_all_stores_are_read_and_new_ones_are_written_to_the_primary(
    both: StoreSetBlobs, old: BlobStore
) -> None:
    bodies = [b"small", b"x" * 2_000_000]
    before = [await put(old, body) for body in bodies]
    later = [await put(both, body) for body in bodies]
    assert {store_of(locator) for locator in later} == {NEW}
    for locator, body in zip([*before, *later], bodies * 2, strict=True):
        assert await get(both, locator) == body
        assert bytes(await both.read_piece(locator, 1, 3, crc32c_of(body))) == body[1:4]
        assert b"".join([piece async for piece in both.read_unverified(locator)]) == body
        assert await both.size(locator) == len(body)
        assert (await both.receipt(locator))[1] == crc32c_of(body)
    assert (await all_blobs(both)).keys() >= {*before, *later}


async def test_blobs_of_all_stores_are_settled_quarantined_and_erased(both: StoreSetBlobs, old: BlobStore) -> None:
    one, other = await put(old, b"old"), await put(both, b"new")
    await both.settle([one, other])
    await both.quarantine([one, other], NOON)
    batches = await quarantined(both, NOON + timedelta(hours=1))
    assert sorted(locator for batch in batches for locator in batch) == sorted([one, other])
    for batch in batches:
        await both.release(batch)
    assert await quarantined(both) == []
    await both.delete([other, one])
    for locator in (one, other):
        with pytest.raises(DataLoss):
            await get(both, locator)


async def test_a_blob_derived_from_one_of_another_store_has_a_copy_of_its_bytes(
    both: StoreSetBlobs, old: BlobStore
) -> None:
    body = bytes(range(256)) * 8000
    base = await put(old, body)
    derived = await derive(both, b"head", base, body, 70_001)
    expected = b"head" + body[70_001:]
    assert (derived.size_bytes, derived.crc32c) == (len(expected), crc32c_of(expected))
    assert await both.shared(derived.locator) is None
    await both.delete([base])
    assert await get(both, derived.locator) == expected
    there = await put(both, body)
    shares = await derive(both, b"head", there, body, 70_001)
    assert await both.shared(shares.locator) == SharedBytes(4, there, len(body), crc32c_of(body), 70_001)


async def test_a_derived_blob_stays_readable_in_a_store_that_is_not_written_any_more(
    both: StoreSetBlobs, old: BlobStore
) -> None:
    body = b"y" * 100_000
    base = await put(old, body)
    derived = await derive(old, b"head", base, body, 10)
    assert await get(both, derived.locator) == b"head" + body[10:]
    assert await both.shared(derived.locator) == SharedBytes(4, base, len(body), crc32c_of(body), 10)


async def test_blobs_of_an_unknown_store_are_missing(both: StoreSetBlobs) -> None:
    folder = PrefixedBlobs(MemoryBlobs(), "ad0bed00")
    locator = await put(folder, b"adopted")
    with pytest.raises(DataLoss) as caught:
        await get(both, locator)
    assert caught.value.reason is Reason.BLOB_MISSING
    await both.delete([locator])
    assert await get(folder, locator) == b"adopted"
