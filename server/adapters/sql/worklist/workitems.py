"""The record of workitems."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.partitions import PartitionKeys, is_deleted
from server.adapters.sql.search.search import check_size
from server.adapters.sql.tables.worklist import (
    WORKITEM_TEXT_KEYS,
    workitem_subscriptions,
    workitem_texts,
    workitem_values,
    workitems,
)
from server.adapters.sql.worklist import removal, search
from server.adapters.sql.worklist.changing import lock, record
from server.adapters.sql.worklist.observers import NEW, observing_later
from server.adapters.sql.worklist.values import rows_of, text_of
from server.model.errors import NotFound, Reason
from server.model.ids import PartitionName, Uid
from server.model.worklist.workitem import MatchPage, Workitem, WorkitemQuery, WorkitemState
from server.ports.worklist.workitems import Change, FilterMatches, Reporter, Unlocked, UnlockedPage, unreported

_c = workitems.c
_ROW = select(_c.key, _c.state, _c.lock, _c.modified, _c.elements).where(
    _c.partition_key == bindparam("of_partition"), _c.uid == bindparam("of_uid")
)
_GET = Prepared(_ROW)
_TAKE_KEY = Prepared(
    text(
        "UPDATE workitem_event_log SET position = max(position, (SELECT coalesce(max(key), 0) FROM workitems)) + 1 "
        "RETURNING position"
    )
)
_NEXT_KEY = Prepared(text("SELECT nextval('workitem_keys')"))
_INSERT = {
    "sqlite": Prepared(sqlite.insert(workitems).on_conflict_do_nothing().returning(_c.key)),
    "postgresql": Prepared(postgresql.insert(workitems).on_conflict_do_nothing().returning(_c.key)),
}
_UPDATE = Prepared(update(workitems).where(_c.key == bindparam("of_key")))
_INSERT_VALUES = Prepared(insert(workitem_values))
_DELETE = Prepared(delete(workitems).where(_c.key == bindparam("of_key")))
_DELETE_VALUES = Prepared(delete(workitem_values).where(workitem_values.c.workitem_key == bindparam("of_key")))
_DELETE_TEXT = Prepared(delete(workitem_texts).where(workitem_texts.c.key == bindparam("of_key")))
_DELETE_SUBSCRIPTIONS = Prepared(
    delete(workitem_subscriptions).where(workitem_subscriptions.c.workitem_key == bindparam("of_key"))
)


def _write_text(insertion: sqlite.Insert | postgresql.Insert) -> Prepared:
    """Return the statement that writes the text of a workitem, only if it is not the present one."""
    new, columns = insertion.excluded, [workitem_texts.c[name] for name in WORKITEM_TEXT_KEYS]
    is_other = or_(*(column.is_distinct_from(new[column.name]) for column in columns))
    values = {column.name: new[column.name] for column in columns}
    return Prepared(insertion.on_conflict_do_update(index_elements=["key"], set_=values, where=is_other))


_WRITE_TEXT = {
    "sqlite": _write_text(sqlite.insert(workitem_texts)),
    "postgresql": _write_text(postgresql.insert(workitem_texts)),
}


class SqlWorkitems:
    """`server.ports.worklist.workitems.WorkitemRecord` in a database."""

    def __init__(self, transactions: Transactions, partition_keys: PartitionKeys) -> None:
        self._transactions = transactions
        self._partition_keys = partition_keys

    async def add(self, partition: PartitionName, workitem: Workitem, report: Reporter = unreported) -> bool:
        """See the port."""

        def work(connection: Connection) -> bool:
            return add(connection, self._partition_keys, partition, workitem, report)

        return await self._transactions.write(work)

    async def get(self, partition: PartitionName, uid: Uid) -> Workitem | None:
        """See the port."""

        def work(connection: Connection) -> Workitem | None:
            key = self._partition_keys.one(connection, partition)
            row = None if key is None else _GET.row(connection, {"of_partition": key, "of_uid": uid})
            return None if row is None else _workitem(uid, row)

        return await self._transactions.read(work)

    async def change(
        self, partition: PartitionName, uid: Uid, change: Change, report: Reporter = unreported
    ) -> Workitem | None:
        """See the port."""

        def work(connection: Connection) -> Workitem | None:
            partition_key = self._partition_keys.one(connection, partition)
            if partition_key is None:
                return None
            last = lock(connection, partition_key, uid)
            _check_exists(connection, partition_key, partition)
            rows = _GET.later(connection, {"of_partition": partition_key, "of_uid": uid})
            find_observing = observing_later(connection, partition_key, uid)
            row = next(iter(rows()), None)
            if row is None:
                return None
            observing = find_observing(row.key)
            present = _workitem(uid, row)
            changed = change(present)
            if changed is not present:
                _replace(connection, row.key, partition_key, changed)
            reported = report(present, changed, observing.observers)
            observing.report(connection, partition_key, row.key, uid, reported)
            if changed is not present:
                record(connection, last, partition, uid, changed)
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

    async def unlocked(
        self, before: datetime, after: tuple[datetime, int] | None, limit: int, matches: FilterMatches
    ) -> UnlockedPage:
        """See the port."""
        return await self._transactions.read(
            lambda connection: removal.unlocked(connection, before, after, limit, matches)
        )

    async def remove(self, keys: Sequence[int], matches: FilterMatches) -> Sequence[Unlocked]:
        """See the port."""
        return await self._transactions.write(lambda connection: removal.remove(connection, keys, matches))


def add(
    connection: Connection,
    partition_keys: PartitionKeys,
    partition: PartitionName,
    workitem: Workitem,
    report: Reporter,
) -> bool:
    """Add a workitem, with its events; return False if the partition has one with this UID.

    Raises:
        NotFound: PARTITION_NOT_FOUND, the partition is deleted; nothing has been written.
    """
    partition_key = partition_keys.one(connection, partition)
    assert partition_key is not None, "partitions are never removed"
    last = lock(connection, partition_key, workitem.uid)
    _check_exists(connection, partition_key, partition)
    find_observing = observing_later(connection, partition_key, None)
    key = _add(connection, partition_key, workitem)
    if key is None:
        return False
    observing = find_observing(NEW)
    observing.report(connection, partition_key, key, workitem.uid, report(None, workitem, observing.observers))
    record(connection, last, partition, workitem.uid, workitem)
    return True


def _check_exists(connection: Connection, partition_key: int, partition: PartitionName) -> None:
    """Refuse a change in a partition that was deleted since access was permitted: the journal would have it after the
    deletion, and recovery would restore the workitem.

    Raises: NotFound.
    """
    if is_deleted(connection, partition_key):
        raise NotFound(Reason.PARTITION_NOT_FOUND, "The partition is deleted.", partition=partition)


def _add(connection: Connection, partition_key: int, workitem: Workitem) -> int | None:
    """Add a workitem, and return its key; None if the partition has one with this UID."""
    key = _next_key(connection)
    row = {"key": key, "partition_key": partition_key, "uid": workitem.uid, **_columns(workitem)}
    if not _INSERT[connection.dialect.name].tuples(connection, row):
        return None
    _write_values(connection, key, partition_key, workitem)
    return key


def _replace(connection: Connection, key: int, partition_key: int, workitem: Workitem) -> None:
    _UPDATE.send(connection, [{"of_key": key, **_columns(workitem)}])
    _DELETE_VALUES.send(connection, [{"of_key": key}])
    _write_values(connection, key, partition_key, workitem)


def _remove(connection: Connection, key: int) -> None:
    for statement in (_DELETE_VALUES, _DELETE_TEXT, _DELETE_SUBSCRIPTIONS, _DELETE):
        statement.send(connection, [{"of_key": key}])


def _next_key(connection: Connection) -> int:
    """Return the key of a new workitem, which no other one has had.

    Otherwise subscriptions and events of a workitem that has been removed would apply to a new one. SQLite has no
    sequences; the positions in the log of events never return to a lower number, and may have gaps.
    """
    if connection.dialect.name == "sqlite":
        return int(_TAKE_KEY.tuples(connection, {})[0][0])
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
    _WRITE_TEXT[connection.dialect.name].send(connection, [text_of(key, partition_key, rows)])


def _workitem(uid: Uid, row: Any) -> Workitem:
    return Workitem(uid, WorkitemState(row.state), row.lock, row.elements, (), to_datetime(row.modified))
