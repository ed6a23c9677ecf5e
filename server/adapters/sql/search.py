"""Searching: first the keys of a page of matches, from as few and narrow rows as possible, then their details.

The order is the primary key of the level, descending. It never changes, so a page begins with `key < after`, and an
offset is skipped within an index.

Conditions on the levels above the matches can be met in two ways. If few studies or series meet them, those are looked
up first, and the rows in them sorted. If many do, walking all rows in order soon finds a page of them. Which
way is better depends on the values, and databases guess badly at it; so it is found out by trying the first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, Table, bindparam, select

from server.adapters.sql.conditions import form_of, holds, level_of, values_of
from server.adapters.sql.matches import matches
from server.adapters.sql.prepared import Prepared
from server.adapters.sql.rows import SERIES_KEY, STUDY_KEY, address, depth, within
from server.adapters.sql.tables import instances, series, studies
from server.model.errors import InvalidRequest, Reason
from server.model.ids import ResourceRef
from server.model.query import Condition, Equals, Level, Match, NameMatches, Query

MOST_VALUES = 10_000
"""Values of a query that are compared as they are."""

MOST_PATTERNS = 200
"""Patterns, ranges and lists of words in a query."""

FEW_PARENTS = 1_000
"""Studies or series that are looked up first."""

FEW_ROWS = 20_000
"""Rows in them that are sorted."""

_MOST_WALKS = 256

_walks: dict[tuple[object, ...], Prepared] = {}
"""Statements by the form of their query; making one costs as much as running it."""

_TABLES: Mapping[Level, Table] = {Level.STUDY: studies, Level.SERIES: series, Level.INSTANCE: instances}
_KEYS: Mapping[Level, Column[int]] = {
    Level.STUDY: studies.c.key,
    Level.SERIES: series.c.key,
    Level.INSTANCE: instances.c.version,
}


def check_size(query: Query) -> None:
    """Refuse what is more than a statement can hold.

    Raises:
        InvalidRequest: INVALID_QUERY.
    """
    values = patterns = 0
    for condition in query.conditions:
        for matcher in condition.matchers:
            match matcher:
                case Equals(given):
                    values += len(given)
                case NameMatches(given):
                    patterns += len(given)
                case _:
                    patterns += 1
    if values > MOST_VALUES or patterns > MOST_PATTERNS:
        raise InvalidRequest(Reason.INVALID_QUERY, "The query has too many values.")


def search(connection: Connection, partition_key: int, query: Query) -> list[Match]:
    """Do what `InstanceIndex.search` promises."""
    if below := {level for condition in query.conditions if (level := level_of(condition.key)) > query.level}:
        raise ValueError(f"conditions on {max(below).name} in a search for {query.level.name}")
    where = address(partition_key, query.scope) | {"after": query.after, "limit": query.limit, "skip": query.skip}
    few = _within_few(connection, partition_key, query)
    if few is not None:
        # The sum keeps databases from walking through all rows in order, to save sorting a few.
        keys = list(connection.execute(_page(few, _KEYS[query.level] + 0, query), where).scalars())
    else:
        keys = _walk(connection, query, where)
    return matches(connection, query, keys) if keys else []


def _walk(connection: Connection, query: Query, where: dict[str, Any]) -> list[int]:
    """Return the matches' keys by walking through the scope."""
    forms = tuple(form_of(condition) for condition in query.conditions)
    if None in forms:
        return list(connection.execute(_page(_within_scope(query), _KEYS[query.level], query), where).scalars())
    form = (query.level, depth(query.scope), query.after is None, query.skip == 0, forms)
    statement = _walks.get(form)
    if statement is None:
        if len(_walks) >= _MOST_WALKS:
            _walks.clear()
        statement = _walks[form] = Prepared(_page(_within_scope(query), _KEYS[query.level], query))
    for number, condition in enumerate(query.conditions):
        where.update(values_of(condition, f"value_{number}"))
    return [key for (key,) in statement.rows(connection, where)]


def _page(statement: Select[int], order: ColumnElement[int], query: Query) -> Select[int]:
    """Select a page of keys."""
    if query.after is not None:
        statement = statement.where(_KEYS[query.level] < bindparam("after"))
    statement = statement.order_by(order.desc()).limit(bindparam("limit"))
    return statement.offset(bindparam("skip")) if query.skip else statement


def _within_few(connection: Connection, partition_key: int, query: Query) -> Select[int] | None:
    """Select the matches' keys from those few studies or series that meet the conditions on them.

    None if there are no such conditions, or not few, or the scope is narrow anyway.
    """
    above = [condition for condition in query.conditions if level_of(condition.key) < query.level]
    if not above or query.scope.study is not None:
        return None
    parent = max(level_of(condition.key) for condition in above)
    parents = _few_parents(connection, partition_key, query.level, parent, above)
    if parents is None:
        return None
    table = _TABLES[query.level]
    own = [condition for condition in query.conditions if level_of(condition.key) == query.level]
    is_below = (table.c.study_key if parent is Level.STUDY else table.c.series_key).in_(parents)
    return _meeting(query.level, own).where(is_below)


def _few_parents(
    connection: Connection, partition_key: int, level: Level, parent: Level, conditions: Sequence[Condition]
) -> list[int] | None:
    """Return the keys of the studies or series that meet conditions; None if they are not few."""
    table = _TABLES[parent]
    rows_below = studies.c.series_count if level is Level.SERIES else table.c.instance_count
    statement = _meeting(parent, conditions).add_columns(rows_below).where(table.c.partition_key == partition_key)
    found = connection.execute(statement.limit(FEW_PARENTS + 1)).all()
    if len(found) > FEW_PARENTS or sum(count for _, count in found) > FEW_ROWS:
        return None
    return [key for key, _ in found]


def _within_scope(query: Query) -> Select[int]:
    """Select the matches' keys by walking through the scope."""
    return _meeting(query.level, query.conditions).where(*_scope(query.level, query.scope))


def _meeting(level: Level, conditions: Sequence[Condition]) -> Select[int]:
    """Select keys of a level whose rows, and rows above them, meet conditions."""
    table = _TABLES[level]
    about = {level_of(condition.key) for condition in conditions}
    statement = select(_KEYS[level])
    if Level.SERIES in about and level > Level.SERIES:
        statement = statement.join_from(table, series, series.c.key == table.c.series_key)
    if Level.STUDY in about and level > Level.STUDY:
        statement = statement.join_from(table, studies, studies.c.key == table.c.study_key)
    return statement.where(*(holds(condition, f"value_{number}") for number, condition in enumerate(conditions)))


def _scope(level: Level, scope: ResourceRef) -> Sequence[ColumnElement[bool]]:
    """Return the conditions for lying in the scope, or around it where it is narrower than the level.

    The narrowest one alone picks the rows, so that an index on it gives them in order.
    """
    if level is Level.INSTANCE:
        return within(depth(scope))
    if scope.study is None:
        return [_TABLES[level].c.partition_key == bindparam("of_partition")]
    if level is Level.STUDY:
        return [studies.c.key == STUDY_KEY]
    return [series.c.study_key == STUDY_KEY] if scope.series is None else [series.c.key == SERIES_KEY]
