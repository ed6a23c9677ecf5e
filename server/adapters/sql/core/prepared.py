"""Statements that are run often: compiled once, then run by the driver itself.

Running a statement through SQLAlchemy costs many times what SQLite needs for it, nearly all of it for finding out again
what was known before. These are compiled once for each database and go to the driver's cursor, in the transaction that
the connection is in. Their failures are SQLAlchemy's, so that nobody has to know two kinds of them.
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
_IS_PIPELINED = "is_pipelined"
_row_type: Any = collections.namedtuple


@dataclass(frozen=True, slots=True)
class _Form:
    """A statement as a driver takes it.

    order: names of the parameters in their order, with whether it is a list; None where the driver takes them by name.
    pick: takes parameters in their order, where none is a list and there are several.
    fixed: parameters that belong to the statement.
    lists: names of parameters that are lists, and the names of their values.
    is_query: it may have rows.
    is_script: it is several statements, which PostgreSQL takes as plain text only.
    row: makes a row of what the driver gives.
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
        """Return parameters as the driver takes them."""
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
    """A statement that is run again and again.

    Its parameters and columns must be what drivers take and give as it is: integers, text, bytes. Parameters that are
    lists (`expanding`) must not be empty; they are filled up with a value they have already, which changes nothing for
    an IN and keeps the forms of a statement few.
    """

    def __init__(
        self, statement: Select[*tuple[Any, ...]] | Insert | Update | Delete | TextClause, *, is_script: bool = False
    ) -> None:
        """Take a statement, or several of PostgreSQL's in one text without parameters or results."""
        self._statement = statement
        self._is_script = is_script
        self._lists = sorted(
            {part.key for part in iterate(statement) if isinstance(part, BindParameter) and part.expanding}
        )
        # What is inserted or set is what parameters are given for, unless the statement says it all.
        self._names_columns = isinstance(statement, Update) or (
            isinstance(statement, Insert) and statement.select is None
        )
        self._forms: dict[tuple[object, ...], _Form] = {}

    def rows(self, connection: Connection, parameters: Parameters) -> list[Any]:
        """Run a query and return its rows, as tuples with names.

        Raises:
            DBAPIError
        """
        form, found = self._found(connection, parameters)
        return [form.row(row) for row in found]

    def tuples(self, connection: Connection, parameters: Parameters) -> Sequence[tuple[Any, ...]]:
        """Run a query and return its rows, as tuples without names, which cost less.

        Raises:
            DBAPIError
        """
        return self._found(connection, parameters)[1]

    def _found(self, connection: Connection, parameters: Parameters) -> tuple[_Form, Sequence[tuple[Any, ...]]]:
        if self._lists:
            parameters = {**parameters, **{name: _filled_up(parameters[name]) for name in self._lists}}
        form = self._form(connection, parameters)
        return form, _execute(connection, form, form.arguments(parameters))[0]

    def row(self, connection: Connection, parameters: Parameters) -> Any:
        """Run a query that has at most one row, and return that, or None.

        Raises:
            DBAPIError
        """
        rows = self.rows(connection, parameters)
        return rows[0] if rows else None

    def run(self, connection: Connection, rows: Sequence[Parameters]) -> int:
        """Run a statement that changes something, once for each row of parameters. All rows have the same names.

        Returns:
            How many rows it changed.

        Raises:
            DBAPIError
        """
        form = self._form(connection, rows[0])
        if len(rows) == 1:
            return _execute(connection, form, form.arguments(rows[0]))[1]
        return _execute(connection, form, [form.arguments(row) for row in rows], many=True)[1]

    def _form(self, connection: Connection, parameters: Parameters) -> _Form:
        """Return the statement for a database, and for the lengths of lists or the columns to be changed."""
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
    """Send the statements of `Prepared.run` to PostgreSQL without waiting for each; they don't tell how many rows.

    They have succeeded when the context ends. A query in between waits for all before it.

    Raises:
        DBAPIError
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    driver: Any = connection.connection.dbapi_connection
    assert driver is not None
    try:
        with driver.pipeline():
            connection.info[_IS_PIPELINED] = True
            try:
                yield
            finally:
                connection.info[_IS_PIPELINED] = False
    except _errors(connection) as error:
        raise _translated(connection, "", error, None) from error


def _order(names: Sequence[str], lists: Mapping[str, Sequence[str]]) -> list[tuple[str, bool]]:
    """Return parameters in order, with whether it is a list; the values of one follow each other."""
    list_of = {name: of for of, names_of in lists.items() for name in names_of}
    order: list[tuple[str, bool]] = []
    for name in names:
        entry = (list_of.get(name, name), name in list_of)
        # A list may occur twice in a statement, but never right after itself.
        if not entry[1] or name == lists[entry[0]][0]:
            order.append(entry)
    return order


def _filled_up(values: Iterable[Any]) -> list[Any]:
    """Return values, filled up to a power of two, or to a multiple of `_STEP` if there are more than that."""
    filled = list(values)
    step = min(1 << (len(filled) - 1).bit_length(), _STEP)
    return filled + [filled[-1]] * (-len(filled) % step)


def _execute(
    connection: Connection, form: _Form, arguments: Any, *, many: bool = False
) -> tuple[Sequence[tuple[Any, ...]], int]:
    """Run a statement; return what it selects, and how many rows it changed.

    Failures are those of SQLAlchemy, without the parameters.
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
        if not form.is_query and connection.info.get(_IS_PIPELINED):
            is_open = True  # until its result has come, with the end of the pipeline
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
    """Return a failure as one of SQLAlchemy's; the connection is given up if it was lost."""
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
