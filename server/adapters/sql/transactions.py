"""Transactions in threads, and what becomes of their failures.

The event loop never waits for the database: one thread writes, a few read. One writer is all that can be used, since
transactions that add or delete follow each other anyway (see `tables.counters`), and SQLite has a single writer.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from server.model.errors import Exhausted, Reason, Unavailable

READERS = 4
"""Threads and connections for reading, each process."""

ATTEMPTS = 3
"""How often a transaction is tried when the database gives it up in favour of another."""

_GIVEN_UP = {"40001", "40P01"}  # serialization failure, deadlock
_DISK_FULL = "53100"
_NO_TABLE = "42P01"

Result = TypeVar("Result")
Work = Callable[[Connection], Result]


class Transactions:
    """Runs functions in transactions of one database.

    A function gets a connection on which a transaction has begun; when it returns, the transaction is committed
    and durable, when it raises, nothing has happened. It may be called again if the database gave its transaction up.
    A caller that is cancelled, or gets Unavailable from `write`, can't know whether the transaction took place.
    """

    def __init__(self, reading: Engine, writing: Engine) -> None:
        self._reading = reading
        self._writing = writing
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="index-reader")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="index-writer")

    async def read(self, work: Work[Result]) -> Result:
        """Run `work` on one consistent view of the database. It sees every transaction that was acknowledged.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, _run, self._reading, work)

    async def write(self, work: Work[Result]) -> Result:
        """Run `work`, which may change things.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
            Exhausted: STORAGE_FULL.
        """
        return await asyncio.get_running_loop().run_in_executor(self._writer, _run, self._writing, work)

    async def close(self) -> None:
        """Let what has begun end, then close all connections."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for executor in (self._writer, self._readers):
            executor.shutdown()
        for engine in (self._writing, self._reading):
            engine.dispose()


def _run(engine: Engine, work: Work[Result]) -> Result:
    with translated():
        for _ in range(ATTEMPTS - 1):
            try:
                return _once(engine, work)
            except DBAPIError as error:
                if _sqlstate(error) not in _GIVEN_UP:
                    raise
        return _once(engine, work)


def _once(engine: Engine, work: Work[Result]) -> Result:
    with engine.connect() as connection, connection.begin():
        return work(connection)


@contextmanager
def translated() -> Iterator[None]:
    """Turn failures of the database into errors of the model. Mistakes of ours in its use stay what they are."""
    try:
        yield
    except PoolTimeout as error:
        raise _unavailable() from error
    except SQLAlchemyError as error:
        if not isinstance(error, DBAPIError):
            raise
        if _is_disk_full(error):
            raise Exhausted(Reason.STORAGE_FULL, "The disk of the database is full.") from error
        if _is_out_of_order(error):
            raise _unavailable() from error
        raise


def _unavailable() -> Unavailable:
    return Unavailable(Reason.DATABASE_UNAVAILABLE, "The database can't be used at the moment.")


def _is_disk_full(error: DBAPIError) -> bool:
    return _sqlite_code(error) == sqlite3.SQLITE_FULL or _sqlstate(error) == _DISK_FULL


def _is_out_of_order(error: DBAPIError) -> bool:
    """Say whether the database is to blame: unreachable, locked, damaged, without our tables, too slow."""
    if isinstance(error.orig, psycopg.Error):
        return (
            error.connection_invalidated
            or isinstance(error.orig, psycopg.OperationalError)
            or _sqlstate(error) == _NO_TABLE
        )
    programming = (sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.DataError)
    return isinstance(error.orig, sqlite3.DatabaseError) and not isinstance(error.orig, programming)


def _sqlite_code(error: DBAPIError) -> int | None:
    """Return the primary result code, without what SQLite adds in the higher bits."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
