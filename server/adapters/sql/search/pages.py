"""Pages of matches as statements, compiled once for each form of a query and cached."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, Table, bindparam, literal_column, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.rows import SERIES_KEY, STUDY_KEY, depth, within
from server.adapters.sql.search import sorting
from server.adapters.sql.search.conditions import all_hold, form_of, level_of, values_of
from server.adapters.sql.search.matches import rows_of
from server.adapters.sql.search.trigrams import is_in_order, of_studies
from server.adapters.sql.tables.instances import instances, series
from server.adapters.sql.tables.studies import studies
from server.model.ids import Address
from server.model.search.query import Condition, Level, Query

Rows = Sequence[tuple[Any, ...]]

TABLES: Mapping[Level, Table] = {Level.STUDY: studies, Level.SERIES: series, Level.INSTANCE: instances}
KEYS: Mapping[Level, Column[int]] = {
    Level.STUDY: studies.c.key,
    Level.SERIES: series.c.key,
    Level.INSTANCE: instances.c.version,
}

_MAX_STATEMENTS = 256

_statements: dict[tuple[object, ...], Prepared] = {}
"""By the form of their query; compiling one costs many times its execution."""


def run(
    connection: Connection,
    form: tuple[object, ...],
    make: Callable[[], Select[*tuple[Any, ...]]],
    where: dict[str, Any],
) -> Rows:
    """Run the statement of a form, which is created if it is not cached."""
    statement = _statements.get(form)
    if statement is None:
        if len(_statements) >= _MAX_STATEMENTS:
            _statements.clear()
        statement = _statements[form] = Prepared(make())
    return statement.tuples(connection, where)


def form(query: Query) -> tuple[object, ...]:
    """Return the form of a query, without its values."""
    forms = map(form_of, query.conditions)
    return (query.level, depth(query.scope), query.after is None, query.skip == 0, *forms, *sorting.form(query))


def add_values(where: dict[str, Any], conditions: Sequence[Condition]) -> None:
    for number, condition in enumerate(conditions):
        where.update(values_of(condition, f"value_{number}"))


def page(
    keys: Select[int], query: Query, order: ColumnElement[int] | None = None, *, is_after: bool = False
) -> Select[*tuple[Any, ...]]:
    """Select a page in the order of the query. `order` is an expression that is equivalent to the key."""
    if query.order is not None:
        return sorting.page(keys, query, query.order)
    key = KEYS[query.level] if order is None else order
    if is_after or query.after is not None:
        keys = keys.where(key < bindparam("after"))
    keys = keys.order_by(key.desc()).limit(bindparam("limit"))
    if query.skip:
        keys = keys.offset(bindparam("skip"))
    return rows_of(query.level, keys.subquery("page"))


def page_containing(query: Query, dialect: str) -> Select[*tuple[Any, ...]]:
    """Select a page of studies from the candidates of the text index."""
    key = of_studies.rowid if is_in_order(dialect) else studies.c.key + 0
    return page(containing(query.conditions, dialect), query, key)


def containing(conditions: Sequence[Condition], dialect: str) -> Select[int]:
    """Select keys of studies that meet conditions, from the candidates of the text index.

    All other indexes start with the partition; the sum prevents their use.
    """
    in_partition = studies.c.partition_key + 0 == bindparam("of_partition")
    candidates = of_studies.candidates(dialect).where(in_partition, *_all(conditions, {Level.STUDY}))
    return candidates.where(*_contain(Level.STUDY, conditions))


def within_scope(query: Query) -> Select[int]:
    """Select the keys of matches by scanning the scope."""
    return meeting(query.level, query.conditions).where(*_scope(query.level, query.scope))


def in_order(query: Query) -> Select[int]:
    """Select the keys of matches by scanning the scope; rows of levels above are only looked up.

    If many rows of levels above meet the conditions, databases tend to start with those, which requires sorting all
    rows below, or reading all of them for a Bloom filter.
    """
    table = TABLES[query.level]
    parents = {Level.STUDY: (studies, "study_key"), Level.SERIES: (series, "series_key")}
    is_met = [
        select(literal_column("1"))
        .where(KEYS[level] == table.c[name], *_all(query.conditions, {level}))
        .select_from(parent)
        .scalar_subquery()
        == literal_column("1")
        for level, (parent, name) in parents.items()
        if level < query.level and level in {level_of(condition.key) for condition in query.conditions}
    ]
    of_level = [*_all(query.conditions, {query.level}), *_contain(query.level, query.conditions)]
    return select(KEYS[query.level]).where(*_scope(query.level, query.scope), *of_level, *is_met)


def meeting(level: Level, conditions: Sequence[Condition], met: Level | None = None) -> Select[int]:
    """Select keys of a level whose rows, rows above them and a row below them meet conditions; those at `met` and above
    are met already."""
    table = TABLES[level]
    about = {level_of(condition.key) for condition in conditions if met is None or level_of(condition.key) > met}
    about -= {below for below in Level if below > level}
    statement = select(KEYS[level])
    if Level.SERIES in about and level > Level.SERIES:
        statement = statement.join_from(table, series, series.c.key == table.c.series_key)
    if Level.STUDY in about and level > Level.STUDY:
        statement = statement.join_from(table, studies, studies.c.key == table.c.study_key)
    return statement.where(*_all(conditions, about), *_contain(level, conditions))


def below(level: Level, conditions: Sequence[Condition]) -> list[Condition]:
    """Return the conditions about levels below a level."""
    return [condition for condition in conditions if level_of(condition.key) > level]


def containing_level(level: Level, conditions: Sequence[Condition]) -> Select[int]:
    """Select the keys of rows of a level that contain a row with the conditions below it, possibly several times."""
    lower = {level_of(condition.key) for condition in below(level, conditions)}
    table = TABLES[max(lower)]
    statement = select(table.c.study_key if level is Level.STUDY else table.c.series_key).select_from(table)
    if table is instances and level is Level.STUDY:
        # An instance without its series belongs to a deletion that is in progress.
        statement = statement.join(series, series.c.key == instances.c.series_key)
    return statement.where(*_all(conditions, lower))


def _contain(level: Level, conditions: Sequence[Condition]) -> list[ColumnElement[bool]]:
    """Return the condition that a row contains one with the conditions below its level, if there are any."""
    if not below(level, conditions):
        return []
    keys = containing_level(level, conditions)
    (key,) = keys.selected_columns
    return [keys.where(key == KEYS[level]).correlate(TABLES[level]).exists()]


def _all(conditions: Sequence[Condition], about: Collection[Level] = tuple(Level)) -> list[ColumnElement[bool]]:
    """Return the conditions at some levels, with parameters named by their position among all."""
    return all_hold(
        [
            (condition, f"value_{number}")
            for number, condition in enumerate(conditions)
            if level_of(condition.key) in about
        ]
    )


def _scope(level: Level, scope: Address) -> Sequence[ColumnElement[bool]]:
    """Return the conditions for rows within the scope, or containing it if it is below the level.

    Only the lowest identifier is a condition, so that an index on it returns rows in order.
    """
    if level is Level.INSTANCE:
        return within(depth(scope))
    if scope.study is None:
        return [TABLES[level].c.partition_key == bindparam("of_partition")]
    if level is Level.STUDY:
        return [studies.c.key == STUDY_KEY]
    return [series.c.study_key == STUDY_KEY] if scope.series is None else [series.c.key == SERIES_KEY]
