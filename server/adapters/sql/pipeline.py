"""Statements for PostgreSQL that are sent together (PostgreSQL documentation, section "Pipeline Mode" of libpq).

A cursor of psycopg takes 30 µs of CPU for each statement, in its pipelines 20 µs, and it sends each one by itself. Here
statements take 4 µs, and those that are queued until a result is needed share a message to the server and one back.

Imports psycopg; not to be imported by an archive with SQLite, which starts faster without it.
"""

from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from psycopg import Connection, DataError, InternalError, OperationalError, errors
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Ready, Wait

_MAX_PREPARED = 256
_UNSENT_BYTES = 1 << 20
"""Size of the queued arguments after which the server must accept some: they are copied to be sent."""

_TEXT, _BINARY = 0, 1  # formats of arguments and results

Waiting = Generator[Wait, Ready | int, None]

_Queued = tuple[str, list[bytes | None], list[int], "Answer"]
"""A statement, the values of its arguments, and their formats."""


class Answer:
    """The result of a queued statement."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.result: PGresult | None = None

    @property
    def has_arrived(self) -> bool:
        """Whether there is a result; there is none of a statement that was not executed."""
        return self.result is not None

    @property
    def count(self) -> int:
        """The number of rows that the statement changed."""
        return (self.result and self.result.command_tuples) or 0


class Pipeline:
    """The queue of a connection, whose driver must be in autocommit mode."""

    def __init__(self, driver: Connection[Any], *, prepares: bool = True) -> None:
        """`prepares`: statements are prepared when they are used again; not for a pooler, see `core.engines`."""
        self._driver = driver
        self._prepares = prepares
        self._transformer = Transformer(driver)
        self._queue: list[_Queued] = []
        self._names: OrderedDict[str, bytes] = OrderedDict()  # of prepared statements; empty after the first use
        self._prepared_count = 0
        self.statement = ""
        """The statement whose result was processed last; that which failed, after an exception."""

    def add(self, statement: str, arguments: Sequence[Any] = ()) -> Answer:
        """Queue a statement with parameters $1, $2 … of types int, float, bool, str, bytes and None.

        Raises:
            psycopg.DataError: a text that PostgreSQL cannot store.
        """
        answer = Answer()
        self._queue.append((statement, *_as_sent(arguments), answer))
        return answer

    def clear(self) -> None:
        """Forget the queued statements."""
        self._queue.clear()

    def flush(self) -> None:
        """Send the queued statements, and wait for their results.

        After an exception the results of this call are unknown, and the transaction can only be rolled back.

        Raises:
            psycopg.Error: of the first statement that failed; those after it were not executed.
        """
        if self._queue:
            queue, self._queue = self._queue, []
            self._driver.wait(self._exchange(queue))

    def rows(self, answer: Answer) -> list[tuple[Any, ...]]:
        """Return the rows of a result that has arrived."""
        assert answer.result is not None
        self._transformer.set_pgresult(answer.result)
        return self._transformer.load_rows(0, answer.result.ntuples, tuple)

    def _exchange(self, queue: Sequence[_Queued]) -> Waiting:
        connection = self._driver.pgconn
        preparing: list[str] = []
        connection.enter_pipeline_mode()
        try:
            expected: list[tuple[str, Answer]] = []
            unsent = 0
            for queued in queue:
                self._send(queued, expected, preparing)
                for value in queued[1]:
                    if value is not None:
                        unsent += len(value)
                if unsent > _UNSENT_BYTES:
                    yield from _sent(connection)
                    unsent = 0
            connection.pipeline_sync()
            yield from _sent(connection)
            yield from self._receive(expected)
            preparing.clear()
        finally:
            for statement in preparing:  # perhaps not prepared
                del self._names[statement]
            if connection.status == ConnStatus.OK:
                connection.exit_pipeline_mode()

    def _send(self, queued: _Queued, expected: list[tuple[str, Answer]], preparing: list[str]) -> None:
        statement, values, formats, answer = queued
        connection = self._driver.pgconn
        name = self._names.get(statement)
        if not self._prepares:
            connection.send_query_params(statement.encode(), values, None, formats, _BINARY)
        elif name is None:
            self._names[statement] = b""
            if len(self._names) > _MAX_PREPARED:
                _, oldest = self._names.popitem(last=False)
                if oldest:
                    connection.send_query_params(b"DEALLOCATE " + oldest, None)
                    expected.append(("DEALLOCATE", Answer()))
            connection.send_query_params(statement.encode(), values, None, formats, _BINARY)
        else:
            self._names.move_to_end(statement)
            if not name:
                self._prepared_count += 1
                name = self._names[statement] = b"dicomstore_%d" % self._prepared_count
                preparing.append(statement)
                connection.send_prepare(name, statement.encode())
                expected.append((statement, Answer()))
            connection.send_query_prepared(name, values, formats, _BINARY)
        expected.append((statement, answer))

    def _receive(self, expected: Sequence[tuple[str, Answer]]) -> Waiting:
        failed: tuple[str, PGresult] | None = None
        connection = self._driver.pgconn
        try:
            for self.statement, answer in expected:
                if connection.is_busy():  # mostly, the results of several statements have arrived together
                    yield from _arrived(connection)
                result = _next_result(connection)
                if result.status == ExecStatus.FATAL_ERROR and failed is None:
                    failed = self.statement, result
                answer.result = result
                if connection.is_busy():
                    yield from _arrived(connection)
                if connection.get_result() is not None:
                    raise InternalError("a statement has several results")
            yield from _arrived(connection)
            _next_result(connection)  # of the synchronisation
        except OperationalError:  # the connection is lost
            if failed is None:
                raise
        if failed is not None:
            self.statement, result = failed
            raise errors.error_from_result(result, encoding="utf-8")


def _next_result(connection: PGconn) -> PGresult:
    """Return a result that has arrived."""
    result = connection.get_result()
    if result is None:
        raise OperationalError("the connection is lost")
    return result


def _sent(connection: PGconn) -> Waiting:
    """Wait until everything is sent; results that arrive meanwhile are kept, or the server would stop receiving."""
    while connection.flush():
        if (yield Wait.RW) & Ready.R:
            connection.consume_input()


def _arrived(connection: PGconn) -> Waiting:
    """Wait until `get_result` does not block."""
    while connection.is_busy():
        yield Wait.R
        connection.consume_input()


def _as_sent(arguments: Sequence[Any]) -> tuple[list[bytes | None], list[int]]:
    """Return arguments in the form of libpq, and their formats."""
    values: list[bytes | None] = []
    formats: list[int] = []
    for argument in arguments:
        convert, format_ = _FORMS.get(type(argument)) or _form_of(argument)
        values.append(convert(argument))
        formats.append(format_)
    return values, formats


def _text(argument: str) -> bytes:
    if "\0" in argument:  # libpq would send the part before it
        raise DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return argument.encode()


_Form = tuple[Callable[[Any], bytes | None], int]

_FORMS: Mapping[type, _Form] = {
    int: (lambda argument: b"%d" % argument, _TEXT),
    bool: (lambda argument: b"t" if argument else b"f", _TEXT),
    float: (lambda argument: repr(argument).encode(), _TEXT),
    str: (_text, _TEXT),
    bytes: (lambda argument: argument, _BINARY),
    type(None): (lambda _: None, _TEXT),
}


def _form_of(argument: Any) -> _Form:
    """Return the form of an argument whose type is a subclass, such as an enumeration."""
    for type_, form in _FORMS.items():
        if isinstance(argument, type_):
            return form
    raise TypeError(f"unsupported type of an argument: {type(argument).__name__}")
