"""The transaction that deletes a study, a series or an instance.

Rows move from table to table inside the database, so that a study of any size costs a few statements and no memory.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, delete, func, insert, select, update

from server.adapters.sql.core.counters import Counters
from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.tables import (
    STUDIES_PER_BLOCK,
    changes,
    erasures,
    instances,
    series,
    studies,
    study_blocks,
)
from server.adapters.sql.core.times import to_microseconds
from server.adapters.sql.query_tags.tag_values import forget_orphans, forget_values
from server.adapters.sql.rows import SERIES_KEY, STUDY_KEY, address, depth, within
from server.model.change import ChangeAction
from server.model.ids import Address
from server.model.instance import Locator

_BLOBS_AT_ONCE = 1000


def _value(name: str) -> Any:
    return bindparam(name, type_=BigInteger)


def _entries(depth: int) -> Prepared:
    """Return what writes an entry of the change feed for each instance, in order of version."""
    entries = (
        select(
            _value("last_sequence") + func.row_number().over(order_by=instances.c.version),
            _value("now"),
            _value("deleted"),
            instances.c.version,
            instances.c.partition_key,
            studies.c.uid,
            series.c.uid,
            instances.c.uid,
        )
        .join_from(instances, series, series.c.key == instances.c.series_key)
        .join(studies, studies.c.key == instances.c.study_key)
        .where(*within(depth))
    )
    columns = ("sequence", "time", "action", "version", "partition_key", "study_uid", "series_uid", "sop_uid")
    return Prepared(insert(changes).from_select(columns, entries))


def _queue(depth: int) -> Prepared:
    """Return what puts the blobs of instances on the queue."""
    blobs = select(instances.c.locator, instances.c.version, _value("erasing_time")).where(*within(depth))
    return Prepared(insert(erasures).from_select(("locator", "version", "erase_after"), blobs))


# By depth of what is deleted: a study is 1, an instance 3.
_KEYS = Prepared(select(STUDY_KEY.label("study"), SERIES_KEY.label("series")))
_ENTRIES = [_entries(depth) for depth in range(4)]
_QUEUE = [_queue(depth) for depth in range(4)]
_LOCATORS = [
    Prepared(
        select(instances.c.version, instances.c.locator)
        .where(*within(depth), instances.c.version > _value("after"))
        .order_by(instances.c.version)
        .limit(_BLOBS_AT_ONCE)
    )
    for depth in range(4)
]
_DELETE = [Prepared(delete(instances).where(*within(depth))) for depth in range(4)]

_OF_STUDY, _OF_SERIES, _GONE = _value("of_study_key"), _value("of_series_key"), _value("gone")
_DELETE_ALL_SERIES = Prepared(delete(series).where(series.c.study_key == _OF_STUDY))
_DELETE_STUDY = Prepared(delete(studies).where(studies.c.key == _OF_STUDY))
_DELETE_EMPTY_SERIES = Prepared(delete(series).where(series.c.key == _OF_SERIES, series.c.instance_count == 0))
_SHRINK_SERIES = Prepared(
    update(series)
    .where(series.c.key == _OF_SERIES)
    .values(
        instance_count=series.c.instance_count - _GONE,
        max_version=func.coalesce(
            select(func.max(instances.c.version)).where(instances.c.series_key == _OF_SERIES).scalar_subquery(), 0
        ),
    )
)
_SHRINK_STUDY = Prepared(
    update(studies)
    .where(studies.c.key == _OF_STUDY)
    .values(
        instance_count=studies.c.instance_count - _GONE,
        series_count=studies.c.series_count - _value("gone_series"),
        max_version=func.coalesce(
            select(func.max(instances.c.version)).where(instances.c.study_key == _OF_STUDY).scalar_subquery(), 0
        ),
    )
)
_SERIES_LEFT = Prepared(select(studies.c.series_count).where(studies.c.key == _OF_STUDY))
_IN_BLOCK = (study_blocks.c.partition_key == _value("of_partition"), study_blocks.c.block == _value("of_block"))
_SHRINK_BLOCK = Prepared(update(study_blocks).where(*_IN_BLOCK).values(studies=study_blocks.c.studies - 1))
_DELETE_EMPTY_BLOCK = Prepared(delete(study_blocks).where(*_IN_BLOCK, study_blocks.c.studies == 0))


def delete_resource(
    connection: Connection, partition_key: int, resource: Address, now: datetime, erase_after: datetime
) -> int:
    """Do what `InstanceIndex.delete` promises."""
    last = Counters.lock(connection)
    what: dict[str, Any] = dict(address(partition_key, resource))
    study, one_series = _KEYS.row(connection, what)
    if study is None or (one_series is None and resource.series is not None):
        return 0
    how_deep = depth(resource)
    if progress := progress_of(connection.info):
        for locators in _locators(connection, what, how_deep):
            progress.journal.deleted(locators)
    entry = {"last_sequence": last.sequence, "now": last.advance_time(now), "deleted": int(ChangeAction.DELETE)}
    count = _ENTRIES[how_deep].run(connection, [what | entry])
    if count == 0:
        return 0
    _QUEUE[how_deep].run(connection, [what | {"erasing_time": to_microseconds(erase_after)}])
    forget_values(connection, what, how_deep)
    _DELETE[how_deep].run(connection, [what])
    last.sequence += count
    if one_series is None or not _shrink(connection, study, one_series, count):
        _delete_study(connection, partition_key, study)
    forget_orphans(connection, study, one_series)
    last.save(connection)
    return count


def _locators(connection: Connection, what: dict[str, Any], depth: int) -> Iterator[list[Locator]]:
    """Yield the blobs of instances, some at a time."""
    after = 0
    while rows := _LOCATORS[depth].rows(connection, what | {"after": after}):
        yield [row.locator for row in rows]
        after = rows[-1].version


def _shrink(connection: Connection, study: int, one_series: int, count: int) -> bool:
    """Take instances off a series, which goes if it has no more, and its study; say whether that has any left."""
    of = {"of_study_key": study, "of_series_key": one_series, "gone": count}
    _SHRINK_SERIES.run(connection, [of])
    emptied = _DELETE_EMPTY_SERIES.run(connection, [of])
    _SHRINK_STUDY.run(connection, [of | {"gone_series": emptied}])
    return bool(_SERIES_LEFT.row(connection, of)[0])


def _delete_study(connection: Connection, partition_key: int, study: int) -> None:
    """Delete a study without instances, and its series."""
    of = {"of_study_key": study, "of_partition": partition_key, "of_block": study // STUDIES_PER_BLOCK}
    _DELETE_ALL_SERIES.run(connection, [of])
    _DELETE_STUDY.run(connection, [of])
    _SHRINK_BLOCK.run(connection, [of])
    _DELETE_EMPTY_BLOCK.run(connection, [of])
