"""From the keys of matches to the matches: what the index keeps about them, read by primary key."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import BindParameter, Connection, Table, bindparam, select

from server.adapters.sql.prepared import Prepared
from server.adapters.sql.rows import AnyRow
from server.adapters.sql.tables import instances, metadata, series, studies
from server.model.ids import ResourceRef, Uid
from server.model.query import Level, Match, Query

_KEYS: BindParameter[int] = bindparam("keys", expanding=True)
_KEPT = ("uid", "elements", "study_key", "series_key", "series_count", "instance_count", "max_version")


def _rows_of(table: Table) -> Prepared:
    key = table.primary_key.columns[0]
    return Prepared(select(key, *(table.c[name] for name in _KEPT if name in table.c)).where(key.in_(_KEYS)))


_ROWS = {table: _rows_of(table) for table in (studies, series, instances)}
_METADATA = Prepared(select(metadata.c.version, metadata.c.dicom_json).where(metadata.c.version.in_(_KEYS)))
_MODALITIES = Prepared(
    select(series.c.study_key, series.c.modality_as_stored)
    .where(series.c.study_key.in_(_KEYS), series.c.modality_as_stored.is_not(None))
    .distinct()
    .order_by(series.c.modality_as_stored)
)


def matches(connection: Connection, query: Query, keys: Sequence[int]) -> list[Match]:
    """Return the matches that have these keys, in this order."""
    match query.level:
        case Level.STUDY:
            return _studies(connection, query, keys)
        case Level.SERIES:
            return _series(connection, query, keys)
        case Level.INSTANCE:
            return _instances(connection, query, keys)


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
    return {row[0]: row for row in _ROWS[table].rows(connection, {"keys": keys})}


def _elements(rows: Mapping[int, AnyRow]) -> dict[int, dict[str, Any]]:
    return {key: orjson.loads(row.elements) for key, row in rows.items()}


def _newest_metadata(connection: Connection, query: Query, versions: Mapping[int, int]) -> dict[int, bytes]:
    """Return DICOM JSON by key, given the version of each key's newest instance.

    Conditions are never about a level below the matches', so all instances of a match match.
    """
    if not query.metadata:
        return {}
    rows = _METADATA.rows(connection, {"keys": versions.values()})
    jsons = {row.version: row.dicom_json for row in rows}
    return {key: jsons[version] for key, version in versions.items()}


def _modalities(connection: Connection, study_keys: Collection[int]) -> dict[int, list[str]]:
    """Return the distinct modalities of the series of studies, in order of their first letters."""
    modalities: dict[int, list[str]] = {}
    for key, modality in _MODALITIES.rows(connection, {"keys": study_keys}):
        modalities.setdefault(key, []).append(modality)
    return modalities
