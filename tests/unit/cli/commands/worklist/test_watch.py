"""The live table of `dicomstore workitems watch`, and the lines of a pipe."""

import json
from io import StringIO
from typing import Any

from dicomstore.v1 import workitem_event_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.live import Live

from cli.commands.worklist.watch import LiveTable, to_json, to_line

NOON = Timestamp(seconds=1_772_366_400)


def workitem(uid: str, state: str = "SCHEDULED") -> dict[str, Any]:
    return {"00080018": {"vr": "UI", "Value": [uid]}, "00741000": {"vr": "CS", "Value": [state]}}


def event(uid: str) -> pb.WorkitemEvent:
    report = {"00741000": {"vr": "CS", "Value": ["SCHEDULED"]}}
    return pb.WorkitemEvent(
        position=7,
        workitem_uid=uid,
        type=pb.WORKITEM_EVENT_TYPE_STATE_REPORT,
        time=NOON,
        dicom_json=json.dumps(report).encode(),
    )


def shown(output: LiveTable) -> list[str]:
    """Return the rows of the table, without its heading."""
    console = Console(file=StringIO(), width=120)
    console.print(output.rendered())
    return console.file.getvalue().splitlines()[1:]  # type: ignore[attr-defined]


def live(height: int = 20) -> LiveTable:
    console = Console(file=StringIO(), width=120, height=height)
    return LiveTable(console, Live(console=console, auto_refresh=False))


def test_a_change_updates_the_row_of_its_workitem() -> None:
    output = live()
    output.begin([workitem("1.2"), workitem("1.1")])
    output.show(event("1.1"), workitem("1.1", "IN PROGRESS"))
    assert [row.split()[:2] for row in shown(output)] == [["1.2", "SCHEDULED"], ["1.1", "IN"]]


def test_a_new_workitem_comes_first_and_a_removed_one_vanishes() -> None:
    output = live()
    output.begin([workitem("1.1")])
    output.show(event("1.2"), workitem("1.2"))
    output.show(event("1.1"), None)
    assert [row.split()[0] for row in shown(output)] == ["1.2"]


def test_the_table_is_as_high_as_the_terminal() -> None:
    output = live(height=5)
    assert output.limit == 2
    output.begin([workitem("1.2"), workitem("1.1")])
    output.show(event("1.3"), workitem("1.3"))
    assert [row.split()[0] for row in shown(output)] == ["1.3", "1.2"]


def test_an_event_is_a_line_or_a_json_object() -> None:
    assert to_line(event("1.1"), workitem("1.1")) == "2026-03-01 12:00:00  state-report  1.1  SCHEDULED"
    assert to_line(event("1.1"), None) == "2026-03-01 12:00:00  state-report  1.1"
    printed = to_json(event("1.1"), None)
    assert (printed["position"], printed["time"], printed["type"]) == (7, "2026-03-01T12:00:00Z", "state-report")
    assert printed["event"]["00741000"]["Value"] == ["SCHEDULED"]
