"""The list of deletions."""

from sqlalchemy import Connection, select

from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.tables.deletions import deletions
from server.model.ids import Address
from server.model.lifecycle.deletion import Deletion, DeletionQuery


def list_deletions(
    connection: Connection, partition_key: int, query: DeletionQuery, before: int | None, limit: int
) -> list[Deletion]:
    """Implements `InstanceIndex.deletions`."""
    scope = query.scope
    selected = select(deletions).where(deletions.c.partition_key == partition_key)
    if scope.study is not None:
        selected = selected.where(deletions.c.study_uid == scope.study)
    for column, uid in ((deletions.c.series_uid, scope.series), (deletions.c.sop_uid, scope.instance)):
        if uid is not None:
            selected = selected.where(column.is_(None) | (column == uid))
    if query.start is not None:
        selected = selected.where(deletions.c.time >= to_microseconds(query.start))
    if query.end is not None:
        selected = selected.where(deletions.c.time < to_microseconds(query.end))
    if before is not None:
        selected = selected.where(deletions.c.key < before)
    rows = connection.execute(selected.order_by(deletions.c.key.desc()).limit(limit))
    return [
        Deletion(
            key=row.key,
            resource=Address(scope.partition, row.study_uid, row.series_uid, row.sop_uid),
            time=to_datetime(row.time),
            author=row.author or "",
            reason=row.reason or "",
            instances=row.instances,
            erase_after=to_datetime(row.erase_after),
        )
        for row in rows
    ]
