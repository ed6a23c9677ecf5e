"""`dicomstore get`: retrieve instances into files, or print their metadata."""

import time
from pathlib import Path
from typing import Annotated

import typer
from dicomstore.v1 import resources_pb2, retrieve_service_pb2, retrieve_service_pb2_grpc

from cli.connection import CoreOption, PartitionOption, QuietOption, Target, messages_of, target
from cli.errors import FAILED, run
from cli.output import problems
from cli.resources import InstanceArgument, SeriesArgument, StudyArgument, reference
from cli.results.download import Download, progress_of
from cli.results.layout import LayoutName, ReadableLayout, UidLayout


def get(
    ctx: typer.Context,
    study: StudyArgument,
    series: SeriesArgument = None,
    instance: InstanceArgument = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write files below DIR.")] = None,
    layout: Annotated[
        LayoutName,
        typer.Option(help="uids: STUDY/SERIES/INSTANCE.dcm; readable: folders named by patient, study and series."),
    ] = LayoutName.UIDS,
    transfer_syntax: Annotated[
        list[str] | None,
        typer.Option(metavar="UID", help="Acceptable transfer syntax, '*' for the stored one; may be repeated."),
    ] = None,
    metadata: Annotated[bool, typer.Option("--metadata", help="Print metadata as a JSON array instead.")] = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Retrieve a study, a series or an instance, byte for byte as stored unless --transfer-syntax is given.

    A file appears under its name only when it is complete; an existing file of the same name is replaced.
    """
    if metadata == (output is not None):
        raise typer.BadParameter("give either --output DIR or --metadata", param_hint="--output")
    chosen = target(ctx, core, partition, quiet)
    resource = reference(chosen.partition, study, series, instance)
    if output is None:
        run(_print_metadata(chosen, resource), core=chosen.core)
    run(_fetch(chosen, resource, output, layout, transfer_syntax or []), core=chosen.core)


async def _print_metadata(chosen: Target, resource: resources_pb2.Address) -> int:
    request = retrieve_service_pb2.RetrieveMetadataRequest(resource=resource)
    async with chosen.channel() as channel:
        stub = retrieve_service_pb2_grpc.RetrieveServiceStub(channel)
        before = "["
        async for response in messages_of(stub.RetrieveMetadata(request, metadata=chosen.metadata())):
            for item in response.items:
                typer.echo(f"{before}{item.dicom_json.decode()}", nl=False)
                before = ",\n"
    typer.echo("]" if before != "[" else "[]")
    return 0


async def _fetch(
    chosen: Target, resource: resources_pb2.Address, output: Path, layout: LayoutName, transfer_syntaxes: list[str]
) -> int:
    request = retrieve_service_pb2.RetrieveInstancesRequest(
        resource=resource, acceptable_transfer_syntax_uids=transfer_syntaxes
    )
    started = time.monotonic()
    async with chosen.channel() as channel:
        stub = retrieve_service_pb2_grpc.RetrieveServiceStub(channel)
        call = stub.RetrieveInstances(request, metadata=chosen.metadata())
        with progress_of(problems, quiet=chosen.quiet) as advance:
            named = ReadableLayout(chosen, channel) if layout is LayoutName.READABLE else UidLayout()
            download = Download(output, advance, named)
            try:
                async for response in messages_of(call):
                    if response.HasField("omission"):
                        download.leave_out(response.omission)
                    for piece in response.pieces:
                        await download.take(piece)
                download.finish()
            finally:
                await download.discard()
                if not chosen.quiet:
                    problems.print(download.summary(time.monotonic() - started), soft_wrap=True)
    for line in download.failures.lines():
        problems.print(line, soft_wrap=True)
    return FAILED if download.failures.count else 0
