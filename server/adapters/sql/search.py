"""Searching: first the keys of a page of matches, from as few and narrow rows as possible, then their details.

The order is the primary key of the level, descending. It never changes, so a page begins with `key < after`, and an
offset is skipped within an index.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Column, ColumnElement, Connection, Select, Table, select

from server.adapters.sql.conditions import holds, is_of_any_level, level_of
from server.adapters.sql.rows import AnyRow, series_key, study_key, within
from server.adapters.sql.tables import instances, metadata, series, studies
from server.model.errors import InvalidRequest, Reason
from server.model.ids import ResourceRef, Uid
from server.model.query import Equals, Level, Match, NameMatches, Query

MOST_VALUES = 10_000
"""Values of a query that are compared as they are."""

MOST_PATTERNS = 200
"""Patterns, ranges and lists of words in a query."""

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
    keys = list(connection.execute(_page(partition_key, query)).scalars())
    if not keys:
        return []
    match query.level:
        case Level.STUDY:
            return _studies(connection, query, keys)
        case Level.SERIES:
            return _series(connection, query, keys)
        case Level.INSTANCE:
            return _instances(connection, query, keys)


def _page(partition_key: int, query: Query) -> Select[int]:
    """Return the query for the keys of the matches."""
    key = _KEYS[query.level]
    conditions = (holds(condition, query.level) for condition in query.conditions)
    statement = _joined(query).where(*_scope(partition_key, query.level, query.scope), *conditions)
    if query.after is not None:
        statement = statement.where(key < query.after)
    statement = statement.order_by(key.desc()).limit(query.limit)
    return statement.offset(query.skip) if query.skip else statement


def _joined(query: Query) -> Select[int]:
    """Select keys from the table searched, joined with those above it that conditions are about."""
    statement = select(_KEYS[query.level])
    about = {level_of(condition.key) for condition in query.conditions if not is_of_any_level(condition.key)}
    if below := {level for level in about if level > query.level}:
        raise ValueError(f"conditions on {max(below).name} in a search for {query.level.name}")
    table = _TABLES[query.level]
    if Level.SERIES in about and query.level > Level.SERIES:
        statement = statement.join_from(table, series, series.c.key == table.c.series_key)
    if Level.STUDY in about and query.level > Level.STUDY:
        statement = statement.join_from(table, studies, studies.c.key == table.c.study_key)
    return statement


def _scope(partition_key: int, level: Level, scope: ResourceRef) -> list[ColumnElement[bool]]:
    """Return the conditions for lying in the scope, or around it where it is narrower than the level.

    The narrowest one alone picks the rows, so that an index on it gives them in order.
    """
    if level is Level.INSTANCE:
        return within(partition_key, scope)
    table = _TABLES[level]
    if scope.study is None:
        return [table.c.partition_key == partition_key]
    study = study_key(partition_key, scope).scalar_subquery()
    if level is Level.STUDY:
        return [studies.c.key == study]
    if scope.series is None:
        return [series.c.study_key == study]
    return [series.c.key == series_key(partition_key, scope).scalar_subquery()]


def _studies(connection: Connection, query: Query, keys: Sequence[int]) -> list[Match]:
    rows = _by_key(connection, studies, keys)
    jsons = _newest_metadata(connection, query, {key: row.max_version for key, row in rows.items()})
    modalities = _modalities(connection, keys) if query.counts else {}
    return [
        Match(
            key=key,
            resource=ResourceRef(query.scope.partition, Uid(rows[key].uid)),
            elements=orjson.loads(rows[key].elements),
            metadata=jsons.get(key),
            modalities=tuple(modalities.get(key, ())),
            series_count=rows[key].series_count if query.counts else 0,
            instance_count=rows[key].instance_count if query.counts else 0,
        )
        for key in keys
    ]


def _series(connection: Connection, query: Query, keys: Sequence[int]) -> list[Match]:
    rows = _by_key(connection, series, keys)
    study_rows = _by_key(connection, studies, {row.study_key for row in rows.values()})
    study_elements = _elements(study_rows)
    jsons = _newest_metadata(connection, query, {key: row.max_version for key, row in rows.items()})
    return [
        Match(
            key=key,
            resource=ResourceRef(query.scope.partition, Uid(study_rows[row.study_key].uid), Uid(row.uid)),
            elements=study_elements[row.study_key] | orjson.loads(row.elements),
            metadata=jsons.get(key),
            instance_count=row.instance_count if query.counts else 0,
        )
        for key, row in ((key, rows[key]) for key in keys)
    ]


def _instances(connection: Connection, query: Query, keys: Sequence[int]) -> list[Match]:
    rows = _by_key(connection, instances, keys)
    series_rows = _by_key(connection, series, {row.series_key for row in rows.values()})
    study_rows = _by_key(connection, studies, {row.study_key for row in rows.values()})
    study_elements, series_elements = _elements(study_rows), _elements(series_rows)
    jsons = _newest_metadata(connection, query, {key: key for key in keys})
    return [
        Match(
            key=key,
            resource=ResourceRef(
                query.scope.partition,
                Uid(study_rows[row.study_key].uid),
                Uid(series_rows[row.series_key].uid),
                Uid(row.uid),
            ),
            elements=study_elements[row.study_key] | series_elements[row.series_key] | orjson.loads(row.elements),
            metadata=jsons.get(key),
        )
        for key, row in ((key, rows[key]) for key in keys)
    ]


def _by_key(connection: Connection, table: Table, keys: Collection[int]) -> dict[int, AnyRow]:
    """Return what `Match` needs of some rows."""
    names = (
        "uid",
        "elements",
        "study_key",
        "series_key",
        "series_count",
        "instance_count",
        "max_version",
    )
    key = table.primary_key.columns[0]
    columns = [table.c[name] for name in names if name in table.c]
    return {row[0]: row for row in connection.execute(select(key, *columns).where(key.in_(keys)))}


def _elements(rows: Mapping[int, AnyRow]) -> dict[int, dict[str, Any]]:
    return {key: orjson.loads(row.elements) for key, row in rows.items()}


def _newest_metadata(connection: Connection, query: Query, versions: Mapping[int, int]) -> dict[int, bytes]:
    """Return DICOM JSON by key, given the version of each key's newest instance.

    Conditions are never about a level below the matches', so all instances of a match match.
    """
    if not query.metadata:
        return {}
    rows = connection.execute(
        select(metadata.c.version, metadata.c.dicom_json).where(metadata.c.version.in_(versions.values()))
    )
    jsons = {row.version: row.dicom_json for row in rows}
    return {key: jsons[version] for key, version in versions.items()}


def _modalities(connection: Connection, study_keys: Collection[int]) -> dict[int, list[str]]:
    """Return the distinct modalities of the series of studies, in order of their first letters."""
    rows = connection.execute(
        select(series.c.study_key, series.c.modality_as_stored)
        .where(series.c.study_key.in_(study_keys), series.c.modality_as_stored.is_not(None))
        .distinct()
        .order_by(series.c.modality_as_stored)
    )
    modalities: dict[int, list[str]] = {}
    for key, modality in rows:
        modalities.setdefault(key, []).append(modality)
    return modalities
