"""`dicomstore store`: send files and folders to the archive."""

import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import grpc
import typer
from dicomstore.v1 import capabilities_service_pb2, capabilities_service_pb2_grpc, resources_pb2
from dicomstore.v1 import store_service_pb2 as pb
from rich.markup import escape

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, PartitionOption, QuietOption, Target, target
from cli.duplicates import POLICIES, Duplicates
from cli.errors import FAILED, run
from cli.output import printable, problems
from cli.upload.progress import Meter, shown
from cli.upload.report import report_to
from cli.upload.results import Listener, Result, Status, Tally
from cli.upload.streams import upload


def store(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, and folders with all files below.")],
    streams: Annotated[int, typer.Option(min=1, max=64, help="Number of parallel streams.")] = 4,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse instances with invalid searchable attributes.")
    ] = False,
    create_partition: Annotated[
        bool, typer.Option("--create-partition", help="Create the partition if it does not exist.")
    ] = False,
    duplicates: Annotated[
        Duplicates, typer.Option("--duplicates", help="What happens to other content with stored UIDs.")
    ] = Duplicates.DEFAULT,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for the history; see `dicomstore versions`.")
    ] = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print the outcome of each file.")] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the outcome of each file to FILE: CSV if it ends in .csv, else JSON."),
    ] = None,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Store files and folders of DICOM instances.

    Files in folders that are not DICOM are skipped; a file named on the command line is always sent. Storing an
    identical instance again succeeds and changes nothing, so an interrupted upload can simply be repeated. Other
    content with stored UIDs is refused or becomes a new version, as --duplicates or the partition says.

    Exit code: 0 all files are in the archive, 1 a file failed, 2 wrong usage or no core.
    """
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise typer.BadParameter(f"does not exist: {', '.join(missing)}", param_hint="PATH")
    chosen = target(ctx, core, partition, quiet)
    header = pb.StoreHeader(
        address=resources_pb2.Address(partition=chosen.partition),
        create_partition=create_partition,
        validation=pb.VALIDATION_MODE_INDEXED_STRICT if strict else pb.VALIDATION_MODE_UNSPECIFIED,
        duplicates=POLICIES[duplicates],
        reason=reason,
    )
    run(_store(chosen, paths, header, streams, as_json=as_json, verbose=verbose, report=report), core=chosen.core)


async def _store(
    chosen: Target,
    paths: list[Path],
    header: pb.StoreHeader,
    streams: int,
    *,
    as_json: bool,
    verbose: bool,
    report: Path | None,
) -> int:
    meter = Meter(tally := Tally(base=_base(paths)))
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(chosen.channel())
        await _check_core(chosen, channel)
        listener: Listener = meter
        if verbose:
            listener = _Tee(listener, lambda result: problems.print(_outcome_line(result, tally), soft_wrap=True))
        if as_json:
            listener = _Tee(listener, _print_json)
        if report is not None:
            listener = _Tee(listener, stack.enter_context(report_to(report)).add)
        try:
            async with shown(meter, paths, problems, quiet=chosen.quiet):
                await upload(chosen, channel, paths, header=header, streams=streams, listener=listener)
        finally:  # also after Ctrl-C or a lost core
            if tally.causes.count and tally.base != Path():
                problems.print(f"file names are relative to {escape(printable(str(tally.base)))}", soft_wrap=True)
            for line in tally.causes.lines():
                problems.print(line, soft_wrap=True)
            if not (tally.causes.are_complete or verbose or report):
                problems.print("[dim]hint:[/] --verbose or --report FILE lists all of them", soft_wrap=True)
            if not chosen.quiet:
                problems.print(tally.summary(time.monotonic() - started), soft_wrap=True)
    if not tally.counts:
        problems.print("no files found", style="yellow")
    return FAILED if tally.counts[Status.FAILED] else 0


def _base(paths: list[Path]) -> Path:
    """Return the base of printed names: the only PATH, if it is a folder elsewhere, or the working directory."""
    [only, *others] = paths
    is_elsewhere = only.is_absolute() and not only.is_relative_to(Path.cwd())
    return only if is_elsewhere and not others and only.is_dir() else Path()


async def _check_core(chosen: Target, channel: grpc.aio.Channel) -> None:
    """Call the core once before any file is read, so that an unreachable core is reported at once."""
    stub = capabilities_service_pb2_grpc.CapabilitiesServiceStub(channel)
    request = capabilities_service_pb2.GetCapabilitiesRequest()
    await stub.GetCapabilities(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)


class _Tee:
    """A listener that calls a function with each result and passes it on to another listener."""

    def __init__(self, listener: Listener, handle: Callable[[Result], None]) -> None:
        self._listener = listener
        self._handle = handle

    def sent(self, size_bytes: int) -> None:
        self._listener.sent(size_bytes)

    def ended(self, result: Result) -> None:
        self._handle(result)
        self._listener.ended(result)


def _print_json(result: Result) -> None:
    typer.echo(json.dumps(result.to_json(), ensure_ascii=False))


_STATUS_TEXTS = {Status.IDENTICAL: "already there"}


def _outcome_line(result: Result, tally: Tally) -> str:
    reason = f" ({result.reason})" if result.reason and result.status is Status.FAILED else ""
    why = f": {' '.join(result.why)}" if result.why and result.status is not Status.IDENTICAL else ""
    word = _STATUS_TEXTS.get(result.status, result.status.value)
    return f"{word:13}  {escape(tally.name_of(result.path) + why + reason)}"
