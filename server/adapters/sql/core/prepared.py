"""Frequent statements: compiled once, then run by the driver directly.

Running a statement through SQLAlchemy costs many times its execution in SQLite, nearly all of it for repeated
compilation. These are compiled once per database and passed to the driver's cursor, in the current transaction of the
connection. They raise the exceptions of SQLAlchemy, so that callers handle only one kind.

Statements for PostgreSQL are queued until a result is needed, and then sent together (`server.adapters.sql.pipeline`):
each round trip costs more than most statements. A statement of SQLAlchemy itself flushes the queue.
"""

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import BindParameter, Connection, Delete, Dialect, Insert, Select, TextClause, Update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import iterate

Parameters = Mapping[str, Any]
_Tuples = Sequence[tuple[Any, ...]]

_STEP = 1024
PIPELINE = "pipeline"
"""Name of a connection's `Pipeline` in its info; SQLite has none."""

_row_type: Any = collections.namedtuple


@dataclass(frozen=True, slots=True)
class _Form:
    """A compiled statement in the form of a driver.

    order: names of the parameters in order, with whether each is a list.
    pick: returns the parameters in order, if there are several and none is a list.
    fixed: constant parameters of the statement.
    row: creates a row from the driver's tuple.
    """

    sql: str
    order: Sequence[tuple[str, bool]]
    pick: Callable[[Parameters], tuple[Any, ...]] | None
    fixed: Parameters
    row: Callable[[Iterable[Any]], Any]

    def arguments(self, parameters: Parameters) -> Sequence[Any]:
        """Return parameters in the form of the driver."""
        if self.fixed:
            parameters = {**self.fixed, **parameters}
        if self.pick is not None:
            return self.pick(parameters)
        arguments: list[Any] = []
        for name, is_list in self.order:
            if is_list:
                arguments += parameters[name]
            else:
                arguments.append(parameters[name])
        return arguments


class Prepared:
    """A frequent statement.

    Its parameters and columns must have types that drivers support directly: integers, text, bytes. List parameters
    (`expanding`) must not be empty; they are padded with one of their values, which does not change an IN and limits
    the number of compiled forms.
    """

    def __init__(self, statement: Select[*tuple[Any, ...]] | Insert | Update | Delete | TextClause) -> None:
        self._statement = statement
        self._lists = sorted(
            {part.key for part in iterate(statement) if isinstance(part, BindParameter) and part.expanding}
        )
        # The given parameters are the columns to insert or set, unless the statement lists them.
        self._names_columns = isinstance(statement, Update) or (
            isinstance(statement, Insert) and statement.select is None
        )
        self._forms: dict[tuple[object, ...], _Form] = {}

    def rows(self, connection: Connection, parameters: Parameters) -> list[Any]:
        """Run a query and return its rows as named tuples.

        Raises:
            DBAPIError
        """
        form, found = self._later(connection, parameters)
        return [form.row(values) for values in found()]

    def tuples(self, connection: Connection, parameters: Parameters) -> _Tuples:
        """Run a query and return its rows as plain tuples, which are cheaper.

        Raises:
            DBAPIError
        """
        return self._later(connection, parameters)[1]()

    def row(self, connection: Connection, parameters: Parameters) -> Any:
        """Run a query with at most one row, and return the row or None.

        Raises:
            DBAPIError
        """
        rows = self.rows(connection, parameters)
        return rows[0] if rows else None

    def later(self, connection: Connection, parameters: Parameters) -> Callable[[], list[Any]]:
        """Return a function that returns the rows of a query as named tuples.

        PostgreSQL runs the query in the order of all calls of this object's methods, SQLite when its rows are needed.

        Raises: none; the function as `rows`.
        """
        form, found = self._later(connection, parameters)
        return lambda: [form.row(values) for values in found()]

    def tuples_later(self, connection: Connection, parameters: Parameters) -> Callable[[], _Tuples]:
        """As `later`, with plain tuples."""
        return self._later(connection, parameters)[1]

    def _later(self, connection: Connection, parameters: Parameters) -> tuple[_Form, Callable[[], _Tuples]]:
        if self._lists:
            parameters = {**parameters, **{name: _padded(parameters[name]) for name in self._lists}}
        form = self._form(connection, parameters)
        arguments = form.arguments(parameters)
        pipeline = connection.info.get(PIPELINE)
        if pipeline is None:
            return form, lambda: _execute(connection, form.sql, arguments)[0]
        answer = pipeline.add(form.sql, arguments)
        return form, lambda: _rows(connection, pipeline, answer)

    def run(self, connection: Connection, rows: Sequence[Parameters]) -> int:
        """Run a writing statement once for each row of parameters. All rows have the same names.

        Returns:
            Number of changed rows.

        Raises:
            DBAPIError
        """
        pipeline = connection.info.get(PIPELINE)
        if pipeline is None:
            return self._run_in_sqlite(connection, rows)
        answers = self._queue(connection, pipeline, rows)
        flush(connection)
        return sum(answer.count for answer in answers)

    def send(self, connection: Connection, rows: Sequence[Parameters] = ({},)) -> None:
        """As `run`, but PostgreSQL runs the statement, and fails if it does, with the next one whose result is
        needed.

        Raises:
            DBAPIError
        """
        pipeline = connection.info.get(PIPELINE)
        if pipeline is None:
            self._run_in_sqlite(connection, rows)
        else:
            self._queue(connection, pipeline, rows)

    def _queue(self, connection: Connection, pipeline: Any, rows: Sequence[Parameters]) -> list[Any]:
        form = self._form(connection, rows[0])
        try:
            return [pipeline.add(form.sql, form.arguments(row)) for row in rows]
        except _errors(connection) as error:
            raise _translated(connection, form.sql, error, None) from error

    def _run_in_sqlite(self, connection: Connection, rows: Sequence[Parameters]) -> int:
        form = self._form(connection, rows[0])
        if len(rows) == 1:
            return _execute(connection, form.sql, form.arguments(rows[0]))[1]
        return _execute(connection, form.sql, [form.arguments(row) for row in rows], many=True)[1]

    def _form(self, connection: Connection, parameters: Parameters) -> _Form:
        """Return the compiled statement for a database, list lengths and columns to be changed."""
        which: tuple[object, ...] = (connection.dialect.name,)
        if self._names_columns:
            which += tuple(parameters)
        elif self._lists:
            which += tuple(len(parameters[name]) for name in self._lists)
        form = self._forms.get(which)
        if form is None:
            form = self._forms[which] = self._compiled(_positional(connection.dialect), parameters)
        return form

    def _compiled(self, dialect: Dialect, parameters: Parameters) -> _Form:
        columns = list(parameters) if self._names_columns else None
        compiled = self._statement.compile(dialect=dialect, column_keys=columns)
        assert isinstance(compiled, SQLCompiler)
        expanded = compiled.construct_expanded_state(dict(parameters))
        lists = expanded.parameter_expansion
        given = {*parameters, *(name for names in lists.values() for name in names)}
        selected = self._statement.selected_columns if isinstance(self._statement, Select) else ()
        names = expanded.positiontup or ()
        return _Form(
            sql=expanded.statement,
            order=_order(names, lists),
            pick=itemgetter(*names) if len(names) > 1 and not lists else None,
            fixed={name: value for name, value in expanded.parameters.items() if name not in given},
            row=_row_type("Row", [column.name for column in selected], rename=True)._make,
        )


def flush(connection: Connection) -> None:
    """Wait for all statements that were sent. Raises: DBAPIError."""
    pipeline = connection.info.get(PIPELINE)
    if pipeline is None:
        return
    try:
        pipeline.flush()
    except _errors(connection) as error:
        raise _translated(connection, pipeline.statement, error, None) from error


def _rows(connection: Connection, pipeline: Any, answer: Any) -> _Tuples:
    if not answer.has_arrived:
        flush(connection)
    rows: _Tuples = pipeline.rows(answer)
    return rows


@lru_cache
def _positional(dialect: Dialect) -> Dialect:
    """Return the dialect with positional parameters, which both drivers accept."""
    if dialect.positional:
        return dialect
    kind: Any = type(dialect)
    positional: Dialect = kind(paramstyle="numeric_dollar")
    return positional


def _order(names: Sequence[str], lists: Mapping[str, Sequence[str]]) -> list[tuple[str, bool]]:
    """Return parameters in order, with whether each is a list; the values of a list are adjacent."""
    list_of = {name: of for of, names_of in lists.items() for name in names_of}
    order: list[tuple[str, bool]] = []
    for name in names:
        entry = (list_of.get(name, name), name in list_of)
        # A list may occur twice in a statement, but not twice in succession.
        if not entry[1] or name == lists[entry[0]][0]:
            order.append(entry)
    return order


def _padded(values: Iterable[Any]) -> list[Any]:
    """Return values padded to a power of two, or beyond `_STEP` to a multiple of it."""
    filled = list(values)
    step = min(1 << (len(filled) - 1).bit_length(), _STEP)
    return filled + [filled[-1]] * (-len(filled) % step)


def _execute(connection: Connection, sql: str, arguments: Any, *, many: bool = False) -> tuple[_Tuples, int]:
    """Run a statement in SQLite; return selected rows, and the number of changed rows.

    Raises the exceptions of SQLAlchemy, without the parameters.
    """
    driver = connection.connection.dbapi_connection
    assert driver is not None
    cursor = driver.cursor()
    try:
        if many:
            cursor.executemany(sql, arguments)
        else:
            cursor.execute(sql, arguments)
        return (cursor.fetchall() if cursor.description else ()), cursor.rowcount
    except _errors(connection) as error:
        raise _translated(connection, sql, error, cursor) from error
    finally:
        cursor.close()


def _errors(connection: Connection) -> type[Exception]:
    dialect: Any = connection.dialect
    error: type[Exception] = dialect.loaded_dbapi.Error
    return error


def _translated(connection: Connection, sql: str, error: Exception, cursor: Any) -> Exception:
    """Convert an exception to one of SQLAlchemy; the connection is invalidated if it was lost."""
    dialect: Any = connection.dialect
    is_lost = dialect.is_disconnect(error, connection.connection.dbapi_connection, cursor)
    if is_lost:
        connection.invalidate(error)
    translated: Exception = DBAPIError.instance(
        sql,
        None,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=is_lost,
        dialect=dialect,
    )
    return translated
