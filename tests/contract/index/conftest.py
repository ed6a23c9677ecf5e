"""Every test of this folder runs on SQLite and on PostgreSQL."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from server.adapters.sql.engine import Database, migrate, open_database
from server.ports.index import ChangeLog, InstanceIndex, Partitions
from tests.conftest import PostgresDatabases


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy, since migrating is the slowest part of a test."""
    path = tmp_path_factory.mktemp("template") / "index.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_databases: PostgresDatabases) -> str:
    name = postgres_databases.create()
    migrate(postgres_databases.url(name))
    return name


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a new, migrated, empty index."""
    if request.param == "sqlite":
        file = request.getfixturevalue("tmp_path") / "index.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), file)
        yield f"sqlite:///{file}"
    else:
        databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
        name = databases.create(request.getfixturevalue("postgres_template"))
        yield databases.url(name)
        databases.drop(name)


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = open_database(url)
    yield database
    await database.close()


@pytest.fixture
async def other_database(url: str) -> AsyncIterator[Database]:
    """What a second process has open."""
    database = open_database(url)
    yield database
    await database.close()


@pytest.fixture
def index(database: Database) -> InstanceIndex:
    return database.instances


@pytest.fixture
def changes(database: Database) -> ChangeLog:
    return database.changes


@pytest.fixture
def partitions(database: Database) -> Partitions:
    return database.partitions
