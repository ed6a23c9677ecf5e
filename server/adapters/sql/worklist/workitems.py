"""The record of workitems."""

from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from server.adapters.sql.core import counters
from server.adapters.sql.core.counters import Counters
from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.progress import progress_of
from server.adapters.sql.core.shards import shard_of
from server.adapters.sql.core.tables import workitem_values, workitems
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.partitions import PartitionKeys, is_deleted
from server.adapters.sql.search.search import check_size
from server.adapters.sql.worklist import search
from server.adapters.sql.worklist.values import rows_of
from server.model.errors import NotFound, Reason
from server.model.ids import PartitionName, Uid
from server.model.worklist.workitem import MatchPage, Workitem, WorkitemQuery, WorkitemState
from server.ports.journal import WorkitemChange
from server.ports.worklist.workitems import Change

_c = workitems.c
_ROW = select(_c.key, _c.state, _c.lock, _c.modified, _c.elements).where(
    _c.partition_key == bindparam("of_partition"), _c.uid == bindparam("of_uid")
)
_GET = Prepared(_ROW)
_LAST_KEY = Prepared(select(func.coalesce(func.max(_c.key), 0)))
_NEXT_KEY = Prepared(text("SELECT nextval('workitem_keys')"))
_INSERT = {
    "sqlite": Prepared(sqlite.insert(workitems).on_conflict_do_nothing().returning(_c.key)),
    "postgresql": Prepared(postgresql.insert(workitems).on_conflict_do_nothing().returning(_c.key)),
}
_UPDATE = Prepared(update(workitems).where(_c.key == bindparam("of_key")))
_INSERT_VALUES = Prepared(insert(workitem_values))
_DELETE = Prepared(delete(workitems).where(_c.key == bindparam("of_key")))
_DELETE_VALUES = Prepared(delete(workitem_values).where(workitem_values.c.workitem_key == bindparam("of_key")))


class SqlWorkitems:
    """`server.ports.worklist.workitems.WorkitemRecord` in a database."""

    def __init__(self, transactions: Transactions, partition_keys: PartitionKeys) -> None:
        self._transactions = transactions
        self._partition_keys = partition_keys

    async def add(self, partition: PartitionName, workitem: Workitem) -> bool:
        """See the port."""

        def work(connection: Connection) -> bool:
            return add(connection, self._partition_keys, partition, workitem)

        return await self._transactions.write(work)

    async def get(self, partition: PartitionName, uid: Uid) -> Workitem | None:
        """See the port."""

        def work(connection: Connection) -> Workitem | None:
            key = self._partition_keys.one(connection, partition)
            row = None if key is None else _GET.row(connection, {"of_partition": key, "of_uid": uid})
            return None if row is None else _workitem(uid, row)

        return await self._transactions.read(work)

    async def change(self, partition: PartitionName, uid: Uid, change: Change) -> Workitem | None:
        """See the port."""

        def work(connection: Connection) -> Workitem | None:
            partition_key = self._partition_keys.one(connection, partition)
            if partition_key is None:
                return None
            last = _lock(connection, partition_key, uid)
            row = _GET.row(connection, {"of_partition": partition_key, "of_uid": uid})
            if row is None:
                return None
            present = _workitem(uid, row)
            changed = change(present)
            if changed is not present:
                _replace(connection, row.key, partition_key, changed)
                _record(connection, last, partition, uid, changed)
            return changed

        return await self._transactions.write(work)

    async def restore(self, partition: PartitionName, uid: Uid, workitem: Workitem | None) -> bool:
        """See the port."""

        def work(connection: Connection) -> bool:
            partition_key = self._partition_keys.one(connection, partition)
            if partition_key is None:
                return False
            row = _GET.row(connection, {"of_partition": partition_key, "of_uid": uid})
            if workitem is None:
                if row is not None:
                    _remove(connection, row.key)
            elif row is None:
                _add(connection, partition_key, workitem)
            else:
                _replace(connection, row.key, partition_key, workitem)
            return workitem is not None

        return await self._transactions.write(work)

    async def search(self, query: WorkitemQuery) -> MatchPage:
        """See the port."""
        check_size(query.conditions)

        def work(connection: Connection) -> MatchPage:
            key = self._partition_keys.one(connection, query.partition)
            return MatchPage((), has_more=False) if key is None else search.search(connection, key, query)

        return await self._transactions.search(work)

    async def count(self, query: WorkitemQuery) -> int:
        """See the port."""
        check_size(query.conditions)

        def work(connection: Connection) -> int:
            key = self._partition_keys.one(connection, query.partition)
            return 0 if key is None else search.count(connection, key, query)

        return await self._transactions.search(work)


def add(connection: Connection, partition_keys: PartitionKeys, partition: PartitionName, workitem: Workitem) -> bool:
    """Add a workitem; return False if the partition has one with this UID.

    Raises:
        NotFound: PARTITION_NOT_FOUND, the partition is deleted; nothing has been written.
    """
    partition_key = partition_keys.one(connection, partition)
    assert partition_key is not None, "partitions are never removed"
    last = _lock(connection, partition_key, workitem.uid)
    if is_deleted(connection, partition_key):
        raise NotFound(Reason.PARTITION_NOT_FOUND, "The partition is deleted.", partition=partition)
    if not _add(connection, partition_key, workitem):
        return False
    _record(connection, last, partition, workitem.uid, workitem)
    return True


def _lock(connection: Connection, partition_key: int, uid: Uid) -> Counters:
    """Wait for other changes of a workitem. Must come before other locks on workitems and studies."""
    return counters.lock_later(connection, [shard_of(connection, partition_key, uid)], versions=1)()


def _record(
    connection: Connection, last: Counters, partition: PartitionName, uid: Uid, workitem: Workitem | None
) -> None:
    """Record a change in the journal, and with a version, so that an index without it is recognised as older."""
    version = last.next_version()
    if progress := progress_of(connection.info):
        progress.journal.workitem_changed(WorkitemChange(version, partition, uid, workitem))
    last.save()


def _add(connection: Connection, partition_key: int, workitem: Workitem) -> bool:
    key = _next_key(connection)
    row = {"key": key, "partition_key": partition_key, "uid": workitem.uid, **_columns(workitem)}
    if not _INSERT[connection.dialect.name].tuples(connection, row):
        return False
    _write_values(connection, key, partition_key, workitem)
    return True


def _replace(connection: Connection, key: int, partition_key: int, workitem: Workitem) -> None:
    _UPDATE.send(connection, [{"of_key": key, **_columns(workitem)}])
    _DELETE_VALUES.send(connection, [{"of_key": key}])
    _write_values(connection, key, partition_key, workitem)


def _remove(connection: Connection, key: int) -> None:
    _DELETE_VALUES.send(connection, [{"of_key": key}])
    _DELETE.send(connection, [{"of_key": key}])


def _next_key(connection: Connection) -> int:
    """Return the key of a new workitem. SQLite has one writer at a time."""
    if connection.dialect.name == "sqlite":
        return int(_LAST_KEY.tuples(connection, {})[0][0]) + 1
    return int(_NEXT_KEY.tuples(connection, {})[0][0])


def _columns(workitem: Workitem) -> dict[str, Any]:
    return {
        "state": workitem.state.value,
        "lock": workitem.lock,
        "modified": to_microseconds(workitem.modified),
        "elements": workitem.data_set,
    }


def _write_values(connection: Connection, key: int, partition_key: int, workitem: Workitem) -> None:
    if rows := rows_of(key, partition_key, workitem.values):
        _INSERT_VALUES.send(connection, rows)


def _workitem(uid: Uid, row: Any) -> Workitem:
    return Workitem(uid, WorkitemState(row.state), row.lock, row.elements, (), to_datetime(row.modified))
