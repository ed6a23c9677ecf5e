"""Database failures and the errors that callers get."""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from server.adapters.sql.core import engines
from server.adapters.sql.engine import Database, migrate, open_database, schema_state
from server.model.change import ChangeWindow
from server.model.errors import DicomStoreError, NotFound, Reason, Unavailable
from server.model.ids import PartitionName
from server.model.instance import Added
from server.model.search.query import Level, Query
from tests.conftest import PostgresDatabases
from tests.contract.index.samples import EVERYTHING, NOON, identity, sample, study_ref
from tests.contract.index.sequenced import SequencedChanges

CALLS: dict[str, Callable[[Database], Awaitable[object]]] = {
    "add": lambda db: db.instances.add([sample()], NOON),
    "delete": lambda db: db.instances.delete(study_ref(), NOON, NOON),
    "find": lambda db: db.instances.find(study_ref()),
    "state": lambda db: db.instances.state(study_ref()),
    "metadata": lambda db: db.instances.metadata(study_ref(), 0, 1),
    "frames": lambda db: db.instances.frames(identity(), [1]),
    "bulk": lambda db: db.instances.bulk(identity(), "7FE00010"),
    "search": lambda db: db.instances.search(Query(Level.STUDY, EVERYTHING, (), limit=1)),
    "known": lambda db: db.instances.known(["x"]),
    "begin_erasure": lambda db: db.instances.begin_erasure(NOON, 1),
    "erased": lambda db: db.instances.erased(["x"]),
    "locators": lambda db: db.instances.locators(0, 1),
    "check": lambda db: db.instances.check(),
    "changes.list": lambda db: db.changes.list(ChangeWindow(limit=1)),
    "changes.latest": lambda db: db.changes.latest(metadata=True),
    "partitions.list": lambda db: db.partitions.list(),
    "partitions.get": lambda db: db.partitions.get(PartitionName("x")),
    "partitions.create": lambda db: db.partitions.create(PartitionName("x"), NOON),
}


@pytest.fixture
def url(index_url: str) -> str:
    """URL of a new index that may be damaged."""
    return index_url


async def reason_of(call: Awaitable[object]) -> Reason:
    with pytest.raises(DicomStoreError) as caught:
        await call
    return caught.value.reason


def execute(url: str, statement: str) -> None:
    """Run a statement on a database without the adapter."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        with sqlite3.connect(parsed.database or "") as connection:
            connection.execute(statement)
        connection.close()
    else:
        dsn = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(dsn) as postgres:
            postgres.execute(statement.encode())


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_on_a_missing_sqlite_file_is_unavailable(tmp_path: Path, call: str) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'gone.db'}")
    assert await reason_of(CALLS[call](database)) is Reason.DATABASE_UNAVAILABLE
    await database.close()
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_on_an_unreachable_server_is_unavailable(tmp_path: Path, call: str) -> None:
    database = open_database(f"postgresql://nobody@/none?host={tmp_path}")
    assert await reason_of(CALLS[call](database)) is Reason.DATABASE_UNAVAILABLE
    await database.close()


@pytest.fixture(scope="session")
def postgres_with_password(postgres_server: str) -> str:
    """SQLAlchemy URL, with password, of a server that requires one."""
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("CREATE ROLE careful LOGIN PASSWORD 'right'")
        [path] = connection.execute("SHOW hba_file").fetchone() or ()
        rules = Path(path).read_text()
        Path(path).write_text(f"local all careful scram-sha-256\n{rules}")
        connection.execute("SELECT pg_reload_conf()")
    return make_url(postgres_server).set(username="careful", password="right").render_as_string(hide_password=False)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"password": "wrong"}, 'password authentication failed for user "careful"'),
        ({"database": "nothing"}, 'database "nothing" does not exist'),
        ({"username": "nobody"}, 'role "nobody" does not exist'),
        ({"host": "127.0.0.1", "port": 1}, 'connection to server at "127.0.0.1", port 1 failed: Connection refused'),
        ({"host": "wrong@no.such.host.invalid"}, "host '***@no.such.host.invalid'"),
        ({"host": "/nowhere"}, "No such file or directory"),
        ({"query": {"sslmode": "wrongly"}}, 'invalid sslmode value: "wrongly"'),
        ({"query": {"speling": "1"}}, 'invalid connection option "speling"'),
    ],
    ids=["password", "database", "user", "port", "host", "socket", "option-value", "option"],
)
def test_a_failed_connection_to_postgresql_is_reported_with_its_cause(
    postgres_with_password: str, change: dict[str, Any], cause: str
) -> None:
    parsed = make_url(postgres_with_password)
    if "host" in change:
        parsed = parsed.set(query={})
    url = parsed.set(**change).render_as_string(hide_password=False)
    for connect in (migrate, schema_state):
        with pytest.raises(Unavailable) as caught:
            connect(url)
        assert caught.value.reason is Reason.DATABASE_UNAVAILABLE
        assert cause in caught.value.message
        assert "\n" not in caught.value.message
        for secret in ("right", "wrong@", " wrong"):
            assert secret not in caught.value.message


@pytest.mark.parametrize("url", ["there", "mysql://user:secret@host/name", "postgresql://user:secret@host:x/name"])
def test_an_invalid_or_unsupported_url_is_refused_without_showing_its_password(url: str) -> None:
    for connect in (migrate, schema_state):
        with pytest.raises(ValueError, match="must be sqlite:///") as caught:
            connect(url)
        assert "secret" not in str(caught.value)


@pytest.mark.postgres
def test_a_user_without_the_privilege_to_create_tables_gets_a_clear_error(postgres_with_password: str) -> None:
    with pytest.raises(Unavailable) as caught:
        migrate(postgres_with_password)
    assert caught.value.message == "The database is unavailable: permission denied for schema public."


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_on_a_database_without_the_tables_is_unavailable(url: str, call: str) -> None:
    for table in ("counters", "changes", "erasures", "bulk_elements", "frame_chunks", "metadata", "instances"):
        execute(url, f"DROP TABLE {table}")
    for table in ("series_values", "series", "study_blocks", "studies", "partitions", "alembic_version"):
        execute(url, f"DROP TABLE {table}")
    database = open_database(url)
    assert await reason_of(CALLS[call](database)) is Reason.DATABASE_UNAVAILABLE
    await database.close()


async def test_check_accepts_a_migrated_database(database: Database) -> None:
    await database.instances.check()


async def test_check_refuses_a_schema_of_another_release(database: Database, url: str) -> None:
    execute(url, "UPDATE compatibility SET oldest_code = '9998'")
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unavailable, match="9999"):
        await database.instances.check()


async def test_check_accepts_the_schema_of_a_later_release_that_supports_this_one(database: Database, url: str) -> None:
    """A node serves until it is replaced while another one has migrated the database already."""
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    await database.instances.check()


async def test_a_file_that_is_not_a_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    path.write_bytes(b"this is not a database, but long enough to look like one" * 100)
    database = open_database(f"sqlite:///{path}")
    assert await reason_of(database.instances.check()) is Reason.DATABASE_UNAVAILABLE
    await database.close()
    with pytest.raises(Unavailable):
        migrate(f"sqlite:///{path}")
    with pytest.raises(Unavailable):
        schema_state(f"sqlite:///{path}")


async def test_a_failed_batch_leaves_nothing_and_assigns_no_numbers(database: Database, url: str) -> None:
    with pytest.raises(NotFound):
        await database.instances.add([sample(1), sample(2, partition=PartitionName("x"))], NOON)
    entries = "changes" if url.startswith("sqlite") else "unsequenced"
    execute(url, f"ALTER TABLE {entries} RENAME TO elsewhere")
    assert await reason_of(database.instances.add([sample(1)], NOON)) is Reason.DATABASE_UNAVAILABLE
    execute(url, f"ALTER TABLE elsewhere RENAME TO {entries}")
    assert await database.instances.find(EVERYTHING) == []
    await database.instances.add([sample(1)], NOON)
    assert [entry.sequence for entry in await SequencedChanges(database.changes).list(ChangeWindow(limit=9))] == [1]


async def test_a_full_disk_is_reported_and_writes_work_again_with_free_space(url: str) -> None:
    big = [sample(2, dicom_json=bytes(5_000_000))]
    with full_disk(url):
        database = open_database(url)
        await database.instances.add([sample(1)], NOON)
        assert await reason_of(database.instances.add(big, NOON)) is Reason.STORAGE_FULL
        assert len(await database.instances.find(EVERYTHING)) == 1
        await database.close()
    database = open_database(url)
    await database.instances.add(big, NOON)
    assert len(await database.instances.find(EVERYTHING)) == 2
    await database.close()


async def test_error_messages_contain_no_patient_data(database: Database, url: str) -> None:
    execute(url, REFUSE_IN_SQLITE if url.startswith("sqlite") else REFUSE_IN_POSTGRES)
    with pytest.raises((DicomStoreError, SQLAlchemyError)) as caught:
        await database.instances.add([sample(study_keys={"PatientName": "secret^name"})], NOON)
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in str(error)
        error = error.__cause__ or error.__context__


async def test_a_writer_that_cannot_get_the_lock_in_time_is_unavailable(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "LOCK_WAIT_SECONDS", 1)
    database = open_database(url)
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        rival = sqlite3.connect(parsed.database or "", isolation_level=None)
        rival.execute("BEGIN IMMEDIATE")
        assert await reason_of(database.instances.add([sample()], NOON)) is Reason.DATABASE_UNAVAILABLE
        rival.close()
    else:
        dsn = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(dsn) as postgres:
            postgres.execute("UPDATE counters SET version = version")
            assert await reason_of(database.instances.add([sample()], NOON)) is Reason.DATABASE_UNAVAILABLE
    assert len(await database.instances.add([sample()], NOON)) == 1
    await database.close()


@pytest.mark.postgres
async def test_a_server_restart_fails_no_call(
    postgres_databases: PostgresDatabases, migrated_postgres_url: str
) -> None:
    database = open_database(migrated_postgres_url)
    await database.instances.add([sample(1)], NOON)
    await database.instances.find(EVERYTHING)
    name = make_url(migrated_postgres_url).database
    execute(
        postgres_databases.url("postgres"),
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    await database.instances.add([sample(2)], NOON)
    assert len(await database.instances.find(EVERYTHING)) == 2
    await database.close()


@pytest.mark.postgres
async def test_a_connection_lost_in_a_transaction_is_unavailable_and_the_next_call_works(
    migrated_postgres_url: str,
) -> None:
    execute(migrated_postgres_url, LOST)
    database = open_database(migrated_postgres_url)
    assert await reason_of(database.instances.add([sample()], NOON)) is Reason.DATABASE_UNAVAILABLE
    execute(migrated_postgres_url, "DROP TRIGGER lost ON instances")
    assert await database.instances.find(EVERYTHING) == []
    assert len(await database.instances.add([sample()], NOON)) == 1
    assert len(await database.instances.find(EVERYTHING)) == 1
    await database.close()


@pytest.mark.postgres
async def test_only_a_connection_lost_during_commit_leaves_an_unknown_outcome(migrated_postgres_url: str) -> None:
    execute(migrated_postgres_url, LOST)
    database = open_database(migrated_postgres_url)
    for during_commit in (False, True):
        with pytest.raises(Unavailable) as caught:
            await database.instances.add([sample()], NOON)
        assert caught.value.may_have_happened is during_commit
        execute(migrated_postgres_url, "DROP TRIGGER lost ON instances")
        execute(migrated_postgres_url, LOST_IN_COMMIT)
    await database.close()


@pytest.mark.postgres
async def test_a_transaction_aborted_in_favour_of_another_is_retried(
    migrated_postgres_url: str,
) -> None:
    execute(migrated_postgres_url, "CREATE SEQUENCE attempts")
    execute(migrated_postgres_url, DEADLOCK)
    database = open_database(migrated_postgres_url)
    assert len(await database.instances.add([sample()], NOON)) == 1
    assert len(await database.instances.find(EVERYTHING)) == 1
    await database.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://u@h/d"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be sqlite"):
        open_database(url)


@contextmanager
def full_disk(url: str) -> Iterator[None]:
    """Limit a database to the size that small instances need."""
    if make_url(url).get_backend_name() == "sqlite":

        def limit(connection: Any, _record: object) -> None:
            connection.execute("PRAGMA max_page_count = 300")

        event.listen(Engine, "connect", limit)
        yield
        event.remove(Engine, "connect", limit)
    else:
        execute(url, FULL_DISK)
        yield
        execute(url, "DROP TRIGGER disk_full ON metadata")


FULL_DISK = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF length(NEW.dicom_json) > 1000 THEN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER disk_full BEFORE INSERT ON metadata FOR EACH ROW EXECUTE FUNCTION fail();
"""

REFUSE_IN_SQLITE = "CREATE TRIGGER refuse BEFORE INSERT ON studies BEGIN SELECT RAISE(ABORT, 'refused'); END"
REFUSE_IN_POSTGRES = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON studies FOR EACH ROW EXECUTE FUNCTION refuse();
"""

LOST = """
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_terminate_backend(pg_backend_pid());
    RETURN NEW;
END $$;
CREATE TRIGGER lost BEFORE INSERT ON instances FOR EACH ROW EXECUTE FUNCTION lose();
"""

LOST_IN_COMMIT = """
CREATE CONSTRAINT TRIGGER lost AFTER INSERT ON instances DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION lose();
"""

DEADLOCK = """
CREATE FUNCTION give_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('attempts') < 3 THEN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER deadlock BEFORE INSERT ON instances FOR EACH ROW EXECUTE FUNCTION give_up();
"""


@pytest.mark.postgres
async def test_a_suspended_process_does_not_block_others_for_long(
    migrated_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ends its transaction. When it continues, its call fails, without an effect."""
    monkeypatch.setattr(engines, "IDLE_SECONDS", 1)
    suspended, other = open_database(migrated_postgres_url), open_database(migrated_postgres_url)
    has_locks = threading.Event()

    def work(connection: Connection) -> None:
        connection.execute(text("UPDATE counters SET version = version + 1000000"))
        has_locks.set()
        time.sleep(4)  # as a thread of a suspended process
        connection.execute(text("UPDATE counters SET version = version + 1000000"))

    transactions = suspended.instances._transactions  # type: ignore[attr-defined]
    writing = asyncio.create_task(transactions.write(work))
    await asyncio.to_thread(has_locks.wait)
    async with asyncio.timeout(3):
        assert len(await other.instances.add([sample()], NOON)) == 1
    assert not writing.done()
    with pytest.raises(Unavailable) as caught:
        await writing
    assert not caught.value.may_have_happened
    [added] = await other.instances.add([sample(2)], NOON)
    assert isinstance(added, Added)
    assert added.version < 1000000
    await suspended.close()
    await other.close()
