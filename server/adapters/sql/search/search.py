"""Search: first the keys of a page of matches, from as few and narrow rows as possible, then their details.

The order is the primary key of the level, descending. It never changes, so a page starts with `key < after`. An offset
is skipped within an index; if all studies match, whole blocks of them are skipped (`tables.study_blocks`).

Conditions on the levels above the matches can be evaluated in two ways. If few studies or series meet them, these are
looked up first, and their rows sorted. If many do, a scan of all rows in order soon fills a page. The better way
depends on the values, and databases estimate it badly; so the first way is tried, up to a limit. `study_search` does
the same for studies.

Conditions on the levels below the matches are met by a row that a match contains. If few matches contain such rows,
they are looked up first.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import BindParameter, Connection, Select, bindparam

from server.adapters.sql.rows import address
from server.adapters.sql.search import pages, sorting
from server.adapters.sql.search.conditions import IS_ALIVE, form_of, level_of
from server.adapters.sql.search.label_search import page_by_label
from server.adapters.sql.search.matches import is_pending, matches
from server.adapters.sql.search.pages import KEYS, TABLES, Rows
from server.adapters.sql.search.patient_search import search_patients
from server.adapters.sql.search.study_search import search_studies, text_leading_to
from server.adapters.sql.search.tag_search import page_by_tag
from server.adapters.sql.tables.studies import studies
from server.model.errors import InvalidRequest, Reason
from server.model.search.query import Condition, Equals, Level, Match, NameMatches, Numbers, Query, TagKey

MAX_VALUES = 10_000
"""Maximum number of exact values in a query."""

MAX_PATTERNS = 200
"""Maximum number of patterns, ranges and word lists in a query."""

FEW_PARENTS = 1_000
"""Maximum number of studies or series that are looked up first."""

FEW_ROWS = 20_000
"""Maximum number of rows in them that are sorted."""

_UIDS = frozenset({"StudyInstanceUID", "SeriesInstanceUID"})
_PARENTS: BindParameter[int] = bindparam("parents", expanding=True)


def check_size(conditions: Sequence[Condition]) -> None:
    """Reject conditions that exceed the limits of a statement.

    Raises:
        InvalidRequest: INVALID_QUERY.
    """
    values = patterns = 0
    for condition in conditions:
        for matcher in condition.matchers:
            match matcher:
                case Equals(given) | Numbers(given):
                    values += len(given)
                case NameMatches(given):
                    patterns += len(given)
                case _:
                    patterns += 1
    if values > MAX_VALUES or patterns > MAX_PATTERNS:
        raise InvalidRequest(Reason.INVALID_QUERY, "The query has too many values.")


def search(connection: Connection, partition_key: int, query: Query) -> list[Match]:
    """Implements `InstanceIndex.search`."""
    if query.by_patient:
        return search_patients(connection, partition_key, query, search)
    where = address(partition_key, query.scope) | {"after": query.after, "limit": query.limit, "skip": query.skip}
    where |= sorting.values_of(query)
    pages.add_values(where, query.conditions)
    rows = _rows(connection, query, where)
    if query.level is Level.INSTANCE and is_pending(rows):
        rows = _rows(connection, replace(query, conditions=(*query.conditions, IS_ALIVE)), where)
    return matches(connection, query, rows) if rows else []


def _rows(connection: Connection, query: Query, where: dict[str, Any]) -> Rows:
    """Return a page of rows of the matches."""
    if pages.below(query.level, query.conditions):
        keys = _few_containing(connection, query, where)
        if keys is not None:
            return _among(connection, query, where, keys)
    if (found := page_by_tag(connection, query, where)) is not None:
        return found
    if (found := page_by_label(connection, query, where)) is not None:
        return found
    if query.scope.study is None:
        if query.level is Level.STUDY:
            return search_studies(connection, query, where)
        if few := _few_parents(connection, query, where):
            parent, parents = few
            return _within_parents(connection, query, where, parent, parents)
        return pages.run(
            connection, ("in order", *pages.form(query)), lambda: pages.page(pages.in_order(query), query), where
        )
    return pages.run(
        connection, ("walk", *pages.form(query)), lambda: pages.page(pages.within_scope(query), query), where
    )


def _few_containing(connection: Connection, query: Query, where: dict[str, Any]) -> list[int] | None:
    """Return the keys of rows that contain one with the conditions below their level; None if there are many."""

    def statement() -> Select[*tuple[Any, ...]]:
        keys = pages.containing_level(query.level, query.conditions)
        (key,) = keys.selected_columns
        in_partition = key.table.c.partition_key == bindparam("of_partition")
        return keys.where(in_partition).distinct().limit(bindparam("limit"))

    form = ("containing", query.level, *map(form_of, query.conditions))
    found = pages.run(connection, form, statement, where | {"limit": FEW_PARENTS + 1})
    return None if len(found) > FEW_PARENTS else [key for (key,) in found]


def _among(connection: Connection, query: Query, where: dict[str, Any], keys: list[int]) -> Rows:
    """Return a page of the rows with these keys."""
    if not keys:
        return []

    def statement() -> Select[*tuple[Any, ...]]:
        among = pages.within_scope(query).where(KEYS[query.level].in_(_PARENTS))
        return pages.page(among, query, KEYS[query.level] + 0)

    return pages.run(connection, ("among rows", *pages.form(query)), statement, where | {"parents": keys})


def _few_parents(connection: Connection, query: Query, where: dict[str, Any]) -> tuple[Level, list[int]] | None:
    """Return the keys of the studies or series that meet the conditions on them.

    None if there are no such conditions, or too many studies or series meet them.
    """
    above = [condition for condition in query.conditions if level_of(condition.key) < query.level]
    if all(isinstance(condition.key, TagKey) for condition in above):  # known to be many at this point
        return None
    parent = max(level_of(condition.key) for condition in above)
    limited = where | {"limit": FEW_PARENTS + 1}
    pages.add_values(limited, above)
    limited["trigrams"] = text_leading_to(connection, above) if parent is Level.STUDY else None
    by_text, dialect = limited["trigrams"] is not None, connection.dialect.name

    def statement() -> Select[*tuple[Any, ...]]:
        keys = pages.containing(above, dialect) if by_text else pages.meeting(parent, above)
        rows_below = studies.c.series_count if query.level is Level.SERIES else TABLES[parent].c.instance_count
        in_partition = TABLES[parent].c.partition_key == bindparam("of_partition")
        return keys.add_columns(rows_below).where(in_partition).limit(bindparam("limit"))

    form = ("parents", by_text and dialect, query.level, parent, *map(form_of, above))
    if not by_text and not _are_named(above) and _are_many(connection, parent, above, limited):
        return None
    found = pages.run(connection, form, statement, limited)
    if len(found) > FEW_PARENTS or sum(count for _, count in found) > FEW_ROWS:
        return None
    return parent, [key for key, _ in found]


def _are_named(above: Sequence[Condition]) -> bool:
    """Return whether conditions have a UID of a study or series, so that few meet them."""
    return any(
        condition.key in _UIDS and all(isinstance(matcher, Equals) for matcher in condition.matchers)
        for condition in above
    )


def _are_many(connection: Connection, parent: Level, above: Sequence[Condition], where: dict[str, Any]) -> bool:
    """Return whether many studies or series meet conditions. Reads only an index, if one suffices."""

    def statement() -> Select[*tuple[Any, ...]]:
        in_partition = TABLES[parent].c.partition_key == bindparam("of_partition")
        return pages.meeting(parent, above).where(in_partition).limit(1).offset(bindparam("few"))

    return bool(pages.run(connection, ("many", parent, *map(form_of, above)), statement, where | {"few": FEW_PARENTS}))


def _within_parents(
    connection: Connection, query: Query, where: dict[str, Any], parent: Level, parents: list[int]
) -> Rows:
    """Return a page of the rows in these studies or series, which meet the conditions on them."""
    if not parents:
        return []

    def statement() -> Select[*tuple[Any, ...]]:
        table = TABLES[query.level]
        is_within = (table.c.study_key if parent is Level.STUDY else table.c.series_key).in_(_PARENTS)
        # The sum prevents a scan of all rows in order, which databases would choose to avoid sorting a few.
        return pages.page(
            pages.meeting(query.level, query.conditions, parent).where(is_within), query, KEYS[query.level] + 0
        )

    return pages.run(connection, (parent, *pages.form(query)), statement, where | {"parents": parents})
