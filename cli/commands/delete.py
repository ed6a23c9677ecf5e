"""`dicomstore delete`: delete studies, series or instances."""

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from dicomstore.v1 import delete_service_pb2 as pb
from dicomstore.v1 import delete_service_pb2_grpc

from cli.connection import CALL_TIMEOUT_S, CoreOption, PartitionOption, QuietOption, Target, target
from cli.errors import NOT_EXECUTED, Failure, fail, run
from cli.output import counted, problems
from cli.resources import InstanceArgument, SeriesArgument, described, reference
from cli.results.uid_list import Uids, checked

STDIN = Path("-")


def delete(
    ctx: typer.Context,
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Study Instance UID.", show_default=False)
    ] = None,
    series: SeriesArgument = None,
    instance: InstanceArgument = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="Delete the entries of a list made by `search --uids`; - is stdin."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Delete a study, a series or an instance, or all entries of a list.

    Deleted instances disappear at once; their bytes are erased after the core's retention time. Deleting a resource
    that does not exist succeeds. A list is validated completely before the first deletion: nothing is deleted if it is
    empty, truncated or has an invalid line.
    """
    chosen = target(ctx, core, partition, quiet)
    if (study is None) == (source is None):
        raise typer.BadParameter("give either STUDY or --from FILE", param_hint="STUDY")
    if study is not None:
        resource = reference(chosen.partition, study, series, instance)
        _confirm(f"{described(resource)} with all its contents", yes=yes)
        run(_delete(chosen, [tuple(uid for uid in (study, series, instance) if uid is not None)]), core=chosen.core)
    with ExitStack() as stack:
        try:
            file = sys.stdin if source == STDIN else stack.enter_context(open(str(source)))
            count, entries = stack.enter_context(checked(file, "the list" if source == STDIN else str(source)))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "is not text"
            fail(Failure(f"can't read {source}: {why}", exit_code=NOT_EXECUTED))
        except Failure as failure:
            fail(failure)
        if count:
            _confirm(f"{counted(count, 'entry', 'entries')} of {source} with all their contents", yes=yes)
        run(_delete(chosen, entries), core=chosen.core)


def _confirm(what: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        fail(
            Failure(
                "cannot ask for confirmation: standard input is not a terminal",
                hint="use --yes to delete without confirmation",
                exit_code=NOT_EXECUTED,
            )
        )
    typer.confirm(f"Delete {what}?", abort=True, err=True)


async def _delete(chosen: Target, entries: Iterable[Uids]) -> int:
    """Delete the entries in order, up to the first failure; prints the number of deleted instances in any case."""
    deleted = done = 0
    try:
        async with chosen.channel() as channel:
            stub = delete_service_pb2_grpc.DeleteServiceStub(channel)
            for uids in entries:
                request = pb.DeleteInstancesRequest(resource=reference(chosen.partition, *uids))
                response = await stub.DeleteInstances(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
                deleted += response.deleted_instances
                done += 1
    finally:
        if done and not chosen.quiet:
            problems.print(f"deleted {counted(deleted, 'instance')}" if deleted else "nothing to delete")
    if not done and not chosen.quiet:
        problems.print("the list is empty; nothing was deleted")
    return 0
