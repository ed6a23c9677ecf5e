"""Removing workitems in a final state, except those with a deletion lock (PS3.4 section CC.2.1.3)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, or_, select, text

from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.tables.archive import partitions
from server.adapters.sql.tables.worklist import (
    workitem_subscriptions,
    workitem_texts,
    workitem_values,
    workitems,
    worklist_subscriptions,
)
from server.adapters.sql.worklist.changing import lock_all, record_all
from server.model.ids import PartitionName, Uid
from server.model.worklist.subscription import SubscriptionState
from server.ports.worklist.workitems import FilterMatches, Unlocked, UnlockedPage

_c = workitems.c
_s = workitem_subscriptions.c
_w = worklist_subscriptions.c
_IS_FINAL = text("workitems.state IN ('COMPLETED', 'CANCELED')")  # as in the index
_HAS_LOCK = select(_s.workitem_key).where(_s.workitem_key == _c.key, _s.state == SubscriptionState.WITH_LOCK).exists()
_IS_SINGLE = select(_s.workitem_key).where(_s.workitem_key == _c.key, _s.subscriber_key == _w.subscriber_key).exists()
_INCLUDES = and_(
    _w.partition_key == _c.partition_key,
    _w.has_lock == 1,
    _w.first_key <= _c.key,
    or_(_w.last_key.is_(None), _w.last_key >= _c.key),
    ~_IS_SINGLE.correlate(workitems, worklist_subscriptions),
)
_HAS_LOCK_OF_WORKLIST = select(_w.key).where(_INCLUDES, _w.filter == "").exists()


def unlocked(
    connection: Connection, before: datetime, after: tuple[datetime, int] | None, limit: int, matches: FilterMatches
) -> UnlockedPage:
    """See `server.ports.worklist.workitems.WorkitemRecord.unlocked`."""
    examined = _examined(connection, before, after, limit)
    last = examined[-1] if len(examined) == limit else None
    found = _without_lock(connection, [row.key for row in examined], matches)
    return UnlockedPage(found, None if last is None else (to_datetime(last.modified), last.key))


def remove(connection: Connection, keys: Sequence[int], matches: FilterMatches) -> Sequence[Unlocked]:
    """See `server.ports.worklist.workitems.WorkitemRecord.remove`."""
    rows = connection.execute(select(_c.partition_key, _c.uid).where(_c.key.in_(keys))).all()
    last = lock_all(connection, [(row.partition_key, Uid(row.uid)) for row in rows])
    free = _without_lock(connection, keys, matches)
    for table, key in (
        (workitem_values, workitem_values.c.workitem_key),
        (workitem_texts, workitem_texts.c.key),
        (workitem_subscriptions, _s.workitem_key),
        (workitems, _c.key),
    ):
        connection.execute(delete(table).where(key.in_([one.key for one in free])))
    _forget_past(connection)
    record_all(connection, last, [(one.partition, one.uid, None) for one in free])
    return free


def _examined(
    connection: Connection, before: datetime, after: tuple[datetime, int] | None, limit: int
) -> Sequence[Any]:
    query = select(_c.key, _c.modified).where(_IS_FINAL, _c.modified < to_microseconds(before))
    if after is not None:
        time = to_microseconds(after[0])
        query = query.where(_c.modified >= time, or_(_c.modified > time, _c.key > after[1]))
    return connection.execute(query.order_by(_c.modified, _c.key).limit(limit)).all()


def _without_lock(connection: Connection, keys: Sequence[int], matches: FilterMatches) -> Sequence[Unlocked]:
    """Return those workitems without a deletion lock, by partition."""
    free = connection.execute(
        select(partitions.c.name, _c.key, _c.uid)
        .join_from(workitems, partitions, partitions.c.key == _c.partition_key)
        .where(_c.key.in_(keys), _IS_FINAL, ~_HAS_LOCK, ~_HAS_LOCK_OF_WORKLIST)
        .order_by(partitions.c.name, _c.key)
    ).all()
    filtered = connection.execute(
        select(_c.key, _c.elements, _w.filter)
        .join_from(workitems, worklist_subscriptions, _INCLUDES)
        .where(_c.key.in_([row.key for row in free]), _w.filter != "")
    )
    held = {row.key for row in filtered if matches(row.filter, row.elements)}
    return [Unlocked(PartitionName(row.name), row.key, Uid(row.uid)) for row in free if row.key not in held]


def _forget_past(connection: Connection) -> None:
    """Remove earlier subscriptions to the worklist whose workitems have all been removed."""
    rest = select(_c.key).where(_c.partition_key == _w.partition_key, _c.key >= _w.first_key, _c.key <= _w.last_key)
    connection.execute(delete(worklist_subscriptions).where(_w.last_key.is_not(None), ~rest.exists()))
