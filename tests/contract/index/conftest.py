"""Fixtures: every test of this folder runs on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from server.adapters.sql.engine import Database, open_database
from server.adapters.sql.tables import schema
from server.adapters.sql.tables.archive import SEQUENCES, compatibility, counters
from server.adapters.sql.tables.archive import partitions as partition_table
from server.adapters.sql.tables.changes import feed
from server.adapters.sql.tables.worklist import workitem_event_log
from server.ports.index import InstanceIndex, Partitions
from tests.conftest import PostgresDatabases
from tests.contract.index.sequenced import SequencedChanges
from tests.databases import migrated


@pytest.fixture(scope="session")
def shared_postgres(postgres_databases: PostgresDatabases) -> Iterator["SharedDatabase"]:
    """A migrated database shared by all tests, because creating one takes longer than most of them."""
    shared = SharedDatabase(postgres_databases.url(postgres_databases.create_migrated()))
    yield shared
    shared.close()


@pytest.fixture
def emptied_postgres_url(shared_postgres: "SharedDatabase") -> Iterator[str]:
    """URL of a migrated, empty index, which is emptied after the test."""
    yield shared_postgres.url
    shared_postgres.empty()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a migrated, empty index."""
    if request.param == "sqlite":
        return migrated(tmp_path / "index.db")
    url: str = request.getfixturevalue("emptied_postgres_url")
    return url


EMPTY = ";".join(
    [
        # Waits for statements that a killed process may have left running.
        "UPDATE counters SET version = 0 WHERE version > 0",
        "UPDATE feed SET sequence = 0, time = 0",
        "UPDATE workitem_event_log SET position = 0, removed = 0",
        *(
            f"DELETE FROM {table.name}"
            for table in reversed(schema.sorted_tables)
            if table not in (compatibility, counters, feed, partition_table, workitem_event_log)
        ),
        "DELETE FROM partitions WHERE key > 1",
        *(f"ALTER SEQUENCE {sequence} RESTART" for sequence in SEQUENCES),
    ]
)
"""Restores the state of a database after the migration."""


class SharedDatabase:
    """A database that is emptied after each test, on one connection: a new one takes ten times as long."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = self._connected()

    def empty(self) -> None:
        """Execute `EMPTY`."""
        try:
            self._connection.execute(EMPTY.encode())
        except psycopg.OperationalError:  # a test has ended the connections to the database
            self.close()
            self._connection = self._connected()
            self._connection.execute(EMPTY.encode())

    def close(self) -> None:
        self._connection.close()

    def _connected(self) -> psycopg.Connection[Any]:
        url = make_url(self.url).set(drivername="postgresql").render_as_string(False)
        return psycopg.connect(url, autocommit=True)


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
