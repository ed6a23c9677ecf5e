"""The transaction that adds a version to an instance, and the history of versions."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, or_, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.tables import instances, versions
from server.adapters.sql.core.times import to_datetime
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.rows import AnyRow, address, within
from server.adapters.sql.writing.adding import begin
from server.model.ids import InstanceId, Version
from server.model.instance import Added, Faulty, InstanceVersion, NewInstance, OnHold
from server.model.lifecycle.version import Provenance, VersionOrigin
from server.ports.tags import Extract

_INSTANCE = Prepared(select(instances.c.version, instances.c.key).where(*within(3)))


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


def history(connection: Connection, partition_key: int, instance: InstanceId) -> Sequence[InstanceVersion]:
    """Return the versions of an instance, oldest first; none if it does not exist."""
    row = _INSTANCE.row(connection, address(partition_key, instance.address))
    if row is None:
        return []
    replaced = (versions.c.instance_key == row.key) & versions.c.replaced.is_not(None)
    every = select(versions).where(or_(versions.c.version == row.version, replaced)).order_by(versions.c.version)
    return [_version(one, instance) for one in connection.execute(every)]


def _version(row: AnyRow, instance: InstanceId) -> InstanceVersion:
    origin = VersionOrigin.STORED if row.origin is None else VersionOrigin(row.origin)
    return InstanceVersion(
        id=instance,
        version=Version(row.version),
        created=to_datetime(row.created),
        replaced=None if row.replaced is None else to_datetime(row.replaced),
        transfer_syntax_uid=row.transfer_syntax_uid,
        size_bytes=row.size_bytes,
        crc32c=row.crc32c,
        locator=row.locator,
        provenance=Provenance(row.author or "", row.reason or "", origin),
    )
