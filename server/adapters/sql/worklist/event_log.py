"""Reading the log of events, and removing old ones; `events` writes it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Text,
    bindparam,
    cast,
    delete,
    func,
    join,
    literal,
    select,
    update,
)

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.tables.archive import partitions
from server.adapters.sql.tables.worklist import (
    unsequenced_workitem_events,
    workitem_event_log,
    workitem_event_recipients,
    workitem_events,
    workitem_subscribers,
    workitem_subscriptions,
    workitems,
    worklist_subscriptions,
)
from server.model.ids import PartitionName, Uid
from server.model.worklist.event import EventKind, EventType, LoggedEvent
from server.ports.worklist.subscriptions import LogState

_e = workitem_events.c
_r = workitem_event_recipients.c
_b = workitem_subscribers.c
_n = unsequenced_workitem_events.c
_POSITIONS: BindParameter[int] = bindparam("positions", expanding=True)
_SIZE = func.length(_e.information) + func.length(_e.recipients)
_SIZE_OF_ALL = _SIZE + func.coalesce(func.length(workitems.c.elements), 0)
_STATE = Prepared(select(workitem_event_log.c.position, workitem_event_log.c.removed))


def _positions(size: ColumnElement[int], *conditions: ColumnElement[bool]) -> Prepared:
    """Select the positions of a page, with sizes."""
    page = select(_e.position, size.label("size")).where(_e.position > bindparam("after"), *conditions)
    if size is _SIZE_OF_ALL:
        page = page.join_from(workitem_events, workitems, workitems.c.key == _e.workitem_key, isouter=True)
    return Prepared(page.order_by(_e.position).limit(bindparam("most")))


_IS_OF_PARTITION = (_e.partition_key == bindparam("of_partition"), _e.kind == int(EventKind.CHANGE))
_AFTER = {False: _positions(_SIZE), True: _positions(_SIZE_OF_ALL)}
_IN_PARTITION = {False: _positions(_SIZE, *_IS_OF_PARTITION), True: _positions(_SIZE_OF_ALL, *_IS_OF_PARTITION)}
"""By whether the data sets of the workitems are returned, too."""

_OF_SUBSCRIBER = Prepared(
    select(_r.position, _SIZE.label("size"))
    .join_from(workitem_event_recipients, workitem_events, _e.position == _r.position)
    .where(_r.subscriber_key == bindparam("of_subscriber"), _r.position > bindparam("after"))
    .order_by(_r.position)
    .limit(bindparam("most"))
)
_EVENT = (
    _e.position,
    partitions.c.name,
    _e.workitem_key,
    _e.workitem_uid,
    _e.kind,
    _e.type,
    _e.time,
    _e.information,
    _e.recipients,
)
_OF_PARTITION = join(workitem_events, partitions, partitions.c.key == _e.partition_key)
_EVENTS = {
    False: Prepared(select(*_EVENT).select_from(_OF_PARTITION).where(_e.position.in_(_POSITIONS))),
    True: Prepared(
        select(*_EVENT, workitems.c.elements)
        .select_from(_OF_PARTITION.outerjoin(workitems, workitems.c.key == _e.workitem_key))
        .where(_e.position.in_(_POSITIONS))
    ),
}


Listen = Callable[[Callable[[], None]], Any]


class SqlEventLog:
    """`server.ports.worklist.subscriptions.EventLog` in a database."""

    def __init__(self, transactions: Transactions, partition_keys: PartitionKeys, listen: Listen) -> None:
        """`listen` calls its argument after new events of any process, until cancelled."""
        self._transactions = transactions
        self._partition_keys = partition_keys
        self._listen = listen
        self.is_numbered_later = transactions.has_sequencer

    async def state(self) -> LogState:
        """See the port."""
        return await self._transactions.read(lambda connection: LogState(*_STATE.tuples(connection, {})[0]))

    async def after(self, position: int, limit: int, max_bytes: int, *, with_data_sets: bool) -> Sequence[LoggedEvent]:
        """See the port."""
        parameters = {"after": position, "most": limit}
        return await self._transactions.read(
            lambda connection: _page(connection, _AFTER[with_data_sets], parameters, max_bytes, with_data_sets)
        )

    async def in_partition(
        self, partition: PartitionName, position: int, limit: int, max_bytes: int, *, with_data_sets: bool
    ) -> Sequence[LoggedEvent]:
        """See the port."""

        def work(connection: Connection) -> Sequence[LoggedEvent]:
            key = self._partition_keys.one(connection, partition)
            parameters = {"of_partition": key, "after": position, "most": limit}
            if key is None:
                return []
            page = _page(connection, _IN_PARTITION[with_data_sets], parameters, max_bytes, with_data_sets)
            return _without_recipients(page)

        return await self._transactions.read(work)

    async def of_subscriber(
        self, subscriber_key: int, position: int, limit: int, max_bytes: int
    ) -> Sequence[LoggedEvent]:
        """See the port."""
        parameters = {"of_subscriber": subscriber_key, "after": position, "most": limit}
        return await self._transactions.read(
            lambda connection: _without_recipients(_page(connection, _OF_SUBSCRIBER, parameters, max_bytes))
        )

    async def remove(self, before: datetime, limit: int) -> int:
        """See the port."""
        return await self._transactions.write(lambda connection: _remove(connection, before, limit))

    async def listen(self, changed: Callable[[], None]) -> None:
        """See the port."""
        await self._listen(changed)


def _page(
    connection: Connection,
    positions: Prepared,
    parameters: dict[str, Any],
    max_bytes: int,
    with_data_sets: bool = False,
) -> list[LoggedEvent]:
    """Return the first events, whose texts have at most a number of characters together; at least one."""
    fit: list[int] = []
    for position, size in positions.tuples(connection, parameters):
        max_bytes -= size
        if max_bytes < 0 and fit:
            break
        fit.append(position)
    rows = _EVENTS[with_data_sets].tuples(connection, {"positions": fit}) if fit else ()
    found = {row[0]: _event(*row) for row in rows}
    return [found[position] for position in fit]


def _without_recipients(events: Sequence[LoggedEvent]) -> list[LoggedEvent]:
    return [replace(event, recipients=()) for event in events]


def _event(
    position: int,
    partition: str,
    key: int,
    uid: str,
    kind: int,
    of_type: int,
    time: int,
    information: str,
    recipients: str,
    data_set: str | None = None,
) -> LoggedEvent:
    return LoggedEvent(
        position,
        PartitionName(partition),
        key,
        Uid(uid),
        EventKind(kind),
        EventType(of_type),
        to_datetime(time),
        information,
        tuple(map(int, recipients.split())),
        data_set,
    )


def _remove(connection: Connection, before: datetime, limit: int) -> int:
    time = to_microseconds(before)
    oldest = select(_e.position, _e.time).order_by(_e.position).limit(limit).subquery()
    first_kept = select(func.min(oldest.c.position)).where(oldest.c.time >= time)
    last = connection.execute(
        select(func.max(oldest.c.position)).where(
            oldest.c.position < func.coalesce(first_kept.scalar_subquery(), 2**63 - 1)
        )
    ).scalar()
    if last is None:
        _forget_subscribers(connection, time)
        return 0
    for key in connection.execute(select(_b.key)).scalars().all():
        connection.execute(delete(workitem_event_recipients).where(_r.subscriber_key == key, _r.position <= last))
    removed = connection.execute(delete(workitem_events).where(_e.position <= last)).rowcount
    connection.execute(update(workitem_event_log).values(removed=last))
    return removed


def _forget_subscribers(connection: Connection, time: int) -> None:
    """Remove subscribers that have neither subscriptions nor events, and had none since a time.

    Events that are not numbered yet would get rows of recipients that nobody acknowledges.
    """
    is_used = [
        select(table.c.subscriber_key).where(table.c.subscriber_key == _b.key).exists()
        for table in (workitem_subscriptions, worklist_subscriptions, workitem_event_recipients)
    ]
    is_recipient = (
        literal(" ").concat(_n.recipients).concat(" ").contains(literal(" ").concat(cast(_b.key, Text)).concat(" "))
    )
    is_used.append(select(_n.key).where(is_recipient).exists())
    connection.execute(delete(workitem_subscribers).where(_b.updated < time, *(~one for one in is_used)))
