"""The connection of a thread, the transactions that it runs, and the conversion of database errors.

Each thread keeps its connection. Getting one from SQLAlchemy's pool and beginning a transaction through SQLAlchemy
costs as much as a search by key, so drivers are in autocommit mode, and transactions begin and end with plain
statements.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from server.adapters.sql.core.causes import cause_of, failed_to_connect, has_too_many_connections
from server.adapters.sql.core.deadlines import Deadline
from server.adapters.sql.core.prepared import Prepared, flush
from server.adapters.sql.core.progress import Progress
from server.adapters.sql.core.threads import NoneLeft
from server.adapters.sql.core.write_order import WriteOrder
from server.model.errors import DicomStoreError, Exhausted, Reason, Unavailable

READERS = 4
"""Number of reading threads and connections per process."""

ATTEMPTS = 3
"""Number of attempts if the database aborts a transaction in favour of another."""

_GIVEN_UP = {"40001", "40P01"}  # serialization failure, deadlock
_DISK_FULL = "53100"
_NOT_SET_UP = {"42P01", "42703", "42501", "3F000"}
"""No such table or column, insufficient privilege, no schema to create it in: before the migration to this schema."""
_TIMED_OUT = "57014"

_COMMIT_TEXT = "COMMIT"
_COMMIT = Prepared(text(_COMMIT_TEXT))

_NO_ORDER = WriteOrder()

Result = TypeVar("Result")
Work = Callable[[Connection], Result]


@dataclass(frozen=True, slots=True)
class Kind:
    """Properties of a kind of transaction: its start, whether it only reads, and mutual exclusion.

    begin_alone: starts a transaction that excludes all other writing ones, if `begin` does not.
    niceness: nice value of the threads (nice(2), which on Linux applies to a thread).
    permit: raises if such a transaction must not start.
    progress: notified of commits.
    """

    begin: Sequence[Prepared]
    only_reads: bool
    begin_alone: Sequence[Prepared] | None = None
    write_order: WriteOrder = _NO_ORDER
    niceness: int = 0
    permit: Callable[[], None] = lambda: None
    progress: Progress | None = None


class Session:
    """The connection of a thread: opened on first use, and replaced after any failure."""

    def __init__(self, engine: Engine, kind: Kind) -> None:
        self._engine = engine
        self._kind = kind
        self._connection: Connection | None = None
        self._deadline: Deadline | None = None
        self._begin_with: Sequence[Prepared] = kind.begin
        self._is_committing = False
        if kind.niceness:
            os.nice(kind.niceness)

    def run(self, work: Work[Result], *, alone: bool = False, is_single: bool = False) -> Result:
        self._is_committing = False
        self._begin_with = () if is_single else (alone and self._kind.begin_alone) or self._kind.begin
        try:
            return self._run(work)
        except DicomStoreError as error:
            error.may_have_happened = self._is_committing
            if isinstance(error.__cause__, DBAPIError) and has_too_many_connections(error.__cause__):
                raise NoneLeft(error) from error  # the remaining threads can do the work, too
            raise

    def _run(self, work: Work[Result]) -> Result:
        with translated(only_reads=self._kind.only_reads):
            return repeated(lambda: self._once(work))

    def close(self) -> None:
        """Release the connection; its transaction is rolled back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _once(self, work: Work[Result]) -> Result:
        self._kind.permit()
        with self._kind.write_order:
            was_connected = self._connection is not None
            try:
                return self._transaction(work)
            except DBAPIError as error:
                # the connection was lost since the last transaction
                if not (was_connected and error.connection_invalidated) or self._is_committing:
                    raise
            return self._transaction(work)

    def _transaction(self, work: Work[Result]) -> Result:
        self._is_committing = False
        progress = self._kind.progress
        try:
            connection = self._begun()
            result = work(connection)
            if not self._begin_with:
                return result
            if progress is not None:
                progress.committing()
            self._is_committing = True
            commit(connection)
        except BaseException as error:
            if _is_rejected(error):
                self._is_committing = False
            self.close()
            if progress is not None:
                progress.failed(may_have_happened=self._is_committing)
            raise
        if progress is not None:
            progress.committed()
        return result

    def _begun(self) -> Connection:
        """Return the connection with an open transaction."""
        if self._connection is None:
            self._connection = self._engine.connect()
            self._deadline = self._connection.info.get("deadline")
            if self._kind.progress is not None:
                self._kind.progress.accompany(self._connection.info)
        if self._deadline is not None:
            self._deadline.start()
        begin(self._connection, self._begin_with)
        return self._connection


def repeated(transaction: Callable[[], Result]) -> Result:
    """Run a whole transaction; again if the database aborted it in favour of another one, such as in a deadlock."""
    for _ in range(ATTEMPTS - 1):
        try:
            return transaction()
        except DBAPIError as error:
            if _sqlstate(error) not in _GIVEN_UP:
                raise
    return transaction()


def begin(connection: Connection, statements: Iterable[Prepared]) -> None:
    """Start a transaction; the statements are of a `Kind`."""
    for statement in statements:
        statement.send(connection)


def commit(connection: Connection) -> None:
    """Commit a transaction that was started with `begin`."""
    if connection.in_transaction():  # it was used through SQLAlchemy, which commits the driver's transaction
        flush(connection)
        connection.commit()
    else:
        _COMMIT.run(connection, [{}])


@contextmanager
def translated(*, only_reads: bool = False) -> Iterator[None]:
    """Convert database errors to errors of the model. Errors in this program's use of the database are not
    converted."""
    try:
        yield
    except PoolTimeout as error:
        raise _unavailable("all connections are in use") from error
    except SQLAlchemyError as error:
        if not isinstance(error, DBAPIError):
            raise
        if only_reads and _is_timed_out(error):
            raise Exhausted(Reason.SEARCH_TOO_LONG, "The database query exceeded its time limit.") from error
        if _is_disk_full(error):
            raise Exhausted(Reason.STORAGE_FULL, "The disk of the database is full.") from error
        if _is_out_of_order(error):
            raise _unavailable(cause_of(error)) from error
        raise


def _unavailable(cause: str) -> Unavailable:
    return Unavailable(Reason.DATABASE_UNAVAILABLE, f"The database is unavailable: {cause}.")


def _is_rejected(error: BaseException) -> bool:
    """Return whether PostgreSQL certainly did not commit, although the commit was sent.

    It is sent together with statements before it, and not executed if one of them fails.
    """
    if not isinstance(error, DBAPIError) or _sqlstate(error) is None:
        return False
    return not error.connection_invalidated or error.statement != _COMMIT_TEXT


def _is_timed_out(error: DBAPIError) -> bool:
    return _sqlite_code(error) == sqlite3.SQLITE_INTERRUPT or _sqlstate(error) == _TIMED_OUT


def _is_disk_full(error: DBAPIError) -> bool:
    return _sqlite_code(error) == sqlite3.SQLITE_FULL or _sqlstate(error) == _DISK_FULL


def _is_out_of_order(error: DBAPIError) -> bool:
    """Return whether the database is the cause: unreachable, locked, damaged, without tables or privileges, or too
    slow."""
    if isinstance(error.orig, sqlite3.Error):
        programming = (sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.DataError)
        return isinstance(error.orig, sqlite3.DatabaseError) and not isinstance(error.orig, programming)
    import psycopg  # local import: an archive with SQLite starts faster without it

    return isinstance(error.orig, psycopg.Error) and (
        error.connection_invalidated
        or isinstance(error.orig, psycopg.OperationalError)
        or failed_to_connect(error)
        or _sqlstate(error) in _NOT_SET_UP
    )


def is_damaged(error: DBAPIError) -> bool:
    """Return whether the database file is damaged, or not an SQLite file."""
    return _sqlite_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _sqlite_code(error: DBAPIError) -> int | None:
    """Return the primary result code, without the extended code in the higher bits."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
