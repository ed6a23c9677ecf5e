"""Blobs in a bucket pass the contract suite, on moto's S3 server; and what is particular to them."""

import asyncio
import random
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cachetools import LRUCache
from crc32c import crc32c

from server.adapters.blobs.object_blobs import erasure, generations
from server.adapters.blobs.object_blobs.cache import PartCache, Range
from server.adapters.blobs.object_blobs.names import Locators, Place, new_packed
from server.adapters.blobs.object_blobs.store import ObjectBlobs
from server.adapters.blobs.objects.client import MultipartWriter, NotFound, ObjectClient
from server.adapters.blobs.objects.lease import ProcessLease
from server.adapters.blobs.objects.locks import ObjectLock
from server.adapters.blobs.records import Blocks
from server.model.buffer import Buffer
from server.model.errors import DataLoss, Reason, Unavailable
from server.model.ids import PartitionName
from server.ports.blobs import BlobStore
from tests.contract.blobs import (
    RECEIPT,
    BlobStoreContract,
    Flip,
    RecordedRelocation,
    all_blobs,
    derive,
    flipped,
    get,
    put,
)
from tests.contract.test_file_blobs import recovered


@asynccontextmanager
async def opened(
    client: ObjectClient,
    cache: Path,
    cache_bytes: int = 1 << 30,
    *,
    lease: ProcessLease | None = None,
    store_id: str = "",
    storage_class: Callable[[PartitionName], str | None] = lambda _: None,
    held_bytes: int = 16 << 20,
    received_bytes: int = 32 << 20,
) -> AsyncIterator[ObjectBlobs]:
    """Open the blobs of a bucket, as a process of its own."""
    lease = lease or ProcessLease(client)
    try:
        async with ObjectBlobs(
            client,
            lease,
            recovering=ObjectLock(client, lease, "recover"),
            compacting=ObjectLock(client, lease, "compact"),
            cache=PartCache(cache, cache_bytes),
            store_id=store_id,
            storage_class=storage_class,
            held_bytes=held_bytes,
            received_bytes=received_bytes,
        ) as store:
            yield store
    finally:
        await asyncio.to_thread(lease.leave)


class CountingClient(ObjectClient):
    """Counts reads of ranges, and damages the next ones."""

    reads = 0
    damaged = 0

    def get_range(self, name: str, offset: int, length: int) -> memoryview:
        self.reads += 1
        found = super().get_range(name, offset, length)
        if self.damaged:
            self.damaged -= 1
            return memoryview(flipped(bytes(found), len(found) // 2))
        return found


class ObjectBlobsContract(BlobStoreContract):
    keeps_deleted_for_readers = False

    @pytest.fixture
    def flip(self, client: ObjectClient, tmp_path: Path) -> Flip:
        """Change a byte in the bucket, and empty the cache."""

        def flip(body: bytes, offset: int) -> None:
            for listed in client.names("blobs"):
                data, _ = client.get(listed.name)
                if (at := data.find(body)) >= 0:
                    client.put(listed.name, flipped(data, at + offset))
                    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
                    return
            raise AssertionError("no object holds the blob")

        return flip


class TestObjectBlobsOnS3(ObjectBlobsContract):
    @pytest.mark.parametrize(("size", "knows_crc32c"), [(300_000, True)])
    async def test_ranges_with_a_changed_byte_are_never_read_and_all_others_are(
        self, store: BlobStore, flip: Flip, size: int, knows_crc32c: bool
    ) -> None:
        """With one size only: moto takes a quarter of a minute for the others, which are tested in memory."""
        await super().test_ranges_with_a_changed_byte_are_never_read_and_all_others_are(store, flip, size, knows_crc32c)

    @pytest.fixture
    def client(self, bucket_url: str) -> ObjectClient:
        return ObjectClient(bucket_url)

    @pytest.fixture
    async def store(self, client: ObjectClient, tmp_path: Path) -> AsyncIterator[BlobStore]:
        async with opened(client, tmp_path / "cache", store_id="0123abcd", received_bytes=0) as store:
            yield store


class TestObjectBlobsWithoutMemoryAndCache(ObjectBlobsContract):
    @pytest.fixture
    def client(self) -> ObjectClient:
        return ObjectClient("memory:")

    @pytest.fixture
    async def store(self, client: ObjectClient, tmp_path: Path) -> AsyncIterator[BlobStore]:
        async with opened(client, tmp_path / "cache", 0, held_bytes=0) as store:
            yield store


async def test_blobs_that_are_committed_together_share_an_object(tmp_path: Path) -> None:
    client = ObjectClient("memory:")
    async with opened(client, tmp_path) as store:
        bodies = [bytes([number]) * 1000 for number in range(50)]
        locators = await asyncio.gather(*(put(store, body) for body in bodies))
        assert len(list(client.names("blobs"))) == 2  # the first is sent at once, the others meanwhile wait
        large = await put(store, b"x" * 1_100_000)
        assert len(list(client.names("blobs"))) == 3
        assert [await get(store, locator) for locator in locators] == bodies
        assert await all_blobs(store) == {**dict.fromkeys(locators, 1000), large: 1_100_000}


async def test_an_object_is_deleted_with_its_last_blob(tmp_path: Path) -> None:
    client = ObjectClient("memory:")
    async with opened(client, tmp_path) as store, opened(client, tmp_path / "other") as other:
        await put(store, b"first")
        first, *others = await asyncio.gather(*(put(store, b"small") for _ in range(10)))
        await store.settle([first, *others])
        await other.delete(others[:5])
        assert (await all_blobs(store)).keys() >= {first, *others[5:]}
        assert not (await all_blobs(store)).keys() & set(others[:5])
        for locator in others[:5]:
            with pytest.raises(DataLoss) as caught:
                await store.size(locator)
            assert caught.value.reason is Reason.BLOB_MISSING
        await asyncio.gather(store.delete(others[5:]), other.delete([first]))
        assert len(await all_blobs(store)) == 1
        assert len(list(client.names("blobs"))) == 1
        assert list(client.names("erased")) == []


async def test_compaction_rewrites_an_object_of_which_little_lives(tmp_path: Path) -> None:
    client = ObjectClient("memory:")
    async with opened(client, tmp_path) as store:
        await put(store, b"first")
        locators = await asyncio.gather(*(put(store, bytes([number]) * 3000) for number in range(10)))
        await store.settle(locators)
        await store.delete(locators[:4])
        relocation = RecordedRelocation(set(locators))
        assert not await store.compact(relocation)
        assert relocation.copies == {}  # more than half of it lives
        await store.delete(locators[4:8])
        relocation = RecordedRelocation({locators[9]})
        while await store.compact(relocation):
            pass
        assert relocation.copies.keys() == {locators[9]}
        copy = relocation.copies[locators[9]]
        assert await get(store, copy) == bytes([9]) * 3000
        await store.delete([locators[8], locators[9]])
        assert len(list(client.names("blobs"))) == 2
        assert list(client.names("erased")) == []


async def test_a_base_that_is_moved_takes_the_blobs_derived_from_it_along(tmp_path: Path) -> None:
    body, large = random.Random(1).randbytes(3000), random.Random(2).randbytes(1_200_000)
    async with opened(ObjectClient("memory:"), tmp_path, store_id="0123abcd") as store:
        others = await asyncio.gather(*(put(store, bytes(3000)) for _ in range(3)))
        base, *more = await asyncio.gather(put(store, bytes(10)), put(store, body), put(store, bytes(9000)))
        base, others = more[0], [*others, more[1]]
        derived = [(await derive(store, head, base, body, 100)).locator for head in (b"first", large)]
        other = (await derive(store, b"third", other_base := await put(store, large), large, 100)).locator
        await store.delete(others)
        relocation = RecordedRelocation([], [base, other_base, *derived, other])
        assert not await store.compact(relocation)
        assert relocation.copies.keys() == {base, *derived}
        await store.delete([base, *derived])
        found = [await get(store, relocation.copies[locator]) for locator in (base, *derived)]
        assert found == [body, b"first" + body[100:], large + body[100:]]
        assert (await all_blobs(store))[relocation.copies[derived[0]]] < 500


async def test_an_instance_of_which_a_blob_is_damaged_stays_where_it_is(tmp_path: Path) -> None:
    body = random.Random(1).randbytes(3000)
    async with opened(client := ObjectClient("memory:"), tmp_path) as store:
        await put(store, b"first")
        base, intact, other = await asyncio.gather(*(put(store, each) for each in (body, b"intact", bytes(9000))))
        derived = (await derive(store, b"head", base, body, 100)).locator
        place = Locators().place(derived)
        assert place is not None
        client.delete([place.name.path])
        await store.delete([other])
        relocation = RecordedRelocation([intact], [base, derived])
        assert not await store.compact(relocation)
        assert relocation.copies.keys() == {intact}


DIES = """
import asyncio, os, sys
from datetime import UTC, datetime
from pathlib import Path
sys.path.insert(0, os.getcwd())
from server.model.ids import DEFAULT_PARTITION
from server.model.receipt import Receipt
from server.adapters.blobs.objects.client import MultipartWriter, NotFound, ObjectClient
from tests.contract.test_object_blobs import opened

async def main():
    async with opened(ObjectClient(sys.argv[1]), Path(sys.argv[2])) as store:
        async def put(data):
            async with store.open_write() as writer:
                await writer.write(data)
                return await writer.commit(Receipt(DEFAULT_PARTITION, datetime.now(UTC), 0))
        settled, unsettled, large = await put(b"settled"), await put(b"unsettled"), await put(b"x" * 1_500_000)
        await store.settle([settled])
        async with store.open_write() as writer:
            await writer.write(b"x" * 9_000_000)
            print(settled, unsettled, large, flush=True)
            os.kill(os.getpid(), 9)

asyncio.run(main())
"""


async def test_what_a_killed_process_left_is_recovered_when_its_lease_has_ended(
    bucket_url: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", DIES, bucket_url, str(tmp_path / "died")]
    died = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False, timeout=60)
    assert died.returncode == -9, died.stderr
    settled, unsettled, large = died.stdout.decode().split()
    client = ObjectClient(bucket_url)
    async with opened(client, tmp_path / "living") as living, opened(client, tmp_path / "other") as other:
        kept = await put(living, b"of a living process")
        assert await recovered(other) == []
        generation = settled.partition(".")[0]
        [record] = [found.name for found in client.names("ingest") if found.name.endswith(generation)]
        client.delete([f"processes/{record.split('/')[1]}"])  # as after the time of the lease
        assert sorted(await recovered(other)) == sorted([settled, unsettled, large])
        assert await recovered(other) == []
        assert await get(other, kept) == b"of a living process"


async def test_a_process_without_a_lease_commits_nothing(tmp_path: Path) -> None:
    client = ObjectClient("memory:")

    class Ended(ProcessLease):
        def require(self, id_: str) -> None:
            raise Unavailable(Reason.STORAGE_UNAVAILABLE, "ended")

    async with opened(client, tmp_path, lease=Ended(client)) as store:
        for size in (10, 1_500_000, 9_000_000):
            with pytest.raises(Unavailable):
                await put(store, b"x" * size)
        assert len(await all_blobs(store)) == 3
        assert [batch async for batch in store.recover()] == []  # deletes what is in doubt
        assert await all_blobs(store) == {}


async def test_a_clean_exit_leaves_no_trace_of_the_process(tmp_path: Path) -> None:
    client = ObjectClient("memory:")
    async with opened(client, tmp_path) as store:
        await store.settle([await put(store, b"x"), await put(store, b"x" * 2_000_000)])
    assert {found.name.split("/")[0] for found in client.names()} == {"blobs"}


async def test_blobs_have_the_storage_class_of_their_partition(tmp_path: Path) -> None:
    classes: list[tuple[str, str | None]] = []

    class Recorded(ObjectClient):
        def create(self, name: str, data: Buffer, *, storage_class: str | None = None) -> str:
            classes.append((name.split("/")[0], storage_class))
            return super().create(name, data, storage_class=storage_class)

        def multipart(self, name: str, *, part_bytes: int = 0, storage_class: str | None = None) -> MultipartWriter:
            classes.append((name.split("/")[0], storage_class))
            return super().multipart(name, part_bytes=part_bytes)

    async with opened(Recorded("memory:"), tmp_path, storage_class={"a.partition": "COLD"}.get) as store:
        for size in (10, 1_500_000, 9_000_000):
            async with store.open_write(partition=RECEIPT.partition) as writer:
                await writer.write(b"x" * size)
                await writer.commit(RECEIPT)
        await store.check_writing()
    assert [one for one in classes if one[0] == "blobs"] == [("blobs", "COLD")] * 3 + [("blobs", None)]


async def test_memory_is_bounded_while_a_large_blob_is_written_and_read(tmp_path: Path) -> None:
    client = ObjectClient(f"file://{tmp_path}/bucket")
    (tmp_path / "bucket").mkdir()
    piece = random.Random(1).randbytes(1 << 20)
    async with opened(client, tmp_path / "cache", lease=ProcessLease(ObjectClient("memory:"))) as store:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with store.open_write() as writer:
            for _ in range(200):
                await writer.write(piece)
            locator = await writer.commit(RECEIPT)
        count = 0
        async for found in store.read(locator, crc32c=None):
            assert found == piece
            count += 1
        assert count == 200
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def cached(cache: Path) -> list[Path]:
    return list(cache.glob("?/*"))


def damage_cache(cache: Path) -> None:
    for path in cached(cache):
        path.write_bytes(bytes(path.stat().st_size))


async def test_a_blob_is_read_from_the_cache_and_a_damaged_part_of_it_is_fetched_again(tmp_path: Path) -> None:
    client = CountingClient("memory:")
    async with opened(client, tmp_path, received_bytes=0) as store:
        for size in (200_000, 2_500_000):
            body = random.Random(size).randbytes(size)
            locator = await put(store, body)
            assert await get(store, locator) == body
            client.reads = 0
            assert await get(store, locator, 150_000, 30_000) == body[150_000:180_000]
            assert client.reads == 0
            await asyncio.to_thread(damage_cache, tmp_path)
            assert await get(store, locator) == body
            assert client.reads > 0
            client.reads = 0
            assert await get(store, locator) == body
            assert client.reads == 0
    async with opened(client, tmp_path) as store:
        assert await get(store, locator) == body
        assert client.reads == 1  # the trailer, which was damaged in the cache and in memory of the process before


async def test_bytes_that_changed_on_the_way_are_fetched_again(tmp_path: Path) -> None:
    client = CountingClient("memory:")
    async with opened(client, tmp_path, 0) as store:
        for size in (200_000, 2_500_000):
            body = random.Random(size).randbytes(size)
            locator = await put(store, body)
            client.damaged = 2
            assert await get(store, locator) == body
            client.damaged = 1
            assert await store.receipt(locator) == (RECEIPT, crc32c(body))


async def test_blobs_are_read_ahead_with_few_requests(tmp_path: Path) -> None:
    client = CountingClient("memory:")
    async with opened(client, tmp_path) as store:
        await put(store, b"first")
        bodies = [random.Random(number).randbytes(50_000) for number in range(20)]
        locators = await asyncio.gather(*(put(store, body) for body in bodies))
        client.reads = 0
        store.read_ahead(locators)
        assert [await get(store, locator) for locator in locators] == bodies
        assert client.reads <= 2


async def test_all_blobs_of_an_object_are_read_ahead_with_the_object_as_a_whole(tmp_path: Path) -> None:
    ranges: list[tuple[str, int, int]] = []

    class Recording(CountingClient):
        def get_range(self, name: str, offset: int, length: int) -> memoryview:
            ranges.append((name, offset, length))
            return super().get_range(name, offset, length)

    client = Recording("memory:")
    async with opened(client, tmp_path) as store:
        await put(store, b"first")
        bodies = [random.Random(number).randbytes(50_000) for number in range(20)]
        locators = await asyncio.gather(*(put(store, body) for body in bodies))
        ranges.clear()
        store.read_ahead(locators)
        assert [await get(store, locator) for locator in locators] == bodies
    whole = [(name, 0, client.size(name)) for name, _, _ in ranges]
    assert ranges == whole, "a server can send a whole object with less work than a part of it"
    client.damaged = 100
    async with opened(client, tmp_path) as store:
        assert [await get(store, locator) for locator in locators] == bodies, "all are in the cache"


async def test_a_request_that_reads_ahead_returns_the_following_neighbours_too(tmp_path: Path) -> None:
    client = CountingClient("memory:")
    async with opened(client, tmp_path) as store:
        await put(store, b"first")
        bodies = [random.Random(number).randbytes(50_000) for number in range(20)]
        locators = await asyncio.gather(*(put(store, body) for body in bodies))
        alone = await put(store, b"in another object")
        client.reads = 0
        store.read_ahead(locators[5:8], [*locators[8:], alone])
        store.read_ahead(locators[10:18], locators[18:])
        assert [await get(store, locator) for locator in locators[5:]] == bodies[5:]
        assert client.reads == 1
        assert await get(store, alone) == b"in another object"
        assert client.reads == 2


async def test_received_blobs_are_read_from_memory_and_cached_when_the_store_is_left(tmp_path: Path) -> None:
    client = CountingClient("memory:")
    bodies = [random.Random(size).randbytes(size) for size in (1, 300_000, 2_500_001)]
    async with opened(client, tmp_path) as store:
        locators = [await put(store, body) for body in bodies]
        for locator, body in zip(locators, bodies, strict=True):
            assert await get(store, locator, 0, 1) == body[:1]
            with pytest.raises(DataLoss) as caught:
                await store.read_piece(locator, 0, 1, crc32c(body) ^ 1)
            assert caught.value.reason is Reason.BLOB_DAMAGED
            assert await get(store, locator) == body
    client.reads = 0
    async with opened(client, tmp_path) as store:
        assert [await get(store, locator) for locator in locators] == bodies
        assert client.reads == 0
        await store.delete(locators)
        assert await asyncio.to_thread(cached, tmp_path) == []


async def test_damaged_bytes_are_neither_kept_in_memory_nor_cached(tmp_path: Path) -> None:
    client = CountingClient("memory:")
    body = random.Random(1).randbytes(300_000)
    async with opened(client, tmp_path) as store:
        locator = await put(store, body)
        client.damaged = 100
        for _ in range(2):
            with pytest.raises(DataLoss) as caught:
                await get(store, locator)
            assert caught.value.reason is Reason.BLOB_DAMAGED
        assert await asyncio.to_thread(cached, tmp_path) == []
        client.damaged = 0
        assert await get(store, locator) == body


def in_cache(number: int, offset: int = 0, length: int = 50_000) -> Range:
    return Range(f"{number:032x}", offset, length)


def test_the_cache_keeps_what_was_used_last_within_its_size(tmp_path: Path) -> None:
    first, second = PartCache(tmp_path, 1_000_000), PartCache(tmp_path, 1_000_000)
    for number in range(100):
        (first if number % 2 else second).write(f"{number:032x}", [(0, b"x" * 50_000)])
    sizes = [path.stat().st_size for path in cached(tmp_path)]
    assert 500_000 <= sum(sizes) <= 1_100_000
    assert second.read(in_cache(99)) == b"x" * 50_000
    assert first.read(in_cache(0)) is None
    first.remove([in_cache(99)])
    assert second.read_now(in_cache(99)) is None


def test_the_ranges_of_an_object_are_cached_and_removed_one_by_one(tmp_path: Path) -> None:
    cache = PartCache(tmp_path, 1 << 20)
    cache.write("0" * 32, [(100_000, b"b" * 50_000), (150_000, b"c" * 50_000)])
    before, one, two = (in_cache(0, at) for at in (50_000, 100_000, 150_000))
    assert [cache.has(wanted) for wanted in (before, one, two)] == [False, True, True]
    assert [cache.read(wanted) for wanted in (before, one, two)] == [None, b"b" * 50_000, b"c" * 50_000]
    cache.remove([one, in_cache(0, 200_000), in_cache(1)])
    assert [cache.has(wanted) for wanted in (one, two)] == [False, True]
    assert cache.read_now(one) in (bytes(50_000), None)  # file systems in memory have no page of a hole
    assert b"b" not in cached(tmp_path)[0].read_bytes()
    assert cache.read(two) == b"c" * 50_000
    cache.remove([two])
    assert cache.read(two) is None
    assert not cache.has(two)


def test_a_cache_that_cannot_be_written_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = PartCache(tmp_path / "file" / "cache", 1_000_000)
    cache.write("0" * 32, [(0, b"x")])
    assert cache.read(in_cache(0, 0, 1)) is None
    assert cache.read_now(in_cache(0, 0, 1)) is None
    assert not cache.has(in_cache(0, 0, 1))


async def test_a_generation_ends_and_its_record_disappears_when_its_blobs_are_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "_MAX_OBJECTS", 2)
    client = ObjectClient("memory:")
    async with opened(client, tmp_path) as store:
        locators = [await put(store, b"x") for _ in range(5)]
        assert len(list(client.names("ingest"))) == 3
        await store.settle(locators[:4])
        assert len(list(client.names("ingest"))) == 1
        assert await all_blobs(store) == dict.fromkeys(locators, 1)


class OnOneThread(LRUCache[str, Blocks]):
    """Fails on every thread but that of its creation: lookups and changes of several threads would damage it."""

    def __init__(self) -> None:
        super().__init__(1000)
        self.thread = threading.get_ident()

    def __contains__(self, key: object) -> bool:
        assert threading.get_ident() == self.thread
        return super().__contains__(key)


async def test_checksums_in_memory_are_used_by_the_event_loop_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.adapters.blobs.object_blobs.reader.LRUCache", lambda *_, **__: OnOneThread())
    async with opened(ObjectClient("memory:"), tmp_path) as store:
        locator = await put(store, b"x" * 1_500_000)
        assert len(await get(store, locator)) == 1_500_000
        await store.delete([locator])
        with pytest.raises(DataLoss):
            await get(store, locator)


def test_threads_and_the_event_loop_may_ask_for_erased_blobs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "_MAX_OFFSETS", 30)
    interval = sys.getswitchinterval()
    found = erasure.Erasure(ObjectClient("memory:"))
    names = [new_packed(f"{number:016x}") for number in range(10)]
    for name in names:
        found._client.create(name.erased_path, erasure._record([0], datetime.now(UTC)))
    has_ended = threading.Event()
    failures: list[Exception] = []

    def ask() -> None:
        try:
            while not has_ended.is_set():
                for name in names:
                    found.erased(name)
        except Exception as error:  # noqa: BLE001 - reported by the test
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            for name in names:
                found.knows_erased(Place(name, 0, 1))
    finally:
        has_ended.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert failures == []


async def test_an_object_whose_writing_seemed_to_fail_is_deleted_when_the_next_generation_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most processes never call `recover`, which one does for all."""

    class Lossy(ObjectClient):
        is_lossy = True

        def create(self, name: str, data: Buffer, **options: Any) -> str:
            etag = super().create(name, data, **options)
            if name.startswith("blobs/") and self.is_lossy:
                raise Unavailable(Reason.STORAGE_UNAVAILABLE, "no response")
            return etag

    monkeypatch.setattr(generations, "_MAX_OBJECTS", 1)
    client = Lossy("memory:")
    async with opened(client, tmp_path) as store:
        for size in (10, 1_500_000):
            with pytest.raises(Unavailable):
                await put(store, b"x" * size)
        client.is_lossy = False
        locator = await put(store, b"stored")
        assert (await all_blobs(store)).keys() == {locator}
        assert len(list(client.names("ingest"))) == 1


async def test_a_wrong_answer_that_an_object_is_missing_deletes_nothing(tmp_path: Path) -> None:
    class Forgetful(ObjectClient):
        is_forgetful = False

        def size(self, name: str) -> int:
            if self.is_forgetful:
                raise NotFound(name)
            return super().size(name)

    client = Forgetful("memory:")
    async with opened(client, tmp_path) as store, opened(client, tmp_path / "other") as other:
        await put(store, b"first")
        locators = await asyncio.gather(*(put(store, bytes([number]) * 3000) for number in range(4)))
        await store.settle(locators)
        await store.delete(locators[:3])
        client.is_forgetful = True
        assert not await other.compact(RecordedRelocation(set(locators)))
        client.is_forgetful = False
        assert await get(other, locators[3]) == bytes([3]) * 3000
        assert not (await all_blobs(other)).keys() & set(locators[:3])
    client.delete([found.name for found in client.names("blobs")])
    async with opened(client, tmp_path / "third") as third:
        assert not await third.compact(RecordedRelocation(set(locators)))
        assert list(client.names("erased")) == []
