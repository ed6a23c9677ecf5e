"""Which blobs PackedBlobs moves to give back space; see `PackedBlobs.sparse`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.adapters.blobs.packed import PackedBlobs
from server.adapters.blobs.segment_files import appending, sparse_segments
from server.adapters.blobs.segment_files.segments import record_of
from tests.contract.blobs import RecordedRelocation, all_blobs, get, put
from tests.contract.test_packed_blobs import overwrite, segments

SIZE = 20_000


async def fill(root: Path, count: int, size: int = SIZE) -> list[str]:
    """Fill a new segment with settled blobs."""
    async with PackedBlobs(root) as store:
        locators = [await put(store, bytes([number]) * size) for number in range(count)]
        await store.settle(locators)
    return locators


async def sparse(store: PackedBlobs) -> list[str]:
    return [locator async for batch in store.sparse() for locator in batch]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[PackedBlobs]:
    async with PackedBlobs(tmp_path) as store:
        yield store


async def test_live_blobs_of_a_mostly_full_segment_are_not_moved(tmp_path: Path, store: PackedBlobs) -> None:
    locators = await fill(tmp_path, 10)
    await store.delete(locators[:4])
    assert await sparse(store) == []


@pytest.mark.parametrize("has_holes", [True, False])
async def test_live_blobs_of_a_mostly_empty_segment_are_moved(
    tmp_path: Path, store: PackedBlobs, has_holes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_holes:
        monkeypatch.setattr("server.adapters.blobs.segment_files.segments._PUNCH_HOLE_KEEP_SIZE", -1)  # an invalid mode
    size = 6000 if has_holes else SIZE  # only whole filesystem blocks are freed
    locators = await fill(tmp_path, 100, size)
    await store.delete(locators[:-10])
    [segment] = segments(tmp_path)
    assert has_holes == (segment.stat().st_blocks * 512 < segment.stat().st_size * 0.9)
    assert await sparse(store) == locators[-10:]


async def test_nothing_is_moved_where_punched_holes_freed_the_space(tmp_path: Path, store: PackedBlobs) -> None:
    locators = await fill(tmp_path, 20, 500_000)
    await store.delete(locators[:-5])
    assert await sparse(store) == []


async def test_blobs_are_not_listed_again_until_more_are_deleted(tmp_path: Path, store: PackedBlobs) -> None:
    locators = await fill(tmp_path, 100, 3000)
    await store.delete(locators[:-10])
    assert await sparse(store) == locators[-10:]
    assert await sparse(store) == []
    await store.delete(locators[-10:-5])
    assert await sparse(store) == locators[-5:]


async def test_a_segment_not_examined_completely_is_examined_again(tmp_path: Path, store: PackedBlobs) -> None:
    locators = await fill(tmp_path, 100, 3000)
    await store.delete(locators[:-10])
    batches = store.sparse()
    await anext(batches)
    await batches.aclose()
    assert await sparse(store) == locators[-10:]


async def test_batches_are_a_few_mebibytes(tmp_path: Path, store: PackedBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.adapters.blobs.segment_files.segments._PUNCH_HOLE_KEEP_SIZE", -1)
    locators = await fill(tmp_path, 40, 900_000)
    await store.delete(locators[:-15])
    batches = [batch async for batch in store.sparse()]
    assert [locator for batch in batches for locator in batch] == locators[-15:]
    assert max(map(len, batches)) == 5


async def test_a_segment_that_is_open_or_has_unsettled_blobs_is_ignored(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path) as writing, PackedBlobs(tmp_path) as store:
        locators = [await put(writing, b"x" * 3000) for _ in range(50)]
        await writing.settle(locators)
        await writing.delete(locators[1:])
        assert await sparse(store) == []
        assert await sparse(writing) == []
    async with PackedBlobs(tmp_path) as store:
        assert await sparse(store) == locators[:1]


async def test_a_segment_emptied_while_open_is_removed_when_it_is_closed(tmp_path: Path) -> None:
    async with PackedBlobs(tmp_path) as store:
        await store.delete([await put(store, b"x")])
    assert len(segments(tmp_path)) == 1
    async with PackedBlobs(tmp_path) as store:
        assert await sparse(store) == []
        assert segments(tmp_path) == []


async def test_many_small_segments_are_merged_and_few_are_not(tmp_path: Path) -> None:
    locators: list[str] = []
    for _ in range(7):
        locators += await fill(tmp_path, 1)
    async with PackedBlobs(tmp_path) as store:
        assert await sparse(store) == []
        locators += await fill(tmp_path, 1)
        assert sorted(await sparse(store)) == sorted(locators)
        assert await sparse(store) == []


async def test_full_segments_are_never_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending, "SEGMENT_BYTES", 50_000)
    monkeypatch.setattr(sparse_segments, "_SMALL_BYTES", 50_000)
    async with PackedBlobs(tmp_path) as store:
        await store.settle([await put(store, b"x" * SIZE) for _ in range(40)])
        assert len(segments(tmp_path)) > 8
        assert await sparse(store) == []


async def test_one_process_compacts_at_a_time(tmp_path: Path, store: PackedBlobs) -> None:
    locators = await fill(tmp_path, 100, 3000)
    await store.delete(locators[:-10])
    async with PackedBlobs(tmp_path) as other:
        batches = store.sparse()
        assert await anext(batches) == locators[-10:]
        assert await sparse(other) == []
        await batches.aclose()
        assert await sparse(other) == locators[-10:]


async def test_a_segment_with_a_damaged_header_is_ignored(
    tmp_path: Path, store: PackedBlobs, caplog: pytest.LogCaptureFixture
) -> None:
    locators = await fill(tmp_path, 100, 3000)
    await store.delete(locators[:-10])
    record = record_of(locators[-5])
    assert record is not None
    overwrite(segments(tmp_path)[0], record.offset + 8, b"\0\0\0\0")
    assert await sparse(store) == []
    assert "damaged header" in caplog.text
    assert await get(store, locators[-1]) == bytes([99]) * 3000
    assert await get(store, locators[-5]) == bytes([95]) * 3000


async def test_each_run_examines_few_segments_and_all_are_examined_eventually(
    tmp_path: Path, store: PackedBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_segments, "_EXAMINED_A_CALL", 2)
    kept: list[str] = []
    for _ in range(5):
        locators = await fill(tmp_path, 50, 3000)
        await store.delete(locators[:-2])
        kept += locators[-2:]
    found = [await sparse(store) for _ in range(4)]
    assert [len(locators) for locators in found] == [4, 4, 2, 0]
    assert sorted(locator for some in found for locator in some) == sorted(kept)
    assert set(await all_blobs(store)) == set(kept)


async def test_compacting_copies_those_that_an_instance_names_and_deletes_nothing(
    tmp_path: Path, store: PackedBlobs
) -> None:
    locators = await fill(tmp_path, 100, 3000)
    await store.delete(locators[:-10])
    relocation = RecordedRelocation(set(locators[-5:]))
    assert not await store.compact(relocation)
    assert sorted(relocation.copies) == sorted(locators[-5:])
    for number, locator in enumerate(locators[-5:], 95):
        assert await get(store, relocation.copies[locator]) == bytes([number]) * 3000
    assert set(await all_blobs(store)) == {*locators[-10:], *relocation.copies.values()}
    assert not await store.compact(relocation)
    assert len(relocation.copies) == 5
