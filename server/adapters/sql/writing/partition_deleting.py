"""The transactions that delete a partition: first it disappears, then its studies are deleted one by one, and its
workitems and their events some at a time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, delete, select, update

from server.adapters.sql.core import counters
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.times import to_microseconds
from server.adapters.sql.tables.archive import partitions
from server.adapters.sql.tables.deletions import deletions
from server.adapters.sql.tables.lifecycle import holds
from server.adapters.sql.tables.studies import studies
from server.adapters.sql.tables.worklist import (
    unsequenced_workitem_events,
    workitem_event_recipients,
    workitem_events,
    workitem_subscribers,
    workitem_subscriptions,
    workitem_texts,
    workitem_values,
    workitems,
    worklist_subscriptions,
)
from server.adapters.sql.writing.deleting import delete_resource
from server.adapters.sql.writing.holding import on_hold
from server.model.ids import Address, PartitionName, Uid

_SHARD = 0  # any: the transactions run alone
_WORKITEMS = 200
"""Number of workitems, each with dozens of values, or of events that a transaction deletes."""

_SUBSCRIBERS = 20
"""Number of subscribers of each of which a transaction deletes up to `_WORKITEMS` addresses of events."""

_r = workitem_event_recipients.c


def begin_deletion(connection: Connection, name: PartitionName, now: datetime) -> bool:
    """Let a partition disappear; return False if it does not exist. To be run alone.

    Raises:
        WrongState: ON_HOLD.
    """
    key = connection.execute(
        select(partitions.c.key).where(partitions.c.name == name, partitions.c.deleted.is_(None))
    ).scalar()
    if key is None:
        return False
    hold = connection.execute(
        select(holds).where(holds.c.partition_key == key).order_by(holds.c.key).limit(1)
    ).one_or_none()
    if hold is not None:
        raise on_hold(Address(name, Uid(hold.study_uid)), hold.series_uid, hold.sop_uid, hold.name, hold.reason)
    last = counters.lock(connection, [_SHARD])
    number = last.next_version()
    connection.execute(
        update(partitions)
        .where(partitions.c.key == key)
        .values(deleted=to_microseconds(now), deletion_key=number, duplicates=None)
    )
    if progress := progress_of(connection.info):
        progress.journal.deleted_all(number, Address(name))
    last.save()
    return True


def next_study(connection: Connection) -> tuple[int, Address] | None:
    """Return the key of a deleted partition that is not empty, and a study in it; None if there is none."""
    row = connection.execute(
        select(partitions.c.key, partitions.c.name, studies.c.uid)
        .join_from(partitions, studies, studies.c.partition_key == partitions.c.key)
        .where(partitions.c.deletion_key.is_not(None))
        .limit(1)
    ).one_or_none()
    return None if row is None else (row.key, Address(PartitionName(row.name), Uid(row.uid)))


def delete_study(
    connection: Connection,
    partition_key: int,
    study: Address,
    now: datetime,
    erase_after: datetime,
    reason: str,
    author: str,
) -> int:
    """Delete a study of a deleted partition; return the number of its instances."""
    is_deleted = select(partitions.c.key).where(
        partitions.c.key == partition_key, partitions.c.deletion_key.is_not(None)
    )
    if connection.execute(is_deleted).scalar() is None:  # another process has completed it
        return 0
    return delete_resource(connection, partition_key, study, now, erase_after, reason, author)


def has_worklist(connection: Connection) -> bool:
    """Return whether a deleted partition has workitems, events of workitems, or recipients of events."""
    keys = (workitems.c.key, workitem_events.c.position)
    return any(_some(connection, key, 1) for key in keys) or _recipients(connection, 1) is not None


def delete_from_worklist(connection: Connection) -> PartitionName | None:
    """Delete some workitems of a deleted partition, or some events or their recipients, and return its name.

    None if there are none, because another process has deleted them.
    """
    of_workitem = (workitem_values.c.workitem_key, workitem_texts.c.key, workitem_subscriptions.c.workitem_key)
    for key, columns in (
        (workitems.c.key, (*of_workitem, workitems.c.key)),
        (workitem_events.c.position, (workitem_events.c.position,)),
    ):
        if found := _some(connection, key, _WORKITEMS):
            name, keys = found
            for column in columns:
                connection.execute(delete(column.table).where(column.in_(keys)))
            return name
    addressed = _recipients(connection, _SUBSCRIBERS)
    if addressed is None:
        return None
    name, subscribers = addressed
    for subscriber in subscribers:
        some = select(_r.position).where(_r.subscriber_key == subscriber).order_by(_r.position).limit(_WORKITEMS)
        connection.execute(
            delete(workitem_event_recipients).where(_r.subscriber_key == subscriber, _r.position.in_(some))
        )
    return name


def _deleted(connection: Connection) -> Sequence[Any]:
    """Return the keys and names of deleted partitions that are not empty yet.

    In a join with a large table, SQLite would read all of that.
    """
    is_open = select(partitions.c.key, partitions.c.name).where(partitions.c.deletion_key.is_not(None))
    return connection.execute(is_open.order_by(partitions.c.key)).all()


def _some(connection: Connection, key: Column[int], limit: int) -> tuple[PartitionName, Sequence[int]] | None:
    """Return the name of a deleted partition, and the keys of some of its rows in the table of a key."""
    for partition in _deleted(connection):
        some = select(key).where(key.table.c.partition_key == partition.key).limit(limit)
        if keys := connection.execute(some).scalars().all():
            return PartitionName(partition.name), keys
    return None


def _recipients(connection: Connection, limit: int) -> tuple[PartitionName, Sequence[int]] | None:
    """Return the name of a deleted partition, and the keys of some of its subscribers to which events are addressed."""
    is_recipient = select(_r.position).where(_r.subscriber_key == workitem_subscribers.c.key).exists()
    for partition in _deleted(connection):
        some = select(workitem_subscribers.c.key).where(
            workitem_subscribers.c.partition_key == partition.key, is_recipient
        )
        if keys := connection.execute(some.limit(limit)).scalars().all():
            return PartitionName(partition.name), keys
    return None


def open_partition_deletions(connection: Connection) -> set[int]:
    """Return the numbers of the deletions of partitions that are not completed."""
    is_open = select(partitions.c.deletion_key).where(partitions.c.deletion_key.is_not(None))
    return set(connection.execute(is_open).scalars())


def end_deletions(connection: Connection) -> bool:
    """Complete the deletions of empty partitions, and delete their subscribers; return whether there were any.

    To be run alone.
    """
    counters.lock(connection, [_SHARD])
    has_studies = select(studies.c.key).where(studies.c.partition_key == partitions.c.key).exists()
    has_worklist = [
        select(table.c.partition_key).where(table.c.partition_key == partitions.c.key).exists()
        for table in (workitems, workitem_events)
    ]
    is_pending = (
        select(deletions.c.key)
        .where(deletions.c.is_pending == 1, deletions.c.partition_key == partitions.c.key)
        .correlate(partitions)
        .exists()
    )
    completed = connection.execute(
        select(partitions.c.key, partitions.c.deletion_key).where(
            partitions.c.deletion_key.is_not(None), ~has_studies, ~is_pending, *(~one for one in has_worklist)
        )
    ).all()
    progress = progress_of(connection.info)
    for row in completed:
        _delete_subscribers(connection, row.key)
        connection.execute(update(partitions).where(partitions.c.key == row.key).values(deletion_key=None))
        if progress is not None:
            progress.journal.completed(row.deletion_key)
    return bool(completed)


def _delete_subscribers(connection: Connection, partition_key: int) -> None:
    """Delete the subscribers to workitems of a partition, whose workitems have been deleted."""
    subscribers = select(workitem_subscribers.c.key).where(workitem_subscribers.c.partition_key == partition_key)
    connection.execute(
        delete(workitem_event_recipients).where(workitem_event_recipients.c.subscriber_key.in_(subscribers))
    )
    for table in (worklist_subscriptions, unsequenced_workitem_events, workitem_subscribers):
        connection.execute(delete(table).where(table.c.partition_key == partition_key))
