"""`dicomstore operations`: list, follow and cancel long-running operations."""

import json
from datetime import UTC
from typing import Annotated, Any

import typer
from dicomstore.v1 import operation_service_pb2 as pb
from dicomstore.v1 import (
    operation_service_pb2_grpc,
    operation_types_pb2,  # noqa: F401 - requests and results are unpacked by its messages
)
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as PackedMessage
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, QuietOption, Target, target
from cli.errors import FAILED, INTERRUPTED, run
from cli.output import data, problems, table

LIMIT = 100
POLL_S = 1
"""Interval of progress updates of a followed operation."""

_HEADINGS = ("Operation", "Type", "State", "Done", "Started (UTC)", "Last progress (UTC)")
_UNFINISHED = {pb.OPERATION_STATE_NOT_STARTED, pb.OPERATION_STATE_RUNNING, pb.OPERATION_STATE_CANCELING}


def operations(
    ctx: typer.Context,
    operation: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Show this operation instead of the newest ones.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show its progress until it finishes.")] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Stop it before its next step; completed steps are kept.")
    ] = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show the newest operations, or the progress of one; with --follow until it finishes.

    Exit code with --follow: 1 if the operation failed or was cancelled.
    """
    if operation is None and (follow or cancel):
        raise typer.BadParameter("--follow and --cancel need the ID of an operation.")
    chosen = target(ctx, core, None, quiet)
    work = _list(chosen, as_json) if operation is None else _one(chosen, operation, follow, cancel, as_json)
    run(work, core=chosen.core, interrupted=INTERRUPTED)


async def _list(chosen: Target, as_json: bool) -> int:
    async with chosen.channel() as channel:
        stub = operation_service_pb2_grpc.OperationServiceStub(channel)
        request = pb.ListOperationsRequest(page_size=LIMIT)
        answer = await stub.ListOperations(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    _show(answer.operations, as_json)
    return 0


async def _one(chosen: Target, operation_id: str, follow: bool, cancel: bool, as_json: bool) -> int:
    async with chosen.channel() as channel:
        stub = operation_service_pb2_grpc.OperationServiceStub(channel)
        if cancel:
            request: Any = pb.CancelOperationRequest(id=operation_id)
            answer = await stub.CancelOperation(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
        else:
            request = pb.GetOperationRequest(id=operation_id)
            answer = await stub.GetOperation(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
        found = answer.operation
        if follow:
            found = await followed(chosen, stub, found)
    _show([found], as_json)
    return FAILED if follow and found.state != pb.OPERATION_STATE_SUCCEEDED else 0


async def followed(chosen: Target, stub: Any, found: pb.Operation) -> pb.Operation:
    """Show the progress of an operation until it finishes; returns its final state."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=problems, disable=chosen.quiet, transient=True) as progress:
        task = progress.add_task(found.type, total=None)
        while True:
            progress.update(task, completed=found.done, total=found.total or None)
            if found.state not in _UNFINISHED:
                return found
            request = pb.WaitOperationRequest(id=found.id, timeout_seconds=POLL_S)
            answer = await stub.WaitOperation(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
            found = answer.operation


def _show(found: Any, as_json: bool) -> None:
    if as_json:
        for operation in found:
            typer.echo(json.dumps(to_json(operation)))
        return
    rows = table("", *_HEADINGS, folds={"Operation"})
    for operation in found:
        rows.add_row(*to_row(operation))
    if rows.row_count:
        data.print(rows)
    for operation in found:
        if operation.error:
            problems.print(f"{operation.id}: {operation.error}", soft_wrap=True)


def to_json(operation: pb.Operation) -> dict[str, object]:
    """Return an operation as printed by `--json`."""
    return {
        "id": operation.id,
        "type": operation.type,
        "state": _word(pb.OperationState, operation.state),
        "created": operation.created.ToDatetime(UTC).isoformat(),
        "updated": operation.updated.ToDatetime(UTC).isoformat(),
        "percent_complete": operation.percent_complete,
        "done": operation.done,
        "total": operation.total,
        "failed": operation.failed,
        "request": _unpacked(operation.request),
        "result": _unpacked(operation.result),
        "error": operation.error,
    }


def to_row(operation: pb.Operation) -> tuple[str, ...]:
    """Return an operation as the cells of a table row."""
    return (
        operation.id,
        operation.type,
        _word(pb.OperationState, operation.state),
        f"{operation.done} of {operation.total} ({operation.percent_complete} %)",
        operation.created.ToDatetime().isoformat(sep=" ", timespec="seconds"),
        operation.updated.ToDatetime().isoformat(sep=" ", timespec="seconds"),
    )


def _unpacked(message: PackedMessage) -> dict[str, Any]:
    """Return a request or result as JSON; empty if there is none, or one newer than this program."""
    try:
        unpacked: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    except TypeError:
        return {}
    return {name: value for name, value in unpacked.items() if name != "@type"}


def _word(enum: object, value: int) -> str:
    """Return `not started` of OPERATION_STATE_NOT_STARTED; a value newer than this program stays a number."""
    try:
        name: str = enum.Name(value)  # type: ignore[attr-defined]
    except ValueError:
        return str(value)
    return name.removeprefix("OPERATION_STATE_").replace("_", " ").lower()
