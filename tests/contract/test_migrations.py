"""The migrations create the schema that the code expects."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, make_url, text

from server.adapters.sql.core.tables import REVISION, tables
from server.adapters.sql.engine import migrate, open_database, schema_state
from server.model.ids import DEFAULT_PARTITION, Address
from server.model.search.query import Between, Condition, DateTimeRange, Equals, Level, NameMatches, Query
from server.model.search.return_keys import lines_of_elements

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


def test_upgrading_from_nothing_gives_exactly_the_tables(url: str, engine: Engine) -> None:
    migrate(url)
    with engine.connect() as connection:
        opts = {"compare_type": True, "compare_server_default": True, "include_name": is_not_of_the_text_index}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, tables) == []


def is_not_of_the_text_index(name: str | None, kind: str, _parents: object) -> bool:
    """SQLite keeps it in tables of its own, PostgreSQL makes it by a function: the next test compares their SQL."""
    return not (name or "").startswith({"table": "study_text", "index": "ix_studies_text"}.get(kind, "no such thing"))


def test_upgrading_gives_the_same_schema_as_creating_the_tables(url: str, engine: Engine) -> None:
    """Unlike Alembic's comparison this sees collations, cascades and tables without row ids."""
    migrate(url)
    migrated = described(engine)
    with engine.begin() as connection:
        tables.drop_all(connection)
        tables.create_all(connection)
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
        indexes = connection.execute(text("SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_studies_text'")).all()
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
    return tables_of, functions, [tuple(row) for row in indexes]


def normal(sql: str) -> list[str]:
    """Return the sorted parts of a statement: its lines, and later additions to its last line."""
    return sorted(part.strip(" \t,") for part in re.split(r"\n|, (?=\w+ (?:TEXT|BIGINT|SMALLINT)\b)", sql))


def test_migrating_again_changes_nothing(url: str) -> None:
    migrate(url)
    migrate(url)
    assert schema_state(url) == (REVISION, REVISION)


def test_the_code_wants_the_newest_migration() -> None:
    script = ScriptDirectory(str(MIGRATIONS))
    assert script.get_heads() == [REVISION]


def test_state_of_a_database_that_is_empty_or_not_there(url: str) -> None:
    assert schema_state(url) == (None, REVISION)
    path = make_url(url).database
    assert path is not None
    assert not Path(path).exists()


def test_several_processes_may_migrate_at_once(url: str) -> None:
    with ThreadPoolExecutor(6) as executor:
        for migrated in [executor.submit(migrate, url) for _ in range(6)]:
            migrated.result()
    assert schema_state(url) == (REVISION, REVISION)


def test_the_statistics_for_sqlite_are_about_indexes_that_exist(tmp_path: Path) -> None:
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


async def test_what_was_stored_before_search_got_faster_is_found_and_answered(url: str, engine: Engine) -> None:
    """From 0001 to 0002."""
    migrate_to("0001", url, engine)
    study, of_series = (
        {"00100020": text_element("P1"), "00080020": text_element("20260101")},
        {"0020000E": {"vr": "UI"}},
    )
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO studies (key, partition_key, uid, patient_name_1, patient_id, elements, series_count, "
                "instance_count, max_version) VALUES (:key, 1, :uid, :name, 'p1', :elements, 1, 1, :key)"
            ),
            [
                {"key": key, "uid": f"1.{key}", "name": f"name{key}^of", "elements": orjson.dumps(study).decode()}
                for key in range(1, 2051)
            ],
        )
        connection.execute(
            text(
                "INSERT INTO series (key, partition_key, study_key, uid, elements, instance_count, max_version) "
                "VALUES (1, 1, 7, '1.7.1', :elements, 1, 7)"
            ),
            {"elements": orjson.dumps(of_series).decode()},
        )
        connection.execute(
            text(
                "INSERT INTO instances (version, partition_key, study_key, series_key, uid, sop_class_uid, "
                "transfer_syntax_uid, size_bytes, crc32c, locator, created, elements) "
                "VALUES (7, 1, 7, 1, '1.7.1.1', '1.2', '1.2', 1, 1, 'blob', 1, '{}')"
            )
        )
    migrate(url)
    database = open_database(url)
    scope = Address(DEFAULT_PARTITION)
    named = Condition("PatientName", (NameMatches(("*me2000^*",)),))
    (found,) = await database.instances.search(Query(Level.STUDY, scope, (named,), limit=9))
    assert (found.resource.study, found.elements) == ("1.2000", study)
    assert found.return_keys == ('"00080020":{"vr":"LO","Value":["20260101"]}\n"00100020":{"vr":"LO","Value":["P1"]}',)
    (instance,) = await database.instances.search(Query(Level.INSTANCE, scope, (), limit=9))
    assert instance.elements == study | of_series
    far = await database.instances.search(Query(Level.STUDY, scope, (), limit=2, skip=2000))
    assert [match.resource.study for match in far] == ["1.50", "1.49"]
    await database.close()


async def test_what_was_stored_before_is_found_by_moments_and_by_items_of_requests(url: str, engine: Engine) -> None:
    """From 0002 to 0003."""
    migrate_to("0002", url, engine)
    items = [
        {"00400009": text_element("S1"), "00401001": text_element("R1")},
        {
            "00400009": text_element(" S2 "),
            "00400008": {"vr": "SQ", "Value": [{"00080100": text_element("Knee")}, {"00080100": {"vr": "SH"}}]},
        },
    ]
    return_keys = lines_of_elements({"00080201": text_element("+0900"), "00400275": {"vr": "SQ", "Value": items}})
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO studies (key, partition_key, uid, study_date, study_time, elements, series_count, "
                "instance_count, max_version) VALUES (:key, 1, :uid, '20260102', :time, :kept, 1, 1, :key)"
            ),
            [
                {"key": 1, "uid": "1.1", "time": "083000.000000", "kept": return_keys},
                {"key": 2, "uid": "1.2", "time": "083000.000000", "kept": ""},
                {"key": 3, "uid": "1.3", "time": None, "kept": return_keys},
            ],
        )
        connection.execute(
            text(
                "INSERT INTO series (key, partition_key, study_key, uid, elements, instance_count, max_version) "
                "VALUES (1, 1, 1, '1.1.1', :kept, 1, 1)"
            ),
            {"kept": return_keys},
        )
        connection.execute(
            text("INSERT INTO series_values (series_key, keyword, value) VALUES (1, :keyword, 's1')"),
            {"keyword": "RequestAttributesSequence.ScheduledProcedureStepID"},
        )
    migrate(url)
    database = open_database(url)
    scope = Address(DEFAULT_PARTITION)

    async def found(level: Level, *conditions: Condition) -> list[str | None]:
        matches = await database.instances.search(Query(level, scope, conditions, limit=9))
        return [match.resource.study for match in matches]

    first_of_january = Between("20260101000000.000000", "20260101235960.999999")
    assert await found(Level.STUDY, Condition("StudyDate", (DateTimeRange(first_of_january, first_of_january),))) == [
        "1.1"
    ]
    prefix = "RequestAttributesSequence."
    step = Condition(f"{prefix}ScheduledProcedureStepID", (Equals(("s2",)),))
    code = Condition(f"{prefix}ScheduledProtocolCodeSequence.CodeValue", (Equals(("knee",)),))
    requested = Condition(f"{prefix}RequestedProcedureID", (Equals(("r1",)),))
    assert await found(Level.SERIES, step, code) == ["1.1"]
    assert await found(Level.SERIES, step, requested) == []
    assert await found(Level.SERIES, requested) == ["1.1"]
    await database.close()
    migrate_to("0002", url, engine, back=True)
    with engine.connect() as connection:
        values = connection.execute(text("SELECT value FROM series_values ORDER BY value")).scalars().all()
    assert values == ["r1", "s1", "s2"]


async def test_errors_that_were_found_before_they_were_counted_are_counted(url: str, engine: Engine) -> None:
    """From 0004 to 0005."""
    migrate_to("0004", url, engine)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO extended_query_tags (key, tag, keyword, vr, private_creator, level, status, query_status, "
                "operation_id, last_error) VALUES (:key, :tag, '', 'SH', '', 1, 2, 1, '', 3)"
            ),
            [{"key": key, "tag": f"0018000{key}"} for key in (1, 2)],
        )
        connection.execute(
            text(
                "INSERT INTO extended_query_tag_errors (tag_key, number, version, time, message) "
                "VALUES (2, :number, :number, 0, '')"
            ),
            [{"number": 1}, {"number": 3}],
        )
    migrate(url)
    database = open_database(url)
    assert [tag.error_count for tag in await database.tags.list(after=0, skip=0, limit=9)] == [0, 2]
    await database.close()


def test_going_back_to_the_first_migration_keeps_what_is_stored(url: str, engine: Engine) -> None:
    migrate_to("0001", url, engine)
    before = described(engine)
    migrate(url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO studies (key, partition_key, uid, elements, series_count, instance_count, max_version) "
                "VALUES (1, 1, '1.2', :elements, 0, 0, 0)"
            ),
            {"elements": lines_of_elements({"00100020": text_element("P\n1"), "00080020": text_element("2")})},
        )
    migrate_to("0001", url, engine, back=True)
    assert described(engine) == before
    with engine.connect() as connection:
        elements = connection.execute(text("SELECT elements FROM studies")).scalar_one()
    assert orjson.loads(elements) == {"00080020": text_element("2"), "00100020": text_element("P\n1")}


def text_element(value: str) -> dict[str, object]:
    return {"vr": "LO", "Value": [value]}


def migrate_to(revision: str, url: str, engine: Engine, *, back: bool = False) -> None:
    path = make_url(url).database
    if engine.dialect.name == "sqlite" and path:
        Path(path).parent.mkdir(exist_ok=True)
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        (command.downgrade if back else command.upgrade)(config, revision)


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
    """Found by package, whatever the working directory is."""
    program = "import sys; from server.adapters.sql.engine import migrate; migrate(sys.argv[1])"
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    subprocess.run(
        [sys.executable, "-c", program, url], check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}
    )
    assert schema_state(url) == (REVISION, REVISION)
