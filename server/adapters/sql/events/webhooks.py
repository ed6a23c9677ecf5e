"""The record of webhooks, as administrators see it."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql.expression import ColumnElement

from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.events.event_rows import events_at
from server.adapters.sql.events.study_events import progress_of
from server.adapters.sql.tables.events import webhook_events, webhooks
from server.model.events.webhook import (
    Backlog,
    EventPosition,
    EventType,
    Handled,
    Health,
    Undelivered,
    Webhook,
    WebhookFilter,
)
from server.model.ids import PartitionName

_w, _e = webhooks.c, webhook_events.c
_OF_ID = select(webhooks).where(_w.id == bindparam("of_id"))


class SqlWebhooks:
    """`server.ports.events.webhooks.Webhooks` in a database."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def add(self, webhook: Webhook, limit: int) -> bool:
        """See the port."""

        def work(connection: Connection) -> bool:
            count, last = connection.execute(select(func.count(), func.coalesce(func.max(_w.key), 0))).one()
            if count >= limit:
                return False
            progress = progress_of(connection)
            row = _administered(webhook) | {
                "key": last + 1,
                "id": webhook.id,
                "creator": webhook.creator,
                "created": to_microseconds(webhook.created),
                # Entries from before the upgrade to webhooks have no events.
                "sequence": max(progress.sequence, progress.silent_sequence),
                "number": progress.number,
                "failures": 0,
                "problem": "",
            }
            connection.execute(insert(webhooks), row)
            return True

        return await self._transactions.write(work, alone=True)

    async def list(self) -> Sequence[Webhook]:
        """See the port."""
        every = select(webhooks).order_by(_w.key)
        return await self._transactions.read(lambda connection: [webhook_of(row) for row in connection.execute(every)])

    async def find(self, webhook_id: str) -> Webhook | None:
        """See the port."""

        def work(connection: Connection) -> Webhook | None:
            row = connection.execute(_OF_ID, {"of_id": webhook_id}).one_or_none()
            return None if row is None else webhook_of(row)

        return await self._transactions.read(work)

    async def replace(self, webhook: Webhook) -> bool:
        """See the port."""
        changed = update(webhooks).where(_w.id == webhook.id).values(_administered(webhook))
        return await self._transactions.write(lambda connection: connection.execute(changed).rowcount > 0)

    async def remove(self, webhook_id: str) -> bool:
        """See the port."""

        def work(connection: Connection) -> bool:
            row = locked(connection, webhook_id)
            if row is None:
                return False
            connection.execute(delete(webhook_events).where(_e.webhook_key == row.key))
            connection.execute(delete(webhooks).where(_w.key == row.key))
            return True

        return await self._transactions.write(work)

    async def backlogs(self) -> Mapping[str, Backlog]:
        """See the port."""
        counts = (
            select(_w.id, func.count(case((_e.dead.is_(None), 1))), func.count(_e.dead))
            .join_from(webhook_events, webhooks, _w.key == _e.webhook_key)
            .group_by(_w.id)
        )
        return await self._transactions.read(
            lambda connection: {row[0]: Backlog(row[1], row[2]) for row in connection.execute(counts)}
        )

    async def dead(self, webhook_id: str, after: EventPosition, limit: int) -> Sequence[Undelivered]:
        """See the port."""
        page = (
            select(webhook_events)
            .join(webhooks, _w.key == _e.webhook_key)
            .where(_w.id == webhook_id, _e.dead.is_not(None), is_after(after))
            .order_by(_e.sequence, _e.number)
            .limit(limit)
        )
        return await self._transactions.read(lambda connection: undelivered(connection, connection.execute(page).all()))

    async def retry(self, webhook_id: str, positions: Collection[EventPosition] | None, now: Any) -> int:
        """See the port."""

        def work(connection: Connection) -> int:
            row = locked(connection, webhook_id)
            if row is None:
                return 0
            chosen = _dead(row.key, positions)
            of_studies = tuple_(_e.partition_key, _e.study_uid).in_(
                select(_e.partition_key, _e.study_uid).where(chosen)
            )
            waiting = and_(_e.webhook_key == row.key, _e.dead.is_(None))
            connection.execute(update(webhook_events).where(waiting, of_studies).values(next_attempt=None))
            new = {"dead": None, "attempts": 0, "first_attempt": None, "problem": ""}
            count = connection.execute(update(webhook_events).where(chosen).values(new)).rowcount
            earlier = webhook_events.alias("earlier")
            is_first = ~exists().where(
                earlier.c.webhook_key == row.key,
                earlier.c.partition_key == _e.partition_key,
                earlier.c.study_uid == _e.study_uid,
                earlier.c.dead.is_(None),
                or_(
                    earlier.c.sequence < _e.sequence,
                    and_(earlier.c.sequence == _e.sequence, earlier.c.number < _e.number),
                ),
            )
            first = update(webhook_events).where(waiting, _e.next_attempt.is_(None), is_first)
            connection.execute(first.values(next_attempt=to_microseconds(now)))
            return count

        return await self._transactions.write(work)

    async def forget(self, webhook_id: str, positions: Collection[EventPosition] | None) -> int:
        """See the port."""

        def work(connection: Connection) -> int:
            row = locked(connection, webhook_id)
            if row is None:
                return 0
            return connection.execute(delete(webhook_events).where(_dead(row.key, positions))).rowcount

        return await self._transactions.write(work)

    async def forget_dead(self, before: datetime) -> int:
        """See the port."""
        is_old = _e.dead < to_microseconds(before)
        found = select(_e.dead).where(is_old).limit(1)
        if await self._transactions.read(lambda connection: connection.execute(found).scalar()) is None:
            return 0
        old = delete(webhook_events).where(is_old)
        return await self._transactions.write(lambda connection: connection.execute(old).rowcount)


def locked(connection: Connection, webhook_id: str) -> Any:
    """Return the row of a webhook, or None; no other transaction changes its events until the end of this one."""
    return connection.execute(_OF_ID.with_for_update(), {"of_id": webhook_id}).one_or_none()


def is_after(position: EventPosition) -> ColumnElement[bool]:
    """Return the condition for events after a position."""
    return or_(_e.sequence > position.sequence, and_(_e.sequence == position.sequence, _e.number > position.number))


def undelivered(connection: Connection, rows: Sequence[Any]) -> list[Undelivered]:
    """Return the events of rows."""
    positions = [EventPosition(row.sequence, row.number) for row in rows]
    events = events_at(connection, positions)
    return [
        Undelivered(
            event=events[position],
            attempts=row.attempts,
            first_attempt=None if row.first_attempt is None else to_datetime(row.first_attempt),
            problem=row.problem,
            dead=None if row.dead is None else to_datetime(row.dead),
        )
        for position, row in zip(positions, rows, strict=True)
        if position in events
    ]


def webhook_of(row: Any) -> Webhook:
    """Return the webhook of a row."""
    return Webhook(
        id=row.id,
        url=row.url,
        secrets=tuple(row.secret.split()),
        label=row.label,
        filter=WebhookFilter(
            frozenset(map(EventType, json.loads(row.types))), frozenset(map(PartitionName, json.loads(row.partitions)))
        ),
        is_enabled=bool(row.is_enabled),
        creator=row.creator,
        created=to_datetime(row.created),
        handled=Handled(row.sequence, row.number),
        health=Health(row.failures, row.problem, None if row.succeeded is None else to_datetime(row.succeeded)),
    )


def _administered(webhook: Webhook) -> dict[str, Any]:
    """Return the columns that administrators can change."""
    return {
        "url": webhook.url,
        "secret": " ".join(webhook.secrets),
        "label": webhook.label,
        "types": json.dumps(sorted(webhook.filter.types)),
        "partitions": json.dumps(sorted(webhook.filter.partitions)),
        "is_enabled": int(webhook.is_enabled),
    }


def _dead(key: int, positions: Collection[EventPosition] | None) -> ColumnElement[bool]:
    chosen = and_(_e.webhook_key == key, _e.dead.is_not(None))
    if positions is None:
        return chosen
    wanted = [(position.sequence, position.number) for position in positions]
    return and_(chosen, tuple_(_e.sequence, _e.number).in_(wanted))
