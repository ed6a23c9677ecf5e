"""The record of study events."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from server.adapters.sql.changes import bound_of
from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.times import to_datetime, to_microseconds
from server.adapters.sql.core.transactions import Transactions
from server.adapters.sql.partitions import PartitionKeys
from server.adapters.sql.tables.archive import partitions
from server.adapters.sql.tables.changes import changes
from server.adapters.sql.tables.events import study_event_progress, study_events, study_states
from server.adapters.sql.tables.instances import versions
from server.model.change import ChangeAction
from server.model.events.study_event import (
    Progress,
    StudyChanges,
    StudyEntry,
    StudyEvent,
    StudyEventKind,
    StudyState,
    Unprocessed,
)
from server.model.ids import PartitionName, Uid

_AFTER_ALL = (1 << 63) - 1
_p, _s, _e = study_event_progress.c, study_states.c, study_events.c
_PROGRESS = Prepared(select(_p.sequence, _p.silent_sequence, _p.number).where(_p.key == 1))
# The first version of an instance has the same number as the instance; a restored one gets a new number.
_RESTORED = versions.alias("restored")
_ENTRIES = Prepared(
    select(
        changes.c.sequence,
        changes.c.time,
        changes.c.action,
        _RESTORED.c.version.label("restored"),
        partitions.c.name,
        changes.c.study_uid,
    )
    .join_from(changes, partitions, partitions.c.key == changes.c.partition_key)
    .outerjoin(
        _RESTORED,
        and_(
            changes.c.action == int(ChangeAction.CREATE),
            _RESTORED.c.version == changes.c.version,
            _RESTORED.c.instance_key != _RESTORED.c.version,
        ),
    )
    .where(changes.c.sequence > bindparam("after"), changes.c.sequence < bindparam("below"))
    .order_by(changes.c.sequence)
    .limit(bindparam("most"))
)
_STATES = select(study_states, partitions.c.name.label("partition")).join_from(
    study_states, partitions, partitions.c.key == _s.partition_key
)
EVENTS = (
    select(study_events, partitions.c.name.label("partition"), changes.c.trace)
    .join_from(study_events, partitions, partitions.c.key == _e.partition_key)
    .outerjoin(changes, changes.c.sequence == _e.last_sequence)
)
_COUNTS = ("created", "updated", "deleted", "restored")


class SqlStudyEvents:
    """`server.ports.events.study_events.StudyEvents` in a database."""

    def __init__(self, transactions: Transactions, partition_keys: PartitionKeys) -> None:
        self._transactions = transactions
        self._partition_keys = partition_keys

    async def unprocessed(self, limit: int, quiet_since: datetime) -> Unprocessed:
        """See the port."""
        return await self._transactions.read(
            lambda connection: _unprocessed(connection, limit, to_microseconds(quiet_since), self._partition_keys)
        )

    async def processed(
        self, before: Progress, to: Progress, states: Collection[StudyState], events: Sequence[StudyEvent]
    ) -> bool:
        """See the port."""

        def work(connection: Connection) -> bool:
            if not _advance(connection, before, to):
                return False
            names = {state.partition for state in states}
            keys = self._partition_keys.of(connection, names)
            _write_states(connection, states, keys)
            if events:
                connection.execute(insert(study_events), [_event_row(event, keys) for event in events])
            return True

        return await self._transactions.write(work)

    async def progress(self) -> Progress:
        """See the port."""
        return await self._transactions.read(progress_of)

    async def list(
        self, after_number: int, limit: int, partitions: frozenset[PartitionName] | None = None
    ) -> Sequence[StudyEvent]:
        """See the port."""

        def work(connection: Connection) -> Sequence[StudyEvent]:
            page = EVENTS.where(_e.number > after_number).order_by(_e.number).limit(limit)
            if partitions is not None:
                keys = self._partition_keys.of(connection, partitions).values()
                page = page.where(_e.partition_key.in_(keys))
            return [event_of(row) for row in connection.execute(page)]

        return await self._transactions.read(work)


def progress_of(connection: Connection) -> Progress:
    """Return how far the change feed has been processed."""
    rows = _PROGRESS.tuples(connection, {})
    return Progress(*rows[0]) if rows else Progress()


def _unprocessed(connection: Connection, limit: int, quiet_since: int, partition_keys: PartitionKeys) -> Unprocessed:
    progress = progress_of(connection)
    bound = bound_of(connection)
    below = _AFTER_ALL if bound is None else bound
    found = _ENTRIES.tuples(connection, {"after": progress.sequence, "below": below, "most": limit})
    entries = tuple(
        StudyEntry(
            sequence,
            to_datetime(time),
            ChangeAction(action),
            restored is not None,
            PartitionName(partition),
            Uid(study),
        )
        for sequence, time, action, restored, partition, study in found
    )
    is_complete = bound is None and len(entries) < limit
    states = {}
    if studies := {(entry.partition, entry.study) for entry in entries}:
        keys = partition_keys.of(connection, {partition for partition, _ in studies})
        wanted = [(keys[partition], study) for partition, study in studies]
        states = _states(connection, _STATES.where(_is_one_of(connection, wanted)))
    if is_complete:
        states |= _states(connection, _STATES.where(_s.time <= quiet_since).order_by(_s.time).limit(limit))
    return Unprocessed(progress, entries, tuple(states.values()), is_complete)


def _is_one_of(connection: Connection, wanted: Sequence[tuple[int, str]]) -> Any:
    """Return the condition for the states of some studies."""
    by_partition: dict[int, list[str]] = {}
    for key, study in wanted:
        by_partition.setdefault(key, []).append(study)
    return or_(*(and_(_s.partition_key == key, _s.study_uid.in_(uids)) for key, uids in by_partition.items()))


def _states(connection: Connection, query: Any) -> dict[tuple[str, str], StudyState]:
    return {
        (row.partition, row.study_uid): StudyState(
            PartitionName(row.partition),
            Uid(row.study_uid),
            row.instances,
            StudyChanges(row.created, row.updated, row.deleted, row.restored),
            row.sequence,
            None if row.time is None else to_datetime(row.time),
        )
        for row in connection.execute(query)
    }


def _advance(connection: Connection, before: Progress, to: Progress) -> bool:
    if before == Progress() and not _PROGRESS.tuples(connection, {}):
        row = {"key": 1, "sequence": 0, "silent_sequence": 0, "number": 0}
        connection.execute(_insert(connection, study_event_progress).on_conflict_do_nothing(), row)
    unchanged = update(study_event_progress).where(_p.sequence == before.sequence, _p.number == before.number)
    moved = connection.execute(unchanged.values(sequence=to.sequence, number=to.number))
    return moved.rowcount == 1


def _insert(connection: Connection, table: Table) -> Any:
    """Return an INSERT with the conflict clauses of the database."""
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)


def _write_states(connection: Connection, states: Collection[StudyState], keys: Mapping[PartitionName, int]) -> None:
    if kept := [state for state in states if state.instances > 0]:
        row = _insert(connection, study_states)
        values = {name: row.excluded[name] for name in ("instances", *_COUNTS, "sequence", "time")}
        written = row.on_conflict_do_update(index_elements=["partition_key", "study_uid"], set_=values)
        connection.execute(written, [_state_row(state, keys) for state in kept])
    if gone := [(keys[state.partition], state.study) for state in states if state.instances <= 0]:
        connection.execute(delete(study_states).where(tuple_(_s.partition_key, _s.study_uid).in_(gone)))


def _counts(counted: StudyChanges) -> dict[str, int]:
    return {name: getattr(counted, name) for name in _COUNTS}


def _state_row(state: StudyState, keys: Mapping[PartitionName, int]) -> dict[str, Any]:
    return {
        "partition_key": keys[state.partition],
        "study_uid": state.study,
        "instances": state.instances,
        **_counts(state.changes),
        "sequence": state.sequence,
        "time": None if state.time is None else to_microseconds(state.time),
    }


def _event_row(event: StudyEvent, keys: Mapping[PartitionName, int]) -> dict[str, Any]:
    return {
        "number": event.number,
        "kind": int(event.kind),
        "time": to_microseconds(event.time),
        "sequence": event.sequence,
        "last_sequence": event.last_sequence,
        "partition_key": keys[event.partition],
        "study_uid": event.study,
        "instances": event.instances,
        **_counts(event.changes),
    }


def event_of(row: Any) -> StudyEvent:
    """Return the event of a row with the name of its partition."""
    return StudyEvent(
        number=row.number,
        kind=StudyEventKind(row.kind),
        time=to_datetime(row.time),
        sequence=row.sequence,
        last_sequence=row.last_sequence,
        partition=PartitionName(row.partition),
        study=Uid(row.study_uid),
        instances=row.instances,
        changes=StudyChanges(row.created, row.updated, row.deleted, row.restored),
        trace=row.trace or "",
    )
