"""Conversion of rows to matches, with the stored elements of the levels above."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, Select, Subquery, bindparam, func, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.rows import IS_PENDING
from server.adapters.sql.tables.instances import instances, metadata, series
from server.adapters.sql.tables.studies import studies
from server.model.ids import Address, Uid
from server.model.search.query import MAX_METADATA, Level, Match, Query
from server.model.search.return_keys import ElementLines

_KEYS: BindParameter[int] = bindparam("keys", expanding=True)
_COLUMNS: Mapping[Level, Sequence[ColumnElement[Any]]] = {
    Level.STUDY: [studies.c[name] for name in ("uid", "elements", "series_count", "instance_count", "max_version")],
    Level.SERIES: [series.c[name] for name in ("uid", "elements", "study_key", "instance_count", "max_version")],
    # The last column says whether a deletion of many is in progress; see `search`.
    Level.INSTANCE: [*(instances.c[name] for name in ("uid", "elements", "study_key", "series_key")), IS_PENDING],
}
_KEY_OF = {Level.STUDY: studies.c.key, Level.SERIES: series.c.key, Level.INSTANCE: instances.c.version}
_ABOVE = {
    table: Prepared(select(table.c.key, table.c.uid, table.c.elements).where(table.c.key.in_(_KEYS)))
    for table in (studies, series)
}
_SIZES = Prepared(select(metadata.c.version, func.length(metadata.c.dicom_json)).where(metadata.c.version.in_(_KEYS)))
_METADATA = Prepared(select(metadata.c.version, metadata.c.dicom_json).where(metadata.c.version.in_(_KEYS)))
_MODALITIES = Prepared(
    select(series.c.study_key, series.c.modality_as_stored).where(
        series.c.study_key.in_(_KEYS), series.c.modality_as_stored.is_not(None)
    )
)

_NEWEST_SERIES = Prepared(
    select(series.c.study_key, series.c.elements).where(
        series.c.study_key.in_(_KEYS), series.c.max_version.in_(bindparam("versions", expanding=True))
    )
)
_NEWEST_INSTANCES = Prepared(
    select(instances.c.version, instances.c.elements).where(
        instances.c.version.in_(bindparam("versions", expanding=True))
    )
)

AnyTuple = tuple[Any, ...]
_key = itemgetter(0)


def rows_of(level: Level, page: Subquery) -> Select[*tuple[Any, ...]]:
    """Select the columns for `matches` of the rows of a level whose keys are in a page, in any order.

    The last columns are those of the page beside the key.
    """
    page_key, *values = page.c
    key = _KEY_OF[level]
    return select(page_key, *_COLUMNS[level], *values).join_from(page, key.table, key == page_key)


def is_pending(rows: Sequence[AnyTuple]) -> bool:
    """Return whether rows of instances may contain deleted ones, because a deletion of many is in progress."""
    return bool(rows and rows[0][len(_COLUMNS[Level.INSTANCE])])


def matches(connection: Connection, query: Query, rows: Sequence[AnyTuple]) -> list[Match]:
    """Return the matches in rows of `rows_of`: in the order of the rows if the query has one, else of descending
    keys."""
    if query.order is None:
        # They are nearly always in order already; sorting in the database would copy all their content.
        return _matches(connection, query, sorted(rows, key=_key, reverse=True))
    width = 1 + len(_COLUMNS[query.level])
    found = _matches(connection, query, [row[:width] for row in rows])
    return [match._replace(sort_values=tuple(row[width:])) for match, row in zip(found, rows, strict=True)]


def _matches(connection: Connection, query: Query, rows: Sequence[AnyTuple]) -> list[Match]:
    match query.level:
        case Level.STUDY:
            return _studies(connection, query, rows)
        case Level.SERIES:
            return _series(connection, query, rows)
        case Level.INSTANCE:
            return _instances(connection, query, rows)


def _studies(connection: Connection, query: Query, rows: Sequence[AnyTuple]) -> list[Match]:
    partition = query.scope.partition
    if not query.metadata and not query.counts and not query.newest:
        return [Match(key, Address(partition, uid), (return_keys,)) for key, uid, return_keys, _, _, _ in rows]
    jsons = _newest_metadata(connection, query, {row[0]: row[5] for row in rows})
    modalities = _modalities(connection, [row[0] for row in rows]) if query.counts else {}
    newest = _newest(connection, query, {row[0]: row[5] for row in rows})
    return [
        Match(
            key=key,
            resource=Address(partition, uid),
            return_keys=(return_keys,),
            metadata=jsons.get(key),
            modalities=modalities.get(key, ()),
            series_count=series_count if query.counts else 0,
            instance_count=instance_count if query.counts else 0,
            newest=newest.get(key, ()),
        )
        for key, uid, return_keys, series_count, instance_count, _ in rows
    ]


def _series(connection: Connection, query: Query, rows: Sequence[AnyTuple]) -> list[Match]:
    partition = query.scope.partition
    jsons = _newest_metadata(connection, query, {row[0]: row[5] for row in rows})
    newest = _newest(connection, query, {row[0]: row[5] for row in rows})
    above = _above(connection, studies, (row[3] for row in rows))
    found = []
    for key, uid, return_keys, study_key, instance_count, _ in rows:
        study_uid, study_kept = above[study_key]
        found.append(
            Match(
                key=key,
                resource=Address(partition, study_uid, uid),
                return_keys=(study_kept, return_keys),
                metadata=jsons.get(key),
                instance_count=instance_count if query.counts else 0,
                newest=newest.get(key, ()),
            )
        )
    return found


def _instances(connection: Connection, query: Query, rows: Sequence[AnyTuple]) -> list[Match]:
    partition = query.scope.partition
    jsons = _newest_metadata(connection, query, {row[0]: row[0] for row in rows})
    studies_above = _above(connection, studies, (row[3] for row in rows))
    series_above = _above(connection, series, (row[4] for row in rows))
    found = []
    for key, uid, return_keys, study_key, series_key, _ in rows:
        study_uid, study_kept = studies_above[study_key]
        series_uid, series_kept = series_above[series_key]
        found.append(
            Match(
                key=key,
                resource=Address(partition, study_uid, series_uid, uid),
                return_keys=(study_kept, series_kept, return_keys),
                metadata=jsons.get(key),
            )
        )
    return found


def _above(connection: Connection, table: Any, keys: Iterable[int]) -> dict[int, tuple[Uid, ElementLines]]:
    """Return UID and stored elements of the studies or series of matches."""
    rows = _ABOVE[table].tuples(connection, {"keys": set(keys)})
    return {key: (uid, return_keys) for key, uid, return_keys in rows}


def _newest_metadata(connection: Connection, query: Query, versions: Mapping[int, int]) -> dict[int, bytes]:
    """Return DICOM JSON by key, given the version of each key's newest instance, up to the limit of `MAX_METADATA`.

    Conditions never apply to a level below that of the matches, so all instances of a match match.
    """
    if not query.metadata:
        return {}
    sizes: dict[int, int] = dict(_SIZES.tuples(connection, {"keys": versions.values()}))
    room, fit = MAX_METADATA, dict[int, int]()
    for key, version in versions.items():
        room -= sizes[version]
        if room < 0 and fit:
            break
        fit[key] = version
    jsons: dict[int, bytes] = dict(_METADATA.tuples(connection, {"keys": fit.values()}))
    return {key: jsons[version] for key, version in fit.items()}


def _newest(connection: Connection, query: Query, versions: Mapping[int, int]) -> dict[int, tuple[ElementLines, ...]]:
    """Return the stored elements below each match, by key, given the version of each key's newest instance."""
    if not query.newest:
        return {}
    given = {"keys": versions.keys(), "versions": versions.values()}
    found: dict[int, tuple[ElementLines, ...]] = {}
    if Level.SERIES in query.newest:
        found = {key: (return_keys,) for key, return_keys in _NEWEST_SERIES.tuples(connection, given)}
    if Level.INSTANCE in query.newest:
        of_instances: dict[int, ElementLines] = dict(_NEWEST_INSTANCES.tuples(connection, given))
        found = {key: (*found.get(key, ()), of_instances[version]) for key, version in versions.items()}
    return found


def _modalities(connection: Connection, study_keys: Collection[int]) -> dict[int, tuple[str, ...]]:
    """Return the distinct modalities of the series of studies, in alphabetical order."""
    modalities: dict[int, set[str]] = {}
    for key, modality in _MODALITIES.tuples(connection, {"keys": study_keys}):
        modalities.setdefault(key, set()).add(modality)
    return {key: tuple(sorted(found)) for key, found in modalities.items()}
