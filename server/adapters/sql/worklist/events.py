"""Writing the log of events.

SQLite numbers events in the transaction that writes them. In PostgreSQL they wait in `unsequenced_workitem_events`
until a sequencer numbers them, see `writing.sequencing`.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, insert, text

from server.adapters.sql.core.prepared import Prepared
from server.adapters.sql.core.times import to_microseconds
from server.adapters.sql.tables.worklist import workitem_event_recipients, workitem_events
from server.model.worklist.event import Event, EventKind

_TAKE = Prepared(text("UPDATE workitem_event_log SET position = position + :number RETURNING position"))
_INSERT = Prepared(insert(workitem_events))
_INSERT_RECIPIENTS = Prepared(insert(workitem_event_recipients))
_COLUMNS = [name for name in workitem_events.c.keys() if name != "position"]  # noqa: SIM118 - not a mapping
_INSERT_UNSEQUENCED = Prepared(
    text(
        f"INSERT INTO unsequenced_workitem_events (key, {', '.join(_COLUMNS)}) "  # noqa: S608 - our names
        f"VALUES (nextval('workitem_event_keys'), {', '.join(f':{name}' for name in _COLUMNS)})"
    )
)


class Origin(NamedTuple):
    """The workitem of an event."""

    partition_key: int
    workitem_key: int
    workitem_uid: str


def write(
    connection: Connection,
    origin: Origin,
    events: Sequence[Event],
    time: datetime,
    kind: EventKind,
    recipients: Collection[int],
) -> None:
    """Write events, in order, for subscribers with these keys."""
    if not events:
        return
    rows = [
        {
            **origin._asdict(),
            "kind": int(kind),
            "type": int(event.type),
            "time": to_microseconds(time),
            "information": event.information,
            "recipients": " ".join(map(str, recipients)),
        }
        for event in events
    ]
    if connection.dialect.name != "sqlite":
        _INSERT_UNSEQUENCED.send(connection, rows)
        return
    last = int(_TAKE.tuples(connection, {"number": len(rows)})[0][0])
    numbered = list(enumerate(rows, start=last - len(rows) + 1))
    _INSERT.send(connection, [{"position": position, **row} for position, row in numbered])
    addressed = [{"subscriber_key": key, "position": position} for position, _ in numbered for key in recipients]
    if addressed:
        _INSERT_RECIPIENTS.send(connection, addressed)
