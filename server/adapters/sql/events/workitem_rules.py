"""The record of rules that create workitems."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, or_, select, update
from sqlalchemy.sql.expression import ColumnElement

from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.events.study_events import EVENTS, event_of, progress_of
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.tables.events import study_events, workitem_rule_events, workitem_rules
from server.adapters.sql.worklist.workitems import add
from server.model.errors import NotFound
from server.model.events.study_event import StudyEvent, StudyEventKind
from server.model.ids import PartitionName
from server.model.worklist.workitem import Workitem
from server.model.worklist.workitem_rule import (
    RuleDefinition,
    RuleEvent,
    RuleEvents,
    RuleFailure,
    RuleState,
    StudyQuery,
    WorkitemRule,
)
from server.ports.worklist.workitems import Reporter, unreported

_r, _e = workitem_rules.c, workitem_rule_events.c
_WAITING = (
    select(_e.rule_key, func.count().label("waiting"), func.max(_e.problem).label("problem"))
    .group_by(_e.rule_key)
    .subquery()
)
_RULES = select(workitem_rules, _WAITING.c.waiting, _WAITING.c.problem).outerjoin(
    _WAITING, _WAITING.c.rule_key == _r.key
)
_LOCKED = select(_r.key, _r.number).where(_r.id == bindparam("of_id")).with_for_update()
_NO_EVENTS = RuleEvents((), (), 0)


class SqlWorkitemRules:
    """`server.ports.worklist.workitem_rules.WorkitemRules` in a database."""

    def __init__(self, transactions: Transactions, partition_keys: PartitionKeys) -> None:
        self._transactions = transactions
        self._partition_keys = partition_keys

    async def add(self, rule: WorkitemRule, limit: int) -> bool:
        """See the port."""

        def work(connection: Connection) -> bool:
            count, last = connection.execute(select(func.count(), func.coalesce(func.max(_r.key), 0))).one()
            if count >= limit:
                return False
            row = _administered(rule) | {
                "key": last + 1,
                "id": rule.id,
                "creator": rule.creator,
                "created": to_microseconds(rule.created),
                "number": progress_of(connection).number,
                "workitems": 0,
                "failed": None,
            }
            connection.execute(insert(workitem_rules), row)
            return True

        return await self._transactions.write(work, alone=True)

    async def list(self) -> Sequence[WorkitemRule]:
        """See the port."""
        every = _RULES.order_by(_r.key)
        return await self._transactions.read(lambda connection: [_rule(row) for row in connection.execute(every)])

    async def due(self, now: datetime) -> Sequence[WorkitemRule]:
        """See the port."""
        is_due = exists().where(_e.rule_key == _r.key, _e.next_attempt <= to_microseconds(now))

        def work(connection: Connection) -> Sequence[WorkitemRule]:
            has_new = _r.number < progress_of(connection).number
            found = _RULES.where(_r.is_enabled == 1, or_(has_new, is_due)).order_by(_r.key)
            return [_rule(row) for row in connection.execute(found)]

        return await self._transactions.read(work)

    async def find(self, rule_id: str) -> WorkitemRule | None:
        """See the port."""

        def work(connection: Connection) -> WorkitemRule | None:
            row = connection.execute(_RULES.where(_r.id == rule_id)).one_or_none()
            return None if row is None else _rule(row)

        return await self._transactions.read(work)

    async def replace(self, rule: WorkitemRule, now: datetime) -> bool:
        """See the port."""

        def work(connection: Connection) -> bool:
            row = _locked(connection, rule.id)
            if row is None:
                return False
            connection.execute(update(workitem_rules).where(_r.key == row.key).values(_administered(rule)))
            of_rule = update(workitem_rule_events).where(_e.rule_key == row.key)
            connection.execute(of_rule.values(attempts=0, next_attempt=to_microseconds(now)))
            return True

        return await self._transactions.write(work)

    async def remove(self, rule_id: str) -> bool:
        """See the port."""

        def work(connection: Connection) -> bool:
            row = _locked(connection, rule_id)
            if row is None:
                return False
            connection.execute(delete(workitem_rule_events).where(_e.rule_key == row.key))
            connection.execute(delete(workitem_rules).where(_r.key == row.key))
            return True

        return await self._transactions.write(work)

    async def events(self, rule_id: str, now: datetime, limit: int, max_waiting: int) -> RuleEvents:
        """See the port."""

        def work(connection: Connection) -> RuleEvents:
            row = connection.execute(_RULES.where(_r.id == rule_id)).one_or_none()
            if row is None or not row.is_enabled:
                return _NO_EVENTS
            again = _again(connection, row.key, now, limit)
            if (row.waiting or 0) >= max_waiting:
                return RuleEvents(again, (), 0)
            return RuleEvents(again, *self._new(connection, row, limit))

        return await self._transactions.read(work)

    def _new(self, connection: Connection, rule: Any, limit: int) -> tuple[tuple[RuleEvent, ...], int]:
        """Return new events, and the number up to which there are no others."""
        last = progress_of(connection).number
        if last <= rule.number:
            return (), 0
        page = EVENTS.where(study_events.c.number > rule.number, study_events.c.kind == int(StudyEventKind.STABLE))
        if partitions := json.loads(rule.partitions):
            keys = self._partition_keys.of(connection, list(map(PartitionName, partitions))).values()
            page = page.where(study_events.c.partition_key.in_(keys))
        rows = connection.execute(page.order_by(study_events.c.number).limit(limit)).all()
        new = tuple(RuleEvent(event_of(row)) for row in rows)
        return new, new[-1].event.number if len(new) == limit else last

    async def applied(
        self,
        rule_id: str,
        event: StudyEvent,
        workitem: Workitem | None,
        *,
        is_new: bool,
        report: Reporter = unreported,
    ) -> bool:
        """See the port."""

        def work(connection: Connection) -> bool:
            key = _begun(connection, rule_id, event, is_new=is_new)
            if key is None:
                return False
            connection.execute(delete(workitem_rule_events).where(*_is(key, event)))
            if workitem is not None and self._is_added(connection, event, workitem, report):
                counted = update(workitem_rules).where(_r.key == key).values(workitems=_r.workitems + 1)
                connection.execute(counted)
            return True

        return await self._transactions.write(work)

    def _is_added(self, connection: Connection, event: StudyEvent, workitem: Workitem, report: Reporter) -> bool:
        try:
            return add(connection, self._partition_keys, event.partition, workitem, report)
        except NotFound:  # the partition has been deleted
            return False

    async def failed(self, rule_id: str, event: StudyEvent, failure: RuleFailure, *, is_new: bool) -> None:
        """See the port."""
        values = {"next_attempt": to_microseconds(failure.next), "problem": failure.problem}

        def work(connection: Connection) -> None:
            key = _begun(connection, rule_id, event, is_new=is_new)
            if key is None:
                return
            if is_new:
                row = {"rule_key": key, "number": event.number, "attempts": 1, **values}
                connection.execute(insert(workitem_rule_events), row)
            else:
                more = update(workitem_rule_events).where(*_is(key, event))
                connection.execute(more.values(attempts=_e.attempts + 1, **values))
            at = to_microseconds(failure.at)
            connection.execute(update(workitem_rules).where(_r.key == key).values(failed=at))

        await self._transactions.write(work)

    async def advance(self, rule_id: str, until: int) -> None:
        """See the port."""
        moved = update(workitem_rules).where(_r.id == rule_id, _r.number < until).values(number=until)
        await self._transactions.write(lambda connection: connection.execute(moved))


def _locked(connection: Connection, rule_id: str) -> Any:
    """Return the row of a rule, or None; no other transaction changes its events until the end of this one."""
    return connection.execute(_LOCKED, {"of_id": rule_id}).one_or_none()


def _begun(connection: Connection, rule_id: str, event: StudyEvent, *, is_new: bool) -> int | None:
    """Return the key of a rule whose application to an event is not recorded yet; otherwise None.

    A new event is recorded as one that the rule has been applied to, with all earlier ones.
    """
    row = _locked(connection, rule_id)
    if row is None:
        return None
    if is_new:
        if row.number >= event.number:
            return None
        connection.execute(update(workitem_rules).where(_r.key == row.key).values(number=event.number))
    elif connection.execute(select(_e.number).where(*_is(row.key, event))).one_or_none() is None:
        return None
    return int(row.key)


def _is(key: int, event: StudyEvent) -> tuple[ColumnElement[bool], ...]:
    return _e.rule_key == key, _e.number == event.number


def _again(connection: Connection, key: int, now: datetime, limit: int) -> tuple[RuleEvent, ...]:
    """Return the waiting events that are due, longest due first."""
    due = (
        select(_e.number, _e.attempts)
        .where(_e.rule_key == key, _e.next_attempt <= to_microseconds(now))
        .order_by(_e.next_attempt, _e.number)
        .limit(limit)
    )
    attempts = {row.number: row.attempts for row in connection.execute(due)}
    if not attempts:
        return ()
    rows = connection.execute(EVENTS.where(study_events.c.number.in_(attempts)).order_by(study_events.c.number))
    return tuple(RuleEvent(event_of(row), attempts[row.number]) for row in rows)


def _administered(rule: WorkitemRule) -> dict[str, Any]:
    """Return the columns that administrators can change."""
    definition, query = rule.definition, rule.definition.query
    written = {
        "terms": {attribute: list(values) for attribute, values in query.terms.items()},
        "fuzzy": query.fuzzy_matching,
        "empty": query.empty_value_matching,
    }
    return {
        "label": definition.label,
        "query": json.dumps(written),
        "partitions": json.dumps(sorted(definition.partitions)),
        "template": definition.template,
        "is_enabled": int(rule.is_enabled),
    }


def _rule(row: Any) -> WorkitemRule:
    query = json.loads(row.query)
    return WorkitemRule(
        id=row.id,
        definition=RuleDefinition(
            label=row.label,
            query=StudyQuery(
                {attribute: tuple(values) for attribute, values in query["terms"].items()},
                query["fuzzy"],
                query["empty"],
            ),
            partitions=frozenset(map(PartitionName, json.loads(row.partitions))),
            template=row.template,
        ),
        is_enabled=bool(row.is_enabled),
        creator=row.creator,
        created=to_datetime(row.created),
        state=RuleState(
            workitems=row.workitems,
            waiting=row.waiting or 0,
            problem=row.problem or "",
            failed=None if row.failed is None else to_datetime(row.failed),
        ),
    )
