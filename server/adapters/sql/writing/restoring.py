"""The transactions that restore deleted instances.

Each restores a few instances, oldest first, each with its last content as a new version, so that clients do not confuse
state from before the deletion with the current one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, text, union_all, update

from server.adapters.sql.core import counters
from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.shards import shard_of
from server.adapters.sql.core.times import to_microseconds
from server.adapters.sql.partitions import is_deleted
from server.adapters.sql.query_tags.tag_values import ByTags, Owners, active
from server.adapters.sql.tables.deletions import deleted_instances, deleted_series, deleted_studies, deletions
from server.adapters.sql.tables.instances import instances, metadata, series, versions
from server.adapters.sql.tables.lifecycle import labels
from server.adapters.sql.tables.studies import STUDIES_PER_BLOCK, studies
from server.adapters.sql.writing.adding import change_blocks
from server.adapters.sql.writing.deleting import move_on
from server.adapters.sql.writing.locators import delete_empty_groups
from server.adapters.sql.writing.usage import UsageChanges
from server.model.change import ChangeAction
from server.model.ids import Address, InstanceId, Uid
from server.model.search.query import Level
from server.ports.tags import Extract

_AT_ONCE = 500
_RENUMBER = Prepared(
    text("UPDATE versions SET version = :new WHERE version = :old")  # other tables follow by their foreign keys
)
_INSERT = {table: Prepared(insert(table)) for table in (instances, studies, series)}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """Result of one transaction.

    after: the next one continues with higher versions; None after the last.
    waits: a deletion has to move its instances first.
    """

    count: int
    after: int | None
    waits: bool = False


def undelete(
    connection: Connection,
    partition_key: int,
    resource: Address,
    after: int,
    now: datetime,
    not_erased_at: datetime,
    extract: Extract,
) -> Step:
    """Do the next step of `InstanceIndex.undelete`."""
    assert resource.study is not None, "a study, a series or an instance"
    last = counters.lock(connection, [shard_of(connection, partition_key, resource.study)])
    if is_deleted(connection, partition_key):
        return Step(0, None)
    if is_pending(connection, partition_key, resource.study):
        move_on(connection)
        return Step(0, after, waits=True)
    uids = series_uids(connection, partition_key, resource)
    page = _page(connection, uids, resource, after, not_erased_at) if uids else []
    if not page:
        return Step(0, None)
    chosen = _chosen(connection, partition_key, resource.study, page, uids)
    if chosen:
        time = last.time(now)
        last.reserve(versions=len(chosen))
        restored = _Restored(connection, partition_key, resource.study)
        _note(connection, resource, chosen, uids)
        rows = [restored.row(row, uids[row.series_key], last.next_version()) for row in chosen]
        _INSERT[instances].run(connection, rows)
        numbers = [{"old": old.version, "new": new["version"]} for old, new in zip(chosen, rows, strict=True)]
        _RENUMBER.send(connection, numbers)
        _move_history(connection, chosen, rows)
        _move_labels(connection, chosen, rows)
        connection.execute(
            delete(deleted_instances).where(deleted_instances.c.version.in_([row.version for row in chosen]))
        )
        restored.count()
        for key, count in Counter(row.deletion_key for row in chosen).items():
            left = update(deletions).where(deletions.c.key == key).values(instances=deletions.c.instances - count)
            connection.execute(left)
        delete_empty_groups(connection, chosen)
        last.write_entries(
            [_entry(new, resource.study, uids[old.series_key], time) for old, new in zip(chosen, rows, strict=True)]
        )
        _index(connection, rows, extract, time)
        last.save()
    return Step(len(chosen), page[-1].version)


def _note(connection: Connection, resource: Address, chosen: Sequence[Any], uids: Mapping[int, str]) -> None:
    """Write the restored instances to the journal, so that a rebuilt index has them."""
    progress = progress_of(connection.info)
    if progress is None:
        return
    by_key = {
        row.key: InstanceId(resource.partition, Uid(resource.study or ""), Uid(uids[row.series_key]), Uid(row.uid))
        for row in chosen
    }
    is_current = versions.c.version.in_([row.version for row in chosen])
    is_replaced = versions.c.instance_key.in_(by_key) & versions.c.replaced.is_not(None)
    found = connection.execute(select(versions.c.instance_key, versions.c.locator).where(is_current | is_replaced))
    progress.journal.restored({row.locator: by_key[row.instance_key] for row in found})


def _move_history(connection: Connection, chosen: Sequence[Any], rows: Sequence[Row]) -> None:
    """Assign the replaced versions of restored instances to the study and series that exist meanwhile."""
    for old, new in zip(chosen, rows, strict=True):
        keys = {name: new[name] for name in ("study_key", "series_key")}
        if (old.study_key, old.series_key) != tuple(keys.values()):
            is_replaced = (versions.c.instance_key == old.key) & versions.c.replaced.is_not(None)
            connection.execute(update(versions).where(is_replaced).values(keys))


def _move_labels(connection: Connection, chosen: Sequence[Any], rows: Sequence[Row]) -> None:
    """Return the labels of deleted studies and series to those that exist meanwhile, whose own labels have priority."""
    for level, name in ((Level.STUDY, "study_key"), (Level.SERIES, "series_key")):
        moved = {(getattr(old, name), new[name]) for old, new in zip(chosen, rows, strict=True)}
        for before, now in sorted(moved):
            if before != now:
                present = select(_labels_there.c.name).where(
                    _labels_there.c.level == int(level), _labels_there.c.owner == now
                )
                returned = (labels.c.level == int(level)) & (labels.c.owner == before) & labels.c.name.not_in(present)
                connection.execute(update(labels).where(returned).values(owner=now))


_labels_there = labels.alias()


def is_pending(connection: Connection, partition_key: int, study: str) -> bool:
    """Return whether a deletion still has to move instances of a study."""
    pending = select(deletions.c.key).where(
        deletions.c.is_pending == 1, deletions.c.partition_key == partition_key, deletions.c.study_uid == study
    )
    return connection.execute(pending.limit(1)).scalar() is not None


def series_uids(connection: Connection, partition_key: int, resource: Address) -> Mapping[int, str]:
    """Return the UIDs of the series from which instances may have been deleted, by key."""
    study_keys = _either(studies, deleted_studies, partition_key=partition_key, uid=resource.study)
    found: dict[int, str] = {}
    for table in (series, deleted_series):
        of_study = select(table.c.key, table.c.uid).where(table.c.study_key.in_(study_keys))
        if resource.series is not None:
            of_study = of_study.where(table.c.uid == resource.series)
        found.update((row.key, row.uid) for row in connection.execute(of_study))
    return found


def _either(table: Table, deleted: Table, **values: Any) -> Any:
    """Select the keys of rows with these values in a table or its table of deleted rows."""
    return union_all(*(select(one.c.key).filter_by(**values).select_from(one) for one in (table, deleted)))


def _page(
    connection: Connection, uids: Mapping[int, str], resource: Address, after: int, not_erased_at: datetime
) -> Sequence[Any]:
    deleted = (
        select(deleted_instances)
        .where(
            deleted_instances.c.series_key.in_(uids),
            deleted_instances.c.version > after,
            deleted_instances.c.erase_after > to_microseconds(not_erased_at),
        )
        .order_by(deleted_instances.c.version)
        .limit(_AT_ONCE)
    )
    if resource.instance is not None:
        deleted = deleted.where(deleted_instances.c.uid == resource.instance)
    return connection.execute(deleted).all()


def _chosen(
    connection: Connection, partition_key: int, study: str, page: Sequence[Any], uids: Mapping[int, str]
) -> list[Any]:
    """Return the rows of a page to be restored: the last deleted one of each identity, unless the instance exists."""
    of_page = {row.uid for row in page}
    last: dict[tuple[str, str], int] = {}
    deleted = select(deleted_instances.c.uid, deleted_instances.c.series_key, deleted_instances.c.version).where(
        deleted_instances.c.partition_key == partition_key,
        deleted_instances.c.uid.in_(of_page),
        deleted_instances.c.series_key.in_(uids),
    )
    for uid, series_key, version in connection.execute(deleted):
        identity = (uids[series_key], uid)
        last[identity] = max(last.get(identity, 0), version)
    existing = (
        select(series.c.uid, instances.c.uid)
        .join_from(instances, series, series.c.key == instances.c.series_key)
        .join(studies, studies.c.key == series.c.study_key)
        .where(instances.c.partition_key == partition_key, instances.c.uid.in_(of_page), studies.c.uid == study)
    )
    there = {tuple(row) for row in connection.execute(existing)}
    return [
        row
        for row in page
        if (identity := (uids[row.series_key], row.uid)) not in there and last[identity] == row.version
    ]


class _Restored:
    """The study and series of the restored instances, which may have to be restored as well."""

    def __init__(self, connection: Connection, partition_key: int, study: str) -> None:
        self._connection = connection
        self._partition_key = partition_key
        identity = {"partition_key": partition_key, "uid": study}
        self._study, is_new = self._group(studies, deleted_studies, identity, {"series_count": 0})
        if is_new:
            block = self._study.key // STUDIES_PER_BLOCK
            change_blocks(connection, {(partition_key, block, self._study.shard): 1})
        self._new_series = 0
        self._series: dict[str, Any] = {}
        self._counts: dict[int, int] = {}
        self._version = 0

    def row(self, deleted: Any, series_uid: str, version: int) -> Row:
        """Return the row of a restored instance, and count it."""
        one_series = self._series.get(series_uid)
        if one_series is None:
            identity = {"study_key": self._study.key, "uid": series_uid}
            one_series, is_new = self._group(series, deleted_series, identity, {}, deleted.series_key)
            self._series[series_uid] = one_series
            self._new_series += is_new
        self._counts[one_series.key] = self._counts.get(one_series.key, 0) + 1
        self._version = version
        of_table = {name: getattr(deleted, name) for name in instances.c.keys()}  # noqa: SIM118 - columns, not a dict
        return of_table | {"version": version, "study_key": self._study.key, "series_key": one_series.key}

    def count(self) -> None:
        """Add the restored instances to the counts of their series and study."""
        for key, count in self._counts.items():
            counted = {"instance_count": series.c.instance_count + count, "max_version": self._version}
            self._connection.execute(update(series).where(series.c.key == key).values(counted))
        counted = {
            "instance_count": studies.c.instance_count + sum(self._counts.values()),
            "series_count": studies.c.series_count + self._new_series,
            "max_version": self._version,
        }
        self._connection.execute(update(studies).where(studies.c.key == self._study.key).values(counted))
        usage, place = UsageChanges(), (self._partition_key, self._study.shard)
        usage.series[place] += self._new_series
        usage.instances[place] += sum(self._counts.values())
        usage.write(self._connection)

    def _group(
        self, table: Table, deleted: Table, identity: Row, zeros: Row, key: int | None = None
    ) -> tuple[Any, bool]:
        """Return the row of a study or series, and whether it was restored."""
        there = self._connection.execute(select(table.c.key, table.c.shard).filter_by(**identity)).one_or_none()
        if there is not None:
            return there, False
        statement = select(deleted).order_by(deleted.c.key.desc()).limit(1)
        statement = statement.filter_by(**identity) if key is None else statement.where(deleted.c.key == key)
        row = self._connection.execute(statement).one()
        nothing = {"instance_count": 0, "max_version": 0}
        _INSERT[table].run(self._connection, [{**row._asdict(), **identity, **nothing, **zeros}])
        return row, True


def _entry(row: Row, study: str, series_uid: str, time: int) -> Row:
    return {
        "position": row["version"],
        "shard": row["shard"],
        "time": time,
        "action": int(ChangeAction.CREATE),
        "version": row["version"],
        "partition_key": row["partition_key"],
        "study_uid": study,
        "series_uid": series_uid,
        "sop_uid": row["uid"],
        "trace": None,
    }


def _index(connection: Connection, rows: Sequence[Row], extract: Extract, time: int) -> None:
    """Index the restored instances by the existing extended query tags."""
    tags = active(connection)
    if not tags:
        return
    by_tags = ByTags(tags, extract, time)
    for row in rows:
        found = connection.execute(
            select(metadata.c.dicom_json, metadata.c.invalid_tags).where(metadata.c.version == row["version"])
        ).one()
        owners = Owners(row["study_key"], row["series_key"], row["version"], row["shard"], row["partition_key"])
        by_tags.take(by_tags.found(found.dicom_json, frozenset((found.invalid_tags or "").split())), owners)
    by_tags.write(connection)
