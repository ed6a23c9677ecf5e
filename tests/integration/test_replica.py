"""Searches on a hot standby of PostgreSQL find everything that was acknowledged before them (`database_replica`)."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from sqlalchemy import make_url

from server.adapters.sql.engine import Database, migrate, open_database
from server.model.errors import DicomStoreError
from server.model.ids import DEFAULT_PARTITION, Address
from server.model.search.query import Level, Query
from tests.contract.index.samples import NOON, sample
from tests.standby import Standby, running_standby

pytestmark = pytest.mark.postgres

WAIT_SECONDS = 0.3


@pytest.fixture
def standby(postgres_server: str) -> Iterator[Standby]:
    with running_standby(postgres_server) as standby:
        yield standby


@pytest.fixture
async def primary(postgres_url: str) -> AsyncIterator[Database]:
    """The database as opened by a node that only writes. Its commits are synchronous, as they must be."""
    migrate(postgres_url)
    url = make_url(postgres_url)
    with psycopg.connect(url.set(drivername="postgresql").render_as_string(False), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {url.database} SET synchronous_commit = on".encode())
    database = open_database(postgres_url)
    yield database
    await database.close()


async def test_searches_use_the_standby_and_never_miss_what_was_acknowledged(
    primary: Database, postgres_url: str, standby: Standby
) -> None:
    await found_after_storing(primary, primary, 0)
    await replayed(standby, postgres_url)
    other = open_database(postgres_url, replica_url=standby.url(postgres_url), replica_wait_seconds=WAIT_SECONDS)
    try:
        for number in range(1, 30):  # stored by one node, searched for at another one
            await found_after_storing(primary, other, number)
        assert transactions(standby, postgres_url)

        standby.execute("SELECT pg_wal_replay_pause()")
        for number in range(30, 33):  # the standby is behind, and the primary answers
            await found_after_storing(primary, other, number)
        standby.execute("SELECT pg_wal_replay_resume()")
        await replayed(standby, postgres_url)
        await asyncio.sleep(1.1)  # the standby is avoided for a second
        many = [found_after_storing(primary, other, number) for number in range(40, 60)]
        await asyncio.gather(*many)

        standby.execute("SELECT pg_promote()")  # it is no standby any more, and lacks what is stored from now on
        for number in range(60, 63):
            await found_after_storing(primary, other, number)
    finally:
        await other.close()


async def test_searches_work_without_the_standby(primary: Database, postgres_url: str) -> None:
    nowhere = "postgresql+psycopg://postgres@/nowhere?host=/nonexistent"
    for replica_url in (nowhere, postgres_url):  # unreachable, and not a standby
        other = open_database(postgres_url, replica_url=replica_url, replica_wait_seconds=WAIT_SECONDS)
        await found_after_storing(primary, other, 1 if replica_url == nowhere else 2)
        await other.close()


async def found_after_storing(writing: Database, reading: Database, number: int) -> None:
    """Store an instance of a study of its own, and search for it."""
    new = sample(number, 1, 1)
    await writing.instances.add([new], NOON)
    query = Query(Level.INSTANCE, Address(DEFAULT_PARTITION, new.id.study), (), limit=10)
    assert [match.resource.instance for match in await reading.instances.search(query)] == [new.id.instance]


async def replayed(standby: Standby, url: str) -> None:
    """Wait until the standby has the tables."""
    database = open_database(standby.url(url))
    async with asyncio.timeout(60):
        while not await is_usable(database):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.05)
    await database.close()


async def is_usable(database: Database) -> bool:
    try:
        await database.instances.check()
    except DicomStoreError:
        return False
    return True


def transactions(standby: Standby, url: str) -> bool:
    """Return whether transactions for searches have been run on the standby."""
    name = url.rpartition("/")[2].partition("?")[0]
    rows = standby.execute(f"SELECT query FROM pg_stat_activity WHERE datname = '{name}'")
    return ("COMMIT",) in rows
