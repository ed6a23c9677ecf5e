"""`dicomstore store`: send files and folders to the archive."""

import json
import time
from pathlib import Path
from typing import Annotated

import grpc
import typer
from dicomstore.v1 import capabilities_service_pb2, capabilities_service_pb2_grpc
from dicomstore.v1 import store_service_pb2 as pb

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, PartitionOption, QuietOption, Target, target
from cli.errors import FAILED, run
from cli.output import problems
from cli.upload.progress import Meter, shown
from cli.upload.results import Result, Status, Tally
from cli.upload.streams import upload


def store(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, and folders with everything below.")],
    streams: Annotated[int, typer.Option(min=1, max=64, help="Streams in flight at the same time.")] = 4,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse instances whose searchable attributes are invalid.")
    ] = False,
    create_partition: Annotated[
        bool, typer.Option("--create-partition", help="Create the partition if it does not exist.")
    ] = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Store files and folders of DICOM instances.

    Files in folders that are not DICOM are skipped; a file that is named is always sent. Storing what is stored
    already changes nothing and is no failure, so an upload that was interrupted can simply be started again.

    Exit code: 0 all is in the archive, 1 something failed, 2 wrong usage or no core.
    """
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise typer.BadParameter(f"does not exist: {', '.join(missing)}", param_hint="PATH")
    chosen = target(ctx, core, partition, quiet)
    header = pb.StoreHeader(
        partition=chosen.partition,
        create_partition=create_partition,
        validation=pb.VALIDATION_MODE_INDEXED_STRICT if strict else pb.VALIDATION_MODE_UNSPECIFIED,
    )
    run(_store(chosen, paths, header, streams, as_json), core=chosen.core)


async def _store(chosen: Target, paths: list[Path], header: pb.StoreHeader, streams: int, as_json: bool) -> int:
    meter = Meter(tally := Tally())
    started = time.monotonic()
    async with chosen.channel() as channel:
        await _greet(chosen, channel)
        try:
            async with shown(meter, paths, problems, quiet=chosen.quiet):
                listener = _Printing(meter) if as_json else meter
                await upload(chosen, channel, paths, header=header, streams=streams, listener=listener)
        finally:  # also after Ctrl-C or a lost core: what happened until then is worth knowing
            if failed := tally.failure_table():
                problems.print(failed)
            if not chosen.quiet:
                problems.print(tally.summary(time.monotonic() - started), soft_wrap=True)
    if not tally.counts:
        problems.print("no files found", style="yellow")
    return FAILED if tally.counts[Status.FAILED] else 0


async def _greet(chosen: Target, channel: grpc.aio.Channel) -> None:
    """Make sure that a core is there before anything is read; otherwise the error says so at once."""
    stub = capabilities_service_pb2_grpc.CapabilitiesServiceStub(channel)
    request = capabilities_service_pb2.GetCapabilitiesRequest()
    await stub.GetCapabilities(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)


class _Printing:
    """Prints each result as a line of JSON on its way to the meter."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def sent(self, size_bytes: int) -> None:
        self._meter.sent(size_bytes)

    def ended(self, result: Result) -> None:
        self._meter.ended(result)
        typer.echo(json.dumps(result.to_json(), ensure_ascii=False))
