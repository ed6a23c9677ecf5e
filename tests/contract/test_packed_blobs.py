import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from crc32c import crc32c as crc32c_of

from server.adapters.blobs.packed import PackedBlobs
from server.adapters.blobs.records import trailer_bytes
from server.adapters.blobs.segment_files import appending
from server.adapters.blobs.segment_files.segments import LIVE, erase, header, read_record, record_bytes, record_of
from server.model.errors import DataLoss, Exhausted, Reason
from server.ports.blobs import BlobStore
from tests.contract.blobs import (
    RECEIPT,
    BlobStoreContract,
    RecordedRelocation,
    all_blobs,
    derive,
    flip_below,
    get,
    put,
)
from tests.contract.test_file_blobs import no_file_larger_than, recovered


class TestPackedBlobs(BlobStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[BlobStore]:
        async with PackedBlobs(tmp_path) as store:
            yield store


class TestPackedBlobsWithoutSmallBlobs(BlobStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[BlobStore]:
        async with PackedBlobs(tmp_path, small_bytes=-1) as store:
            yield store


class TestPackedBlobsWithoutBufferSpace(BlobStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[BlobStore]:
        async with PackedBlobs(tmp_path, held_bytes=0) as store:
            yield store


def segments(root: Path) -> list[Path]:
    return sorted((root / "segments").glob("*.seg"))


def bytes_below(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


async def test_small_blobs_share_a_file_and_large_ones_do_not(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path) as store:
        small = [await put(store, bytes([i]) * 1000) for i in range(10)]
        large = await put(store, b"x" * 1_100_000)
        assert len(segments(tmp_path)) == 1
        assert len(list((tmp_path / "blobs").glob("*/*"))) == 1
        assert [await get(store, locator) for locator in small] == [bytes([i]) * 1000 for i in range(10)]
        assert await get(store, large) == b"x" * 1_100_000


async def test_a_blob_declared_large_is_never_buffered_and_a_wrong_declaration_is_harmless(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path) as store:
        for declared, body in ((2_000_000, b"small"), (5, b"x" * 2_000_000)):
            async with store.open_write(declared) as writer:
                await writer.write(body)
                locator = await writer.commit(RECEIPT)
            assert record_of(locator) is None
            assert await get(store, locator) == body


async def test_writers_without_buffer_space_write_to_separate_files(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path, held_bytes=1000) as store, store.open_write() as one, store.open_write() as other:
        await one.write(b"1" * 800)
        await other.write(b"2" * 800)
        await other.write(b"3" * 800)
        first, second = await one.commit(RECEIPT), await other.commit(RECEIPT)
        assert record_of(first) is not None
        assert record_of(second) is None
        assert await get(store, first) == b"1" * 800
        assert await get(store, second) == b"2" * 800 + b"3" * 800


async def test_buffer_space_is_released_however_a_writer_ends(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path, held_bytes=1000) as store:
        for size in (900, 500, 1500):
            await put(store, b"committed" * (size // 9))
            async with store.open_write() as writer:
                await writer.write(b"given up" * (size // 8))
        assert record_of(await put(store, b"x" * 1000)) is not None


@pytest.mark.parametrize("size", [1000, 700_000, 3_000_000])
async def test_uncached_blobs_are_read_from_disk(tmp_path: Path, size: int) -> None:
    body = os.urandom(size)
    async with PackedBlobs(tmp_path) as store:
        locator = await put(store, body)
        for offset, length in ((0, None), (size - 500, 500)):
            drop_page_cache(tmp_path)
            assert await get(store, locator, offset, length) == body[offset:]


def drop_page_cache(root: Path) -> None:
    for path in (*root.glob("blobs/*/*"), *root.glob("segments/*.seg")):
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


async def test_reading_a_range_reads_little_more_than_the_range(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path) as store:
        for size in (1_000_000, 3_000_000):
            locator = await put(store, os.urandom(size))
            before = bytes_read()
            await get(store, locator, size // 2, 4096)
            assert bytes_read() - before < 70_000


def bytes_read() -> int:
    """Return the number of bytes that this process has read (rchar in proc(5))."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize("size", [300_000, 2_500_001])
async def test_damage_outside_the_bytes_of_a_blob_does_not_affect_a_reader_that_knows_its_checksum(
    tmp_path: Path, size: int
) -> None:
    body = os.urandom(size)
    is_packed = size < 1 << 20
    beside = [*range(-12 if is_packed else 0, 0)]
    beside += [size + byte for byte in range(0, trailer_bytes(size) + (0 if is_packed else 16), 3)]
    async with PackedBlobs(tmp_path) as store:
        locator = await put(store, body)
        await store.settle([locator])
    for offset in beside:
        flip_below(tmp_path, body, offset)
        async with PackedBlobs(tmp_path) as store:
            for start, length in ((0, size), (70_000, 4096)):
                pieces = store.read(locator, start, length, crc32c=crc32c_of(body))
                assert b"".join([piece async for piece in pieces]) == body[start : start + length]
        flip_below(tmp_path, body, offset)


async def test_bytes_erased_during_a_read_are_missing_and_not_zeros(tmp_path: Path) -> None:
    """A small blob is read at once with its trailer; a larger one is read before it."""
    async with PackedBlobs(tmp_path) as store:
        record = record_of(await put(store, b"x" * 100_000))
        assert record is not None
        fd = os.open(segments(tmp_path)[0], os.O_RDWR)

        def read(size: int, offset: int) -> memoryview:
            data = os.pread(fd, size, offset)
            erase(fd, [record])
            return memoryview(data)

        with pytest.raises(DataLoss) as caught:
            read_record(read, record)
        os.close(fd)
        assert caught.value.reason is Reason.BLOB_MISSING


async def test_a_deleted_small_blob_is_erased_from_the_disk(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path) as store:
        keep, drop = await put(store, b"keep" * 3000), await put(store, b"secret" * 3000)
        await store.delete([drop])
        [segment] = segments(tmp_path)
        assert b"secret" not in segment.read_bytes()
        assert await get(store, keep) == b"keep" * 3000
        with pytest.raises(DataLoss) as caught:
            await get(store, drop)
        assert caught.value.reason is Reason.BLOB_MISSING


async def test_a_segment_without_live_blobs_is_removed_when_it_is_closed(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path) as store:
        locators = [await put(store, b"x" * 100) for _ in range(5)]
        await store.settle(locators)
    async with PackedBlobs(tmp_path) as store:
        await store.delete(locators[:4])
        assert len(segments(tmp_path)) == 1
        await store.delete(locators[4:])
        assert segments(tmp_path) == []


async def test_a_full_segment_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending, "SEGMENT_BYTES", 10_000)
    async with PackedBlobs(tmp_path) as store:
        locators = [await put(store, bytes([i]) * 4000) for i in range(10)]
        assert len(segments(tmp_path)) > 2
        assert [await get(store, locator) for locator in locators] == [bytes([i]) * 4000 for i in range(10)]
        await store.settle(locators)
    assert sorted(path.name for path in (tmp_path / "segments/ingest").iterdir()) == [".lock"]


async def test_a_truncated_record_is_damage_and_a_damaged_header_alone_is_not(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path) as store:
        one, two = await put(store, b"a" * 100), await put(store, b"b" * 100)
        [segment] = segments(tmp_path)
        record = record_of(two)
        assert record is not None
        os.truncate(segment, record.offset + 50)
        with pytest.raises(DataLoss) as caught:
            await get(store, two)
        assert caught.value.reason is Reason.BLOB_DAMAGED
        overwrite(segment, 0, b"x")
        assert await get(store, one) == b"a" * 100


async def test_a_blob_whose_header_is_damaged_is_erased(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path) as store:
        await put(store, b"keep")
        drop = await put(store, b"secret")
        record = record_of(drop)
        assert record is not None
        overwrite(segments(tmp_path)[0], record.offset, b"x")
        await store.delete([drop])
        assert b"secret" not in segments(tmp_path)[0].read_bytes()
        with pytest.raises(DataLoss) as caught:
            await get(store, drop)
        assert caught.value.reason is Reason.BLOB_MISSING


async def test_a_full_disk_is_storage_full_and_the_segment_stays_usable(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path) as store:
        first = await put(store, b"first" * 1000)
        with no_file_larger_than(20_000), pytest.raises(Exhausted) as caught:
            await put(store, b"x" * 30_000)
        assert caught.value.reason is Reason.STORAGE_FULL
        assert segments(tmp_path)[0].stat().st_size == record_bytes(5000)
        second = await put(store, b"second" * 1000)
        assert await all_blobs(store) == {first: 5000, second: 6000}
        assert await get(store, second) == b"second" * 1000


DIES = """
import asyncio, os, sys
from datetime import UTC, datetime
from pathlib import Path
from server.model.ids import DEFAULT_PARTITION
from server.model.receipt import Receipt
from server.adapters.blobs.packed import PackedBlobs

async def main():
    store = await PackedBlobs(Path(sys.argv[1])).__aenter__()
    async def put(data):
        async with store.open_write() as writer:
            await writer.write(data)
            return await writer.commit(Receipt(DEFAULT_PARTITION, datetime.now(UTC), 0))
    settled, unsettled = await put(b"settled" * 100), await put(b"unsettled" * 100)
    await store.settle([settled])
    print(settled, unsettled, flush=True)
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""


def die(root: Path) -> tuple[str, str]:
    """Run a process that dies with a settled and an unsettled blob in its segment; return their locators."""
    died = subprocess.run([sys.executable, "-c", DIES, str(root)], capture_output=True, check=False, timeout=30)
    assert died.returncode == -9, died.stderr
    settled, unsettled = died.stdout.decode().split()
    return settled, unsettled


async def test_recover_yields_all_of_an_unsettled_segment_and_truncates_its_torn_tail(tmp_path: Path) -> None:
    settled, unsettled = die(tmp_path)
    [segment] = segments(tmp_path)
    whole = segment.stat().st_size
    overwrite(segment, whole, header(LIVE, 900) + b"torn" * 50)
    async with PackedBlobs(tmp_path) as store:
        assert await recovered(store) == [settled, unsettled]
        assert segment.stat().st_size == whole
        assert await recovered(store) == []
        assert await get(store, settled) == b"settled" * 100


@pytest.mark.parametrize("damage", [0, 5, 9, 13, 16, 100], ids=lambda byte: f"byte {byte}")
async def test_damage_to_one_record_does_not_affect_another(tmp_path: Path, damage: int) -> None:
    settled, unsettled = die(tmp_path)
    [segment] = segments(tmp_path)
    overwrite(segment, damage, bytes([segment.read_bytes()[damage] ^ 0xFF]))
    async with PackedBlobs(tmp_path) as store:
        await recovered(store)
        assert await get(store, unsettled) == b"unsettled" * 100
        await store.delete([settled])
        assert await get(store, unsettled) == b"unsettled" * 100


async def test_settling_and_deleting_one_blob_does_not_settle_another(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path) as store:
        one, other = await put(store, b"one"), await put(store, b"other")
        await store.settle([one])
        await store.settle([one])
        await store.delete([one])
    async with PackedBlobs(tmp_path) as store:
        assert await recovered(store) == [other]


async def test_recover_reads_headers_only_and_yields_small_batches(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path) as left_behind:
        locators = [await put(left_behind, bytes(100_000)) for _ in range(60)]
        locators += await asyncio.gather(*(put(left_behind, bytes([i % 256])) for i in range(1200)))
    async with PackedBlobs(tmp_path) as store:
        before = bytes_read()
        batches = [batch async for batch in store.recover()]
        assert bytes_read() - before < 200_000
    assert max(map(len, batches)) == 500
    assert sorted(locator for batch in batches for locator in batch) == sorted(locators)


async def test_recover_ignores_the_blobs_of_a_live_process(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path) as live, PackedBlobs(tmp_path) as other:
        locator = await put(live, b"mine")
        assert await recovered(other) == []
        assert await get(other, locator) == b"mine"
        assert await get(live, await put(live, b"still mine")) == b"still mine"


@pytest.mark.parametrize("size", [300_000, 3_000_000])
async def test_a_derived_blob_takes_only_the_space_of_its_own_bytes(tmp_path: Path, size: int) -> None:
    async with PackedBlobs(tmp_path) as store:
        body = bytes(size)
        base = await put(store, body)
        await store.settle([base])
        before = bytes_below(tmp_path)
        derived = await derive(store, b"h" * 1000, base, body, 1000)
        await store.settle([derived.locator])
        assert 1000 < bytes_below(tmp_path) - before < 1500


async def test_a_derived_blob_of_an_ended_process_is_handed_out(tmp_path: Path) -> None:
    body = bytes(5000)
    async with PackedBlobs(tmp_path) as store:
        base = await put(store, body)
        small = await derive(store, b"head", base, body, 10)
        large = await derive(store, b"h" * 1_200_000, base, body, 10)
    async with PackedBlobs(tmp_path) as store:
        found = [locator for batch in [batch async for batch in store.recover()] for locator in batch]
        assert sorted(found) == sorted([base, small.locator, large.locator])
        assert await get(store, small.locator) == b"head" + body[10:]


async def test_compacting_copies_only_the_own_bytes_of_a_derived_blob(tmp_path: Path) -> None:
    body = random.Random(1).randbytes(900_000)
    async with PackedBlobs(tmp_path) as store:
        base = await put(store, body)
        await store.settle([base])
    async with PackedBlobs(tmp_path) as store:
        derived = await derive(store, b"head", base, body, 10)
        others = [await put(store, bytes(20_000)) for _ in range(10)]
        await store.settle([derived.locator, *others])
    async with PackedBlobs(tmp_path) as store:
        await store.delete(others)
        relocation = RecordedRelocation({derived.locator})
        while await store.compact(relocation):
            pass
        [(old, copy)] = relocation.copies.items()
        assert old == derived.locator
        assert await get(store, copy) == b"head" + body[10:]
        assert (await all_blobs(store))[copy] < 500
        await store.delete([old])
        assert await get(store, copy) == b"head" + body[10:]


async def test_a_base_that_is_moved_takes_the_blobs_derived_from_it_along(tmp_path: Path) -> None:
    body = random.Random(1).randbytes(3000)
    async with PackedBlobs(tmp_path) as store:
        base, *others = [await put(store, each) for each in (body, *[bytes(3000)] * 30)]
        await store.settle([base, *others])
    async with PackedBlobs(tmp_path) as store:
        derived = (await derive(store, b"head", base, body, 10)).locator
        await store.delete(others)
        relocation = RecordedRelocation([], [base, derived])
        assert not await store.compact(relocation)
        await store.delete([base, derived])
        assert await get(store, relocation.copies[base]) == body
        assert await get(store, relocation.copies[derived]) == b"head" + body[10:]


@pytest.mark.parametrize("size", [300_000, 2_500_001])
async def test_damage_of_the_base_is_found_in_the_derived_blob(tmp_path: Path, size: int) -> None:
    async with PackedBlobs(tmp_path) as store:
        body = random.Random(size).randbytes(size)
        derived = await derive(store, b"head", await put(store, body), body, 100)
        flip_below(tmp_path, body, size - 1)
        with pytest.raises(DataLoss) as caught:
            await get(store, derived.locator, size - 100, 1)
        assert caught.value.reason is Reason.BLOB_DAMAGED
        assert await get(store, derived.locator, 0, 50) == b"head" + body[100:146]
