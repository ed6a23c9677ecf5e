"""`dicomstore trash` and `dicomstore undelete`: list deletions, and restore deleted instances."""

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
from common.counting import counted

_PAGE_SIZE = 200
_HEADINGS = ("Deleted (UTC)", "Resource", "Instances", "By", "Reason", "Erased after (UTC)")


def trash(
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
    """List the deletions whose instances are not erased yet, newest first: all, or those of a resource.

    `dicomstore undelete` restores the instances.
    """
    chosen = target(ctx, core, partition, quiet)
    scope = (
        Address(partition=chosen.partition) if study is None else reference(chosen.partition, study, series, instance)
    )
    run(_list(chosen, scope, as_json), core=chosen.core)


def undelete(
    ctx: typer.Context,
    study: StudyArgument,
    series: SeriesArgument = None,
    instance: InstanceArgument = None,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Restore the deleted instances of a study, a series or an instance.

    An instance that has been stored again does not change. The exit code is 1 if there is nothing to restore.
    """
    chosen = target(ctx, core, partition, quiet)
    run(_undelete(chosen, reference(chosen.partition, study, series, instance)), core=chosen.core)


async def _list(chosen: Target, scope: Address, as_json: bool) -> int:
    """Print the pages as they arrive."""
    request = pb.ListDeletionsRequest(scope=scope, page_size=_PAGE_SIZE)
    is_first = True
    async with chosen.channel() as channel:
        stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        while True:
            page = await stub.ListDeletions(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
            if as_json:
                for deletion in page.deletions:
                    fields = json_format.MessageToDict(
                        deletion, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
                    )
                    typer.echo(json.dumps(fields))
            elif page.deletions:
                print_rows(data, _HEADINGS, [*map(_row, page.deletions)], {"Reason"}, with_headings=is_first)
            elif is_first and not chosen.quiet:
                problems.print("there are no deleted instances")
            is_first = False
            request.page_token = page.next_page_token
            if not request.page_token:
                return 0


async def _undelete(chosen: Target, resource: Address) -> int:
    async with chosen.channel() as channel:
        stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        request = pb.UndeleteInstancesRequest(resource=resource)
        restored = await stub.UndeleteInstances(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        count = restored.restored_instances
        problems.print(f"restored {counted(count, 'instance')}" if count else "nothing to restore")
    return 0 if restored.restored_instances else 1


def _row(deletion: pb.Deletion) -> Sequence[str]:
    return (
        f"{deletion.delete_time.ToDatetime():%Y-%m-%d %H:%M:%S}",
        described(deletion.resource),
        f"{deletion.instances:,}",
        deletion.author,
        deletion.reason,
        f"{deletion.erase_time.ToDatetime():%Y-%m-%d %H:%M}",
    )
