"""Searching: first the keys of a page of matches, from as few and narrow rows as possible, then their details.

The order is the primary key of the level, descending. It never changes, so a page begins with `key < after`, and an
offset is skipped within an index; where all studies are asked for, whole blocks of them (`tables.study_blocks`).

Conditions on the levels above the matches can be met in two ways. If few studies or series meet them, those are looked
up first, and the rows in them sorted. If many do, walking all rows in order soon finds a page of them. Which
way is better depends on the values, and databases guess badly at it; so it is found out by trying the first.

Text within text is looked for in an index of its own, see `trigrams`: it gives candidates in order, too. It is left out
where another index leads to a few studies, or where it has many candidates and a range may have fewer.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, Column, ColumnElement, Connection, Select, Table, bindparam, func, select

from server.adapters.sql import trigrams
from server.adapters.sql.conditions import form_of, holds, level_of, values_of
from server.adapters.sql.keys import COLUMNS
from server.adapters.sql.matches import matches, rows_of
from server.adapters.sql.prepared import Prepared
from server.adapters.sql.rows import SERIES_KEY, STUDY_KEY, address, depth, within
from server.adapters.sql.tables import STUDIES_PER_BLOCK, instances, series, studies, study_blocks
from server.model.errors import InvalidRequest, Reason
from server.model.ids import ResourceRef
from server.model.query import Between, Condition, Equals, Level, Match, NameMatches, Query

MOST_VALUES = 10_000
"""Values of a query that are compared as they are."""

MOST_PATTERNS = 200
"""Patterns, ranges and lists of words in a query."""

FEW_PARENTS = 1_000
"""Studies or series that are looked up first."""

FEW_ROWS = 20_000
"""Rows in them that are sorted."""

FEW_CANDIDATES = 1_000
"""Studies that the text index may name where a range could name fewer."""

FAR = STUDIES_PER_BLOCK
"""From this offset on, blocks are skipped."""

_MOST_STATEMENTS = 256

_statements: dict[tuple[object, ...], Prepared] = {}
"""By the form of their query; making one costs many times what running it does."""

_TABLES: Mapping[Level, Table] = {Level.STUDY: studies, Level.SERIES: series, Level.INSTANCE: instances}
_KEYS: Mapping[Level, Column[int]] = {
    Level.STUDY: studies.c.key,
    Level.SERIES: series.c.key,
    Level.INSTANCE: instances.c.version,
}
_PARENTS: BindParameter[int] = bindparam("parents", expanding=True)
_INDEXED = frozenset(key for key, column in COLUMNS.items() if column.table is studies) - {
    "StudyDescription",
    "StudyTime",
}
"""Search keys of studies with an index of their values."""

_MOST_CANDIDATES = Prepared(select(trigrams.study_text.c.rowid).where(trigrams.CONTAINS).limit(bindparam("limit")))


def _starts_of_blocks() -> Prepared:
    """Return what finds the block that an offset leads to, and how many studies are in the blocks before."""
    through = func.sum(study_blocks.c.studies).over(order_by=study_blocks.c.block.desc())
    blocks = (
        select(study_blocks.c.block, study_blocks.c.studies, through.label("through"))
        .where(study_blocks.c.partition_key == bindparam("of_partition"))
        .subquery()
    )
    return Prepared(
        select(blocks.c.block, (blocks.c.through - blocks.c.studies).label("before"))
        .where(blocks.c.through > bindparam("skip"))
        .order_by(blocks.c.block.desc())
        .limit(1)
    )


_BLOCK = _starts_of_blocks()


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
    _add_values(where, query.conditions)
    rows = _rows(connection, query, where)
    return matches(connection, query, rows) if rows else []


def _rows(connection: Connection, query: Query, where: dict[str, Any]) -> Sequence[tuple[Any, ...]]:
    """Return a page of rows of the matches."""
    if query.scope.study is not None:
        return _walk(connection, query, where)
    if query.level is Level.STUDY:
        if not query.conditions and query.skip >= FAR and query.after is None:
            return _far_walk(connection, query, where)
        if _looks_for_text(connection, query.conditions, where):
            return _run(connection, ("text", *_form(query)), lambda: _page_containing(query), where)
        return _walk(connection, query, where)
    few = _few_parents(connection, query, where)
    if few is None:
        return _walk(connection, query, where)
    parent, parents = few
    where["parents"] = parents
    return _run(connection, (parent, *_form(query)), lambda: _page_within(parent, query), where) if parents else []


def _walk(connection: Connection, query: Query, where: dict[str, Any]) -> Sequence[tuple[Any, ...]]:
    """Return a page by walking through the scope."""
    return _run(connection, ("walk", *_form(query)), lambda: _page(_within_scope(query), query), where)


def _far_walk(connection: Connection, query: Query, where: dict[str, Any]) -> Sequence[tuple[Any, ...]]:
    """Return a page of all studies, far from the first."""
    found = _BLOCK.tuples(connection, where)
    if not found:
        return []
    block, before = found[0]
    where |= {"after": (block + 1) * STUDIES_PER_BLOCK, "skip": query.skip - int(before)}
    form = ("far", *_form(query))
    return _run(connection, form, lambda: _page(_within_scope(query), query, is_after=True), where)


def _run(
    connection: Connection,
    form: tuple[object, ...],
    make: Callable[[], Select[*tuple[Any, ...]]],
    where: dict[str, Any],
) -> Sequence[tuple[Any, ...]]:
    """Run the statement of a form, which is made if there is none yet."""
    statement = _statements.get(form)
    if statement is None:
        if len(_statements) >= _MOST_STATEMENTS:
            _statements.clear()
        statement = _statements[form] = Prepared(make())
    return statement.tuples(connection, where)


def _form(query: Query) -> tuple[object, ...]:
    """Return what a query is without its values."""
    forms = map(form_of, query.conditions)
    return (query.level, depth(query.scope), query.after is None, query.skip == 0, *forms)


def _add_values(where: dict[str, Any], conditions: Sequence[Condition]) -> None:
    for number, condition in enumerate(conditions):
        where.update(values_of(condition, f"value_{number}"))


def _page(
    keys: Select[int],
    query: Query,
    order: ColumnElement[int] | None = None,
    *,
    is_after: bool = False,
) -> Select[*tuple[Any, ...]]:
    """Select a page of what is in the order of its key, or in another that comes to the same."""
    key = _KEYS[query.level]
    if is_after or query.after is not None:
        keys = keys.where(key < bindparam("after"))
    keys = keys.order_by((key if order is None else order).desc()).limit(bindparam("limit"))
    if query.skip:
        keys = keys.offset(bindparam("skip"))
    return rows_of(query.level, keys.subquery("page"))


def _page_within(parent: Level, query: Query) -> Select[*tuple[Any, ...]]:
    """Select a page of what is in the studies or series `parents`."""
    table = _TABLES[query.level]
    is_within = (table.c.study_key if parent is Level.STUDY else table.c.series_key).in_(_PARENTS)
    # The sum keeps databases from walking through all rows in order, to save sorting a few.
    order = _KEYS[query.level] + 0
    return _page(_meeting(query.level, query.conditions, parent).where(is_within), query, order)


def _page_containing(query: Query) -> Select[*tuple[Any, ...]]:
    """Select a page of studies from the candidates of the text index, which gives them in order."""
    key = trigrams.study_text.c.rowid
    keys = _containing(query.conditions)
    if query.after is not None:
        keys = keys.where(key < bindparam("after"))
    return _page(keys, query, key)


def _containing(conditions: Sequence[Condition]) -> Select[int]:
    """Select keys of studies that meet conditions, from the candidates of the text index."""
    text = trigrams.study_text
    return (
        select(studies.c.key)
        .join_from(text, studies, studies.c.key == text.c.rowid)
        .where(trigrams.CONTAINS, studies.c.partition_key == bindparam("of_partition"))
        .where(*_all(conditions))
    )


def _looks_for_text(connection: Connection, conditions: Sequence[Condition], where: dict[str, Any]) -> bool:
    """Say whether the text index leads to the studies that meet conditions best; if so, add what to look up there."""
    if connection.dialect.name != "sqlite" or any(map(_leads_to_few, conditions)):
        return False
    sought = trigrams.sought(conditions)
    if sought is None:
        return False
    where["trigrams"] = sought
    if not any(isinstance(matcher, Between) for condition in conditions for matcher in condition.matchers):
        return True
    candidates = {"trigrams": sought, "limit": FEW_CANDIDATES + 1}
    return len(_MOST_CANDIDATES.tuples(connection, candidates)) <= FEW_CANDIDATES


def _leads_to_few(condition: Condition) -> bool:
    """Say whether an index leads to what meets a condition, and to little else."""
    return condition.key in _INDEXED and all(isinstance(matcher, Equals) for matcher in condition.matchers)


def _few_parents(connection: Connection, query: Query, where: dict[str, Any]) -> tuple[Level, list[int]] | None:
    """Return the keys of the studies or series that meet the conditions on them.

    None if there are no such conditions, or they are not few.
    """
    above = [condition for condition in query.conditions if level_of(condition.key) < query.level]
    if not above:
        return None
    parent = max(level_of(condition.key) for condition in above)
    limited = where | {"limit": FEW_PARENTS + 1}
    _add_values(limited, above)
    form = (query.level, parent, *map(form_of, above))
    if parent is Level.STUDY and _looks_for_text(connection, above, limited):
        keys = _containing(above)
        form = ("text", *form)
    else:
        keys = _meeting(parent, above).where(_TABLES[parent].c.partition_key == bindparam("of_partition"))
    rows_below = studies.c.series_count if query.level is Level.SERIES else _TABLES[parent].c.instance_count
    statement = keys.add_columns(rows_below).limit(bindparam("limit"))
    found = _run(connection, ("parents", *form), lambda: statement, limited)
    if len(found) > FEW_PARENTS or sum(count for _, count in found) > FEW_ROWS:
        return None
    return parent, [key for key, _ in found]


def _within_scope(query: Query) -> Select[int]:
    """Select the matches' keys by walking through the scope."""
    return _meeting(query.level, query.conditions).where(*_scope(query.level, query.scope))


def _meeting(level: Level, conditions: Sequence[Condition], met: Level | None = None) -> Select[int]:
    """Select keys of a level whose rows, and rows above them, meet conditions; those on `met` and above are met."""
    table = _TABLES[level]
    about = {level_of(condition.key) for condition in conditions if met is None or level_of(condition.key) > met}
    statement = select(_KEYS[level])
    if Level.SERIES in about and level > Level.SERIES:
        statement = statement.join_from(table, series, series.c.key == table.c.series_key)
    if Level.STUDY in about and level > Level.STUDY:
        statement = statement.join_from(table, studies, studies.c.key == table.c.study_key)
    return statement.where(*_all(conditions, about))


def _all(conditions: Sequence[Condition], about: Collection[Level] = tuple(Level)) -> list[ColumnElement[bool]]:
    """Return those conditions that are about some levels, with parameters named by their position among all."""
    return [
        holds(condition, f"value_{number}")
        for number, condition in enumerate(conditions)
        if level_of(condition.key) in about
    ]


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
