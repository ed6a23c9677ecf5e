"""The record of holds."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import CompoundSelect, Connection, Select, Table, delete, insert, select, union_all

from server.adapters.sql.core import counters
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.shards import shard_of
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.partitions import PartitionKeys, is_deleted
from server.adapters.sql.tables.deletions import deleted_instances, deleted_series, deleted_studies
from server.adapters.sql.tables.instances import instances, series
from server.adapters.sql.tables.lifecycle import holds
from server.adapters.sql.tables.studies import studies
from server.adapters.sql.writing.locators import ERASURE_BEGUN
from server.model.ids import Address, PartitionName, Uid
from server.model.lifecycle.hold import Hold
from server.ports.journal import HoldChange

_c = holds.c


class SqlHolds:
    """`server.ports.lifecycle.holds.Holds` in a database."""

    def __init__(self, transactions: Transactions, partition_keys: PartitionKeys) -> None:
        self._transactions = transactions
        self._partition_keys = partition_keys

    async def set(self, hold: Hold) -> bool:
        """See the port."""

        def work(connection: Connection) -> bool:
            partition_key = self._partition_keys.one(connection, hold.resource.partition)
            return partition_key is not None and _set(connection, partition_key, hold)

        return await self._transactions.write(work)

    async def release(self, resource: Address, name: str) -> Hold | None:
        """See the port."""

        def work(connection: Connection) -> Hold | None:
            partition_key = self._partition_keys.one(connection, resource.partition)
            return None if partition_key is None else _release(connection, partition_key, resource, name)

        return await self._transactions.write(work)

    async def list(self, scope: Address, before: int | None, limit: int) -> Sequence[tuple[int, Hold]]:
        """See the port."""

        def work(connection: Connection) -> Sequence[tuple[int, Hold]]:
            partition_key = self._partition_keys.one(connection, scope.partition)
            return [] if partition_key is None else _list(connection, partition_key, scope, before, limit)

        return await self._transactions.read(work)


def _set(connection: Connection, partition_key: int, hold: Hold) -> bool:
    resource = hold.resource
    assert resource.study is not None, "a study, a series or an instance"
    shard = shard_of(connection, partition_key, resource.study)
    last = counters.lock(connection, [shard])
    if is_deleted(connection, partition_key) or not _exists(connection, partition_key, resource):
        return False
    version = last.next_version()
    row = {
        "key": version,
        "shard": shard,
        **_of(partition_key, resource, hold.name),
        "reason": hold.reason,
        "author": hold.author,
        "time": to_microseconds(hold.time),
    }
    if progress := progress_of(connection.info):
        progress.journal.held(HoldChange(version, resource, hold.name, hold))
    connection.execute(delete(holds).filter_by(**_of(partition_key, resource, hold.name)))
    connection.execute(insert(holds), row)
    last.save()
    return True


def _release(connection: Connection, partition_key: int, resource: Address, name: str) -> Hold | None:
    assert resource.study is not None, "a study, a series or an instance"
    last = counters.lock(connection, [shard_of(connection, partition_key, resource.study)])
    one = _of(partition_key, resource, name)
    row = connection.execute(select(holds).filter_by(**one)).one_or_none()
    if row is None:
        return None
    version = last.next_version()  # an index without this change is recognised as older
    if progress := progress_of(connection.info):
        progress.journal.held(HoldChange(version, resource, name, None))
    connection.execute(delete(holds).filter_by(**one))
    last.save()
    return _hold(row, resource.partition)


def _list(
    connection: Connection, partition_key: int, scope: Address, before: int | None, limit: int
) -> Sequence[tuple[int, Hold]]:
    selected = select(holds).where(_c.partition_key == partition_key)
    if scope.study is not None:
        selected = selected.where(_c.study_uid == scope.study)
    for column, uid in ((_c.series_uid, scope.series), (_c.sop_uid, scope.instance)):
        if uid is not None:
            selected = selected.where(column.in_(("", uid)))
    if before is not None:
        selected = selected.where(_c.key < before)
    rows = connection.execute(selected.order_by(_c.key.desc()).limit(limit))
    return [(row.key, _hold(row, scope.partition)) for row in rows]


def _of(partition_key: int, resource: Address, name: str) -> dict[str, Any]:
    """Return the columns that identify a hold."""
    return {
        "partition_key": partition_key,
        "study_uid": resource.study,
        "series_uid": resource.series or "",
        "sop_uid": resource.instance or "",
        "name": name,
    }


def _exists(connection: Connection, partition_key: int, resource: Address) -> bool:
    """Return whether a resource has instances, or deleted ones whose erasure has not begun.

    While a deletion of many is in progress, some of its instances are still in the table of the existing ones.
    """
    of_study = _either(studies, deleted_studies, {"uid": resource.study, "partition_key": partition_key}, {})
    within = {"study_key": of_study}
    if resource.series is not None:
        within = {"series_key": _either(series, deleted_series, {"uid": resource.series}, within)}
    one = {"partition_key": partition_key, **({} if resource.instance is None else {"uid": resource.instance})}
    existing, deleted = (_with(table, one, within).limit(1) for table in (instances, deleted_instances))
    retained = deleted.where(deleted_instances.c.erase_after > ERASURE_BEGUN)
    return any(connection.execute(found).scalar() is not None for found in (existing, retained))


def _either(table: Table, deleted: Table, values: Mapping[str, Any], within: Mapping[str, Any]) -> CompoundSelect[Any]:
    """Select the keys of existing and deleted rows with these values; `within` selects the keys of parents."""
    return union_all(*(_with(one, values, within) for one in (table, deleted)))


def _with(table: Table, values: Mapping[str, Any], within: Mapping[str, Any]) -> Select[Any]:
    """Select the keys of rows with these values."""
    return select(table.c.key).filter_by(**values).where(*(table.c[name].in_(keys) for name, keys in within.items()))


def _hold(row: Any, partition: PartitionName) -> Hold:
    resource = Address(
        partition,
        Uid(row.study_uid),
        Uid(row.series_uid) if row.series_uid else None,
        Uid(row.sop_uid) if row.sop_uid else None,
    )
    return Hold(resource, row.name, row.reason, row.author, to_datetime(row.time))
