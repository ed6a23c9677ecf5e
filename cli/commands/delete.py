"""`dicomstore delete`: take a study, a series or an instance out of the archive."""

import sys
from typing import Annotated

import typer
from dicomstore.v1 import delete_service_pb2, delete_service_pb2_grpc

from cli.connection import CALL_TIMEOUT_S, CoreOption, PartitionOption, QuietOption, Target, target
from cli.errors import NOT_ASKED, Failure, fail, run
from cli.output import counted, problems
from cli.resources import InstanceArgument, SeriesArgument, StudyArgument, described, reference


def delete(
    ctx: typer.Context,
    study: StudyArgument,
    series: SeriesArgument = "",
    instance: InstanceArgument = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Delete a study, a series or an instance.

    It is invisible at once; the bytes are erased after the core's retention time. Deleting what is not there succeeds.
    """
    chosen = target(ctx, core, partition, quiet)
    resource = reference(chosen.partition, study, series, instance)
    if not yes:
        if not sys.stdin.isatty():
            fail(Failure("nobody is there to ask", hint="say --yes to delete without asking", exit_code=NOT_ASKED))
        typer.confirm(f"Delete {described(resource)} and all that is in it?", abort=True, err=True)
    run(_delete(chosen, delete_service_pb2.DeleteInstancesRequest(resource=resource)), core=chosen.core)


async def _delete(chosen: Target, request: delete_service_pb2.DeleteInstancesRequest) -> int:
    async with chosen.channel() as channel:
        stub = delete_service_pb2_grpc.DeleteServiceStub(channel)
        response = await stub.DeleteInstances(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        number = response.deleted_instances
        problems.print(f"deleted {counted(number, 'instance')}" if number else "nothing was there to delete")
    return 0
