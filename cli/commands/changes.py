"""`dicomstore changes`: list or follow the change feed."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC
from typing import Annotated

import grpc
import typer
from dicomstore.v1 import change_feed_service_pb2 as pb
from dicomstore.v1 import change_feed_service_pb2_grpc

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, QuietOption, Target, messages_of, target
from cli.errors import INTERRUPTED, reason_of, run
from cli.output import HELD_ROWS, data, print_rows, problems

PAGE_SIZE = 100
LIMIT = 100

CHECKPOINT_S = 10
"""Interval of checkpoints requested from the core, so that an idle feed is not silent."""

SILENT_S = 35.0
"""Idle timeout of a followed feed."""

_PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Pauses before reconnection attempts; the last one repeats."""

_HEADINGS = ("Sequence", "Time (UTC)", "Action", "State", "Version", "Study", "Series", "Instance")


def changes(
    ctx: typer.Context,
    after: Annotated[int, typer.Option(min=0, metavar="N", help="Show only changes after this sequence number.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Maximum number of changes. [100; with --follow, no limit]")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue with new changes until Ctrl-C.")] = False,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show the change feed of all partitions, oldest first. With --json, print one object per line.

    With --follow, the command reconnects after a broken connection and continues at the same place: no change is missed
    or shown twice.
    """
    chosen = target(ctx, core, None, quiet)
    if follow:
        run(_follow(chosen, after, limit, as_json), core=chosen.core, interrupted=0)
    run(_list(chosen, after, LIMIT if limit is None else limit, as_json), core=chosen.core, interrupted=INTERRUPTED)


async def _list(chosen: Target, after: int, limit: int, as_json: bool) -> int:
    rows: list[tuple[str, ...]] = []
    count = 0
    async for entry in _entries(chosen, after, limit):
        if as_json:
            typer.echo(json.dumps(to_json(entry)))
        else:
            rows.append(to_row(entry))
        count += 1
        if len(rows) == HELD_ROWS:
            print_rows(data, _HEADINGS, rows, (), with_headings=count == HELD_ROWS)
            rows.clear()
    if rows:
        print_rows(data, _HEADINGS, rows, (), with_headings=count == len(rows))
    if not as_json and not chosen.quiet and count == limit:
        problems.print("there may be more, see --limit and --after")
    return 0


async def _entries(chosen: Target, after: int, limit: int) -> AsyncIterator[pb.ChangeEntry]:
    async with chosen.channel() as channel:
        stub = change_feed_service_pb2_grpc.ChangeFeedServiceStub(channel)
        left = limit
        while left:
            page_size = min(left, PAGE_SIZE)
            request = pb.ListChangesRequest(after_sequence=after, page_size=page_size)
            response = await stub.ListChanges(request, metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S)
            for entry in response.entries:
                after = entry.sequence
                yield entry
            left -= len(response.entries)
            if len(response.entries) < page_size:
                return


async def _follow(chosen: Target, after: int, limit: int | None, as_json: bool) -> int:
    shown = 0
    async with aclosing(_watched(chosen, after)) as entries:
        async for entry in entries:
            typer.echo(json.dumps(to_json(entry)) if as_json else "  ".join(to_row(entry)))
            shown += 1
            if shown == limit:
                break
    return 0


async def _watched(chosen: Target, after: int) -> AsyncGenerator[pb.ChangeEntry, None]:
    """Yield entries without end. Raises if the first connection fails; later ones are retried until they succeed."""
    failures = 0
    connected_once = False
    async with chosen.channel() as channel:
        while True:
            try:
                async for response in _messages(chosen, channel, after):
                    connected_once, failures = True, 0
                    for entry in response.entries:
                        yield entry
                        after = entry.sequence
                    after = max(after, response.checkpoint_sequence)
            except grpc.aio.AioRpcError as error:
                refused = reason_of(error) and error.code() is not grpc.StatusCode.UNAVAILABLE
                if refused or not connected_once:
                    raise
            pause_s = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
            failures += 1
            if not chosen.quiet:
                problems.print(f"connection lost after change {after}; reconnecting", style="yellow")
            await asyncio.sleep(pause_s)


async def _messages(chosen: Target, channel: grpc.aio.Channel, after: int) -> AsyncIterator[pb.WatchChangesResponse]:
    """Yield the messages of one call; ends without an error at the idle timeout."""
    stub = change_feed_service_pb2_grpc.ChangeFeedServiceStub(channel)
    request = pb.WatchChangesRequest(after_sequence=after)
    request.checkpoint_interval.FromSeconds(CHECKPOINT_S)
    try:
        async for response in messages_of(stub.WatchChanges(request, metadata=chosen.metadata()), SILENT_S):
            yield response
    except TimeoutError:
        return


def to_json(entry: pb.ChangeEntry) -> dict[str, object]:
    """Return a change as printed by `--json`."""
    return {
        "sequence": entry.sequence,
        "time": entry.time.ToDatetime(UTC).isoformat(),
        "action": _word(pb.ChangeAction, entry.action),
        "state": _word(pb.ChangeState, entry.state),
        "version": entry.version,
        "partition": entry.instance.partition,
        "study_instance_uid": entry.instance.study_instance_uid,
        "series_instance_uid": entry.instance.series_instance_uid,
        "sop_instance_uid": entry.instance.sop_instance_uid,
    }


def to_row(entry: pb.ChangeEntry) -> tuple[str, ...]:
    """Return a change as the cells of a table row."""
    return (
        str(entry.sequence),
        entry.time.ToDatetime().isoformat(sep=" ", timespec="seconds"),
        _word(pb.ChangeAction, entry.action),
        _word(pb.ChangeState, entry.state),
        str(entry.version),
        entry.instance.study_instance_uid,
        entry.instance.series_instance_uid,
        entry.instance.sop_instance_uid,
    )


def _word(enum: object, value: int) -> str:
    """Return `create` of CHANGE_ACTION_CREATE; a value newer than this program stays a number."""
    try:
        name: str = enum.Name(value)  # type: ignore[attr-defined]
    except ValueError:
        return str(value)
    return name.rpartition("_")[2].lower()
