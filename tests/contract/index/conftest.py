"""Fixtures: every test of this folder runs on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, delete, text, update

from server.adapters.sql.core.tables import SEQUENCES, counters, feed, tables
from server.adapters.sql.core.tables import partitions as partition_table
from server.adapters.sql.engine import Database, migrate, open_database
from server.ports.index import InstanceIndex, Partitions
from tests.conftest import PostgresDatabases
from tests.contract.index.sequenced import SequencedChanges
from tests.databases import migrated


@pytest.fixture(scope="session")
def emptied_postgres_url(postgres_databases: PostgresDatabases) -> str:
    """A migrated database shared by all tests, because creating one takes longer than most of them."""
    url = postgres_databases.url(postgres_databases.create())
    migrate(url)
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a migrated, empty index."""
    if request.param == "sqlite":
        yield migrated(tmp_path / "index.db")
    else:
        url: str = request.getfixturevalue("emptied_postgres_url")
        yield url
        empty(url)


def empty(url: str) -> None:
    """Restore the state of a database after the migration."""
    engine = create_engine(url)
    kept = (counters, feed, partition_table)
    with engine.begin() as connection:
        # Waits for statements that a killed process may have left running.
        connection.execute(update(counters).where(counters.c.version > 0).values(version=0))
        connection.execute(update(feed).values(sequence=0, time=0))
        for table in reversed(tables.sorted_tables):
            if table not in kept:
                connection.execute(delete(table))
        connection.execute(delete(partition_table).where(partition_table.c.key > 1))
        for sequence in SEQUENCES:
            connection.execute(text(f"ALTER SEQUENCE {sequence} RESTART"))
    engine.dispose()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = open_database(url)
    yield database
    await database.close()


@pytest.fixture
async def other_database(url: str) -> AsyncIterator[Database]:
    """The same database opened a second time, as by another process."""
    database = open_database(url)
    yield database
    await database.close()


@pytest.fixture
def index(database: Database) -> InstanceIndex:
    return database.instances


@pytest.fixture
def changes(database: Database) -> SequencedChanges:
    return SequencedChanges(database.changes)


@pytest.fixture
def partitions(database: Database) -> Partitions:
    return database.partitions
