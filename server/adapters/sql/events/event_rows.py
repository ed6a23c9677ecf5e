"""Events as rows: entries of the change feed, and events of studies."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, select

from server.adapters.sql.core.times import to_datetime
from server.adapters.sql.events.study_events import EVENTS, event_of
from server.adapters.sql.tables.archive import partitions
from server.adapters.sql.tables.changes import changes
from server.model.change import ChangeAction
from server.model.events.study_event import StudyEvent
from server.model.events.webhook import OF_ACTION, OF_KIND, Event, EventPosition
from server.model.ids import Address, PartitionName, Uid

ENTRIES = select(changes, partitions.c.name.label("partition")).join_from(
    changes, partitions, partitions.c.key == changes.c.partition_key
)


def of_entry(row: Any) -> Event:
    """Return the event of an entry of the change feed with the name of its partition."""
    return Event(
        position=EventPosition(row.sequence),
        id=str(row.sequence),
        type=OF_ACTION[ChangeAction(row.action)],
        time=to_datetime(row.time),
        sequence=row.sequence,
        resource=Address(PartitionName(row.partition), Uid(row.study_uid), Uid(row.series_uid), Uid(row.sop_uid)),
        trace=row.trace or "",
    )


def of_study(value: StudyEvent) -> Event:
    """Return the event for webhooks."""
    return Event(
        position=EventPosition(value.sequence, value.number),
        id=value.id,
        type=OF_KIND[value.kind],
        time=value.time,
        sequence=value.last_sequence,
        resource=Address(value.partition, value.study),
        instances=value.instances,
        changes=value.changes,
        trace=value.trace,
    )


def events_at(connection: Connection, positions: Collection[EventPosition]) -> dict[EventPosition, Event]:
    """Return the events at some positions."""
    found: list[Event] = []
    if sequences := [position.sequence for position in positions if not position.number]:
        found += map(of_entry, connection.execute(ENTRIES.where(changes.c.sequence.in_(sequences))))
    if numbers := [position.number for position in positions if position.number]:
        rows = connection.execute(EVENTS.where(EVENTS.selected_columns.number.in_(numbers)))
        found += (of_study(event_of(row)) for row in rows)
    return {event.position: event for event in found}
