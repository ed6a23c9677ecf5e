"""The transactions that delete a study, a series or an instance.

Deleted rows move to separate tables, where they remain until their bytes are erased. The rows of a study and its series
move at once. Their instances do so, too, if they are few; for many, only the deletion is recorded, and `move_on` moves
them in steps. Until then, an instance without its series counts as deleted: see `rows.ALIVE`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Table, bindparam, delete, func, insert, select, update

from server.adapters.sql.core import counters
from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.shards import shard_of
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.query_tags.tag_values import delete_of_series, delete_of_study, delete_of_versions
from server.adapters.sql.rows import SERIES_KEY, STUDY_KEY, address, within
from server.adapters.sql.tables.changes import changes
from server.adapters.sql.tables.deletions import deleted_instances, deleted_series, deleted_studies, deletions
from server.adapters.sql.tables.instances import instances, series, versions
from server.adapters.sql.tables.lifecycle import expiries
from server.adapters.sql.tables.studies import STUDIES_PER_BLOCK, studies
from server.adapters.sql.writing.adding import change_blocks
from server.adapters.sql.writing.holding import require_not_held
from server.adapters.sql.writing.usage import UsageChanges
from server.model.change import ChangeAction
from server.model.ids import Address, PartitionName
from server.ports.journal import ExpiryChange

FEW = 200
"""Maximum number of instances that are moved at once."""

AT_ONCE = 500
"""Number of instances of a larger deletion that are moved per transaction."""

Row = dict[str, Any]


def _value(name: str) -> Any:
    return bindparam(name, type_=BigInteger)


_OF_STUDY, _OF_SERIES, _GONE = _value("of_study_key"), _value("of_series_key"), _value("gone")
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
            select(func.max(series.c.max_version)).where(series.c.study_key == _OF_STUDY).scalar_subquery(), 0
        ),
    )
)
# By depth of the deleted address: 1 for a study, 3 for an instance.
_FOUND = {
    1: Prepared(
        select(studies.c.key.label("study"), bindparam("none").label("series"), studies.c.instance_count).where(
            studies.c.key == STUDY_KEY
        )
    ),
    2: Prepared(
        select(series.c.study_key.label("study"), series.c.key.label("series"), series.c.instance_count).where(
            series.c.key == SERIES_KEY
        )
    ),
    3: Prepared(
        select(instances.c.study_key.label("study"), instances.c.series_key.label("series"), instances.c.version).where(
            *within(3)
        )
    ),
}
_INSTANCES_LEFT = Prepared(select(series.c.instance_count).where(series.c.key == _OF_SERIES))
_SERIES_LEFT = Prepared(select(studies.c.series_count).where(studies.c.key == _OF_STUDY))
_INSERT_DELETION = Prepared(insert(deletions))
_PENDING = Prepared(
    select(deletions)
    .where(deletions.c.is_pending == 1, deletions.c.first_sequence.is_not(None))
    .order_by(deletions.c.key)
    .limit(1)
)
_STILL_PENDING = Prepared(select(deletions).where(deletions.c.key == _value("of_key"), deletions.c.is_pending == 1))
_MOVED_ON = Prepared(update(deletions).where(deletions.c.key == _value("of_key")))
_INSERT_CHANGES = Prepared(insert(changes))


class Moves:
    """Statements that move rows of a table to the table of deleted rows, or back."""

    def __init__(self, table: Table, deleted: Table, condition: ColumnElement[bool]) -> None:
        names = table.c.keys()
        added = [column.name for column in deleted.c if column.name not in names and not column.nullable]
        chosen = select(*(table.c[name] for name in names), *(_value(name) for name in added)).where(condition)
        keys = select(table.c.key).where(condition)
        self._forget = Prepared(delete(deleted).where(deleted.c.key.in_(keys))) if table is not instances else None
        self._copy = Prepared(insert(deleted).from_select([*names, *added], chosen))
        self._delete = Prepared(delete(table).where(condition))

    def run(self, connection: Connection, where: Mapping[str, Any]) -> int:
        """Move the rows; return their number. A row that was deleted and restored before takes its old place."""
        if self._forget is not None:
            self._forget.run(connection, [where])
        count = self._copy.run(connection, [where])
        self._delete.run(connection, [where])
        return count


_MOVE_STUDY = Moves(studies, deleted_studies, studies.c.key == _OF_STUDY)
_EXPIRY = Prepared(select(expiries.c.study_key).where(expiries.c.study_key == _OF_STUDY))
_DELETE_EXPIRY = Prepared(delete(expiries).where(expiries.c.study_key == _OF_STUDY))
_MOVE_SERIES = Moves(series, deleted_series, series.c.key == _OF_SERIES)
_MOVE_ALL_SERIES = Moves(series, deleted_series, series.c.study_key == _OF_STUDY)
_IN_RANGE = instances.c.version.between(_value("first"), _value("last"))
_OF = {False: instances.c.study_key == _OF_STUDY, True: instances.c.series_key == _OF_SERIES}
_MOVE_INSTANCES = {of_series: Moves(instances, deleted_instances, _IN_RANGE & of) for of_series, of in _OF.items()}
_NEXT = {
    of_series: Prepared(
        select(
            instances.c.version,
            instances.c.uid,
            versions.c.locator,
            func.coalesce(series.c.uid, deleted_series.c.uid).label("series_uid"),
        )
        .join_from(instances, versions, versions.c.version == instances.c.version)
        .outerjoin(series, series.c.key == instances.c.series_key)
        .outerjoin(deleted_series, deleted_series.c.key == instances.c.series_key)
        .where(of, instances.c.version.between(_value("first"), _value("last")))
        .order_by(instances.c.version)
        .limit(bindparam("limit"))
    )
    for of_series, of in _OF.items()
}
_REPLACED = Prepared(
    select(versions.c.locator)
    .join_from(instances, versions, versions.c.instance_key == instances.c.key)
    .where(instances.c.version.in_(bindparam("versions", expanding=True)), versions.c.replaced.is_not(None))
)
_FIRST, _LAST = 0, (1 << 63) - 1


def delete_resource(
    connection: Connection,
    partition_key: int,
    resource: Address,
    now: datetime,
    erase_after: datetime,
    reason: str,
    author: str,
) -> int:
    """Implements `InstanceIndex.delete`."""
    assert resource.study is not None, "a study, a series or an instance"
    shard = shard_of(connection, partition_key, resource.study)
    last = counters.lock(connection, [shard])
    where = address(partition_key, resource) | {"none": None}
    depth = 1 if resource.series is None else 2 if resource.instance is None else 3
    found = _FOUND[depth].row(connection, where)
    if found is None:
        return 0
    require_not_held(connection, partition_key, resource)
    study, one_series, count = found.study, found.series, 1 if depth == 3 else found[2]
    row: Row = {
        "key": last.next_version(),
        "shard": shard,
        "partition_key": partition_key,
        "study_key": study,
        "series_key": one_series,
        "study_uid": resource.study,
        "series_uid": resource.series,
        "sop_uid": resource.instance,
        "time": last.time(now),
        "erase_after": to_microseconds(erase_after),
        "reason": reason or None,
        "author": author or None,
        "instances": count,
        "first_sequence": None,
        "done": 0,
        "is_pending": 1,
    }
    bounds = (found[2], found[2]) if depth == 3 else (_FIRST, _LAST)
    usage = UsageChanges()
    usage.instances[partition_key, shard] -= count
    if depth < 3:
        usage.series[partition_key, shard] -= _move_groups(connection, row, resource.partition)
    if count <= FEW:
        entries = _move(connection, row, count, bounds)
        last.write_entries(entries)
        row |= {"done": count, "is_pending": None}
    else:
        row["first_sequence"] = last.reserve_entries(count)
        if row["first_sequence"] is None:
            entry = _entry(row, row["key"], resource.series or "", resource.instance or "")
            last.write_entries([entry | {"position": row["key"], "deletion_key": row["key"]}])
        if progress := progress_of(connection.info):
            progress.journal.deleted_all(row["key"], resource)
    if depth == 3:
        usage.series[partition_key, shard] -= _shrink_series(connection, row, resource.partition)
    _INSERT_DELETION.run(connection, [row])
    usage.write(connection)
    last.save()
    return int(count)


def move_on(connection: Connection) -> bool:
    """Move some instances of the oldest deletion with numbered entries; return whether there was one."""
    oldest = _PENDING.row(connection, {})
    if oldest is None:
        return False
    counters.lock(connection, [oldest.shard])
    row = _STILL_PENDING.row(connection, {"of_key": oldest.key})
    if row is None:  # another process has done it
        return True
    deletion = row._asdict()
    entries = _move(connection, deletion, AT_ONCE, (_FIRST, _LAST))
    for number, entry in enumerate(entries, start=row.first_sequence + row.done):
        entry["sequence"] = number
        del entry["shard"]
    if entries:
        _INSERT_CHANGES.run(connection, entries)
    done = row.done + len(entries)
    is_pending = 1 if len(entries) == AT_ONCE else None
    progress = progress_of(connection.info)
    if progress is not None and not is_pending:
        progress.journal.completed(row.key)
    _MOVED_ON.run(connection, [{"of_key": row.key, "done": done, "is_pending": is_pending}])
    return True


def _move_groups(connection: Connection, deletion: Row, partition: PartitionName) -> int:
    """Move the rows of a study and its series, or of a series and, if it was the only one, its study.

    Returns the number of series.
    """
    of = {"of_study_key": deletion["study_key"], "of_series_key": deletion["series_key"], "gone": deletion["instances"]}
    if deletion["series_key"] is None:
        count = _MOVE_ALL_SERIES.run(connection, of)
        delete_of_series(connection, deletion["study_key"])
        _move_study(connection, deletion, partition)
        return count
    _MOVE_SERIES.run(connection, of)
    delete_of_series(connection, deletion["study_key"], deletion["series_key"])
    _shrink_study(connection, deletion, partition, of | {"gone_series": 1})
    return 1


def _shrink_series(connection: Connection, deletion: Row, partition: PartitionName) -> int:
    """Remove an instance from the counts of its series and study, which are deleted if they become empty.

    Returns the number of series that became empty.
    """
    of = {"of_study_key": deletion["study_key"], "of_series_key": deletion["series_key"], "gone": 1}
    _SHRINK_SERIES.run(connection, [of])
    is_empty = not _INSTANCES_LEFT.row(connection, of)[0]
    if is_empty:
        _MOVE_SERIES.run(connection, of)
        delete_of_series(connection, deletion["study_key"], deletion["series_key"])
    _shrink_study(connection, deletion, partition, of | {"gone_series": int(is_empty)})
    return int(is_empty)


def _shrink_study(connection: Connection, deletion: Row, partition: PartitionName, of: Row) -> None:
    _SHRINK_STUDY.run(connection, [of])
    if not _SERIES_LEFT.row(connection, of)[0]:
        _move_study(connection, deletion, partition)


def _move_study(connection: Connection, deletion: Row, partition: PartitionName) -> None:
    study = deletion["study_key"]
    _MOVE_STUDY.run(connection, {"of_study_key": study})
    if _EXPIRY.row(connection, {"of_study_key": study}) is not None:  # a restored study does not expire
        _DELETE_EXPIRY.send(connection, [{"of_study_key": study}])
        if progress := progress_of(connection.info):
            of_study = Address(partition, deletion["study_uid"])
            change = ExpiryChange(deletion["key"], to_datetime(deletion["time"]), of_study, None)
            progress.journal.expires(change)
    delete_of_study(connection, study)
    change_blocks(connection, {(deletion["partition_key"], study // STUDIES_PER_BLOCK, deletion["shard"]): -1})


def _move(connection: Connection, deletion: Row, limit: int, bounds: tuple[int, int]) -> list[Row]:
    """Move at most `limit` instances of a deletion, and return their entries in the change feed."""
    of_series = deletion["series_key"] is not None
    where = {"of_study_key": deletion["study_key"], "of_series_key": deletion["series_key"]}
    where |= {"first": bounds[0], "last": bounds[1], "limit": limit}
    rows = _NEXT[of_series].rows(connection, where)
    if not rows:
        return []
    if progress := progress_of(connection.info):
        replaced = _REPLACED.rows(connection, {"versions": [row.version for row in rows]})
        progress.journal.deleted([row.locator for row in (*rows, *replaced)])
    delete_of_versions(connection, [row.version for row in rows])
    where |= {"first": rows[0].version, "last": rows[-1].version}
    where |= {"deletion_key": deletion["key"], "erase_after": deletion["erase_after"]}
    _MOVE_INSTANCES[of_series].run(connection, where)
    return [_entry(deletion, row.version, row.series_uid, row.uid) for row in rows]


def _entry(deletion: Row, version: int, series_uid: str, sop_uid: str) -> Row:
    return {
        "shard": deletion["shard"],
        "time": deletion["time"],
        "action": int(ChangeAction.DELETE),
        "version": version,
        "partition_key": deletion["partition_key"],
        "study_uid": deletion["study_uid"],
        "series_uid": series_uid,
        "sop_uid": sop_uid,
        "trace": None,
    }
