"""The transactions that make deleted instances due for erasure before their retention time is over."""

from datetime import datetime

from sqlalchemy import Connection, select, update

from server.adapters.sql.core import counters
from server.adapters.sql.core.shards import shard_of
from server.adapters.sql.core.tables import deleted_instances, deletions
from server.adapters.sql.core.times import to_microseconds
from server.adapters.sql.writing.deleting import move_on
from server.adapters.sql.writing.holding import require_not_held
from server.adapters.sql.writing.restoring import Step, is_pending, series_uids
from server.model.ids import Address

_AT_ONCE = 500


def erase_now(connection: Connection, partition_key: int, resource: Address, now: datetime) -> Step:
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
    connection.execute(update(deleted_instances).where(chosen).values(erase_after=time))
    others = select(deleted_instances.c.version).where(
        deleted_instances.c.deletion_key == deletions.c.key, deleted_instances.c.erase_after > time
    )
    finished = deletions.c.key.in_({row.deletion_key for row in page}) & ~others.exists()
    connection.execute(update(deletions).where(finished).values(erase_after=time))
    return Step(len(page), 0)
