import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.adapters.blobs.files.store import FileBlobs
from server.model.errors import Exhausted, Reason, Unavailable
from server.ports.blobs import BlobStore
from tests.contract.blobs import NOON, RECEIPT, BlobStoreContract, all_blobs, get, put, quarantined


class TestFileBlobs(BlobStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[BlobStore]:
        async with FileBlobs(tmp_path) as store:
            yield store


class TestFileBlobsWithoutBufferSpace(BlobStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[BlobStore]:
        async with FileBlobs(tmp_path, held_bytes=0) as store:
            yield store


DIES = """
import asyncio, os, sys
from datetime import UTC, datetime
from pathlib import Path
from server.model.ids import DEFAULT_PARTITION
from server.model.receipt import Receipt
from server.adapters.blobs.files.store import FileBlobs

async def main():
    store = await FileBlobs(Path(sys.argv[1])).__aenter__()
    async def put(data):
        async with store.open_write() as writer:
            await writer.write(data)
            return await writer.commit(Receipt(DEFAULT_PARTITION, datetime.now(UTC), 0))
    settled, unsettled = await put(b"settled"), await put(b"unsettled")
    await store.settle([settled])
    async with store.open_write() as writer:
        await writer.write(b"x" * 2_000_000)
        print(settled, unsettled, flush=True)
        os.kill(os.getpid(), 9)

asyncio.run(main())
"""


def die_in_the_middle(root: Path) -> tuple[str, str]:
    """Run a process that dies with a settled, an unsettled and an open blob; return the first two locators."""
    died = subprocess.run([sys.executable, "-c", DIES, str(root)], capture_output=True, check=False, timeout=30)
    assert died.returncode == -9, died.stderr
    settled, unsettled = died.stdout.decode().split()
    return settled, unsettled


async def recovered(store: BlobStore) -> list[str]:
    return [locator async for batch in store.recover() for locator in batch]


async def test_recover_yields_only_unsettled_blobs_of_a_dead_process(tmp_path: Path) -> None:
    settled, unsettled = die_in_the_middle(tmp_path)
    async with FileBlobs(tmp_path) as store:
        assert await recovered(store) == [unsettled]
        assert await all_blobs(store) == {settled: 7, unsettled: 9}


async def test_a_recovered_blob_that_is_settled_stays_and_is_not_yielded_again(tmp_path: Path) -> None:
    _, unsettled = die_in_the_middle(tmp_path)
    async with FileBlobs(tmp_path) as store:
        async for locators in store.recover():
            await store.settle(locators)
        assert await recovered(store) == []
        assert await get(store, unsettled) == b"unsettled"


async def test_a_recovered_blob_that_is_deleted_is_gone(tmp_path: Path) -> None:
    settled, _ = die_in_the_middle(tmp_path)
    async with FileBlobs(tmp_path) as store:
        async for locators in store.recover():
            await store.delete(locators)
        assert await all_blobs(store) == {settled: 7}
    assert sorted(path.name for path in (tmp_path / "ingest").iterdir()) == [".lock"]


async def test_recover_ignores_the_blobs_of_a_live_process(tmp_path: Path) -> None:
    async with FileBlobs(tmp_path) as living, FileBlobs(tmp_path) as other, living.open_write() as writer:
        await writer.write(b"x" * 2_000_000)
        unsettled = await put(living, b"unsettled")
        assert await recovered(other) == []
        await other.check()
        locator = await writer.commit(RECEIPT)
        assert await get(other, locator) == b"x" * 2_000_000
        assert await get(other, unsettled) == b"unsettled"


async def test_a_clean_exit_leaves_no_trace_in_the_ingest_directory(tmp_path: Path) -> None:
    async with FileBlobs(tmp_path) as store:
        await store.settle([await put(store, b"x")])
    assert sorted(path.name for path in (tmp_path / "ingest").iterdir()) == [".lock"]


@contextmanager
def no_file_larger_than(size_bytes: int) -> Iterator[None]:
    """Simulate a full disk: limit the size of files that this process writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_storage_full_and_leaves_nothing(tmp_path: Path) -> None:
    async with FileBlobs(tmp_path) as store:
        with no_file_larger_than(1_000_000), pytest.raises(Exhausted) as caught:
            await put(store, b"x" * 1_500_000)
        assert caught.value.reason is Reason.STORAGE_FULL
        assert await all_blobs(store) == {}
        assert await get(store, await put(store, b"space again")) == b"space again"


async def test_a_disk_without_space_for_the_next_upload_counts_as_full_and_stays_readable(tmp_path: Path) -> None:
    async with FileBlobs(tmp_path) as store:
        with no_file_larger_than(1_000_000), pytest.raises(Exhausted) as caught:
            await store.check_writing()
        assert caught.value.reason is Reason.STORAGE_FULL
        with pytest.raises(Exhausted):
            await store.check_writing(await store.free_bytes() + (1 << 40))
        await store.check()


async def test_reading_fails_when_the_directory_has_vanished(tmp_path: Path) -> None:
    async with FileBlobs(tmp_path) as store:
        os.rename(tmp_path / "blobs", tmp_path / "elsewhere")
        for probe in (store.check, store.check_writing, store.free_bytes):
            with pytest.raises(Unavailable) as caught:
                await probe()
            assert caught.value.reason is Reason.STORAGE_UNAVAILABLE
        os.rename(tmp_path / "elsewhere", tmp_path / "blobs")


async def test_storage_is_unavailable_when_the_directory_has_vanished(tmp_path: Path) -> None:
    async with FileBlobs(tmp_path) as store:
        os.rename(tmp_path / "blobs", tmp_path / "elsewhere")
        with pytest.raises(Unavailable) as caught:
            await put(store, b"x")
        assert caught.value.reason is Reason.STORAGE_UNAVAILABLE
        os.rename(tmp_path / "elsewhere", tmp_path / "blobs")


async def test_quarantine_settles_a_blob_and_survives_the_process(tmp_path: Path) -> None:
    _, unsettled = die_in_the_middle(tmp_path)
    async with FileBlobs(tmp_path) as store:
        async for locators in store.recover():
            await store.quarantine(locators, NOON)
    async with FileBlobs(tmp_path) as store:
        assert await recovered(store) == []
        assert await quarantined(store) == [[unsettled]]
        assert await get(store, unsettled) == b"unsettled"


async def test_an_incomplete_quarantine_note_is_ignored(tmp_path: Path) -> None:
    async with FileBlobs(tmp_path) as store:
        await store.quarantine(["0" * 32], NOON)
        [note] = (tmp_path / "quarantine").iterdir()
        os.truncate(note, 10)
        assert await quarantined(store) == []
        await store.quarantine(["0" * 32], NOON)
        assert await quarantined(store) == [["0" * 32]]
