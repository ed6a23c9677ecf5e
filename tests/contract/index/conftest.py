"""Fixtures: every test of this folder runs on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from server.adapters.sql.core.tables import SEQUENCES, compatibility, counters, feed, tables, workitem_event_log
from server.adapters.sql.core.tables import partitions as partition_table
from server.adapters.sql.engine import Database, open_database
from server.ports.index import InstanceIndex, Partitions
from tests.conftest import PostgresDatabases
from tests.contract.index.sequenced import SequencedChanges
from tests.databases import migrated


@pytest.fixture(scope="session")
def emptied_postgres_url(postgres_databases: PostgresDatabases) -> str:
    """A migrated database shared by all tests, because creating one takes longer than most of them."""
    return postgres_databases.url(postgres_databases.create_migrated())


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a migrated, empty index."""
    if request.param == "sqlite":
        yield migrated(tmp_path / "index.db")
    else:
        url: str = request.getfixturevalue("emptied_postgres_url")
        yield url
        empty(url)


EMPTY = ";".join(
    [
        # Waits for statements that a killed process may have left running.
        "UPDATE counters SET version = 0 WHERE version > 0",
        "UPDATE feed SET sequence = 0, time = 0",
        "UPDATE workitem_event_log SET position = 0, removed = 0",
        *(
            f"DELETE FROM {table.name}"
            for table in reversed(tables.sorted_tables)
            if table not in (compatibility, counters, feed, partition_table, workitem_event_log)
        ),
        "DELETE FROM partitions WHERE key > 1",
        *(f"ALTER SEQUENCE {sequence} RESTART" for sequence in SEQUENCES),
    ]
)
"""Restores the state of a database after the migration."""


def empty(url: str) -> None:
    """Execute `EMPTY`."""
    with psycopg.connect(make_url(url).set(drivername="postgresql").render_as_string(False)) as connection:
        connection.execute(EMPTY.encode())


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
