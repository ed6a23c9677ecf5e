"""Frequent statements: compiled once, then run by the driver directly.

Running a statement through SQLAlchemy costs many times its execution in SQLite, nearly all of it for repeated
compilation. These are compiled once per database and passed to the driver's cursor, in the current transaction of the
connection. They raise the exceptions of SQLAlchemy, so that callers handle only one kind.
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import BindParameter, Connection, Delete, Insert, Select, TextClause, Update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import iterate

Parameters = Mapping[str, Any]

_STEP = 1024
_PIPELINE = "pipeline"
_row_type: Any = collections.namedtuple


@dataclass(frozen=True, slots=True)
class _Form:
    """A compiled statement in the form of a driver.

    order: names of the parameters in order, with whether each is a list; None if the driver takes them by name.
    pick: returns the parameters in order, if there are several and none is a list.
    fixed: constant parameters of the statement.
    lists: names of list parameters, and the names of their values.
    is_query: the statement may return rows.
    is_script: several statements, which PostgreSQL accepts only as plain text.
    row: creates a row from the driver's tuple.
    """

    sql: str
    order: Sequence[tuple[str, bool]] | None
    pick: Callable[[Parameters], tuple[Any, ...]] | None
    fixed: Parameters
    lists: Mapping[str, Sequence[str]]
    row: Callable[[Iterable[Any]], Any]
    is_script: bool = False
    is_query: bool = True

    def arguments(self, parameters: Parameters) -> Any:
        """Return parameters in the form of the driver."""
        if self.fixed:
            parameters = {**self.fixed, **parameters}
        if self.order is None:
            if not self.lists:
                return parameters
            parameters = dict(parameters)
            for name, names in self.lists.items():
                parameters.update(zip(names, parameters[name], strict=True))
            return parameters
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

    def __init__(
        self, statement: Select[*tuple[Any, ...]] | Insert | Update | Delete | TextClause, *, is_script: bool = False
    ) -> None:
        """Accept a statement, or a text of several statements for PostgreSQL without parameters or results."""
        self._statement = statement
        self._is_script = is_script
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
        form, found = self._found(connection, parameters)
        return [form.row(row) for row in found]

    def tuples(self, connection: Connection, parameters: Parameters) -> Sequence[tuple[Any, ...]]:
        """Run a query and return its rows as plain tuples, which are cheaper.

        Raises:
            DBAPIError
        """
        return self._found(connection, parameters)[1]

    def _found(self, connection: Connection, parameters: Parameters) -> tuple[_Form, Sequence[tuple[Any, ...]]]:
        if self._lists:
            parameters = {**parameters, **{name: _padded(parameters[name]) for name in self._lists}}
        form = self._form(connection, parameters)
        return form, _execute(connection, form, form.arguments(parameters))[0]

    def row(self, connection: Connection, parameters: Parameters) -> Any:
        """Run a query with at most one row, and return the row or None.

        Raises:
            DBAPIError
        """
        rows = self.rows(connection, parameters)
        return rows[0] if rows else None

    def run(self, connection: Connection, rows: Sequence[Parameters]) -> int:
        """Run a writing statement once for each row of parameters. All rows have the same names.

        Returns:
            Number of changed rows.

        Raises:
            DBAPIError
        """
        form = self._form(connection, rows[0])
        if len(rows) == 1:
            return _execute(connection, form, form.arguments(rows[0]))[1]
        return _execute(connection, form, [form.arguments(row) for row in rows], many=True)[1]

    def _form(self, connection: Connection, parameters: Parameters) -> _Form:
        """Return the compiled statement for a database, list lengths and columns to be changed."""
        which: tuple[object, ...] = (connection.dialect.name,)
        if self._names_columns:
            which += tuple(parameters)
        elif self._lists:
            which += tuple(len(parameters[name]) for name in self._lists)
        form = self._forms.get(which)
        if form is None:
            form = self._forms[which] = self._compiled(connection, parameters)
        return form

    def _compiled(self, connection: Connection, parameters: Parameters) -> _Form:
        columns = list(parameters) if self._names_columns else None
        compiled = self._statement.compile(dialect=connection.dialect, column_keys=columns)
        assert isinstance(compiled, SQLCompiler)
        expanded = compiled.construct_expanded_state(dict(parameters))
        lists = expanded.parameter_expansion
        given = {*parameters, *(name for names in lists.values() for name in names)}
        selected = self._statement.selected_columns if isinstance(self._statement, Select) else ()
        names = expanded.positiontup
        return _Form(
            sql=expanded.statement,
            order=None if names is None else _order(names, lists),
            pick=itemgetter(*names) if names is not None and len(names) > 1 and not lists else None,
            fixed={name: value for name, value in expanded.parameters.items() if name not in given},
            lists=lists,
            row=_row_type("Row", [column.name for column in selected], rename=True)._make,
            is_script=self._is_script,
            is_query=not isinstance(self._statement, Insert | Update | Delete),
        )


@contextmanager
def pipelined(connection: Connection) -> Iterator[None]:
    """Send the statements of `Prepared.run` to PostgreSQL without waiting for each result; row counts are unknown.

    They have succeeded when the context ends. A query within the context waits for all statements before it.

    Raises:
        DBAPIError
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    driver: Any = connection.connection.dbapi_connection
    assert driver is not None
    try:
        with driver.pipeline() as pipeline:
            connection.info[_PIPELINE] = pipeline
            try:
                yield
            finally:
                connection.info[_PIPELINE] = None
    except _errors(connection) as error:
        raise _translated(connection, "", error, None) from error


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


def _execute(
    connection: Connection, form: _Form, arguments: Any, *, many: bool = False
) -> tuple[Sequence[tuple[Any, ...]], int]:
    """Run a statement; return selected rows, and the number of changed rows.

    Raises the exceptions of SQLAlchemy, without the parameters.
    """
    driver = connection.connection.dbapi_connection
    assert driver is not None
    cursor: Any = driver.cursor()
    is_open = False
    try:
        if many:
            cursor.executemany(form.sql, arguments)
        elif form.is_script:
            cursor.execute(form.sql, None, prepare=False)
        else:
            cursor.execute(form.sql, arguments)
        pipeline = connection.info.get(_PIPELINE)
        if pipeline is not None and form.is_query:
            pipeline.sync()  # before that, the cursor does not know that there are rows
        elif pipeline is not None:
            is_open = True  # until the result arrives at the end of the pipeline
            return (), -1
        return (cursor.fetchall() if cursor.description else ()), cursor.rowcount
    except _errors(connection) as error:
        raise _translated(connection, form.sql, error, cursor) from error
    finally:
        if not is_open:
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
