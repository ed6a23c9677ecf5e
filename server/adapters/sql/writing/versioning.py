"""The transaction that adds a version to an instance, and the history of versions."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.times import to_datetime
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.rows import SERIES_KEY, STUDY_KEY, AnyRow, address, depth, within
from server.adapters.sql.tables.deletions import deleted_instances
from server.adapters.sql.tables.instances import instances, series, versions
from server.adapters.sql.writing.adding import begin
from server.model.ids import Address, InstanceId, Uid, Version
from server.model.instance import Added, Faulty, InstanceVersion, NewInstance, OnHold
from server.model.lifecycle.version import Provenance, VersionOrigin
from server.ports.tags import Extract

_COLUMNS = [
    getattr(versions.c, name)
    for name in (
        *("version", "created", "replaced", "transfer_syntax_uid", "size_bytes", "crc32c", "locator"),
        *("author", "reason", "origin"),
    )
]
_KEY = select(instances.c.key).where(*within(3)).scalar_subquery()
_IS_DELETED = select(deleted_instances.c.key).where(deleted_instances.c.key == versions.c.instance_key).exists()
_OF_STUDY = versions.c.study_key == STUDY_KEY
# By depth of the address: 1 for a study, 3 for an instance.
_SCOPES = {
    1: (_OF_STUDY,),
    2: (_OF_STUDY, versions.c.series_key == SERIES_KEY),
    3: (versions.c.instance_key == _KEY, versions.c.replaced.is_not(None)),
}
_CURRENT = {
    depth: Prepared(
        select(*_COLUMNS, series.c.uid.label("series_uid"), instances.c.uid.label("sop_uid"))
        .join_from(instances, versions, versions.c.version == instances.c.version)
        .join(series, series.c.key == instances.c.series_key)
        .where(*within(depth), instances.c.version > bindparam("after"))
        .order_by(instances.c.version)
        .limit(bindparam("limit"))
    )
    for depth in _SCOPES
}
# Versions have the keys of study and series since they were replaced, so there is nothing to read of the instances.
_REPLACED = {
    depth: Prepared(
        select(*_COLUMNS, series.c.uid.label("series_uid"), versions.c.uid.label("sop_uid"))
        .join_from(versions, series, series.c.key == versions.c.series_key)
        .where(*scope, versions.c.version > bindparam("after"), ~_IS_DELETED)
        .order_by(versions.c.version)
        .limit(bindparam("limit"))
    )
    for depth, scope in _SCOPES.items()
}


def add_version(
    connection: Connection, partition_keys: PartitionKeys, new: NewInstance, now: datetime, extract: Extract
) -> Added | Faulty | None:
    """Implements `InstanceIndex.add_version`."""
    batch = begin(connection, partition_keys, [new], now, extract, replaces=True)
    outcome = batch.replace(new)
    if isinstance(outcome, OnHold):
        raise outcome.error
    if isinstance(outcome, Added):
        batch.write(connection)
    return outcome


def history(
    connection: Connection, partition_key: int, resource: Address, after: int, limit: int
) -> Sequence[InstanceVersion]:
    """Implements `InstanceIndex.history`."""
    where = address(partition_key, resource) | {"after": after, "limit": limit}
    at = depth(resource)
    current = _CURRENT[at].later(connection, where)
    rows = [*_REPLACED[at].rows(connection, where), *current()]
    return [_version(row, resource) for row in sorted(rows, key=lambda row: row.version)[:limit]]


def _version(row: AnyRow, resource: Address) -> InstanceVersion:
    origin = VersionOrigin.STORED if row.origin is None else VersionOrigin(row.origin)
    return InstanceVersion(
        id=InstanceId(resource.partition, Uid(resource.study or ""), Uid(row.series_uid), Uid(row.sop_uid)),
        version=Version(row.version),
        created=to_datetime(row.created),
        replaced=None if row.replaced is None else to_datetime(row.replaced),
        transfer_syntax_uid=row.transfer_syntax_uid,
        size_bytes=row.size_bytes,
        crc32c=row.crc32c,
        locator=row.locator,
        provenance=Provenance(row.author or "", row.reason or "", origin),
    )
