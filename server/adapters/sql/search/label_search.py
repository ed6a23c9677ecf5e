"""Search by labels: an index on their values returns few owners, or many; see `tag_search`.

The owners are studies, series and instances, because a label also applies to what its owner contains.
"""

from typing import Any

from sqlalchemy import BindParameter, Connection, Select, bindparam, false, func, or_, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.search import pages
from server.adapters.sql.search.conditions import form_of, label_matches, values_of
from server.adapters.sql.search.pages import KEYS, TABLES, Rows
from server.adapters.sql.tables.instances import instances
from server.adapters.sql.tables.lifecycle import labels
from server.model.search.query import Condition, Empty, LabelKey, Level, Query

FEW = 1_000
"""Number of owners that are examined one by one."""

FEW_ROWS = 20_000
"""Maximum number of rows in them that are sorted."""

_OWNERS: BindParameter[int] = bindparam("owners", expanding=True)
_COUNTS = {
    level: Prepared(select(func.sum(TABLES[level].c.instance_count)).where(KEYS[level].in_(_OWNERS)))
    for level in (Level.STUDY, Level.SERIES)
}
_RENUMBERED = Prepared(
    select(instances.c.version).where(instances.c.key.in_(_OWNERS), instances.c.version != instances.c.key)
)
"""The instances with a later version; for all others, key and version are equal."""


def page_by_label(connection: Connection, query: Query, where: dict[str, Any]) -> Rows | None:
    """Return a page of rows of the matches, found by a label that few owners have; None if there is none."""
    for condition in query.conditions:
        if not isinstance(condition.key, LabelKey) or Empty() in condition.matchers:
            continue
        owners = _owners(connection, condition, query.level, where["of_partition"])
        if owners is not None and _is_few(connection, query.level, owners):
            return _among(connection, query, where, owners)
    return None


def _owners(
    connection: Connection, condition: Condition, level: Level, partition_key: int
) -> dict[Level, list[int]] | None:
    """Return the owners of a matching label, by level; None if they are many. Reads only the index."""

    def statement() -> Select[*tuple[Any, ...]]:
        any_of = (
            label_matches(labels, matcher, "value", f"value_{number}")
            for number, matcher in enumerate(condition.matchers)
        )
        matching = select(labels.c.level, labels.c.owner).where(
            labels.c.partition_key == bindparam("of_partition"), or_(false(), *any_of)
        )
        return matching.limit(bindparam("limit"))

    parameters = {**dict(values_of(condition, "value")), "of_partition": partition_key, "limit": FEW + 1}
    found = pages.run(connection, ("owners of labels", *form_of(condition)), statement, parameters)
    if len(found) > FEW:
        return None
    owners: dict[Level, set[int]] = {}
    for of_level, owner in found:
        if of_level <= level:
            owners.setdefault(Level(of_level), set()).add(owner)
    return {of_level: sorted(some) for of_level, some in owners.items()}


def _is_few(connection: Connection, level: Level, owners: dict[Level, list[int]]) -> bool:
    """Return whether few rows of the query's level belong to the owners."""
    counts = (
        _COUNTS[of_level].tuples(connection, {"owners": some})[0][0]
        for of_level, some in owners.items()
        if of_level < level
    )
    return sum(int(count or 0) for count in counts) <= FEW_ROWS


def _among(connection: Connection, query: Query, where: dict[str, Any], owners: dict[Level, list[int]]) -> Rows:
    """Return a page of the rows of, or in, these studies, series and instances."""
    if not owners:
        return []
    levels = sorted(owners)
    given = {f"owners_{level.name}": some for level, some in owners.items()}
    if instances_of := owners.get(Level.INSTANCE):
        renumbered = _RENUMBERED.tuples(connection, {"owners": instances_of})
        given["owners_INSTANCE"] = [*instances_of, *(version for (version,) in renumbered)]

    def statement() -> Select[*tuple[Any, ...]]:
        table = TABLES[query.level]
        names = {Level.STUDY: "study_key", Level.SERIES: "series_key"}
        # The sum prevents a scan of all rows in order, which databases would choose to avoid sorting a few.
        among = (
            (KEYS[level] if level is query.level else table.c[names[level]]).in_(
                bindparam(f"owners_{level.name}", expanding=True)
            )
            for level in levels
        )
        return pages.page(pages.within_scope(query).where(or_(*among)), query, KEYS[query.level] + 0)

    return pages.run(connection, ("by label", *levels, *pages.form(query)), statement, where | given)
