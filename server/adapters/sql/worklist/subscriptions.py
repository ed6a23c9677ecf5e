"""The record of subscriptions. `observers` explains what the rows mean."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, func, insert, or_, select, text, update

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.partitions import PartitionKeys, is_deleted
from server.adapters.sql.search.pages import add_values
from server.adapters.sql.search.search import check_size
from server.adapters.sql.tables.worklist import (
    workitem_event_log,
    workitem_event_recipients,
    workitem_subscribers,
    workitem_subscriptions,
    workitems,
    worklist_subscriptions,
)
from server.adapters.sql.worklist import events, values
from server.adapters.sql.worklist.changing import lock
from server.model.errors import Exhausted, NotFound, Reason
from server.model.ids import PartitionName, Uid
from server.model.worklist.event import Event, EventKind, EventType
from server.model.worklist.subscription import (
    MAX_FILTERS_LENGTH,
    MAX_OF_WORKLIST,
    MAX_SINGLE,
    MAX_SUBSCRIBERS,
    WORKLIST,
    Checkpoint,
    Subscriber,
    SubscriberState,
    SubscriptionState,
    WorklistSubscription,
    state_of,
)
from server.ports.worklist.workitems import FilterMatches

_b = workitem_subscribers.c
_s = workitem_subscriptions.c
_w = worklist_subscriptions.c
_r = workitem_event_recipients.c
_WORKITEM = Prepared(
    select(workitems.c.key, workitems.c.elements).where(
        workitems.c.partition_key == bindparam("of_partition"), workitems.c.uid == bindparam("of_uid")
    )
)
_SUBSCRIBER = Prepared(
    select(_b.key, _b.position, _b.initial).where(
        _b.partition_key == bindparam("of_partition"), _b.ae_title == bindparam("of_ae_title")
    )
)
_SET_STATE = Prepared(
    text(
        "INSERT INTO workitem_subscriptions (workitem_key, subscriber_key, state) "
        "VALUES (:workitem_key, :subscriber_key, :state) "
        "ON CONFLICT (workitem_key, subscriber_key) DO UPDATE SET state = excluded.state"
    )
)
_ACKNOWLEDGE = Prepared(update(workitem_subscribers).where(_b.key == bindparam("of_key")))
_FORGET_RECIPIENT = Prepared(
    delete(workitem_event_recipients).where(
        _r.subscriber_key == bindparam("of_key"), _r.position <= bindparam("through")
    )
)

_BATCH = 1_000
"""Number of single subscriptions that end in a transaction, which blocks all others."""


class SqlSubscriptions:
    """`server.ports.worklist.subscriptions.SubscriptionRecord` in a database."""

    def __init__(self, transactions: Transactions, partition_keys: PartitionKeys) -> None:
        self._transactions = transactions
        self._partition_keys = partition_keys

    async def subscribe(
        self,
        partition: PartitionName,
        uid: Uid,
        ae_title: str,
        now: datetime,
        *,
        has_lock: bool,
        report: Callable[[str], Event],
    ) -> bool:
        """See the port."""

        def work(connection: Connection) -> bool:
            partition_key = self._existing(connection, partition)
            workitem = _locked(connection, partition_key, uid)
            if workitem is None:
                return False
            subscriber = _subscriber(connection, partition_key, ae_title, now)
            _check_single(connection, subscriber)
            _set_state(connection, workitem.key, subscriber, state_of(has_lock))
            origin = events.Origin(partition_key, workitem.key, uid)
            events.write(connection, origin, [report(workitem.elements)], now, EventKind.INITIAL, [subscriber])
            return True

        return await self._transactions.write(work)

    async def subscribe_to_worklist(
        self, partition: PartitionName, ae_title: str, now: datetime, worklist: WorklistSubscription
    ) -> None:
        """See the port."""
        check_size(worklist.conditions)  # otherwise initial states could not be searched for

        def work(connection: Connection) -> None:
            partition_key = self._existing(connection, partition)
            subscriber = _subscriber(connection, partition_key, ae_title, now)
            last_key = _last_key(connection, partition_key)
            _add_to_worklist(connection, partition_key, subscriber, last_key, worklist)
            _subscribe_again(connection, subscriber, worklist)
            if worklist.has_lock:
                origin = events.Origin(partition_key, last_key, WORKLIST)
                initial = Event(EventType.STATE_REPORT, worklist.filter)
                events.write(connection, origin, [initial], now, EventKind.INITIAL_WORKLIST, [subscriber])

        await self._transactions.write(work, alone=True)  # so that every workitem exists before or is created after

    async def unsubscribe(
        self, partition: PartitionName, uid: Uid, ae_title: str, matches: FilterMatches
    ) -> bool | None:
        """See the port."""

        def work(connection: Connection) -> bool | None:
            partition_key = self._existing(connection, partition)
            workitem = _locked(connection, partition_key, uid)
            if workitem is None:
                return None
            found = _find(connection, partition_key, ae_title)
            return found is not None and _unsubscribe(connection, workitem, found.key, matches)

        return await self._transactions.write(work)

    async def unsubscribe_from_all(self, partition: PartitionName, ae_title: str) -> bool:
        """See the port."""

        def of_worklist(connection: Connection, subscriber: int, _: int) -> bool:
            ended = delete(worklist_subscriptions).where(_w.subscriber_key == subscriber)
            return connection.execute(ended).rowcount > 0

        def single(connection: Connection, subscriber: int, _: int) -> bool:
            is_of = _s.subscriber_key == subscriber
            some = select(_s.workitem_key).where(is_of).limit(_BATCH)
            ended = delete(workitem_subscriptions).where(is_of, _s.workitem_key.in_(some))
            return connection.execute(ended).rowcount > 0

        # First, because single rows may be exceptions of it, and its filters would add rows.
        was_subscribed = await self._alone(partition, ae_title, of_worklist)
        while await self._alone(partition, ae_title, single):
            was_subscribed = True
        return was_subscribed

    async def suspend(self, partition: PartitionName, ae_title: str) -> bool:
        """See the port."""

        def work(connection: Connection, subscriber: int, partition_key: int) -> bool:
            return _close(connection, subscriber, _last_key(connection, partition_key))

        return await self._alone(partition, ae_title, work)

    async def _alone(
        self, partition: PartitionName, ae_title: str, work: Callable[[Connection, int, int], bool]
    ) -> bool:
        """Run `work` with the keys of a subscriber and its partition, if they exist."""

        def found(connection: Connection) -> bool:
            partition_key = self._partition_keys.one(connection, partition)
            subscriber = None if partition_key is None else _find(connection, partition_key, ae_title)
            if subscriber is None or partition_key is None:
                return False
            return work(connection, subscriber.key, partition_key)

        return await self._transactions.write(found, alone=True)

    async def list(self, partition: PartitionName, after_ae_title: str, limit: int) -> Sequence[Subscriber]:
        """See the port."""

        def work(connection: Connection) -> Sequence[Subscriber]:
            partition_key = self._partition_keys.one(connection, partition)
            rows = connection.execute(
                select(workitem_subscribers)
                .where(_b.partition_key == partition_key, _b.ae_title > after_ae_title)
                .order_by(_b.ae_title)
                .limit(limit)
            ).all()
            return _listed(connection, rows)

        return await self._transactions.read(work)

    async def acknowledge(self, checkpoints: Mapping[tuple[PartitionName, str], Checkpoint], now: datetime) -> None:
        """See the port."""

        def work(connection: Connection) -> None:
            for (partition, ae_title), checkpoint in checkpoints.items():
                partition_key = self._partition_keys.one(connection, partition)
                row = None if partition_key is None else _find(connection, partition_key, ae_title)
                if row is None or not checkpoint.is_after(Checkpoint(row.position, row.initial)):
                    continue
                changed = {"position": checkpoint.position, "initial": checkpoint.initial}
                _ACKNOWLEDGE.send(connection, [{"of_key": row.key, **changed, "updated": to_microseconds(now)}])
                _FORGET_RECIPIENT.send(connection, [{"of_key": row.key, "through": checkpoint.position}])

        await self._transactions.write(work)

    async def find(self, partition: PartitionName, ae_title: str) -> SubscriberState | None:
        """See the port."""

        def work(connection: Connection) -> SubscriberState | None:
            partition_key = self._partition_keys.one(connection, partition)
            row = None if partition_key is None else _find(connection, partition_key, ae_title)
            return None if row is None else SubscriberState(row.key, Checkpoint(row.position, row.initial))

        return await self._transactions.read(work)

    def _existing(self, connection: Connection, partition: PartitionName) -> int:
        """Return the key of a partition. Raises: NotFound, it was deleted since access was permitted."""
        key = self._partition_keys.one(connection, partition)
        assert key is not None, "access to the partition was permitted"
        if is_deleted(connection, key):
            raise NotFound(Reason.PARTITION_NOT_FOUND, "The partition is deleted.", partition=partition)
        return key


def _locked(connection: Connection, partition_key: int, uid: Uid) -> Any:
    """Return a workitem, which no other transaction changes until the end of this one; None if it does not exist."""
    lock(connection, partition_key, uid)
    return _WORKITEM.row(connection, {"of_partition": partition_key, "of_uid": uid})


def _find(connection: Connection, partition_key: int, ae_title: str) -> Any:
    return _SUBSCRIBER.row(connection, {"of_partition": partition_key, "of_ae_title": ae_title})


def _subscriber(connection: Connection, partition_key: int, ae_title: str, now: datetime) -> int:
    """Return the key of a subscriber, which is added if necessary. Raises: Exhausted, TOO_MANY_SUBSCRIPTIONS."""
    # The update prevents that another transaction removes it.
    is_it = (_b.partition_key == partition_key, _b.ae_title == ae_title)
    if connection.execute(update(workitem_subscribers).where(*is_it).values(updated=to_microseconds(now))).rowcount:
        return int(_find(connection, partition_key, ae_title).key)
    number = select(func.count()).select_from(workitem_subscribers).where(_b.partition_key == partition_key)
    if connection.execute(number).scalar_one() >= MAX_SUBSCRIBERS:
        raise too_many(f"A partition may have {MAX_SUBSCRIBERS} subscribers.")
    # Another transaction may add it at the same time: PostgreSQL then waits for it.
    connection.execute(
        text(
            "INSERT INTO workitem_subscribers (key, partition_key, ae_title, position, updated, process) "
            "VALUES (:key, :partition_key, :ae_title, 0, :updated, '') ON CONFLICT DO NOTHING"
        ),
        {
            "key": _next_key(connection, workitem_subscribers),
            "partition_key": partition_key,
            "ae_title": ae_title,
            "updated": to_microseconds(now),
        },
    )
    return int(_find(connection, partition_key, ae_title).key)


def too_many(message: str) -> Exhausted:
    """Return the error for a limit of subscriptions."""
    return Exhausted(Reason.TOO_MANY_SUBSCRIPTIONS, message)


def _check_single(connection: Connection, subscriber: int) -> None:
    some = select(_s.workitem_key).where(_s.subscriber_key == subscriber).limit(MAX_SINGLE).subquery()
    if connection.execute(select(func.count()).select_from(some)).scalar_one() >= MAX_SINGLE:
        raise too_many(f"A subscriber may have {MAX_SINGLE} subscriptions to single workitems.")


def _set_state(connection: Connection, workitem: int, subscriber: int, state: SubscriptionState) -> None:
    row = {"workitem_key": workitem, "subscriber_key": subscriber, "state": int(state)}
    _SET_STATE.send(connection, [row])


def _next_key(connection: Connection, table: Any) -> int:
    """Return a key that no other row has had: an open channel is that of a key, also after its subscriber was removed.

    SQLite: see `workitems._next_key`.
    """
    if connection.dialect.name == "sqlite":
        highest = select(func.coalesce(func.max(table.c.key), 0)).scalar_subquery()
        position = func.max(workitem_event_log.c.position, highest) + 1
        taken = update(workitem_event_log).values(position=position).returning(workitem_event_log.c.position)
        return int(connection.execute(taken).scalar_one())
    return int(connection.execute(text("SELECT nextval('workitem_event_keys')")).scalar_one())


def _last_key(connection: Connection, partition_key: int) -> int:
    """Return the key of the newest workitem; 0 if there is none."""
    newest = select(func.coalesce(func.max(workitems.c.key), 0)).where(workitems.c.partition_key == partition_key)
    return int(connection.execute(newest).scalar_one())


def _add_to_worklist(
    connection: Connection, partition_key: int, subscriber: int, last_key: int, worklist: WorklistSubscription
) -> None:
    """Include future workitems, and present ones that no other subscription to the worklist includes.

    Raises: Exhausted, TOO_MANY_SUBSCRIPTIONS.
    """
    rows = connection.execute(
        select(worklist_subscriptions).where(_w.subscriber_key == subscriber).order_by(_w.key)
    ).all()
    if any(row.last_key is None and _is_same(row, worklist) for row in rows):
        return
    _close(connection, subscriber, last_key)
    whole = [last_key if row.last_key is None else row.last_key for row in rows if not row.filter]
    first_key = 0 if worklist.filter else max(whole, default=-1) + 1
    if rows and _is_same(rows[-1], worklist) and rows[-1].last_key is not None and not worklist.filter:
        connection.execute(update(worklist_subscriptions).where(_w.key == rows[-1].key).values(last_key=None))
        return
    if len(rows) >= MAX_OF_WORKLIST:
        message = f"A subscriber may have {MAX_OF_WORKLIST} present and earlier subscriptions to the worklist."
        raise too_many(message)
    if worklist.filter:
        _check_filters(connection, partition_key, worklist.filter)
    connection.execute(
        insert(worklist_subscriptions),
        {
            "key": _next_key(connection, worklist_subscriptions),
            "subscriber_key": subscriber,
            "partition_key": partition_key,
            "first_key": first_key,
            "last_key": None,
            "has_lock": int(worklist.has_lock),
            "filter": worklist.filter,
        },
    )


def _check_filters(connection: Connection, partition_key: int, filter_: str) -> None:
    """Raises: Exhausted, TOO_MANY_SUBSCRIPTIONS, because each change of a workitem reads all filters."""
    size = select(func.coalesce(func.sum(func.length(_w.filter)), 0)).where(_w.partition_key == partition_key)
    if connection.execute(size).scalar_one() + len(filter_) > MAX_FILTERS_LENGTH:
        raise too_many(f"The filters of all subscribers of a partition may have {MAX_FILTERS_LENGTH} characters.")


def _is_same(row: Any, worklist: WorklistSubscription) -> bool:
    return bool(row.has_lock) == worklist.has_lock and row.filter == worklist.filter


def _close(connection: Connection, subscriber: int, last_key: int) -> bool:
    """End the subscription to future workitems; return False if there was none."""
    is_open = (_w.subscriber_key == subscriber, _w.last_key.is_(None))
    empty = delete(worklist_subscriptions).where(*is_open, _w.first_key > last_key)
    others = update(worklist_subscriptions).where(*is_open).values(last_key=last_key)
    return connection.execute(empty).rowcount + connection.execute(others).rowcount > 0


def _unsubscribe(connection: Connection, workitem: Any, subscriber: int, matches: FilterMatches) -> bool:
    """End the subscription to a workitem; return False if there was none.

    One to the worklist that includes the workitem remains, with an exception. A filter includes workitems that have
    matched, which have a row, and those that match now.
    """
    is_single = (_s.workitem_key == workitem.key, _s.subscriber_key == subscriber)
    state = connection.execute(select(_s.state).where(*is_single)).scalar()
    if state == SubscriptionState.NOT_SUBSCRIBED:
        return False
    covering = select(_w.filter).where(
        _w.subscriber_key == subscriber,
        _w.first_key <= workitem.key,
        or_(_w.last_key.is_(None), _w.last_key >= workitem.key),
    )
    filters = connection.execute(covering).scalars().all()
    if state is None and not any(not one or matches(one, workitem.elements) for one in filters):
        return False
    if filters:
        _set_state(connection, workitem.key, subscriber, SubscriptionState.NOT_SUBSCRIBED)
    else:
        connection.execute(delete(workitem_subscriptions).where(*is_single))
    return True


def _subscribe_again(connection: Connection, subscriber: int, worklist: WorklistSubscription) -> None:
    """Subscribe to the included workitems from which the subscriber has unsubscribed (PS3.4 Table CC.2.3-2)."""
    named = [(condition, f"value_{number}") for number, condition in enumerate(worklist.conditions)]
    parameters: dict[str, Any] = {}
    add_values(parameters, worklist.conditions)
    connection.execute(
        update(workitem_subscriptions)
        .where(
            _s.subscriber_key == subscriber,
            _s.state == SubscriptionState.NOT_SUBSCRIBED,
            *values.all_hold(named, _s.workitem_key),
        )
        .values(state=int(state_of(worklist.has_lock))),
        parameters,
    )


def _listed(connection: Connection, rows: Sequence[Any]) -> list[Subscriber]:
    keys = [row.key for row in rows]
    of_worklist: dict[int, WorklistSubscription] = {}
    has_earlier = set()
    for row in connection.execute(select(worklist_subscriptions).where(_w.subscriber_key.in_(keys))):
        if row.last_key is None:
            of_worklist[row.subscriber_key] = WorklistSubscription(bool(row.has_lock), row.filter)
        else:
            has_earlier.add(row.subscriber_key)
    is_locked = case((_s.state == SubscriptionState.WITH_LOCK, 1), else_=0)
    single = {
        key: (number, locked)
        for key, number, locked in connection.execute(
            select(_s.subscriber_key, func.count(), func.sum(is_locked))
            .where(_s.subscriber_key.in_(keys), _s.state != SubscriptionState.NOT_SUBSCRIBED)
            .group_by(_s.subscriber_key)
        )
    }
    pending = {
        row[0]: row[1]
        for row in connection.execute(
            select(_r.subscriber_key, func.count()).where(_r.subscriber_key.in_(keys)).group_by(_r.subscriber_key)
        )
    }
    return [
        Subscriber(
            row.ae_title,
            of_worklist.get(row.key),
            row.key in has_earlier,
            *single.get(row.key, (0, 0)),
            pending.get(row.key, 0),
            to_datetime(row.updated),
        )
        for row in rows
    ]
