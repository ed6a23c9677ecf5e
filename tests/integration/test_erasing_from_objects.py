"""Erasing instances whose bytes share an object of a bucket with those of others."""

import asyncio
import os
import random
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from server.adapters.blobs.disk.threads import DiskThreads
from server.adapters.blobs.object_blobs import erased_lists, forgetting, sparse_objects
from server.adapters.blobs.object_blobs.cache import PartCache, Range
from server.adapters.blobs.object_blobs.erased_lists import ErasedLists
from server.adapters.blobs.object_blobs.erasure import Erasure
from server.adapters.blobs.object_blobs.names import Locators, Place, new_packed
from server.adapters.blobs.objects.client import Listed, ObjectClient
from server.adapters.sql.engine import Database, migrate, open_database
from server.model.errors import DataLoss, Reason
from tests.contract.test_object_blobs import opened as bucket
from tests.integration.test_compaction import GRACE, Archive, Clock, address


@asynccontextmanager
async def opened(client: ObjectClient, database: Database, cache: Path, now: Clock) -> AsyncIterator[Archive]:
    async with bucket(client, cache) as blobs:
        yield Archive(blobs, database, now)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path / 'index.db'}"
    await asyncio.to_thread(migrate, url)
    database = open_database(url)
    yield database
    await database.close()


def holders(client: ObjectClient, body: bytes) -> list[str]:
    """Return the objects that hold some bytes."""
    return [found.name for found in client.names() if body in client.get(found.name)[0]]


async def test_no_object_holds_an_erased_instance_although_earlier_versions_and_deleted_instances_shared_it(
    bucket_url: str, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_objects, "_ERASED_FOR", timedelta(0))
    client, now = ObjectClient(bucket_url), Clock()
    bodies = {f"1.1.{number}": random.randbytes(3000) for number in range(6)}
    async with opened(client, database, tmp_path / "cache", now) as archive:
        await asyncio.gather(*(archive.store(uid, body) for uid, body in bodies.items()))
        _, erased, replaced, deleted, updated, current = bodies
        await archive.replace(replaced, b"another content")
        await archive.update(updated, b"corrected", bodies[updated], 100)
        await archive.index.delete(address(deleted), now(), now() + timedelta(days=9))
        places = [Locators().place(locator) for locator in (await archive.locators()).values()]
        assert len({place.name for place in places if place is not None}) < len(places)
        assert len(holders(client, bodies[erased])) == 1

        await archive.index.delete(address(erased), now(), now())
        assert await archive.housekeeping.erase() == 1
        assert len(holders(client, bodies[erased])) == 1  # others are in the same object
        await archive.compact()
        now.advance(GRACE)
        await archive.housekeeping.erase()

        assert await asyncio.to_thread(holders, client, bodies[erased]) == []
        [first, second] = await archive.index.history(address(replaced))
        assert await archive.read(first.locator) == bodies[replaced]
        assert await archive.read(second.locator) == b"another content"
        [first, second] = await archive.index.history(address(updated))
        assert await archive.read(first.locator) == bodies[updated]
        assert await archive.read(second.locator) == b"corrected" + bodies[updated][100:]
        await archive.index.undelete(address(deleted), now(), now())
        contents = await archive.contents()
        assert (contents[deleted], contents[current]) == (bodies[deleted], bodies[current])
        assert (await archive.audit()).agrees


def parts(cache: Path, body: bytes) -> list[Path]:
    """Return the parts in a cache that hold some bytes."""
    return [path for path in cache.glob("?/*") if body in path.read_bytes()]


async def test_erased_instances_disappear_from_the_caches_of_all_nodes(
    bucket_url: str, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "_SECONDS", 0.05)
    client, now = ObjectClient(bucket_url), Clock()
    small = {f"1.1.{number}": random.randbytes(3000) for number in range(4)}
    large = {"1.1.5": random.randbytes(2_100_000)}
    erased = ["1.1.1", "1.1.5"]
    here, there, stopped = (tmp_path / name for name in ("here", "there", "stopped"))

    async def gone(cache: Path) -> None:
        for uid in erased:
            while parts(cache, (small | large)[uid][:3000]):  # noqa: ASYNC110 - no event announces it
                await asyncio.sleep(0.05)

    async with opened(client, database, here, now) as one, opened(client, database, there, now) as other:
        await asyncio.gather(*(one.store(uid, body) for uid, body in (small | large).items()))
        locators = await one.locators()
        async with opened(client, database, stopped, now) as node:
            assert await node.contents() == small | large
        assert await other.contents() == small | large
        while not all(parts(there, body[:3000]) for body in (small | large).values()):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)  # until a thread has written them
        for uid in erased:
            await one.index.delete(address(uid), now(), now())
        assert await one.housekeeping.erase() == 2
        await gone(there)
        for uid in erased:
            with pytest.raises(DataLoss) as caught:
                await other.read(locators[uid])
            assert caught.value.reason is Reason.BLOB_MISSING
        assert len(parts(stopped, small["1.1.1"])) == 1
        async with opened(client, database, stopped, now) as node:
            await gone(stopped)
            assert len(parts(stopped, small["1.1.2"])) == 1
            assert len(parts(there, small["1.1.2"])) == 1
        assert len(list(client.names("erased-lists"))) == 1  # nothing else was visible to others


async def test_a_blob_that_a_request_returns_after_it_was_erased_is_removed_from_the_cache_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "_AGAIN_SECONDS", 0)
    client, cache = ObjectClient("memory:"), PartCache(tmp_path, 1_000_000)
    lists, place = ErasedLists(client), Place(new_packed("0" * 16), 0, 10)
    removed: list[Place] = []

    async def forget(places: Sequence[Place]) -> None:
        removed.extend(places)

    threads = DiskThreads(1)
    process = forgetting.Forgetting(lists, cache, threads, forget, "")
    await process.turn()
    lists.add([place])
    await process.turn()
    assert removed == [place, place]
    await process.turn()
    assert removed == [place, place]
    await forgetting.Forgetting(lists, cache, threads, forget, "").turn()
    assert removed == [place, place]
    threads.close()


@pytest.mark.parametrize("loss", ["file", "old lists", "newest list"])
async def test_a_cache_of_which_it_is_unknown_what_was_erased_is_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    client, cache = ObjectClient("memory:"), PartCache(tmp_path, 1_000_000)
    lists, threads = ErasedLists(client), DiskThreads(1)
    place = Place(new_packed("0" * 16), 0, 10)
    cached = Range("0" * 20, 0, 16)

    async def forget(_: Sequence[Place]) -> None:
        """Nothing of these blobs is cached."""

    async def started() -> None:
        process = forgetting.Forgetting(lists, cache, threads, forget, "")
        process.prepare()
        await process.turn()

    monkeypatch.setattr(forgetting, "_AGAIN_SECONDS", 0)
    lists.add([place])
    await started()
    lists.add([place])
    await started()
    lists.add([place])
    cache.write("0" * 20, [(0, b"erased meanwhile")])
    await started()
    assert cache.read(cached) is not None
    names = [found.name for found in client.names("erased-lists")]
    if loss == "file":
        (tmp_path / "erased-").unlink()
    elif loss == "old lists":
        lists.add([place])
        monkeypatch.setattr(erased_lists, "_KEPT", timedelta(0))
        lists.add([place])
        lists.remove_old()
        assert len(list(client.names("erased-lists"))) == 1
    else:
        client.delete(names[-1:])
    await started()
    assert cache.read(cached) is None
    cache.write("0" * 20, [(0, b"cached afterward")])
    await started()
    assert cache.read(cached) is not None
    threads.close()


async def test_processes_add_lists_without_gaps_at_the_same_time() -> None:
    client = ObjectClient("memory:")
    places = [[Place(new_packed("0" * 16), number, 10)] for number in range(40)]
    await asyncio.gather(*(asyncio.to_thread(ErasedLists(client).add, some) for some in places))
    found = list(ErasedLists(client).after(0))
    assert [number for number, _ in found] == list(range(1, 41))
    assert sorted(some[0].offset for _, some in found) == list(range(40))


def test_memory_does_not_grow_with_the_number_of_objects_that_hold_erased_blobs() -> None:
    class Many(ObjectClient):
        """Lists 20,000 records, of which the first pass has examined all and nothing has changed since."""

        count = 0

        def names(self, prefix: str = "", after: str | None = None, limit: int | None = None) -> Iterator[Listed]:
            time = datetime.now(UTC) - timedelta(hours=1)
            for number in range(20_000):
                name = f"erased/{number >> 4:016x}/{number:016x}p"
                if after is None or name > after:
                    self.count += 1
                    yield Listed(name, 30, time, f"{number:032x}")

    client = Many("memory:")
    sparse = sparse_objects.SparseObjects(client, Erasure(client))
    sparse._last_began = datetime.now(UTC) - timedelta(minutes=3)
    tracemalloc.start()
    assert list(islice(sparse.find(), 6)) == [[]] * 6
    assert list(sparse.find()) == [[]] * 14  # continues where the first call ended
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
    assert client.count == 20_000


def test_memory_does_not_grow_with_the_number_of_parts_in_the_cache(tmp_path: Path) -> None:
    count, size = 2000, 8192
    for folder in range(16):
        (tmp_path / f"{folder:x}").mkdir()
    interval = 100
    start = time.time() - count * interval
    for number in range(count):
        path = tmp_path / f"{number & 15:x}" / f"{number & 15:x}{number:031x}"
        path.write_bytes(bytes(size))
        os.utime(path, (start + number * interval, start + number * interval))
    cache = PartCache(tmp_path, count * size // 2)
    tracemalloc.start()
    cache.write("f" * 32, [(0, b"x")])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150_000
    left = [path for path in tmp_path.glob("?/*") if path.stat().st_size == size]
    assert 0.43 * count < len(left) < 0.46 * count
    oldest = min(path.stat().st_mtime for path in left)
    assert start + 0.53 * count * interval < oldest < start + 0.56 * count * interval
