"""`dicomstore workitems watch`: workitems and their changes as they happen."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Any, Protocol

import grpc
import typer
from dicomstore.v1 import workitem_event_service_pb2 as pb
from dicomstore.v1 import workitem_event_service_pb2_grpc, workitem_service_pb2_grpc
from dicomstore.v1.workitem_service_pb2 import SearchWorkitemsRequest
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from cli.commands.worklist.matches import COLUMNS, FOLDS, WordsArgument, matches_of, row_of, terms_of
from cli.connection import CoreOption, JsonOption, PartitionOption, QuietOption, Target, messages_of, target
from cli.errors import reason_of, run
from cli.output import data, problems, table

_CHECKPOINT_S = 10
_SILENT_S = 35.0
_PAUSE_S = 2.0
_FRAME_LINES = 3
"""Lines of a terminal that the rows of the table cannot use."""

LineOf = Callable[[pb.WorkitemEvent, dict[str, Any] | None], str]
"""Returns the line of an event and the present data set of its workitem."""

FuzzyOption = Annotated[bool, typer.Option("--fuzzy", help="Match person names by prefixes of their words.")]


class Output(Protocol):
    """How workitems and events are shown."""

    limit: int
    """Number of present workitems to show."""

    def begin(self, workitems: list[dict[str, Any]]) -> None:
        """Show the present workitems, newest first."""
        ...

    def show(self, event: pb.WorkitemEvent, workitem: dict[str, Any] | None) -> None:
        """Show an event with the present data set of its workitem; None if the workitem does not exist any more."""
        ...


def watch(
    ctx: typer.Context,
    words: WordsArgument = None,
    fuzzy: FuzzyOption = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    partition: PartitionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show workitems and their changes as they happen, until Ctrl-C.

    On a terminal, a table of the newest workitems that is kept up to date. In a pipe, or with --json, one line for each
    event from now on. The command reconnects after a broken connection and continues at the same place.
    """
    chosen = target(ctx, core, partition, quiet)
    terms = terms_of(words or [], [])
    request = pb.WatchWorkitemsRequest(
        partition=chosen.partition, terms=terms, fuzzy_matching=fuzzy, strict=True, include_workitems=True
    )
    request.checkpoint_interval.FromSeconds(_CHECKPOINT_S)
    run(_watch(chosen, request, _output(as_json=as_json, quiet=chosen.quiet)), core=chosen.core, interrupted=0)


class LineOutput:
    """A line for each event."""

    limit = 0

    def __init__(self, line_of: LineOf, *, quiet: bool) -> None:
        self._line_of = line_of
        self._quiet = quiet

    def begin(self, workitems: list[dict[str, Any]]) -> None:
        """Show no workitems, only the events from now on."""
        if not self._quiet:
            problems.print("watching")

    def show(self, event: pb.WorkitemEvent, workitem: dict[str, Any] | None) -> None:
        """Print the line of an event."""
        typer.echo(self._line_of(event, workitem))


class LiveTable:
    """A table of the newest workitems, which is kept up to date."""

    def __init__(self, console: Console, live: Live) -> None:
        self.limit = max(console.height - _FRAME_LINES, 1)
        self._live = live
        self._rows: dict[str, list[str]] = {}

    def begin(self, workitems: list[dict[str, Any]]) -> None:
        """Show the present workitems."""
        self._rows = {row[0]: row for row in map(row_of, workitems)}
        self._refresh()

    def show(self, event: pb.WorkitemEvent, workitem: dict[str, Any] | None) -> None:
        """Update the row of a workitem; a new one comes first."""
        if workitem is None:
            self._rows.pop(event.workitem_uid, None)
        elif event.workitem_uid in self._rows:
            self._rows[event.workitem_uid] = row_of(workitem)
        else:
            others = list(self._rows.items())[: self.limit - 1]
            self._rows = dict([(event.workitem_uid, row_of(workitem)), *others])
        self._refresh()

    def _refresh(self) -> None:
        self._live.update(self.rendered(), refresh=True)

    def rendered(self) -> Table:
        """Return the table with the present rows."""
        shown = table("", *COLUMNS, folds=FOLDS)
        for row in self._rows.values():
            shown.add_row(*map(escape, row))
        return shown


@contextmanager
def live_table(console: Console) -> Iterator[Output]:
    """Open a live table on a terminal."""
    with Live(console=console, auto_refresh=False) as live:
        yield LiveTable(console, live)


@contextmanager
def _lines(line_of: LineOf, *, quiet: bool) -> Iterator[Output]:
    yield LineOutput(line_of, quiet=quiet)


def _output(*, as_json: bool, quiet: bool) -> AbstractContextManager[Output]:
    if as_json:
        return _lines(lambda event, workitem: json.dumps(to_json(event, workitem)), quiet=quiet)
    return live_table(data) if data.is_terminal else _lines(to_line, quiet=quiet)


def to_json(event: pb.WorkitemEvent, workitem: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return an event as printed by `--json`."""
    return {
        "position": event.position,
        "time": event.time.ToDatetime().isoformat(timespec="seconds") + "Z",
        "type": _kind(event),
        "workitem_uid": event.workitem_uid,
        "event": json.loads(event.dicom_json),
        "workitem": workitem,
    }


def to_line(event: pb.WorkitemEvent, workitem: Mapping[str, Any] | None) -> str:
    """Return an event as printed in a pipe."""
    _, *cells = row_of(workitem or {})
    time = event.time.ToDatetime().isoformat(sep=" ", timespec="seconds")
    return "  ".join(filter(None, [time, _kind(event), event.workitem_uid, *cells]))


def _kind(event: pb.WorkitemEvent) -> str:
    """Return `state-report` of WORKITEM_EVENT_TYPE_STATE_REPORT; a value newer than this program stays a number."""
    try:
        name = pb.WorkitemEventType.Name(event.type)
    except ValueError:
        return str(event.type)
    return name.removeprefix("WORKITEM_EVENT_TYPE_").lower().replace("_", "-")


async def _watch(chosen: Target, request: pb.WatchWorkitemsRequest, shown: AbstractContextManager[Output]) -> int:
    async with chosen.channel() as channel:
        with shown as output:
            while True:
                try:
                    await _follow(chosen, channel, request, output)
                except grpc.aio.AioRpcError as error:
                    refused = reason_of(error) and error.code() is not grpc.StatusCode.UNAVAILABLE
                    if refused or not request.HasField("after_position"):
                        raise
                if not chosen.quiet:
                    problems.print("connection lost; reconnecting", style="yellow")
                await asyncio.sleep(_PAUSE_S)


async def _follow(chosen: Target, channel: grpc.aio.Channel, request: pb.WatchWorkitemsRequest, output: Output) -> None:
    """Show the events of one call, which ends without an error at the idle timeout."""
    stub = workitem_event_service_pb2_grpc.WorkitemEventServiceStub(channel)
    try:
        async for response in messages_of(stub.WatchWorkitems(request, metadata=chosen.metadata()), _SILENT_S):
            if not request.HasField("after_position") or response.events_removed:
                output.begin(await _present(chosen, channel, request, output.limit))
            for one in response.events:
                workitem = json.loads(one.workitem_dicom_json) if one.workitem_dicom_json else None
                output.show(one.event, workitem)
            request.after_position = response.checkpoint_position
    except TimeoutError:
        return


async def _present(
    chosen: Target, channel: grpc.aio.Channel, watched: pb.WatchWorkitemsRequest, limit: int
) -> list[dict[str, Any]]:
    stub = workitem_service_pb2_grpc.WorkitemServiceStub(channel)
    request = SearchWorkitemsRequest(
        partition=watched.partition, terms=watched.terms, fuzzy_matching=watched.fuzzy_matching, strict=True
    )
    return [json.loads(match.dicom_json) async for match in matches_of(chosen, stub, request, limit)]
