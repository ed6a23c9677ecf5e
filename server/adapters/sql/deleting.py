"""The transaction that deletes a study, a series or an instance.

Rows move from table to table inside the database, so that a study of any size costs a few statements and no memory.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, ColumnElement, Connection, delete, func, insert, literal, select, update

from server.adapters.sql.counters import Counters
from server.adapters.sql.rows import SERIES_KEY, STUDY_KEY, address, depth, within
from server.adapters.sql.tables import changes, erasures, instances, series, studies
from server.adapters.sql.times import to_microseconds
from server.model.change import ChangeAction
from server.model.ids import ResourceRef


@dataclass(frozen=True, slots=True)
class _Deleted:
    """Which instances go: conditions and their parameters."""

    conditions: tuple[ColumnElement[bool], ...]
    address: dict[str, int | str | None]


def delete_resource(
    connection: Connection, partition_key: int, resource: ResourceRef, now: datetime, erase_after: datetime
) -> int:
    """Do what `InstanceIndex.delete` promises."""
    last = Counters.lock(connection)
    what = address(partition_key, resource)
    study, one_series = connection.execute(select(STUDY_KEY, SERIES_KEY), what).one()
    if study is None or (one_series is None and resource.series is not None):
        return 0
    deleted = _Deleted(within(depth(resource)), what)
    _write_changes(connection, deleted, last, now)
    _queue_erasures(connection, deleted, erase_after)
    count = connection.execute(delete(instances).where(*deleted.conditions), what).rowcount
    if count == 0:
        return 0
    last.sequence += count
    if one_series is None:
        _delete_all_series(connection, study)
        emptied = 0  # the study goes too
    else:
        emptied = _shrink_series(connection, one_series, count)
    _shrink_study(connection, study, count, emptied)
    last.save(connection)
    return count


def _write_changes(connection: Connection, deleted: _Deleted, last: Counters, now: datetime) -> None:
    """Write an entry for each instance, in order of version."""
    entries = (
        select(
            literal(last.sequence, BigInteger) + func.row_number().over(order_by=instances.c.version),
            literal(last.advance_time(now), BigInteger),
            literal(int(ChangeAction.DELETE)),
            instances.c.version,
            instances.c.partition_key,
            studies.c.uid,
            series.c.uid,
            instances.c.uid,
        )
        .join_from(instances, series, series.c.key == instances.c.series_key)
        .join(studies, studies.c.key == instances.c.study_key)
        .where(*deleted.conditions)
        .params(deleted.address)
    )
    columns = ("sequence", "time", "action", "version", "partition_key", "study_uid", "series_uid", "sop_uid")
    connection.execute(insert(changes).from_select(columns, entries))


def _queue_erasures(connection: Connection, deleted: _Deleted, erase_after: datetime) -> None:
    blobs = (
        select(instances.c.locator, instances.c.version, literal(to_microseconds(erase_after), BigInteger))
        .where(*deleted.conditions)
        .params(deleted.address)
    )
    connection.execute(insert(erasures).from_select(("locator", "version", "erase_after"), blobs))


def _delete_all_series(connection: Connection, study: int) -> None:
    connection.execute(delete(series).where(series.c.study_key == study))


def _shrink_series(connection: Connection, key: int, count: int) -> int:
    """Take instances off a series and return 1 if it is empty now and gone, else 0."""
    newest = select(func.max(instances.c.version)).where(instances.c.series_key == key).scalar_subquery()
    connection.execute(
        update(series)
        .where(series.c.key == key)
        .values(instance_count=series.c.instance_count - count, max_version=func.coalesce(newest, 0))
    )
    return connection.execute(delete(series).where(series.c.key == key, series.c.instance_count == 0)).rowcount


def _shrink_study(connection: Connection, key: int, count: int, emptied: int) -> None:
    newest = select(func.max(instances.c.version)).where(instances.c.study_key == key).scalar_subquery()
    connection.execute(
        update(studies)
        .where(studies.c.key == key)
        .values(
            instance_count=studies.c.instance_count - count,
            series_count=studies.c.series_count - emptied,
            max_version=func.coalesce(newest, 0),
        )
    )
    connection.execute(delete(studies).where(studies.c.key == key, studies.c.instance_count == 0))
