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
from cli.output import problems
from cli.resources import InstanceArgument, SeriesArgument, described, reference
from cli.results.uid_list import Uids, checked
from common.counting import counted

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
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for the list of deletions; see `dicomstore trash`.")
    ] = "",
    erase_now: Annotated[
        bool,
        typer.Option("--erase-now", help="Erase the bytes at once, also those of instances that were deleted earlier."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Delete a study, a series or an instance, or all entries of a list.

    Deleted instances disappear at once; their bytes are erased after the core's retention time. Until then `dicomstore
    undelete` restores them, unless --erase-now is given. Deleting a resource that does not exist succeeds. A list is
    validated completely before the first deletion: nothing is deleted if it is empty, truncated or has an invalid line.
    """
    chosen = target(ctx, core, partition, quiet)
    how = pb.DeleteInstancesRequest(reason=reason, erase_now=erase_now)
    if (study is None) == (source is None):
        raise typer.BadParameter("give either STUDY or --from FILE", param_hint="STUDY")
    if study is not None:
        resource = reference(chosen.partition, study, series, instance)
        _confirm(f"{described(resource)} with all its contents", how, yes=yes)
        run(
            _delete(chosen, how, [tuple(uid for uid in (study, series, instance) if uid is not None)]), core=chosen.core
        )
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
            _confirm(f"{counted(count, 'entry', 'entries')} of {source} with all their contents", how, yes=yes)
        run(_delete(chosen, how, entries), core=chosen.core)


def _confirm(what: str, how: pb.DeleteInstancesRequest, *, yes: bool) -> None:
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
    question = f"Erase {what}? They cannot be restored." if how.erase_now else f"Delete {what}?"
    typer.confirm(question, abort=True, err=True)


async def _delete(chosen: Target, how: pb.DeleteInstancesRequest, entries: Iterable[Uids]) -> int:
    """Delete the entries in order, up to the first failure; prints the number of deleted instances in any case."""
    deleted = erased = done = 0
    try:
        async with chosen.channel() as channel:
            stub = delete_service_pb2_grpc.DeleteServiceStub(channel)
            for uids in entries:
                resource = reference(chosen.partition, *uids)
                request = pb.DeleteInstancesRequest(resource=resource, reason=how.reason, erase_now=how.erase_now)
                response = await stub.DeleteInstances(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
                deleted += response.deleted_instances
                erased += response.erased_instances
                done += 1
    finally:
        if done and not chosen.quiet:
            problems.print(f"deleted {counted(deleted, 'instance')}" if deleted else "nothing to delete")
            if how.erase_now:
                problems.print(f"the bytes of {counted(erased, 'instance')} are being erased")
    if not done and not chosen.quiet:
        problems.print("the list is empty; nothing was deleted")
    return 0
