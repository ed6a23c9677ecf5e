"""`dicomstore export`: copy instances to a folder, a bucket or a container."""

import json
import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from dicomstore.v1 import operation_service_pb2 as pb
from dicomstore.v1 import operation_service_pb2_grpc
from dicomstore.v1.operation_types_pb2 import ExportQuery, ExportRequest, ExportResult
from dicomstore.v1.search_service_pb2 import QueryLevel, Term

from cli.commands.operations import followed, to_json
from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, PartitionOption, QuietOption, Target, target
from cli.errors import FAILED, INTERRUPTED, run
from cli.output import problems
from cli.resources import reference
from cli.results.search_keys import Level
from common.counting import counted

_START_TIMEOUT_S = max(CALL_TIMEOUT_S, 120)
"""The archive checks the destination, which may not answer."""

_LEVELS = {
    Level.STUDIES: QueryLevel.QUERY_LEVEL_STUDY,
    Level.SERIES: QueryLevel.QUERY_LEVEL_SERIES,
    Level.INSTANCES: QueryLevel.QUERY_LEVEL_INSTANCE,
}


def export(
    ctx: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STUDY[/SERIES[/INSTANCE]]...]", help="UIDs of what to copy.", show_default=False),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            metavar="DESTINATION",
            help="A folder on the machine of the archive, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER, or "
            "the https URL of an Azure container.",
        ),
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Copy the whole partition.")] = False,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Copy what a search with these keys finds; may be repeated."),
    ] = None,
    level: Annotated[Level, typer.Option(help="What --where searches for.")] = Level.STUDIES,
    transfer_syntax: Annotated[
        str, typer.Option(metavar="UID", help="Transcode to this transfer syntax; others are copied as stored.")
    ] = "",
    dicomdir: Annotated[bool, typer.Option("--dicomdir", help="Write a DICOMDIR, for media.")] = False,
    no_manifest: Annotated[bool, typer.Option("--no-manifest", help="Write no manifest.jsonl.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the id of the operation and return.")] = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Copy the current versions of instances as files, with a manifest of their checksums.

    Credentials of the destination come from the environment of this command: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    AWS_SESSION_TOKEN, AWS_ENDPOINT_URL and AWS_REGION; AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING;
    GOOGLE_APPLICATION_CREDENTIALS, a file. The exit code is 1 if instances could not be copied.
    """
    if sum(map(bool, (sources, where, everything))) != 1:
        raise typer.BadParameter("Give either UIDs, --where or --all.")
    chosen = target(ctx, core, partition, quiet)
    request = ExportRequest(
        partition=chosen.partition,
        sources=[reference(chosen.partition, *_parts(source)) for source in sources or ()],
        everything=everything,
        transfer_syntax_uid=transfer_syntax,
        without_manifest=no_manifest,
        dicomdir=dicomdir,
    )
    if where:
        request.query.CopyFrom(ExportQuery(level=_LEVELS[level], terms=map(_term, where)))
    _set_destination(request, to)
    run(_export(chosen, request, wait=not no_wait, as_json=as_json), core=chosen.core, interrupted=INTERRUPTED)


def _parts(source: str) -> list[str]:
    parts = source.split("/")
    if len(parts) > 3:
        raise typer.BadParameter(f"'{source}' is not STUDY, STUDY/SERIES or STUDY/SERIES/INSTANCE.")
    return parts


def _term(key: str) -> Term:
    attribute, separator, value = key.partition("=")
    if not separator:
        raise typer.BadParameter(f"'{attribute}' has no value: use KEY=VALUE.")
    return Term(attribute=attribute, values=[value])


def _set_destination(request: ExportRequest, to: str) -> None:
    url = urlsplit(to)
    prefix = url.path.strip("/")
    match url.scheme:
        case "s3":
            request.s3.bucket, request.s3.prefix = url.netloc, prefix
            request.s3.endpoint = os.environ.get("AWS_ENDPOINT_URL", "").rstrip("/")
            request.s3.region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION", "")
            request.s3.access_key_id = os.environ.get("AWS_ACCESS_KEY_ID", "")
            request.s3.secret_access_key = os.environ.get("AWS_SECRET_ACCESS_KEY", "")
            request.s3.session_token = os.environ.get("AWS_SESSION_TOKEN", "")
        case "gs":
            request.gcs.bucket, request.gcs.prefix = url.netloc, prefix
            if path := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
                request.gcs.service_account_key = _text_of(path)
        case "az":
            request.azure_blob.container_name = url.netloc
            request.azure_blob.connection_string = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
        case "http" | "https":
            token = os.environ.get("AZURE_STORAGE_SAS_TOKEN", "").removeprefix("?")
            request.azure_blob.container_uri = f"{to}?{token}" if token and not url.query else to
        case "file":
            request.folder.path = url.path
        case "" if to:
            request.folder.path = str(Path(to).absolute())
        case _:
            raise typer.BadParameter("Give a folder or the URL of a bucket or container.", param_hint="--to")


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, ValueError):
        raise typer.BadParameter(f"{path} cannot be read.") from None


async def _export(chosen: Target, request: ExportRequest, *, wait: bool, as_json: bool) -> int:
    start = pb.StartOperationRequest()
    start.request.Pack(request)
    async with chosen.channel() as channel:
        stub: Any = operation_service_pb2_grpc.OperationServiceStub(channel)
        answer = await stub.StartOperation(start, metadata=chosen.metadata(), timeout=_START_TIMEOUT_S)
        found = answer.operation
        if wait:
            found = await followed(chosen, stub, found)
    if as_json:
        typer.echo(json.dumps(to_json(found)))
    elif not wait:
        typer.echo(found.id)
    result = ExportResult()
    found.result.Unpack(result)
    if found.error:
        problems.print(found.error, markup=False, highlight=False)
    if wait and not (chosen.quiet or as_json):
        problems.print(f"{counted(result.exported, 'instance')} exported, {result.skipped} skipped", highlight=False)
        if result.skipped:
            problems.print(f"see {result.error_href}", markup=False, highlight=False, soft_wrap=True)
    has_failed = found.state != pb.OPERATION_STATE_SUCCEEDED or result.skipped > 0
    return FAILED if wait and has_failed else 0
