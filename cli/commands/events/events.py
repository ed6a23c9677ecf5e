"""`dicomstore events`: list or follow the events of studies."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Annotated

import grpc
import typer
from dicomstore.v1 import study_event_service_pb2 as pb
from dicomstore.v1 import study_event_service_pb2_grpc

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, QuietOption, Target, messages_of, target
from cli.errors import INTERRUPTED, reason_of, run
from cli.output import data, print_rows, problems

_PAGE_SIZE = 200
_LIMIT = 100
_CHECKPOINT_S = 10
_SILENT_S = 35.0
_PAUSE_S = 2.0
_HEADINGS = ("Number", "Time (UTC)", "Event", "Partition", "Study", "Instances")


def events(
    ctx: typer.Context,
    after: Annotated[int, typer.Option(min=0, metavar="N", help="Show only events after this number.")] = 0,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Maximum number of events, without --follow.")
    ] = _LIMIT,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue with new events until Ctrl-C.")] = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show which studies became stable, or were updated, deleted or restored, oldest first.

    With --json, print one object per line. With --follow, the command reconnects after a broken connection and
    continues at the same place.
    """
    chosen = target(ctx, core, None, quiet)
    if follow:
        run(_follow(chosen, after, as_json), core=chosen.core, interrupted=0)
    run(_list(chosen, after, limit, as_json), core=chosen.core, interrupted=INTERRUPTED)


async def _list(chosen: Target, after: int, limit: int, as_json: bool) -> int:
    found: list[pb.StudyEvent] = []
    async with chosen.channel() as channel:
        stub = study_event_service_pb2_grpc.StudyEventServiceStub(channel)
        while len(found) < limit:
            size = min(limit - len(found), _PAGE_SIZE)
            request = pb.ListStudyEventsRequest(after_number=after, page_size=size)
            page = await stub.ListStudyEvents(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
            found += page.events
            if len(page.events) < size:
                break
            after = page.events[-1].number
    if as_json:
        for event in found:
            typer.echo(json.dumps(to_json(event)))
    elif found:
        print_rows(data, _HEADINGS, [to_row(event) for event in found], ())
    if not as_json and not chosen.quiet and len(found) == limit:
        problems.print("there may be more, see --limit and --after")
    return 0


async def _follow(chosen: Target, after: int, as_json: bool) -> int:
    connected_once = False
    async with chosen.channel() as channel:
        while True:
            try:
                async for response in _messages(chosen, channel, after):
                    connected_once = True
                    for event in response.events:
                        typer.echo(json.dumps(to_json(event)) if as_json else "  ".join(to_row(event)))
                    after = max(after, response.checkpoint_number)
            except grpc.aio.AioRpcError as error:
                refused = reason_of(error) and error.code() is not grpc.StatusCode.UNAVAILABLE
                if refused or not connected_once:
                    raise
            if not chosen.quiet:
                problems.print(f"connection lost after event {after}; reconnecting", style="yellow")
            await asyncio.sleep(_PAUSE_S)


async def _messages(
    chosen: Target, channel: grpc.aio.Channel, after: int
) -> AsyncIterator[pb.WatchStudyEventsResponse]:
    """Yield the messages of one call; ends without an error at the idle timeout."""
    stub = study_event_service_pb2_grpc.StudyEventServiceStub(channel)
    request = pb.WatchStudyEventsRequest(after_number=after)
    request.checkpoint_interval.FromSeconds(_CHECKPOINT_S)
    try:
        async for response in messages_of(stub.WatchStudyEvents(request, metadata=chosen.metadata()), _SILENT_S):
            yield response
    except TimeoutError:
        return


def to_json(event: pb.StudyEvent) -> dict[str, object]:
    """Return an event as printed by `--json`."""
    return {
        "number": event.number,
        "id": event.id,
        "kind": _kind(event),
        "time": event.time.ToDatetime(UTC).isoformat(),
        "partition": event.study.partition,
        "study_instance_uid": event.study.study_instance_uid,
        "last_sequence": event.last_sequence,
        "instances": event.instances,
        "created": event.created,
        "updated": event.updated,
        "deleted": event.deleted,
        "restored": event.restored,
    }


def to_row(event: pb.StudyEvent) -> tuple[str, ...]:
    """Return an event as the cells of a table row."""
    return (
        str(event.number),
        event.time.ToDatetime().isoformat(sep=" ", timespec="seconds"),
        _kind(event),
        event.study.partition,
        event.study.study_instance_uid,
        str(event.instances),
    )


def _kind(event: pb.StudyEvent) -> str:
    """Return `stable` of STUDY_EVENT_KIND_STABLE; a value newer than this program stays a number."""
    try:
        return pb.StudyEventKind.Name(event.kind).rpartition("_")[2].lower()
    except ValueError:
        return str(event.kind)
