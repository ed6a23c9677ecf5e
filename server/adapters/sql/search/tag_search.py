"""Search by extended query tags: an index on their values returns few studies, series or instances, or many.

As in `search`, this depends on the values; the search requests slightly more than the limit for few. If there are few,
their rows are sorted; if there are many, a scan of all rows in order soon fills a page.
"""

from typing import Any

from sqlalchemy import BindParameter, Connection, Select, bindparam, false, func, or_, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.search import pages
from server.adapters.sql.search.conditions import form_of, tag_matches, values_of
from server.adapters.sql.search.pages import KEYS, TABLES, Rows
from server.adapters.sql.tables.query_tags import tag_values
from server.model.search.query import Condition, Empty, Level, Query, TagKey

FEW = 1_000
"""Number of studies, series or instances that are examined one by one."""

FEW_ROWS = 20_000
"""Maximum number of rows in them that are sorted."""

_OWNERS: BindParameter[int] = bindparam("owners", expanding=True)
_COUNTS = {
    level: Prepared(select(func.sum(TABLES[level].c.instance_count)).where(KEYS[level].in_(_OWNERS)))
    for level in (Level.STUDY, Level.SERIES)
}


def page_by_tag(connection: Connection, query: Query, where: dict[str, Any]) -> Rows | None:
    """Return a page of rows of the matches, found by a tag that returns few; None if none does."""
    for condition in query.conditions:
        tag = condition.key
        if not isinstance(tag, TagKey) or tag.level > query.level or Empty() in condition.matchers:
            continue
        owners = _owners(connection, condition, tag.tag)
        if owners is not None and _is_few(connection, query, tag.level, owners):
            return _among(connection, query, where, tag.level, owners)
    return None


def _owners(connection: Connection, condition: Condition, key: int) -> list[int] | None:
    """Return the owners of a matching value; None if they are many. Reads only the index."""

    def statement() -> Select[int]:
        any_of = (
            tag_matches(tag_values, matcher, f"value_{number}") for number, matcher in enumerate(condition.matchers)
        )
        matching = select(tag_values.c.owner).where(tag_values.c.tag_key == key, or_(false(), *any_of))
        return matching.limit(bindparam("limit"))

    parameters = {**dict(values_of(condition, "value")), "limit": FEW + 1}
    found = pages.run(connection, ("owners", *form_of(condition)), statement, parameters)
    return None if len(found) > FEW else sorted({owner for (owner,) in found})


def _is_few(connection: Connection, query: Query, level: Level, owners: list[int]) -> bool:
    """Return whether few rows of the query's level belong to the owners of the value."""
    if level is query.level or not owners:
        return True
    ((count,),) = _COUNTS[level].tuples(connection, {"owners": owners})
    return int(count or 0) <= FEW_ROWS


def _among(connection: Connection, query: Query, where: dict[str, Any], level: Level, owners: list[int]) -> Rows:
    """Return a page of the rows of, or in, these studies, series or instances."""
    if not owners:
        return []

    def statement() -> Select[*tuple[Any, ...]]:
        table = TABLES[query.level]
        names = {Level.STUDY: "study_key", Level.SERIES: "series_key"}
        column = KEYS[level] if level is query.level else table.c[names[level]]
        # The sum prevents a scan of all rows in order, which databases would choose to avoid sorting a few.
        return pages.page(pages.within_scope(query).where(column.in_(_OWNERS)), query, KEYS[query.level] + 0)

    return pages.run(connection, ("by tag", level, *pages.form(query)), statement, where | {"owners": owners})
