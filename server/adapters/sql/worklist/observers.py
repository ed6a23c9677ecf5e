"""Who is subscribed to a workitem.

A row of `workitem_subscriptions` states it for a subscriber and a workitem. Without one, the rows of
`worklist_subscriptions` apply that include the key of the workitem: those without a filter as they are; one with a
filter when the workitem first matches at a change, which adds a row of `workitem_subscriptions`. So a subscription to
the worklist is one row, however many workitems there are, and a workitem that once matched a filter remains included.
"""

from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import Connection, bindparam, select

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.tables.worklist import workitem_subscriptions, workitems, worklist_subscriptions
from server.adapters.sql.worklist import events
from server.model.worklist.event import EventKind, Observers, Report
from server.model.worklist.subscription import SubscriptionState, state_of

NEW = 2**63 - 1
"""Stands for the key of a new workitem, which is greater than those that exist."""

_s = workitem_subscriptions.c
_w = worklist_subscriptions.c
_OF_WORKITEM = Prepared(
    select(_s.subscriber_key, _s.state)
    .join_from(workitem_subscriptions, workitems, workitems.c.key == _s.workitem_key)
    .where(workitems.c.partition_key == bindparam("of_partition"), workitems.c.uid == bindparam("of_uid"))
)
_OF_WORKLIST = Prepared(
    select(_w.subscriber_key, _w.first_key, _w.last_key, _w.has_lock, _w.filter).where(
        _w.partition_key == bindparam("of_partition")
    )
)
_INSERT = Prepared(workitem_subscriptions.insert())


def observing_later(connection: Connection, partition_key: int, uid: str | None) -> Callable[[int], "Observing"]:
    """Return a function that returns who observes a workitem, given its key. See `Prepared.later`.

    Args:
        connection: with an open transaction.
        partition_key: of the workitem.
        uid: of the workitem; None: it is new.
    """
    single = _OF_WORKITEM.later(connection, {"of_partition": partition_key, "of_uid": uid}) if uid else list[Any]
    worklist = _OF_WORKLIST.later(connection, {"of_partition": partition_key})
    return lambda key: Observing(single(), worklist(), key)


class Observing:
    """The subscriptions that apply to a workitem."""

    def __init__(self, single: Collection[Any], worklist: Collection[Any], key: int) -> None:
        """`single`: rows of the workitem; `worklist`: rows of its partition; `key`: of the workitem."""
        known = {row.subscriber_key for row in single}
        covering = [
            row
            for row in worklist
            if row.subscriber_key not in known
            and row.first_key <= key
            and (row.last_key is None or key <= row.last_key)
        ]
        self._subscribers = {row.subscriber_key for row in single if row.state != SubscriptionState.NOT_SUBSCRIBED}
        self._subscribers |= {row.subscriber_key for row in covering if not row.filter}
        # A filter with a lock may lock what another subscription already includes.
        self._filters = [
            row for row in covering if row.filter and (row.has_lock or row.subscriber_key not in self._subscribers)
        ]

    @property
    def observers(self) -> Observers:
        """Who observes the workitem."""
        return Observers(bool(self._subscribers), tuple({row.filter for row in self._filters}))

    def report(self, connection: Connection, partition_key: int, workitem_key: int, uid: str, report: Report) -> None:
        """Subscribe those whose filters match, and write the events.

        A workitem that begins to match a filter has a new subscriber, which gets its state (PS3.4 section CC.2.3.3). If
        it matched before, the subscription is as old as that to the worklist, and is only recorded now.
        """
        matching: dict[int, bool] = {}
        earlier = set(self._subscribers)
        for row in self._filters:
            if row.filter in report.matching:
                matching[row.subscriber_key] = matching.get(row.subscriber_key, False) or bool(row.has_lock)
                if row.filter not in report.starting:
                    earlier.add(row.subscriber_key)
        if matching:
            _INSERT.send(
                connection,
                [
                    {"workitem_key": workitem_key, "subscriber_key": subscriber, "state": int(state_of(has_lock))}
                    for subscriber, has_lock in matching.items()
                ],
            )
        recipients = sorted(self._subscribers | matching.keys())
        origin = events.Origin(partition_key, workitem_key, uid)
        new = sorted(matching.keys() - earlier)
        if new and report.initial is not None:
            events.write(connection, origin, [report.initial], report.time, EventKind.INITIAL, new)
        events.write(connection, origin, report.events, report.time, EventKind.CHANGE, recipients)
