"""The database behind the index: SQLite or PostgreSQL, by URL. All differences between the two are here.

SQLite: write-ahead log, every commit synced, one writing connection that takes the write lock when it begins, so that
it can't fail halfway because another process was faster. PostgreSQL: psycopg, the same in transactions of isolation
level READ COMMITTED (they begin by locking `counters`), reads in REPEATABLE READ, which is one snapshot.
"""

import importlib.util
import os
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection

from server.adapters.sql.changes import SqlChangeLog
from server.adapters.sql.instances import SqlInstanceIndex
from server.adapters.sql.partitions import PartitionKeys, SqlPartitions
from server.adapters.sql.prepared import Prepared
from server.adapters.sql.transactions import READERS, Transactions, translated
from server.ports.index import ChangeLog, InstanceIndex, Partitions

LOCK_WAIT_SECONDS = 30
"""How long a transaction waits for another process's."""

_CONNECT_SECONDS = 10
_WRITER_CACHE_BYTES = 8 << 20
_READER_CACHE_BYTES = 4 << 20  # each; behind it is the page cache of the system
STATEMENT_SECONDS = 120
"""How long a statement may take; PostgreSQL only."""

_MIGRATION_LOCK = 0x64696F6D  # a number of our own, for pg_advisory_xact_lock


class Database:
    """An open database. The attributes are the adapters of the ports in `server.ports.index`."""

    def __init__(self, transactions: Transactions) -> None:
        keys = PartitionKeys()
        self.instances: InstanceIndex = SqlInstanceIndex(transactions, keys)
        self.changes: ChangeLog = SqlChangeLog(transactions)
        self.partitions: Partitions = SqlPartitions(transactions)
        self._transactions = transactions

    async def close(self) -> None:
        """Let calls that have begun end, and close all connections."""
        await self._transactions.close()


def open_database(url: str) -> Database:
    """Return the database at an SQLAlchemy URL. Nothing is connected or created yet.

    Raises:
        ValueError: neither SQLite in a file nor PostgreSQL.
    """
    return Database(Transactions(_engine(url, writing=False), _engine(url, writing=True)))


def migrate(url: str) -> None:
    """Bring the schema up to date, creating an SQLite file and its directory if need be.

    Safe to run in several processes at once. All or nothing.

    Raises:
        ValueError, Unavailable, Exhausted
    """
    _make_directory(make_url(url))
    engine = _engine(url, writing=True, migrating=True)
    try:
        with translated(), engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            command.upgrade(_alembic(connection), "head")
    finally:
        engine.dispose()


def schema_state(url: str) -> tuple[str | None, str]:
    """Return the revision the database has, None if it has none or there is no file, and the one that is wanted.

    Raises:
        ValueError, Unavailable
    """
    wanted = ScriptDirectory.from_config(_alembic(None)).get_current_head() or ""
    path = make_url(url).database
    if make_url(url).get_backend_name() == "sqlite" and not (path and os.path.exists(path)):
        return None, wanted
    engine = _engine(url, writing=False)
    try:
        with translated(), engine.begin() as connection:
            return MigrationContext.configure(connection).get_current_revision(), wanted
    finally:
        engine.dispose()


def _alembic(connection: Connection | None) -> Config:
    spec = importlib.util.find_spec("server.migrations")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", spec.submodule_search_locations[0].replace("%", "%%"))
    return config


def _make_directory(url: URL) -> None:
    if url.get_backend_name() == "sqlite" and url.database:
        os.makedirs(os.path.dirname(os.path.abspath(url.database)), exist_ok=True)


def _engine(url: str, *, writing: bool, migrating: bool = False) -> Engine:
    """Return an engine for one writing thread, or for all reading threads."""
    parsed = make_url(url)
    match parsed.get_backend_name():
        case "sqlite" if parsed.database and parsed.database != ":memory:":
            return _sqlite(parsed, writing=writing, migrating=migrating)
        case "postgresql":
            return _postgresql(parsed, writing=writing, statement_seconds=0 if migrating else STATEMENT_SECONDS)
        case _:
            raise ValueError("The database must be sqlite:///<file> or postgresql+psycopg://<...>.")


def _sqlite(url: URL, *, writing: bool, migrating: bool) -> Engine:
    # A file that vanished must be an error, not a new, empty index.
    mode = "rwc" if migrating else "rw"
    file = url.set(database=f"file:{_quoted(url.database or '')}", query={"mode": mode, "uri": "true"})
    engine = create_engine(
        file,
        connect_args={"timeout": LOCK_WAIT_SECONDS, "check_same_thread": False},
        pool_size=1 if writing else READERS,
        max_overflow=0,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",  # a commit survives a power cut
            # A migration that rebuilds a table would delete all that refers to it.
            f"foreign_keys = {'OFF' if migrating else 'ON'}",
            "case_sensitive_like = ON",
            f"cache_size = -{(_WRITER_CACHE_BYTES if writing else _READER_CACHE_BYTES) >> 10}",
            "temp_store = MEMORY",
            "journal_size_limit = 67108864",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    beginning = Prepared(text("BEGIN IMMEDIATE" if writing else "BEGIN"))

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        beginning.run(connection, [{}])

    return engine


def _quoted(path: str) -> str:
    """Return a path as part of a file: URI (sqlite.org/uri.html)."""
    for character in "%?#":
        path = path.replace(character, f"%{ord(character):02x}")
    return path


def _postgresql(url: URL, *, writing: bool, statement_seconds: int) -> Engine:
    limits = f"-c statement_timeout={statement_seconds}s -c lock_timeout={LOCK_WAIT_SECONDS}s"
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=1 if writing else READERS,
        max_overflow=0,
        pool_pre_ping=True,  # a restarted server costs nobody a failed call
        isolation_level="READ COMMITTED" if writing else "REPEATABLE READ",
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "keepalives_idle": 30,
            "tcp_user_timeout": 30_000,
            "options": f"{url.query.get('options', '')} {limits}",
        },
        hide_parameters=True,
    )
