"""Output of `dicomstore operations`: cli/commands/operations.py."""

from datetime import UTC, datetime

from dicomstore.v1 import operation_service_pb2 as pb
from dicomstore.v1.operation_types_pb2 import ReindexRequest

from cli.commands.operations import to_json, to_row


def an_operation() -> pb.Operation:
    operation = pb.Operation(
        id="a" * 32,
        type="reindex",
        state=pb.OPERATION_STATE_RUNNING,
        percent_complete=25,
        done=1,
        failed=1,
        total=4,
    )
    operation.request.Pack(ReindexRequest(tags=["00081010"]))
    operation.created.FromDatetime(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    operation.updated.FromDatetime(datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC))
    return operation


def test_json_has_all_fields_with_times_in_utc() -> None:
    assert to_json(an_operation()) == {
        "id": "a" * 32,
        "type": "reindex",
        "state": "running",
        "created": "2026-01-02T03:04:05+00:00",
        "updated": "2026-01-02T03:04:06+00:00",
        "percent_complete": 25,
        "done": 1,
        "total": 4,
        "failed": 1,
        "request": {"tags": ["00081010"]},
        "result": {},
        "error": "",
    }


def test_a_row_shows_the_progress() -> None:
    assert to_row(an_operation()) == (
        "a" * 32,
        "reindex",
        "running",
        "1 of 4 (25 %)",
        "2026-01-02 03:04:05",
        "2026-01-02 03:04:06",
    )


def test_a_state_newer_than_this_program_is_a_number() -> None:
    operation = an_operation()
    operation.state = 99  # type: ignore[assignment]
    assert to_row(operation)[2] == "99"


def test_a_request_newer_than_this_program_is_left_out() -> None:
    operation = an_operation()
    operation.request.type_url = "type.googleapis.com/dicomstore.v1.UnknownRequest"
    assert to_json(operation)["request"] == {}
