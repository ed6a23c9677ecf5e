"""Exact counting of matches.

Existing counters are added up where they are sufficient: blocks of studies, the series and instances of a study, the
instances of a series. Otherwise rows are counted, with an index where possible.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Column, Connection, Select, bindparam, func, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.rows import IS_PENDING, SERIES_KEY, STUDY_KEY, address, depth
from server.adapters.sql.search import pages
from server.adapters.sql.search.conditions import IS_ALIVE, form_of, level_of
from server.adapters.sql.search.keys import COLUMNS, column_text
from server.adapters.sql.search.pages import TABLES
from server.adapters.sql.search.patient_search import count_patients
from server.adapters.sql.search.study_search import blocks_of_partition, has_many, modalities, text_leading_to
from server.adapters.sql.tables.instances import series
from server.adapters.sql.tables.studies import studies
from server.model.search.query import Condition, Level, Query

_IS_PENDING = Prepared(select(IS_PENDING))
_OF_MODALITIES = Prepared(
    select(func.count()).select_from(
        select(series.c.study_key)
        .distinct()
        .where(
            series.c.partition_key == bindparam("of_partition"),
            series.c.modality.in_(bindparam("modalities", expanding=True)),
        )
        .subquery()
    )
)
"""From an index of series, instead of looking up the series of every study."""
_Count = Select[*tuple[Any, ...]]


def count(connection: Connection, partition_key: int, query: Query) -> int:
    """Implements `InstanceIndex.count`."""
    is_by_rows = query.level is Level.INSTANCE and (query.conditions or query.scope.study is None)
    if is_by_rows and _IS_PENDING.tuples(connection, {})[0][0]:
        query = replace(query, conditions=(*query.conditions, IS_ALIVE))
    where: dict[str, Any] = dict(address(partition_key, query.scope))
    pages.add_values(where, query.conditions)
    if query.by_patient:
        patients = ("count patients", *map(form_of, query.conditions))
        return int(pages.run(connection, patients, lambda: count_patients(query), where)[0][0])
    everywhere = query.level is Level.STUDY and query.scope.study is None
    if everywhere and len(query.conditions) == 1 and (values := modalities(query.conditions[0])):
        given = where | {"modalities": [column_text(value) for value in values]}
        return int(_OF_MODALITIES.tuples(connection, given)[0][0])
    where["trigrams"] = text_leading_to(connection, query.conditions) if everywhere and query.conditions else None
    dialect = connection.dialect.name
    if where["trigrams"] is not None and (dialect == "postgresql" or _is_in_one_index(query.conditions)):
        # Reading all values takes less than looking up many studies, whose trigrams PostgreSQL computes again.
        where["trigrams"] = None if has_many(connection, where["trigrams"]) else where["trigrams"]
    by_text = where["trigrams"] is not None
    form = ("count", dialect, by_text, query.level, depth(query.scope), *map(form_of, query.conditions))
    rows = pages.run(connection, form, lambda: _statement(query, dialect, by_text=by_text), where)
    return int(rows[0][0]) if rows else 0


def _is_in_one_index(conditions: Sequence[Condition]) -> bool:
    """Return whether an index has all values that conditions are about."""
    return len(conditions) == 1 and conditions[0].key in COLUMNS


def _statement(query: Query, dialect: str, *, by_text: bool) -> _Count:
    """Return the counting statement, with or without the text index of this database."""
    if by_text:
        return _rows_of(pages.containing(query.conditions, dialect))
    counters = _counters_in_scope(query) if query.scope.study is not None else _counters_of_parents(query, dialect)
    return _rows_of(pages.within_scope(query)) if counters is None else counters


def _counters_in_scope(query: Query) -> _Count | None:
    """Select the counter of a study or series, if it is the result; None otherwise."""
    if query.conditions or query.level is Level.STUDY or query.scope.instance is not None:
        return None
    if query.scope.series is None:
        counter = studies.c.series_count if query.level is Level.SERIES else studies.c.instance_count
        return select(counter).where(studies.c.key == STUDY_KEY)
    return None if query.level is Level.SERIES else select(series.c.instance_count).where(series.c.key == SERIES_KEY)


def _counters_of_parents(query: Query, dialect: str) -> _Count | None:
    """Select the sum of the counters of the levels above, if it is the result; None otherwise."""
    if not query.conditions:
        if query.level is not Level.STUDY:
            return None
        blocks = blocks_of_partition(dialect).subquery()
        return _sum_of(select(blocks.c.studies.label("n")))
    parent = max(level_of(condition.key) for condition in query.conditions)
    if parent >= query.level:
        return None
    counter: Column[int] = studies.c.series_count if query.level is Level.SERIES else TABLES[parent].c.instance_count
    in_partition = TABLES[parent].c.partition_key == bindparam("of_partition")
    counters = pages.meeting(parent, query.conditions).add_columns(counter.label("n")).where(in_partition)
    return _sum_of(counters)


def _rows_of(keys: Select[int]) -> _Count:
    return select(func.count()).select_from(keys.subquery())


def _sum_of(counters: Select[*tuple[Any, ...]]) -> _Count:
    found = counters.subquery()
    return select(func.coalesce(func.sum(found.c.n), 0))
