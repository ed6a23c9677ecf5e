"""Code of the release before can use a migrated database, so that nodes are replaced one after the other.

A migration may only add: tables, columns that may be empty or have a default, and indexes. One that takes away what
earlier code uses must raise `OLDEST_CODE`, so that this code refuses to start instead of failing.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, Engine, MetaData, Table, create_engine, make_url, text

from server.adapters.sql.engine import SchemaState, migrate, schema_state
from server.adapters.sql.tables import OLDEST_CODE, REVISION, schema
from server.opening import StartError, prepare
from tests.core import settings_for

MIGRATIONS = Path(__file__).parents[2] / "server" / "migrations"
FIRST = "0015"
"""The first revision to which the rule applies."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'index.db'}"
    empty: str = request.getfixturevalue("postgres_url")
    return empty


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


def upgraded(connection: Connection, revision: str) -> MetaData:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(config, revision)
    return reflected(connection)


def reflected(connection: Connection) -> MetaData:
    found = MetaData()
    found.reflect(
        connection, only=lambda name, _: not name.startswith(("sqlite_", "study_text", "workitem_trigrams", "alembic"))
    )
    return found


def hindrances(before: MetaData, after: MetaData) -> list[str]:
    """Return what prevents code for one schema from using another."""
    found = [f"table {name} is missing" for name in before.tables.keys() - after.tables.keys()]
    for name in before.tables.keys() & after.tables.keys():
        found += _of_table(before.tables[name], after.tables[name])
    return found


def _of_table(before: Table, after: Table) -> list[str]:
    name, old, new = before.name, dict(before.c.items()), dict(after.c.items())
    kept = old.keys() & new.keys()
    more = _constraints(after) - _constraints(before)
    return [
        *(f"column {name}.{one} is missing" for one in old.keys() - new.keys()),
        *(f"column {name}.{one} has another type" for one in kept if str(old[one].type) != str(new[one].type)),
        *(f"column {name}.{one} can no longer be NULL" for one in kept if old[one].nullable and not new[one].nullable),
        *(f"column {name}.{one} has no default" for one in new.keys() - old.keys() if _must_be_given(new[one])),
        *(f"{name} has another constraint: {one}" for one in sorted(more)),
    ]


def _must_be_given(column: Column[Any]) -> bool:
    return not column.nullable and column.server_default is None


def _constraints(table: Table) -> set[str]:
    """Return what rows must fulfil, independent of names."""
    found = {f"unique index {index.name}" for index in table.indexes if index.unique}
    for constraint in table.constraints:
        columns = sorted(column.name for column in getattr(constraint, "columns", ()))
        found.add(f"{type(constraint).__name__}({', '.join(columns)})")
    return found


def test_code_of_the_oldest_supported_revision_can_use_the_schema(engine: Engine) -> None:
    with engine.begin() as connection:
        before = upgraded(connection, max(OLDEST_CODE, FIRST))
        after = upgraded(connection, REVISION)
    assert hindrances(before, after) == []


def test_the_release_before_is_supported_or_the_migration_says_so() -> None:
    """`OLDEST_CODE` must be a revision, and the current program must support itself."""
    revisions = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    assert OLDEST_CODE in revisions
    assert OLDEST_CODE <= REVISION


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("DROP TABLE leases", "table leases is missing"),
        ("ALTER TABLE leases RENAME COLUMN holder TO owner", "column leases.holder is missing"),
        ("ALTER TABLE leases ADD COLUMN place TEXT NOT NULL DEFAULT ''", None),
        ("ALTER TABLE leases ADD COLUMN place TEXT", None),
        ("CREATE UNIQUE INDEX one_holder ON leases (holder)", "unique index one_holder"),
        ("CREATE INDEX a_holder ON leases (holder)", None),
    ],
)
def test_only_additions_are_compatible(change: str, expected: str | None) -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        schema.create_all(connection, [schema.tables["leases"]])
        before = reflected(connection)
        connection.execute(text(change))
        found = hindrances(before, reflected(connection))
    engine.dispose()
    assert found == [] if expected is None else any(expected in one for one in found)


@pytest.fixture
def newer(tmp_path: Path) -> Callable[[str], Any]:
    """Returns settings of an archive whose index has a later schema, which supports code from a revision on."""

    def make(oldest_code: str) -> Any:
        settings = settings_for(tmp_path)
        prepare(settings).storage.close()
        engine = create_engine(settings.database_url)
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
            connection.execute(text("UPDATE compatibility SET oldest_code = :oldest"), {"oldest": oldest_code})
        engine.dispose()
        return settings

    return make


def test_a_program_starts_with_a_newer_schema_that_supports_it(newer: Callable[[str], Any]) -> None:
    settings = newer(REVISION)
    assert schema_state(settings.database_url) == SchemaState("9999", REVISION)
    prepare(settings).storage.close()
    assert schema_state(settings.database_url).present == "9999"


def test_a_program_refuses_a_newer_schema_that_does_not_support_it(newer: Callable[[str], Any]) -> None:
    settings = newer("9998")
    with pytest.raises(StartError, match="a newer release has migrated it"):
        prepare(settings)


def test_migrating_records_the_oldest_supported_revision(url: str, engine: Engine) -> None:
    if make_url(url).get_backend_name() == "sqlite":
        Path(make_url(url).database or "").parent.mkdir(exist_ok=True)
    migrate(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT oldest_code FROM compatibility")).scalar_one() == OLDEST_CODE
