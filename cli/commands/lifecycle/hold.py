"""`dicomstore hold`: set, release and list holds."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer
from dicomstore.v1 import lifecycle_service_pb2 as pb
from dicomstore.v1 import lifecycle_service_pb2_grpc
from dicomstore.v1.resources_pb2 import Address
from google.protobuf import json_format

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, PartitionOption, QuietOption, Target, target
from cli.errors import run
from cli.output import data, print_rows, problems
from cli.resources import InstanceArgument, SeriesArgument, StudyArgument, described, reference

_PAGE_SIZE = 200
_HEADINGS = ("Set (UTC)", "Resource", "Name", "Reason", "By")

NameOption = Annotated[
    str, typer.Option("--name", metavar="NAME", help="Distinguishes several holds on the same resource.")
]

hold = typer.Typer(
    help="Set, release and list holds. What is on hold is neither deleted, erased nor changed by anyone.",
    no_args_is_help=True,
)


@hold.command("set")
def set_(
    ctx: typer.Context,
    study: StudyArgument,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; shown to everyone whose change is refused.")
    ],
    series: SeriesArgument = None,
    instance: InstanceArgument = None,
    name: NameOption = "",
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Set a hold on a study, a series or an instance, including instances that are stored later.

    A hold with the same name on the same resource is replaced.
    """
    chosen = target(ctx, core, partition, quiet)
    resource = reference(chosen.partition, study, series, instance)
    run(_set(chosen, pb.SetHoldRequest(resource=resource, name=name, reason=reason)), core=chosen.core)


@hold.command()
def release(
    ctx: typer.Context,
    study: StudyArgument,
    series: SeriesArgument = None,
    instance: InstanceArgument = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the audit trail.")] = "",
    name: NameOption = "",
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Release the hold on exactly this study, series or instance."""
    chosen = target(ctx, core, partition, quiet)
    resource = reference(chosen.partition, study, series, instance)
    run(_release(chosen, pb.ReleaseHoldRequest(resource=resource, name=name, reason=reason)), core=chosen.core)


@hold.command("list")
def list_(
    ctx: typer.Context,
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Study Instance UID.", show_default=False)
    ] = None,
    series: SeriesArgument = None,
    instance: InstanceArgument = None,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """List holds, newest first: all, or those on a resource, on its parts, and on what contains it."""
    chosen = target(ctx, core, partition, quiet)
    scope = (
        Address(partition=chosen.partition) if study is None else reference(chosen.partition, study, series, instance)
    )
    run(_list(chosen, scope, as_json), core=chosen.core)


async def _set(chosen: Target, request: pb.SetHoldRequest) -> int:
    async with chosen.channel() as channel:
        stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        await stub.SetHold(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        problems.print(f"{described(request.resource)} is on hold")
    return 0


async def _release(chosen: Target, request: pb.ReleaseHoldRequest) -> int:
    async with chosen.channel() as channel:
        stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        await stub.ReleaseHold(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        problems.print(f"released the hold on {described(request.resource)}")
    return 0


async def _list(chosen: Target, scope: Address, as_json: bool) -> int:
    """Print the pages as they arrive."""
    request = pb.ListHoldsRequest(scope=scope, page_size=_PAGE_SIZE)
    is_first = True
    async with chosen.channel() as channel:
        stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        while True:
            page = await stub.ListHolds(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
            if as_json:
                for one in page.holds:
                    fields = json_format.MessageToDict(
                        one, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
                    )
                    typer.echo(json.dumps(fields))
            elif page.holds:
                print_rows(data, _HEADINGS, [*map(_row, page.holds)], {"Reason"}, with_headings=is_first)
            elif is_first and not chosen.quiet:
                problems.print("there are no holds")
            is_first = False
            request.page_token = page.next_page_token
            if not request.page_token:
                return 0


def _row(one: pb.Hold) -> Sequence[str]:
    return (f"{one.time.ToDatetime():%Y-%m-%d %H:%M:%S}", described(one.resource), one.name, one.reason, one.author)
