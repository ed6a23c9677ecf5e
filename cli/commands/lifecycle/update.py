"""`dicomstore update`: give attributes of stored instances new values."""

import json
from pathlib import Path
from typing import Annotated

import typer
from dicomstore.v1 import operation_service_pb2 as pb
from dicomstore.v1 import operation_service_pb2_grpc
from dicomstore.v1.operation_types_pb2 import UpdateRequest, UpdateResult

from cli.commands.operations import followed, to_json
from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, PartitionOption, QuietOption, Target, target
from cli.errors import FAILED, INTERRUPTED, run
from cli.output import problems
from cli.resources import reference
from cli.results.data_set import SetOption, data_set_of
from common.counting import counted


def update(
    ctx: typer.Context,
    studies: Annotated[list[str], typer.Argument(metavar="STUDY...", help="Study Instance UIDs.", show_default=False)],
    changes: SetOption = None,
    file: Annotated[
        Path | None,
        typer.Option("--changes", help="File with a DICOM JSON data set of new values.", exists=True, dir_okay=False),
    ] = None,
    series: Annotated[str | None, typer.Option(help="Only this series of the study.")] = None,
    instance: Annotated[str | None, typer.Option(help="Only this instance of the series.")] = None,
    reason: Annotated[str, typer.Option(help="Reason, for the history of the instances.")] = "",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the id of the operation and return.")] = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Change attributes of all instances of studies, such as patient data.

    All except UIDs, those that describe pixel data, and private ones can be changed. Earlier versions are kept. If an
    instance of a study can't be changed, the study stays as it was, and the exit code is 1.
    """
    if (series or instance) and len(studies) > 1:
        raise typer.BadParameter("--series and --instance need a single study.")
    wanted = data_set_of(changes or [], file)
    if not wanted:
        raise typer.BadParameter("Give new values with --set or --changes.")
    chosen = target(ctx, core, partition, quiet)
    targets = [reference(chosen.partition, study, series, instance) for study in studies]
    request = UpdateRequest(targets=targets, changes=json.dumps(wanted).encode(), reason=reason)
    run(perform(chosen, request, wait=not no_wait, as_json=as_json), core=chosen.core, interrupted=INTERRUPTED)


async def perform(chosen: Target, request: UpdateRequest, *, wait: bool, as_json: bool) -> int:
    """Start an operation and, with `wait`, follow it to its end; return the exit code."""
    start = pb.StartOperationRequest()
    start.request.Pack(request)
    async with chosen.channel() as channel:
        stub = operation_service_pb2_grpc.OperationServiceStub(channel)
        answer = await stub.StartOperation(start, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
        found = answer.operation
        if wait:
            found = await followed(chosen, stub, found)
    if as_json:
        typer.echo(json.dumps(to_json(found)))
    elif not wait:
        typer.echo(found.id)
    result = UpdateResult()
    found.result.Unpack(result)
    for error in result.errors:
        problems.print(error, markup=False, highlight=False)
    if result.errors_omitted:
        problems.print(f"and {result.errors_omitted} more", highlight=False)
    if wait and not (chosen.quiet or as_json):
        problems.print(
            f"{counted(result.instances_updated, 'instance')} of {counted(result.studies_updated, 'study', 'studies')} "
            f"updated, {counted(result.studies_failed, 'study', 'studies')} failed"
        )
    return FAILED if wait and found.state != pb.OPERATION_STATE_SUCCEEDED else 0
