"""`dicomstore import` and `dicomstore adopt`: let the archive store or index files that it can read itself."""

import json
from pathlib import Path
from typing import Annotated

import typer
from dicomstore.v1 import operation_service_pb2 as pb
from dicomstore.v1 import operation_service_pb2_grpc
from dicomstore.v1.operation_types_pb2 import ImportRequest, ImportResult
from dicomstore.v1.resources_pb2 import DUPLICATE_POLICY_NEW_VERSION, DUPLICATE_POLICY_UNSPECIFIED
from dicomstore.v1.store_service_pb2 import VALIDATION_MODE_INDEXED_STRICT, VALIDATION_MODE_UNSPECIFIED

from cli.commands.operations import followed, to_json
from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, PartitionOption, QuietOption, Target, target
from cli.errors import FAILED, INTERRUPTED, run
from cli.output import printable, problems
from common.counting import counted

_SHOWN_ERRORS = 20

CreateOption = Annotated[bool, typer.Option("--create-partition", help="Create the partition if it does not exist.")]
ReasonOption = Annotated[str, typer.Option(help="Reason, for the history of the instances.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Refuse instances with invalid searchable attributes.")]
NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="Print the id of the operation and return.")]


def import_(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder on the machine of the archive, or s3://BUCKET/PREFIX, az://CONTAINER/PREFIX or "
            "gs://BUCKET/PREFIX.",
            show_default=False,
        ),
    ],
    continuous: Annotated[
        bool, typer.Option("--continuous", help="Look for new and changed files until the operation is cancelled.")
    ] = False,
    interval: Annotated[int, typer.Option(help="Seconds between two passes, with --continuous.")] = 30,
    settle: Annotated[
        int, typer.Option(help="Seconds without a change after which a file is taken, with --continuous.")
    ] = 10,
    delete_source: Annotated[
        bool, typer.Option("--delete-source", help="Delete each file after it has been stored.")
    ] = False,
    errors: Annotated[
        str,
        typer.Option(
            metavar="LOCATION",
            help="Folder or prefix for a record of each file that fails; with --delete-source the file is moved there.",
        ),
    ] = "",
    new_version: Annotated[
        bool, typer.Option("--new-version", help="Store other content of an instance as its new version.")
    ] = False,
    strict: StrictOption = False,
    reason: ReasonOption = "",
    create_partition: CreateOption = False,
    no_wait: NoWaitOption = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Let the archive store the files of a folder, or the objects of a bucket, that it can read itself.

    Setting import_sources must permit the source. Files that were imported before are skipped unless they have changed,
    so an import can simply be repeated.

    Exit code: 0 all files are in the archive, 1 a file failed or the operation did not succeed.
    """
    chosen = target(ctx, core, partition, quiet)
    request = ImportRequest(
        source=_location(source),
        partition=chosen.partition,
        create_partition=create_partition,
        validation=VALIDATION_MODE_INDEXED_STRICT if strict else VALIDATION_MODE_UNSPECIFIED,
        duplicates=DUPLICATE_POLICY_NEW_VERSION if new_version else DUPLICATE_POLICY_UNSPECIFIED,
        reason=reason,
        delete_source=delete_source,
        errors=_location(errors) if errors else "",
        continuous=continuous,
        interval_seconds=interval if continuous else 0,
        settle_seconds=settle if continuous else 0,
    )
    work = _start(chosen, request, wait=not (no_wait or continuous), as_json=as_json)
    run(work, core=chosen.core, interrupted=INTERRUPTED)


def adopt(
    ctx: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="A folder on the machine of the archive, in one of `adopted_folders`."),
    ],
    strict: StrictOption = False,
    reason: ReasonOption = "",
    create_partition: CreateOption = False,
    no_wait: NoWaitOption = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Index the files of a folder where they are, without copying them.

    The archive only reads them, and detects when one was changed or removed. Deleting an adopted instance never deletes
    the file.

    Exit code: as `dicomstore import`.
    """
    chosen = target(ctx, core, partition, quiet)
    request = ImportRequest(
        source=_location(str(folder)),
        partition=chosen.partition,
        create_partition=create_partition,
        validation=VALIDATION_MODE_INDEXED_STRICT if strict else VALIDATION_MODE_UNSPECIFIED,
        reason=reason,
        in_place=True,
    )
    run(_start(chosen, request, wait=not no_wait, as_json=as_json), core=chosen.core, interrupted=INTERRUPTED)


def _location(text: str) -> str:
    """Return a URL as it is, and the absolute path of a folder."""
    return text if "://" in text else str(Path(text).absolute())


async def _start(chosen: Target, request: ImportRequest, *, wait: bool, as_json: bool) -> int:
    start = pb.StartOperationRequest()
    start.request.Pack(request)
    async with chosen.channel() as channel:
        stub = operation_service_pb2_grpc.OperationServiceStub(channel)
        answer = await stub.StartOperation(start, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
        found = answer.operation
        if wait:
            found = await followed(chosen, stub, found)
        shown = []
        if wait and found.failed and not chosen.quiet:
            of_operation = pb.ListOperationErrorsRequest(id=found.id, page_size=_SHOWN_ERRORS)
            listed = await stub.ListOperationErrors(of_operation, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
            shown = listed.errors
    if as_json:
        typer.echo(json.dumps(to_json(found)))
    elif not wait:
        typer.echo(found.id)
    for error in shown:
        problems.print(f"{printable(error.item)}: {error.message}", markup=False, highlight=False, soft_wrap=True)
    if len(shown) < found.failed and shown:
        problems.print(f"and {found.failed - len(shown)} more", highlight=False)
    if found.error:
        problems.print(found.error, markup=False, highlight=False)
    if wait and not (chosen.quiet or as_json):
        result = ImportResult()
        found.result.Unpack(result)
        problems.print(
            f"{counted(result.stored, 'file')} {'adopted' if request.in_place else 'stored'}, "
            f"{result.identical} stored before, {result.skipped} imported before, {result.failed} failed",
            highlight=False,
        )
    return FAILED if wait and (found.state != pb.OPERATION_STATE_SUCCEEDED or found.failed) else 0
