"""The record of what has been sent to webhooks."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, tuple_, update

from server.adapters.sql.core.times import to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.events.event_rows import ENTRIES, of_entry, of_study
from server.adapters.sql.events.leases import is_held
from server.adapters.sql.events.study_events import EVENTS, event_of, progress_of
from server.adapters.sql.events.webhooks import locked, undelivered, webhook_of
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.tables.changes import changes
from server.adapters.sql.tables.events import study_events, webhook_events, webhooks
from server.model.events.webhook import (
    OF_ACTION,
    OF_KIND,
    Event,
    EventPosition,
    Handled,
    Health,
    Undelivered,
    Webhook,
)
from server.ports.events.webhooks import LEASE, Attempt, NewEvents

_SCANNED = 5000
"""Number of entries that one query reads at most, however few of them a webhook gets."""

_w, _e = webhooks.c, webhook_events.c


class SqlDeliveries:
    """`server.ports.events.webhooks.Deliveries` in a database."""

    def __init__(self, transactions: Transactions, partition_keys: PartitionKeys) -> None:
        self._transactions = transactions
        self._partition_keys = partition_keys

    async def new(self, webhook_id: str, limit: int, max_waiting: int) -> NewEvents | None:
        """See the port."""

        def work(connection: Connection) -> NewEvents | None:
            row = connection.execute(select(webhooks).where(_w.id == webhook_id)).one_or_none()
            if row is None or not row.is_enabled:
                return None
            waiting = select(_e.sequence).where(_e.webhook_key == row.key, _e.dead.is_(None)).limit(max_waiting)
            if connection.execute(select(func.count()).select_from(waiting.subquery())).scalar_one() >= max_waiting:
                return None
            return self._new(connection, row.key, webhook_of(row), limit)

        return await self._transactions.read(work)

    def _new(self, connection: Connection, key: int, webhook: Webhook, limit: int) -> NewEvents:
        before, progress = webhook.handled, progress_of(connection)
        types, partitions = webhook.filter.types, webhook.filter.partitions
        horizon = max(before.sequence, min(progress.sequence, before.sequence + _SCANNED))
        entries = ENTRIES.where(changes.c.sequence > before.sequence, changes.c.sequence <= horizon)
        of_studies = EVENTS.where(study_events.c.number > before.number, study_events.c.sequence <= horizon)
        if partitions:
            keys = self._partition_keys.of(connection, partitions).values()
            entries = entries.where(changes.c.partition_key.in_(keys))
            of_studies = of_studies.where(study_events.c.partition_key.in_(keys))
        if types:
            actions = [int(action) for action, type_ in OF_ACTION.items() if type_ in types]
            kinds = [int(kind) for kind, type_ in OF_KIND.items() if type_ in types]
            entries = entries.where(changes.c.action.in_(actions))
            of_studies = of_studies.where(study_events.c.kind.in_(kinds))
        found = [of_entry(row) for row in connection.execute(entries.order_by(changes.c.sequence).limit(limit))]
        page = of_studies.order_by(study_events.c.number).limit(limit)
        found_of_studies = [of_study(event_of(row)) for row in connection.execute(page)]
        # Where a page is full, the other one may have later events.
        for one in (found, found_of_studies):
            if len(one) == limit:
                horizon = min(horizon, one[-1].position.sequence)
        events = sorted(
            (event for event in (*found, *found_of_studies) if event.position.sequence <= horizon),
            key=lambda event: event.position,
        )
        number = max((event.position.number for event in events), default=0)
        to = Handled(horizon, max(before.number, number))
        return NewEvents(events, before, to, self._blocked(connection, key, events))

    async def handled(
        self,
        holder: str,
        webhook_id: str,
        found: NewEvents,
        failed: Mapping[EventPosition, Attempt | None],
        health: Health,
        now: datetime,
    ) -> bool:
        """See the port."""

        def work(connection: Connection) -> bool:
            row = _locked_by(connection, holder, webhook_id)
            if row is None or Handled(row.sequence, row.number) != found.before:
                return False
            if failed:
                self._add(
                    connection, row.key, [event for event in found.events if event.position in failed], failed, now
                )
            at = {"sequence": found.to.sequence, "number": found.to.number}
            connection.execute(update(webhooks).where(_w.key == row.key).values(at | _columns(health)))
            return True

        return await self._transactions.write(work)

    def _add(
        self,
        connection: Connection,
        key: int,
        events: Sequence[Event],
        failed: Mapping[EventPosition, Attempt | None],
        now: datetime,
    ) -> None:
        blocked = set(self._blocked(connection, key, events))
        keys = self._partition_keys.of(connection, {event.resource.partition for event in events})
        rows = []
        for event in events:
            attempt = failed[event.position]
            row = {
                "webhook_key": key,
                "sequence": event.position.sequence,
                "number": event.position.number,
                "partition_key": keys[event.resource.partition],
                "study_uid": event.resource.study,
                "attempts": 0,
                "first_attempt": None,
                "next_attempt": None,
                "dead": None,
                "problem": "",
            }
            due = now
            if attempt is not None:
                row |= {"attempts": 1, "first_attempt": to_microseconds(attempt.at), "problem": attempt.problem}
                if attempt.next is None:
                    row["dead"] = to_microseconds(attempt.at)
                due = attempt.next or now
            if row["dead"] is None:
                if event.study not in blocked:
                    row["next_attempt"] = to_microseconds(due)
                blocked.add(event.study)
            rows.append(row)
        connection.execute(insert(webhook_events), rows)

    def _blocked(self, connection: Connection, key: int, events: Sequence[Event]) -> frozenset[tuple[str, str]]:
        """Return those of the studies of some events that have undelivered events."""
        studies = {event.study for event in events}
        if not studies:
            return frozenset()
        keys = self._partition_keys.of(connection, {partition for partition, _ in studies})
        names = {number: name for name, number in keys.items()}
        wanted = [(keys[partition], study) for partition, study in studies]
        blocked = (
            select(_e.partition_key, _e.study_uid)
            .where(_e.webhook_key == key, _e.dead.is_(None), tuple_(_e.partition_key, _e.study_uid).in_(wanted))
            .distinct()
        )
        return frozenset((names[row.partition_key], row.study_uid) for row in connection.execute(blocked))

    async def due(self, webhook_id: str, now: datetime, limit: int) -> Sequence[Undelivered]:
        """See the port."""
        page = (
            select(webhook_events)
            .join(webhooks, _w.key == _e.webhook_key)
            .where(_w.id == webhook_id, _w.is_enabled == 1, _e.next_attempt <= to_microseconds(now))
            .order_by(_e.next_attempt)
            .limit(limit)
        )
        return await self._transactions.read(lambda connection: undelivered(connection, connection.execute(page).all()))

    async def attempted(
        self, holder: str, webhook_id: str, event: Event, attempt: Attempt, health: Health
    ) -> Undelivered | None:
        """See the port."""

        def work(connection: Connection) -> Undelivered | None:
            row = _locked_by(connection, holder, webhook_id)
            if row is None:
                return None
            connection.execute(update(webhooks).where(_w.key == row.key).values(_columns(health)))
            position = {"sequence": event.position.sequence, "number": event.position.number}
            this = [_e.webhook_key == row.key, *(_e[name] == value for name, value in position.items())]
            at = to_microseconds(attempt.at)
            if not attempt.problem:
                connection.execute(delete(webhook_events).where(*this))
            else:
                values = {
                    "attempts": _e.attempts + 1,
                    "first_attempt": func.coalesce(_e.first_attempt, at),
                    "problem": attempt.problem,
                    "next_attempt": None if attempt.next is None else to_microseconds(attempt.next),
                    "dead": at if attempt.next is None else None,
                }
                connection.execute(update(webhook_events).where(*this).values(values))
            first = self._first(connection, row.key, event)
            if first is None or (attempt.problem and EventPosition(first.sequence, first.number) == event.position):
                return None
            if attempt.problem and attempt.next is not None:
                # A dead letter was retried meanwhile, which comes first.
                connection.execute(update(webhook_events).where(*this).values(next_attempt=None))
            is_first = [_e.webhook_key == row.key, _e.sequence == first.sequence, _e.number == first.number]
            connection.execute(update(webhook_events).where(*is_first).values(next_attempt=at))
            return next(iter(undelivered(connection, [first])), None)

        return await self._transactions.write(work)

    def _first(self, connection: Connection, key: int, event: Event) -> Any:
        """Return the row of the first event of the same study that is not dead."""
        partition, study = event.study
        first = (
            select(webhook_events)
            .where(
                _e.webhook_key == key,
                _e.partition_key == self._partition_keys.one(connection, partition),
                _e.study_uid == study,
                _e.dead.is_(None),
            )
            .order_by(_e.sequence, _e.number)
            .limit(1)
        )
        return connection.execute(first).one_or_none()

    async def recovered(self, holder: str, webhook_id: str, now: datetime) -> None:
        """See the port."""

        def work(connection: Connection) -> None:
            row = _locked_by(connection, holder, webhook_id)
            if row is not None:
                at = to_microseconds(now)
                waiting = update(webhook_events).where(_e.webhook_key == row.key, _e.next_attempt > at)
                connection.execute(waiting.values(next_attempt=at))

        await self._transactions.write(work)


def _locked_by(connection: Connection, holder: str, webhook_id: str) -> Any:
    """Return the row of a webhook, locked, if `holder` has the lease; otherwise None."""
    return locked(connection, webhook_id) if is_held(connection, LEASE, holder) else None


def _columns(health: Health) -> dict[str, Any]:
    return {
        "failures": health.failures,
        "problem": health.problem,
        "succeeded": None if health.succeeded is None else to_microseconds(health.succeeded),
    }
