"""The transaction that adds a version to an instance, and the history of versions."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, or_, select, update

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.tables import instances, versions
from server.adapters.sql.core.times import to_datetime
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.query_tags.tag_values import delete_of_versions
from server.adapters.sql.rows import address, within
from server.adapters.sql.search.keys import columns_of
from server.adapters.sql.writing.adding import begin
from server.model.ids import InstanceId, Version
from server.model.instance import Added, Faulty, InstanceVersion, NewInstance
from server.model.search.query import Level
from server.model.search.return_keys import lines_of_elements
from server.ports.tags import Extract

_INSTANCE = Prepared(select(instances.c.version, instances.c.key).where(*within(3)))


def add_version(
    connection: Connection,
    partition_keys: PartitionKeys,
    new: NewInstance,
    now: datetime,
    reason: str,
    author: str,
    extract: Extract,
) -> Added | Faulty | None:
    """Implements `InstanceIndex.add_version`."""
    batch = begin(connection, partition_keys, [new], now, extract)
    partition_key = partition_keys.of(connection, [new.id.partition])[new.id.partition]
    row = _INSTANCE.row(connection, address(partition_key, new.id.address))
    if row is None:
        return None
    outcome = batch.add_version(new, row.key, reason, author)
    if isinstance(outcome, Added):
        of_old = versions.c.version == row.version
        connection.execute(update(versions).where(of_old).values(replaced=batch.time))
        delete_of_versions(connection, [row.version])
        current = {
            "version": outcome.version,
            "sop_class_uid": new.sop_class_uid,
            "elements": lines_of_elements(new.instance.elements),
            "damage": None,
            **columns_of(Level.INSTANCE, new.instance.keys),
        }
        connection.execute(update(instances).where(instances.c.version == row.version).values(current))
        batch.write(connection)
    return outcome


def history(connection: Connection, partition_key: int, instance: InstanceId) -> Sequence[InstanceVersion]:
    """Return the versions of an instance, oldest first; none if it does not exist."""
    row = _INSTANCE.row(connection, address(partition_key, instance.address))
    if row is None:
        return []
    replaced = (versions.c.instance_key == row.key) & versions.c.replaced.is_not(None)
    every = select(versions).where(or_(versions.c.version == row.version, replaced)).order_by(versions.c.version)
    return [
        InstanceVersion(
            version=Version(one.version),
            created=to_datetime(one.created),
            replaced=None if one.replaced is None else to_datetime(one.replaced),
            size_bytes=one.size_bytes,
            crc32c=one.crc32c,
            locator=one.locator,
            reason=one.reason or "",
            author=one.author or "",
        )
        for one in connection.execute(every)
    ]
