"""`dicomstore versions`: list, compare, retrieve and revert to versions of instances."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from dicomstore.v1 import retrieve_service_pb2, retrieve_service_pb2_grpc, version_service_pb2_grpc
from dicomstore.v1 import version_service_pb2 as pb
from dicomstore.v1.operation_types_pb2 import EarlierState, UpdateRequest
from google.protobuf import json_format

from cli.commands.audit import time_of
from cli.commands.lifecycle.update import perform
from cli.connection import (
    CALL_TIMEOUT_S,
    CoreOption,
    JsonOption,
    PartitionOption,
    QuietOption,
    Target,
    messages_of,
    target,
)
from cli.errors import FAILED, INTERRUPTED, run
from cli.output import data, print_rows, problems
from cli.resources import InstanceArgument, SeriesArgument, StudyArgument, reference
from cli.results.dicom_json import cell
from cli.results.download import Download, progress_of
from cli.results.layout import UidLayout

_PAGE_SIZE = 200
_HEADINGS = ("Version", "Created (UTC)", "Origin", "By", "Reason", "Size", "SOP Instance UID")
_DIFFERENCE_HEADINGS = ("Attribute", "Keyword", "Change", "Before", "After")
_MAX_TEXT = 200

OneSeriesArgument = Annotated[str, typer.Argument(metavar="SERIES", help="Series Instance UID.")]
OneInstanceArgument = Annotated[str, typer.Argument(metavar="INSTANCE", help="SOP Instance UID.")]
NumberArgument = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="Number of the version.")]

versions = typer.Typer(
    help="List, compare, retrieve and revert to versions of instances.",
    no_args_is_help=True,
)


@versions.command("list")
def list_(
    ctx: typer.Context,
    study: StudyArgument,
    series: SeriesArgument = None,
    instance: InstanceArgument = None,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """List the versions of a study, a series or an instance in order of creation. The current ones have a star."""
    chosen = target(ctx, core, partition, quiet)
    request = pb.ListVersionsRequest(
        resource=reference(chosen.partition, study, series, instance), page_size=_PAGE_SIZE
    )
    run(_list(chosen, request, as_json), core=chosen.core)


@versions.command()
def diff(
    ctx: typer.Context,
    study: StudyArgument,
    series: OneSeriesArgument,
    instance: OneInstanceArgument,
    version: NumberArgument,
    since: Annotated[
        int | None,
        typer.Option("--from", metavar="VERSION", min=1, help="Compare with this one, not with the one before."),
    ] = None,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """List the attributes in which a version of an instance differs from the one before it.

    The exit code is 0 whether there are differences or not.
    """
    chosen = target(ctx, core, partition, quiet)
    resource = reference(chosen.partition, study, series, instance)
    request = pb.CompareVersionsRequest(instance=resource, version=version, from_version=since)
    run(_diff(chosen, request, as_json), core=chosen.core)


@versions.command()
def get(
    ctx: typer.Context,
    study: StudyArgument,
    series: OneSeriesArgument,
    instance: OneInstanceArgument,
    version: NumberArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Write the file below DIR.")],
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Retrieve a version of an instance, byte for byte as stored, as STUDY/SERIES/INSTANCE.dcm."""
    chosen = target(ctx, core, partition, quiet)
    resource = reference(chosen.partition, study, series, instance)
    request = retrieve_service_pb2.RetrieveInstancesRequest(resource=resource, version=version)
    run(_get(chosen, request, output), core=chosen.core)


@versions.command()
def revert(
    ctx: typer.Context,
    study: StudyArgument,
    series: OneSeriesArgument,
    instance: OneInstanceArgument,
    version: NumberArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the history.")] = "",
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Make the content of a version the current one, as a new version, and print its number.

    Nothing is changed if it is the current version already.
    """
    chosen = target(ctx, core, partition, quiet)
    resource = reference(chosen.partition, study, series, instance)
    run(_revert(chosen, pb.RevertInstanceRequest(instance=resource, version=version, reason=reason)), core=chosen.core)


@versions.command("revert-study")
def revert_study(
    ctx: typer.Context,
    study: StudyArgument,
    series: Annotated[str | None, typer.Option(help="Only this series of the study.")] = None,
    time: Annotated[
        str, typer.Option("--to", metavar="TIME", help="The state at this time: ISO 8601, or a period before now (3d).")
    ] = "",
    operation: Annotated[
        str, typer.Option("--before", metavar="OPERATION", help="The state when this update was started.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the id of the operation and return.")] = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Make an earlier state of a study the current one, as new versions of the instances that differ.

    All instances change at once. Those that were stored later stay as they are.
    """
    if bool(time) == bool(operation):
        raise typer.BadParameter("Give either --to or --before.")
    state = EarlierState(time=time_of(time)) if time else EarlierState(before_operation=operation)
    chosen = target(ctx, core, partition, quiet)
    resource = reference(chosen.partition, study, series, None)
    request = UpdateRequest(targets=[resource], revert_to=state, reason=reason)
    run(perform(chosen, request, wait=not no_wait, as_json=as_json), core=chosen.core, interrupted=INTERRUPTED)


async def _list(chosen: Target, request: pb.ListVersionsRequest, as_json: bool) -> int:
    """Print the pages as they arrive."""
    is_first = True
    async with chosen.channel() as channel:
        stub = version_service_pb2_grpc.VersionServiceStub(channel)
        while True:
            page = await stub.ListVersions(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
            if as_json:
                for one in page.versions:
                    typer.echo(json.dumps(_fields(one)))
            elif page.versions:
                print_rows(data, _HEADINGS, [*map(_row, page.versions)], {"Reason"}, with_headings=is_first)
            is_first = False
            request.page_token = page.next_page_token
            if not request.page_token:
                return 0


async def _diff(chosen: Target, request: pb.CompareVersionsRequest, as_json: bool) -> int:
    is_first = True
    async with chosen.channel() as channel:
        stub = version_service_pb2_grpc.VersionServiceStub(channel)
        async for response in messages_of(stub.CompareVersions(request, metadata=chosen.metadata())):
            if as_json:
                for one in response.differences:
                    typer.echo(json.dumps(_difference_fields(one)))
            elif response.differences:
                rows = [*map(_difference_row, response.differences)]
                print_rows(data, _DIFFERENCE_HEADINGS, rows, {"Before", "After"}, with_headings=is_first)
            elif is_first and not chosen.quiet:
                problems.print("the versions do not differ")
            is_first = False
    return 0


async def _get(chosen: Target, request: retrieve_service_pb2.RetrieveInstancesRequest, output: Path) -> int:
    async with chosen.channel() as channel:
        stub = retrieve_service_pb2_grpc.RetrieveServiceStub(channel)
        with progress_of(problems, quiet=chosen.quiet) as advance:
            download = Download(output, advance, UidLayout())
            try:
                call = stub.RetrieveInstances(request, metadata=chosen.metadata())
                async for response in messages_of(call):
                    for piece in response.pieces:
                        await download.take(piece)
                download.finish()
            finally:
                await download.discard()
    for line in download.failures.lines():
        problems.print(line, soft_wrap=True)
    return FAILED if download.failures.count else 0


async def _revert(chosen: Target, request: pb.RevertInstanceRequest) -> int:
    async with chosen.channel() as channel:
        stub = version_service_pb2_grpc.VersionServiceStub(channel)
        answer = await stub.RevertInstance(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
    if not chosen.quiet:
        is_same = answer.version == request.version
        problems.print("it is the current version already" if is_same else "reverted", soft_wrap=True)
    sys.stdout.write(f"{answer.version}\n")
    return 0


def _row(one: pb.InstanceVersion) -> Sequence[str]:
    star = "" if one.HasField("replace_time") else " *"
    return (
        f"{one.version}{star}",
        f"{one.create_time.ToDatetime():%Y-%m-%d %H:%M:%S}",
        _origin(one),
        one.author,
        one.reason,
        f"{one.size_bytes:,}",
        one.instance.sop_instance_uid,
    )


def _origin(one: pb.InstanceVersion) -> str:
    return pb.VersionOrigin.Name(one.origin).removeprefix("VERSION_ORIGIN_").lower()


def _fields(one: pb.InstanceVersion) -> dict[str, object]:
    fields = json_format.MessageToDict(one, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return fields | {"origin": _origin(one)}


def _kind(one: pb.AttributeDifference) -> str:
    return pb.DifferenceKind.Name(one.kind).removeprefix("DIFFERENCE_KIND_").lower()


def _difference_row(one: pb.AttributeDifference) -> Sequence[str]:
    return one.path, one.keyword, _kind(one), _text(one.before), _text(one.after)


def _text(element: bytes) -> str:
    """Return the values of an element in DICOM JSON as text, shortened."""
    text = cell(json.loads(element)) if element else ""
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"


def _difference_fields(one: pb.AttributeDifference) -> dict[str, object]:
    fields: dict[str, object] = {"path": one.path, "keyword": one.keyword, "vr": one.vr, "change": _kind(one)}
    return fields | {name: json.loads(text) for name, text in (("before", one.before), ("after", one.after)) if text}
