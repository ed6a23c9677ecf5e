"""`dicomstore partition`: list, change and delete data partitions."""

import sys
from typing import Annotated

import typer
from dicomstore.v1 import partition_service_pb2 as pb
from dicomstore.v1 import partition_service_pb2_grpc

from cli.connection import CALL_TIMEOUT_S, CoreOption, QuietOption, Target, target
from cli.duplicates import POLICIES, Duplicates
from cli.errors import NOT_EXECUTED, Failure, fail, run
from cli.output import data, print_rows, problems

_HEADINGS = ("Key", "Name", "Created (UTC)", "Duplicates")
partition = typer.Typer(help="List, change and delete data partitions.", no_args_is_help=True)


@partition.command("list")
def list_(ctx: typer.Context, core: CoreOption = None, quiet: QuietOption = False) -> None:
    """List the partitions, in order of creation."""
    chosen = target(ctx, core, None, quiet)
    run(_list(chosen), core=chosen.core)


@partition.command("set")
def set_(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the partition.")],
    duplicates: Annotated[
        Duplicates,
        typer.Option("--duplicates", help="What happens to other content with stored UIDs."),
    ],
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Set the policy for duplicates in a partition.

    `reject` refuses them, `new-version` makes them new versions, `default` does what the setting `duplicates` says.
    """
    chosen = target(ctx, core, None, quiet)
    run(_set(chosen, pb.UpdatePartitionRequest(name=name, duplicates=POLICIES[duplicates])), core=chosen.core)


@partition.command()
def delete(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the partition.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the audit trail.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Delete a partition with all its instances.

    It disappears at once; its studies are deleted afterwards, and their bytes are erased after the retention time. The
    default partition, and one with a hold in it, cannot be deleted.
    """
    chosen = target(ctx, core, None, quiet)
    if not yes and not sys.stdin.isatty():
        fail(
            Failure(
                "cannot ask for confirmation: standard input is not a terminal",
                hint="use --yes to delete without confirmation",
                exit_code=NOT_EXECUTED,
            )
        )
    if not yes:
        typer.confirm(f"Delete the partition {name} with all its instances?", abort=True, err=True)
    run(_delete(chosen, pb.DeletePartitionRequest(name=name, reason=reason)), core=chosen.core)


async def _list(chosen: Target) -> int:
    async with chosen.channel() as channel:
        stub = partition_service_pb2_grpc.PartitionServiceStub(channel)
        listed = await stub.ListPartitions(
            pb.ListPartitionsRequest(), metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S
        )
    names = {value: name.value for name, value in POLICIES.items()}
    rows = [
        (str(one.key), one.name, f"{one.create_time.ToDatetime():%Y-%m-%d %H:%M:%S}", names.get(one.duplicates, ""))
        for one in listed.partitions
    ]
    print_rows(data, _HEADINGS, rows, set(), with_headings=True)
    return 0


async def _set(chosen: Target, request: pb.UpdatePartitionRequest) -> int:
    async with chosen.channel() as channel:
        stub = partition_service_pb2_grpc.PartitionServiceStub(channel)
        await stub.UpdatePartition(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        problems.print(f"changed the partition {request.name}")
    return 0


async def _delete(chosen: Target, request: pb.DeletePartitionRequest) -> int:
    async with chosen.channel() as channel:
        stub = partition_service_pb2_grpc.PartitionServiceStub(channel)
        await stub.DeletePartition(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        problems.print(f"deleted the partition {request.name}")
    return 0
