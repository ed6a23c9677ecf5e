"""The migrations create the schema that the code expects."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, make_url, text

from server.adapters.sql.engine import SchemaState, migrate, open_database, schema_state
from server.adapters.sql.tables import REVISION, schema
from server.model.change import ChangeState, ChangeWindow
from server.model.errors import DicomStoreError
from server.model.ids import DEFAULT_PARTITION, Address
from server.model.instance import Added, NewInstance
from server.model.search.query import Condition, NameMatches
from server.model.worklist.workitem import WorkitemQuery
from tests.contract import recorded_schemas
from tests.contract.index.samples import NOON, identity, sample, study_ref
from tests.contract.index.sequenced import sequence

MIGRATIONS = Path(__file__).parents[2] / "server" / "migrations"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database that is empty or does not exist."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new directory' / 'the 100% #1 index.db'}"
    empty: str = request.getfixturevalue("postgres_url")
    return empty


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


def test_upgrading_gives_the_same_schema_as_creating_the_tables(url: str, engine: Engine) -> None:
    migrate(url)
    migrated = described(engine)
    with engine.begin() as connection:
        schema.drop_all(connection)
        schema.create_all(connection)
    assert described(engine) == migrated


def described(engine: Engine) -> object:
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            rows = connection.execute(
                text("SELECT name, sql FROM sqlite_master WHERE name NOT IN ('alembic_version', 'sqlite_stat1')")
            )
            return {name: normal(sql) for name, sql in rows if sql}
    inspector = inspect(engine)
    with engine.connect() as connection:
        functions = [
            tuple(row)
            for row in connection.execute(
                text("SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE proname LIKE 'dicomstore%'")
            )
        ]
        indexes = connection.execute(
            text(
                "SELECT indexdef FROM pg_indexes WHERE indexdef LIKE '%dicomstore_trigrams%' OR indexdef LIKE '%WHERE%'"
            )
        ).all()
        sequences = sorted(inspector.get_sequence_names())
    tables_of = {
        name: (
            [(c["name"], str(c["type"]), getattr(c["type"], "collation", None), c["nullable"]) for c in columns],
            sorted(map(str, inspector.get_indexes(name))),
            sorted(map(str, inspector.get_unique_constraints(name))),
            sorted(map(str, inspector.get_foreign_keys(name))),
            str(inspector.get_pk_constraint(name)),
        )
        for (_, name), columns in inspector.get_multi_columns().items()
        if name != "alembic_version"
    }
    return tables_of, functions, sorted(tuple(row) for row in indexes), sequences


def normal(sql: str) -> list[str]:
    """Return the sorted parts of a statement: its lines, and later additions to its last line."""
    parts = re.split(r"\n|, (?=\w+ (?:TEXT|BIGINT|SMALLINT)\b)", sql)
    return sorted(part.strip(" \t,") for part in parts if part.strip())


def test_migrating_again_changes_nothing(url: str) -> None:
    migrate(url)
    migrate(url)
    assert schema_state(url) == SchemaState(REVISION)


def test_the_code_requires_the_newest_migration() -> None:
    script = ScriptDirectory(str(MIGRATIONS))
    assert script.get_heads() == [REVISION]


def test_the_state_of_an_empty_or_missing_database(url: str) -> None:
    assert schema_state(url) == SchemaState(None)
    path = make_url(url).database
    assert path is not None
    assert not Path(path).exists()


def test_several_processes_may_migrate_concurrently(url: str) -> None:
    with ThreadPoolExecutor(6) as executor:
        for migrated in [executor.submit(migrate, url) for _ in range(6)]:
            migrated.result()
    assert schema_state(url) == SchemaState(REVISION)


@pytest.mark.postgres
def test_a_migration_that_is_aborted_because_of_a_deadlock_is_repeated(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    recorded("0006", postgres_url, engine)
    options = {"options": "-c deadlock_timeout=2s"}
    migrating = make_url(postgres_url).update_query_dict(options).render_as_string(False)
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'partitions'::regclass")
    with ThreadPoolExecutor(1) as executor, engine.connect() as observer, engine.begin() as reader:
        reader.execute(text("SET LOCAL deadlock_timeout = '1h'"))  # the other transaction is aborted
        reader.execute(text("SELECT key FROM partitions"))
        migrated = executor.submit(migrate, migrating)
        while not observer.execute(waiting).scalar_one():
            observer.rollback()
        reader.execute(text("SELECT version FROM versions"))  # the migration has altered the table
        reader.commit()
        migrated.result()
    engine.dispose()
    assert schema_state(postgres_url) == SchemaState(REVISION)


def test_the_sqlite_statistics_name_existing_indexes(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path / 'index.db'}")
    engine = create_engine(f"sqlite:///{tmp_path / 'index.db'}")
    with engine.connect() as connection:
        described = connection.execute(text("SELECT tbl, idx, stat FROM sqlite_stat1")).all()
        for table, index, statistics in described:
            on = connection.execute(text("SELECT tbl_name FROM sqlite_master WHERE name = :name"), {"name": index})
            assert on.scalar_one() == table
            columns = connection.execute(text(f"PRAGMA index_info({index})")).all()
            *numbers, option = statistics.split()
            assert len(numbers) == 1 + len(columns), index
            assert option == "noskipscan"
    engine.dispose()
    assert described


async def test_a_migrated_database_is_ready_for_use(url: str) -> None:
    migrate(url)
    database = open_database(url)
    await database.instances.check()
    (default,) = await database.partitions.list()
    assert default.name == DEFAULT_PARTITION
    assert abs(default.created - datetime.now(UTC)) < timedelta(minutes=5)
    await database.close()


def test_migrations_import_nothing_of_ours() -> None:
    for version in (MIGRATIONS / "versions").glob("*.py"):
        assert not re.search(r"^\s*(from|import)\s+server\b", version.read_text(), re.MULTILINE)


def test_a_new_migration_can_be_made_from_the_template(tmp_path: Path) -> None:
    template = (MIGRATIONS / "script.py.mako").read_text()
    (tmp_path / "versions").mkdir()
    (tmp_path / "script.py.mako").write_text(template)
    made = ScriptDirectory(str(tmp_path)).generate_revision("9999", "one more column")
    assert made is not None
    compile(Path(made.path).read_text(), made.path, "exec")


def test_migrations_work_from_an_installed_package(url: str, tmp_path: Path) -> None:
    """They are found by package, from any working directory."""
    program = "import sys; from server.adapters.sql.engine import migrate; migrate(sys.argv[1])"
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    subprocess.run(
        [sys.executable, "-c", program, url], check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}
    )
    assert schema_state(url) == SchemaState(REVISION)


def recorded(revision: str, url: str, engine: Engine) -> None:
    """Create a database in the recorded state of a revision."""
    path = make_url(url).database
    if engine.dialect.name == "sqlite" and path:
        Path(path).parent.mkdir(exist_ok=True)
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        command.upgrade(config, revision)
        recording = json.loads(recorded_schemas.path_of(revision, engine.dialect.name).read_text())
        recorded_schemas.load(connection, recording)
    engine.dispose()


def test_every_revision_has_been_recorded() -> None:
    script = ScriptDirectory(str(MIGRATIONS))
    assert recorded_schemas.revisions() == sorted(revision.revision for revision in script.walk_revisions())


async def test_revision_0022_takes_the_issuer_of_patient_ids_from_the_metadata(url: str, engine: Engine) -> None:
    recorded("0021", url, engine)
    dicom_json = json.dumps({"00100021": {"vr": "LO", "Value": [" Größe "]}}).encode()
    with engine.begin() as connection:
        for table in ("studies", "deleted_studies"):
            newest = connection.execute(text(f"SELECT max_version FROM {table} ORDER BY key LIMIT 1")).scalar_one()
            given = {"dicom_json": dicom_json, "version": newest}
            connection.execute(text("UPDATE metadata SET dicom_json = :dicom_json WHERE version = :version"), given)
    migrate(url)
    with engine.connect() as connection:
        for table in ("studies", "deleted_studies"):
            rows = connection.execute(text(f"SELECT issuer_of_patient_id, elements FROM {table} ORDER BY key")).all()
            assert [row[0] for row in rows] == ["grösse", *[None] * (len(rows) - 1)]
            assert '"00100021":{"vr":"LO","Value":[" Größe "]}' in rows[0][1].split("\n")


@pytest.mark.parametrize("revision", recorded_schemas.revisions())
async def test_a_database_of_every_revision_is_upgraded_under_write_load(
    url: str, engine: Engine, revision: str
) -> None:
    """Clients retry during the migration; acknowledged and earlier instances exist afterwards."""
    recorded(revision, url, engine)
    is_migrated = asyncio.Event()
    stored: list[NewInstance] = []

    async def store(study: int) -> None:
        database = open_database(url)
        number = 0
        while not (is_migrated.is_set() and number >= 10):
            new = replace(sample(study, 1, number), locator=f"{study}-{number}")
            try:
                assert [type(outcome) for outcome in await database.instances.add([new], NOON)] == [Added]
            except DicomStoreError:
                await asyncio.sleep(0.01)  # retries without a pause would delay the migration
            else:
                stored.append(new)
                number += 1
        await database.close()

    storing = [asyncio.create_task(store(study)) for study in (10, 11)]
    await asyncio.to_thread(migrate, url)
    is_migrated.set()
    await asyncio.gather(*storing)

    database = open_database(url)
    await database.instances.check()
    found = {one.id: one.locator for one in await database.instances.find(Address(DEFAULT_PARTITION))}
    assert {one.id: one.locator for one in stored}.items() <= found.items()
    assert len(found) == len(stored) + 7
    (usage,) = await database.partitions.usage()
    assert (usage.studies, usage.series, usage.instances) == (4, 6, len(found))
    history = await database.instances.history(identity(1, 1, 1).address)
    assert [version.provenance.reason for version in history] == ["", "correction"]
    await sequence(database.changes)
    entries = await database.changes.list(ChangeWindow(limit=10_000))
    current = [entry for entry in entries if entry.state is ChangeState.CURRENT]
    assert {entry.instance for entry in current} == found.keys()
    assert len(current) == len(found)
    assert await database.instances.undelete(study_ref(2), NOON, NOON) == 4
    assert len(await database.instances.begin_erasure(recorded_schemas.LATER, 99)) == 1
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT sum(size_bytes) FROM versions")).scalar_one()
        counts = "partition_key, series_count, instance_count, shard FROM"
        of_studies = connection.execute(text(f"SELECT key, {counts} studies ORDER BY key")).all()
        assert (
            connection.execute(text(f"SELECT study_key, {counts} study_counts ORDER BY study_key")).all() == of_studies
        )
    assert await database.partitions.stored_bytes(DEFAULT_PARTITION) == stored
    by_text = WorkitemQuery(DEFAULT_PARTITION, (Condition("PatientName", (NameMatches(("*e^jan*",)),)),), limit=9)
    page = await database.workitems.search(by_text)
    assert [one.uid for one in page.matches] == (["1.2.3"] if revision >= "0017" else [])
    await database.close()
