"""Engines: connections to SQLite and PostgreSQL, and their limits.

The parameter `pooler=transaction` of a PostgreSQL URL means that the server is reached through a pooler that assigns a
connection to each transaction, such as PgBouncer. A client then finds nothing that an earlier transaction left in its
connection: no prepared statements and no settings. So limits are set by each transaction; see `limits_of`.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from server.adapters.sql.core.deadlines import Deadline
from server.adapters.sql.core.prepared import PIPELINE, Prepared, flush
from server.adapters.sql.core.sessions import READERS

LOCK_WAIT_SECONDS = 30
"""Longest wait of a transaction for a lock of another process."""

STATEMENT_SECONDS = 120
"""Time limit of a writing statement; PostgreSQL only."""

IDLE_SECONDS = 15
"""Time after which PostgreSQL rolls back a transaction whose process does not continue it: it is suspended, or its
machine is gone. Until then others wait for its locks."""

_CONNECT_SECONDS = 10
_WRITER_CACHE_BYTES = 8 << 20
_READER_CACHE_BYTES = 4 << 20  # each; in addition to the page cache of the system
_STATEMENTS = 256  # cached prepared statements per connection
_POOLER = "pooler"


def engine_of(url: str, *, reading_seconds: float | None = None, migrating: bool = False) -> Engine:
    """Return an engine for the writing threads, or, with a time limit, for all reading threads."""
    made = parsed(url)
    match made.get_backend_name():
        case "sqlite" if made.database and made.database != ":memory:":
            return _sqlite(made, reading_seconds, migrating=migrating)
        case "postgresql":
            return _postgresql(made, reading_seconds, migrating=migrating)
        case _:
            raise _unknown()


def parsed(url: str) -> URL:
    """Parse a URL. Raises: ValueError if it is invalid."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # no `from`: the message may contain the password
        raise _unknown() from None


def _unknown() -> ValueError:
    return ValueError("The database must be sqlite:///<file> or postgresql+psycopg://<user>@<host>/<name>.")


def _sqlite(url: URL, reading_seconds: float | None, *, migrating: bool) -> Engine:
    # A missing file must be an error, not a new, empty index.
    mode = "rwc" if migrating else "rw"
    file = url.set(database=f"file:{_quoted(url.database or '')}", query={"mode": mode, "uri": "true"})
    engine = create_engine(
        file,
        connect_args={"timeout": LOCK_WAIT_SECONDS, "check_same_thread": False, "cached_statements": _STATEMENTS},
        pool_size=READERS if reading_seconds else 1,
        max_overflow=0,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver never starts transactions itself
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",  # commits survive a power failure
            # With foreign keys, a migration that rebuilds a table would delete all rows that refer to it.
            f"foreign_keys = {'OFF' if migrating else 'ON'}",
            "case_sensitive_like = ON",
            f"cache_size = -{(_READER_CACHE_BYTES if reading_seconds else _WRITER_CACHE_BYTES) >> 10}",
            "temp_store = MEMORY",
            "journal_size_limit = 67108864",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        if reading_seconds:
            deadline = record.info["deadline"] = Deadline(reading_seconds)
            deadline.watch(connection)

    return engine


def _quoted(path: str) -> str:
    """Return a path as part of a file: URI (sqlite.org/uri.html)."""
    for character in "%?#":
        path = path.replace(character, f"%{ord(character):02x}")
    return path


def is_pooled(url: str) -> bool:
    """Return whether a URL leads to a pooler that assigns a connection to each transaction. Raises: ValueError."""
    return parsed(url).query.get(_POOLER) == "transaction"


def limits_of(url: str, reading_seconds: float | None = None) -> Sequence[Prepared]:
    """Return what each transaction must do first to have time limits; nothing if its connection has them.

    Raises: ValueError.
    """
    if not is_pooled(url):
        return ()
    settings = (f"set_config('{name}', '{value}', true)" for name, value in _limits(reading_seconds).items())
    return (Prepared(text(f"SELECT {', '.join(settings)}")),)


def direct_url(url: str) -> str:
    """Return a URL as drivers understand it. Raises: ValueError."""
    return parsed(url).difference_update_query([_POOLER]).render_as_string(hide_password=False)


def _limits(reading_seconds: float | None) -> dict[str, str]:
    return {
        "statement_timeout": f"{round((reading_seconds or STATEMENT_SECONDS) * 1000)}",
        "lock_timeout": f"{LOCK_WAIT_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
    }


def _postgresql(url: URL, reading_seconds: float | None, *, migrating: bool) -> Engine:
    # Local import: an archive with SQLite starts faster without the driver.
    from server.adapters.sql.pipeline import Pipeline

    pooled = url.query.get(_POOLER) == "transaction"
    limits = _limits(reading_seconds) | ({"statement_timeout": "0"} if migrating else {})
    options = " ".join(f"-c {name}={value}" for name, value in limits.items())
    engine = create_engine(
        url.set(drivername="postgresql+psycopg").difference_update_query([_POOLER]),
        pool_size=READERS if reading_seconds else 2,  # of the writing ones, one numbers entries of the change feed
        max_overflow=0,
        isolation_level="AUTOCOMMIT",  # the driver never starts transactions itself
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "keepalives_idle": 30,
            "tcp_user_timeout": 30_000,
            **({} if pooled else {"options": f"{url.query.get('options', '')} {options}"}),
        },
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        driver: Any = connection
        # After a rollback, psycopg would deallocate all prepared statements, also those of the pipeline.
        driver.prepare_threshold = None
        record.info[PIPELINE] = Pipeline(driver, prepares=not pooled)

    @event.listens_for(engine, "reset")
    def clear(connection: DBAPIConnection, record: ConnectionPoolEntry, state: PoolResetState) -> None:
        record.info[PIPELINE].clear()

    @event.listens_for(engine, "before_cursor_execute")
    def send(connection: Connection, *_: Any) -> None:
        flush(connection)

    return engine
