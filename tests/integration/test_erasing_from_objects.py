"""Erasing instances whose bytes share an object of a bucket with those of others."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from server.adapters.blobs.object_blobs import sparse_objects
from server.adapters.blobs.object_blobs.names import Locators
from server.adapters.blobs.objects.client import ObjectClient
from server.adapters.sql.engine import Database, migrate, open_database
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
