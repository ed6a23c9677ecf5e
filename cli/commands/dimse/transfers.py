"""`dicomstore dimse pull`, `send` and `transfers`: transfers with remote application entities."""

import asyncio
import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from dicomstore.v1 import transfer_service_pb2 as pb
from dicomstore.v1 import transfer_service_pb2_grpc
from dicomstore.v1.resources_pb2 import Address
from dicomstore.v1.search_service_pb2 import Term
from google.protobuf import json_format
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, PartitionOption, QuietOption, Target, target
from cli.errors import FAILED, INTERRUPTED, NOT_EXECUTED, Failure, fail, run
from cli.output import data, print_rows, problems

LIMIT = 100
POLL_S = 1.0
"""Interval of progress updates of a followed transfer."""

_HEADINGS = ("Transfer", "Type", "Remote", "State", "Instances", "Attempts", "Created (UTC)", "Problem")
_FINISHED = (pb.TRANSFER_STATE_SUCCEEDED, pb.TRANSFER_STATE_FAILED, pb.TRANSFER_STATE_CANCELED)
_UIDS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")


class State(StrEnum):
    """State of a transfer in options."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class Method(StrEnum):
    """How a pull retrieves."""

    MOVE = "move"
    GET = "get"


RemoteArgument = Annotated[str, typer.Argument(metavar="REMOTE", help="Name in `dimse.remotes`.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Show the progress until the transfer finishes.")]


def pull(
    ctx: typer.Context,
    remote: RemoteArgument,
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY[/SERIES[/INSTANCE]]|KEY=VALUE...",
            help="UIDs, or search keys of studies that the remote matches, such as PatientID=123.",
        ),
    ],
    method: Annotated[
        Method | None, typer.Option("--method", help="C-MOVE or C-GET; by default that of the configuration.")
    ] = None,
    follow: FollowOption = False,
    partition: PartitionOption = None,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Retrieve studies from a remote, and print the id of the transfer.

    The DIMSE gateway performs it. Exit code with --follow: 1 if it fails or is cancelled.
    """
    wanted = pb.Pull(method=f"RETRIEVE_METHOD_{method.name}" if method else None)
    keys = [word.partition("=") for word in what if "=" in word]
    if keys and len(keys) != len(what):
        fail(Failure("UIDs and search keys exclude each other", exit_code=NOT_EXECUTED))
    wanted.keys.extend(Term(attribute=keyword, values=[value]) for keyword, _, value in keys)
    wanted.resources.extend([] if keys else map(_address, what))
    chosen = target(ctx, core, partition, quiet)
    request = pb.CreateTransferRequest(partition=chosen.partition, remote=remote, pull=wanted)
    run(_create(chosen, request, follow, as_json), core=chosen.core, interrupted=INTERRUPTED)


def send(
    ctx: typer.Context,
    remote: RemoteArgument,
    what: Annotated[list[str], typer.Argument(metavar="STUDY[/SERIES[/INSTANCE]]...", help="UIDs.")],
    follow: FollowOption = False,
    partition: PartitionOption = None,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Send studies, series or instances to a remote, and print the id of the transfer.

    The DIMSE gateway performs it. Exit code with --follow: 1 if it fails or is cancelled.
    """
    chosen = target(ctx, core, partition, quiet)
    wanted = pb.Send(resources=map(_address, what))
    request = pb.CreateTransferRequest(partition=chosen.partition, remote=remote, send=wanted)
    run(_create(chosen, request, follow, as_json), core=chosen.core, interrupted=INTERRUPTED)


def transfers(
    ctx: typer.Context,
    transfer: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Show this transfer instead of the newest ones.")
    ] = None,
    state: Annotated[State | None, typer.Option("--state", help="Only those in this state.")] = None,
    remote: Annotated[str | None, typer.Option("--remote", metavar="REMOTE", help="Only those with REMOTE.")] = None,
    follow: FollowOption = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Begin a failed, cancelled or waiting transfer again.")
    ] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel it; what was transferred remains.")] = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show the newest transfers, or one; those in state failed are dead letters.

    Exit code with --follow: 1 if the transfer fails or is cancelled.
    """
    if transfer is None and (follow or retry or cancel):
        raise typer.BadParameter("--follow, --retry and --cancel need the ID of a transfer.")
    if retry and cancel:
        raise typer.BadParameter("--retry and --cancel exclude each other.")
    chosen = target(ctx, core, None, quiet)
    if transfer is None:
        states = [] if state is None else [f"TRANSFER_STATE_{state.name}"]
        request = pb.ListTransfersRequest(page_size=LIMIT, remote=remote or "", states=states)
        run(_list(chosen, request, as_json), core=chosen.core)
    else:
        call = "RetryTransfer" if retry else "CancelTransfer" if cancel else "GetTransfer"
        run(_one(chosen, transfer, call, follow, as_json), core=chosen.core, interrupted=INTERRUPTED)


async def _create(chosen: Target, request: pb.CreateTransferRequest, follow: bool, as_json: bool) -> int:
    async with chosen.channel() as channel:
        stub = transfer_service_pb2_grpc.TransferServiceStub(channel)
        answer = await stub.CreateTransfer(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
        if not follow:
            typer.echo(_as_text([answer.transfer]) if as_json else answer.transfer.id)
            return 0
        return await _followed(chosen, stub, answer.transfer, as_json)


async def _list(chosen: Target, request: pb.ListTransfersRequest, as_json: bool) -> int:
    async with chosen.channel() as channel:
        stub = transfer_service_pb2_grpc.TransferServiceStub(channel)
        answer = await stub.ListTransfers(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    _show(answer.transfers, as_json)
    return 0


async def _one(chosen: Target, transfer: str, call: str, follow: bool, as_json: bool) -> int:
    requests = {
        "GetTransfer": pb.GetTransferRequest,
        "RetryTransfer": pb.RetryTransferRequest,
        "CancelTransfer": pb.CancelTransferRequest,
    }
    async with chosen.channel() as channel:
        stub = transfer_service_pb2_grpc.TransferServiceStub(channel)
        method = getattr(stub, call)
        answer = await method(requests[call](id=transfer), metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
        if follow:
            return await _followed(chosen, stub, answer.transfer, as_json)
    _show([answer.transfer], as_json)
    return 0


async def _followed(chosen: Target, stub: Any, found: pb.Transfer, as_json: bool) -> int:
    """Show the progress of a transfer until it finishes; return the exit code."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=problems, disable=chosen.quiet, transient=True) as progress:
        task = progress.add_task("", total=None)
        while found.state not in _FINISHED:
            await asyncio.sleep(POLL_S)
            request = pb.GetTransferRequest(id=found.id)
            answer = await stub.GetTransfer(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
            found = answer.transfer
            description = f"{_state_of(found)} {found.problem}".strip()
            progress.update(
                task, description=description, completed=found.progress.completed, total=found.progress.total or None
            )
    _show([found], as_json)
    return 0 if found.state == pb.TRANSFER_STATE_SUCCEEDED else FAILED


def _show(found: Sequence[pb.Transfer], as_json: bool) -> None:
    if as_json:
        typer.echo(_as_text(found))
    else:
        print_rows(data, _HEADINGS, [_row(one) for one in found], {"Type", "Remote", "State", "Problem"})


def _as_text(found: Sequence[pb.Transfer]) -> str:
    shown = [json_format.MessageToDict(one, preserving_proto_field_name=True) for one in found]
    return json.dumps({"transfers": shown}, indent=2)


def _row(one: pb.Transfer) -> Sequence[str]:
    done = f"{one.progress.completed:,}"
    if one.progress.total:
        done += f" of {one.progress.total:,}"
    created = one.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S")
    kind = one.WhichOneof("work") or "unknown"
    return (one.id, kind, one.remote, _state_of(one), done, str(one.attempts), created, one.problem)


def _state_of(one: pb.Transfer) -> str:
    return pb.TransferState.Name(one.state).removeprefix("TRANSFER_STATE_").lower()


def _address(word: str) -> Address:
    parts = word.strip("/").split("/")
    if len(parts) > len(_UIDS):
        fail(Failure(f"{word} is not STUDY, STUDY/SERIES or STUDY/SERIES/INSTANCE", exit_code=NOT_EXECUTED))
    return Address(**dict(zip(_UIDS, parts, strict=False)))
