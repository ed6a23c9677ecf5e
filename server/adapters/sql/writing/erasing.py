"""The transactions that make deleted instances due for erasure before their retention time is over, and what is
erased."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, case, func, select, update

from server.adapters.sql.core import counters
from server.adapters.sql.core.shards import shard_of
from server.adapters.sql.core.times import to_microseconds
from server.adapters.sql.tables.archive import partitions
from server.adapters.sql.tables.deletions import deleted_instances, deleted_series, deleted_studies, deletions
from server.adapters.sql.tables.instances import series, versions
from server.adapters.sql.tables.studies import studies
from server.adapters.sql.writing.deleting import move_on
from server.adapters.sql.writing.holding import require_not_held
from server.adapters.sql.writing.locators import slices
from server.adapters.sql.writing.restoring import Step, is_pending, series_uids
from server.model.ids import Address, InstanceId, PartitionName, Uid, Version
from server.model.instance import Locator
from server.model.lifecycle.erasure import ErasedVersion

_AT_ONCE = 500


def erase_now(
    connection: Connection, partition_key: int, resource: Address, now: datetime, reason: str, author: str
) -> Step:
    """Do the next step of `InstanceIndex.erase_now`."""
    assert resource.study is not None, "a study, a series or an instance"
    counters.lock(connection, [shard_of(connection, partition_key, resource.study)])
    require_not_held(connection, partition_key, resource)
    if is_pending(connection, partition_key, resource.study):
        move_on(connection)
        return Step(0, 0, waits=True)
    time = to_microseconds(now)
    retained = (
        select(deleted_instances.c.version, deleted_instances.c.deletion_key)
        .where(
            deleted_instances.c.series_key.in_(series_uids(connection, partition_key, resource)),
            deleted_instances.c.erase_after > time,
        )
        .order_by(deleted_instances.c.version)
        .limit(_AT_ONCE)
    )
    if resource.instance is not None:
        retained = retained.where(deleted_instances.c.uid == resource.instance)
    page = connection.execute(retained).all()
    if not page:
        return Step(0, None)
    chosen = deleted_instances.c.version.in_([row.version for row in page])
    due = {"erase_after": time, "erase_author": author or None, "erase_reason": reason or None}
    connection.execute(update(deleted_instances).where(chosen).values(due))
    others = select(deleted_instances.c.version).where(
        deleted_instances.c.deletion_key == deletions.c.key, deleted_instances.c.erase_after > time
    )
    finished = deletions.c.key.in_({row.deletion_key for row in page}) & ~others.exists()
    connection.execute(update(deletions).where(finished).values(erase_after=time))
    return Step(len(page), 0)


def deleted_versions(connection: Connection, locators: Sequence[Locator]) -> list[ErasedVersion]:
    """Implements `InstanceIndex.deleted_versions`."""
    is_last = deleted_instances.c.version == versions.c.version
    is_replaced = (deleted_instances.c.key == versions.c.instance_key) & versions.c.replaced.is_not(None)
    was_requested = deleted_instances.c.erase_author.is_not(None)
    found = (
        select(
            *(versions.c.locator, versions.c.version, versions.c.size_bytes, versions.c.crc32c),
            *(partitions.c.name.label("partition"), deleted_instances.c.uid),
            _uid(studies, deleted_studies, deleted_instances.c.study_key).label("study"),
            _uid(series, deleted_series, deleted_instances.c.series_key).label("series"),
            case((was_requested, deleted_instances.c.erase_author), else_=deletions.c.author).label("author"),
            case((was_requested, deleted_instances.c.erase_reason), else_=deletions.c.reason).label("reason"),
        )
        .join_from(versions, deleted_instances, is_last | is_replaced)
        .join(partitions, partitions.c.key == deleted_instances.c.partition_key)
        .outerjoin(deletions, deletions.c.key == deleted_instances.c.deletion_key)
    )
    return [
        ErasedVersion(
            locator=row.locator,
            id=InstanceId(PartitionName(row.partition), Uid(row.study), Uid(row.series), Uid(row.uid)),
            version=Version(row.version),
            size_bytes=row.size_bytes,
            crc32c=row.crc32c,
            author=row.author or "",
            reason=row.reason or "",
        )
        for some in slices(locators)
        for row in connection.execute(found.where(versions.c.locator.in_(some)))
    ]


def _uid(table: Table, deleted: Table, key: ColumnElement[int]) -> ColumnElement[str]:
    """Return the UID of a study or series, which may exist again or still."""
    uids = (
        select(one.c.uid).where(one.c.key == key).correlate(deleted_instances).scalar_subquery()
        for one in (deleted, table)
    )
    return func.coalesce(*uids)
