"""`dicomstore blobs`: the stores of an archive's blobs, and moving blobs to the primary one."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from dicomstore.v1 import operation_service_pb2 as pb
from dicomstore.v1 import operation_service_pb2_grpc
from dicomstore.v1.operation_types_pb2 import MoveRequest, MoveResult
from google.protobuf.any_pb2 import Any as PackedMessage

from cli.commands.operations import followed, to_json
from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, QuietOption, Target, target
from cli.errors import FAILED, INTERRUPTED, Failure, run
from cli.output import data, in_bytes, problems, table
from cli.processes.environment import DatabaseOption, DataOption, environment_of
from cli.processes.programs import Module, last_lines, run_program
from common.counting import counted

blobs = typer.Typer(help="Show where blobs are stored, and move them to another store.", no_args_is_help=True)

_HEADINGS = ("Store", "Place", "Role", "Versions", "Size", "Old copies", "Kept until (UTC)")


@blobs.command()
def move(
    ctx: typer.Context,
    to: Annotated[
        str, typer.Option("--to", metavar="URL", help="The store to move to: it must be the setting `blobs`.")
    ],
    megabytes_per_second: Annotated[
        float,
        typer.Option(
            "--megabytes-per-second",
            min=0,
            help="Limit of what is copied; 0 for no limit, but with pauses as long as the work.",
            show_default=False,
        ),
    ] = 0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the id of the operation and return.")] = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Move all blobs from the stores of the setting `blobs_also` to the one of `blobs`, while the archive serves.

    First set `blobs` to the new store and `blobs_also` to the one until now, for all processes, and start them again.
    Interrupting this command does not stop the operation; `dicomstore operations ID --cancel` does. Exit code: 1 if
    blobs are left that could not be moved.
    """
    chosen = target(ctx, core, None, quiet)
    request = MoveRequest(to=to, max_bytes_per_second=round(megabytes_per_second * 1e6))
    run(_move(chosen, request, wait=not no_wait, as_json=as_json), core=chosen.core, interrupted=INTERRUPTED)


async def _move(chosen: Target, request: MoveRequest, *, wait: bool, as_json: bool) -> int:
    packed = PackedMessage()
    packed.Pack(request)
    async with chosen.channel() as channel:
        stub = operation_service_pb2_grpc.OperationServiceStub(channel)
        start = pb.StartOperationRequest(request=packed)
        answer = await stub.StartOperation(start, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
        found = answer.operation
        if wait:
            found = await followed(chosen, stub, found)
    if as_json:
        typer.echo(json.dumps(to_json(found)))
    elif not wait:
        typer.echo(found.id)
    if found.error:
        problems.print(f"{found.id}: {found.error}", soft_wrap=True, markup=False, highlight=False)
    result = MoveResult()
    found.result.Unpack(result)
    if wait and not (chosen.quiet or as_json):
        problems.print(_summary(result))
    return FAILED if wait and found.state != pb.OPERATION_STATE_SUCCEEDED else 0


def _summary(result: MoveResult) -> str:
    moved = f"{counted(result.versions_moved, 'version')} moved, {in_bytes(result.bytes_moved)}"
    if not result.HasField("old_copies_until"):
        return moved
    until = result.old_copies_until.ToDatetime().isoformat(sep=" ", timespec="minutes")
    return f"{moved}; the old copies are kept until {until} UTC: see `dicomstore blobs status`"


@blobs.command()
def status(
    data_directory: DataOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the stores of the archive, and what the index has in each.

    Run it on the machine of the core, with the core's settings. A further store without versions and old copies can be
    removed from the setting `blobs_also`.
    """
    environment = environment_of(data=data_directory, http=None, grpc=None, database=database)
    run(_status(environment, as_json=as_json))


async def _status(environment: Mapping[str, str], *, as_json: bool) -> int:
    code, output, errors = await run_program(Module.CORE, "stores", environment=environment)
    if code:
        raise Failure(last_lines(errors))
    stores = json.loads(output)["stores"]
    if as_json:
        typer.echo(output.strip())
        return 0
    rows = table("", *_HEADINGS, folds={"Place"})
    for store in stores:
        rows.add_row(*_row(store))
    data.print(rows)
    for store in stores:
        if store["role"] == "further" and not store["versions"] and not store["old_copies"]:
            problems.print(
                f"{store['place']} has no blobs of instances any more: remove it from `blobs_also`, and keep a copy of "
                "its `audit/` as long as the audit trail must be kept.",
                soft_wrap=True,
                markup=False,
                highlight=False,
            )
    return 0


def _row(store: dict[str, Any]) -> tuple[str, ...]:
    until = store["old_copies_until"] or ""
    return (
        store["id"] or "-",
        store["place"],
        store["role"],
        f"{store['versions']:,}",
        in_bytes(store["size_bytes"]),
        f"{store['old_copies']:,}",
        until[:16].replace("T", " "),
    )
