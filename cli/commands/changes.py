"""`dicomstore changes`: list or follow the change feed."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC
from typing import Annotated

import grpc
import typer
from dicomstore.v1 import change_feed_service_pb2 as pb
from dicomstore.v1 import change_feed_service_pb2_grpc

from cli.connection import CALL_TIMEOUT_S, CoreOption, JsonOption, QuietOption, Target, messages_of, target
from cli.errors import INTERRUPTED, NOT_EXECUTED, Failure, fail, reason_of, run
from cli.output import HELD_ROWS, data, print_rows, problems

PAGE_SIZE = 100
LIMIT = 100

CHECKPOINT_S = 10
"""Interval of checkpoints requested from the core, so that an idle feed is not silent."""

SILENT_S = 35.0
"""Idle timeout of a followed feed."""

_PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Pauses before further attempts; the last one repeats."""

_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

_HEADINGS = ("Sequence", "Time (UTC)", "Action", "State", "Version", "Study", "Series", "Instance")


def changes(
    ctx: typer.Context,
    after: Annotated[int, typer.Option(min=0, metavar="N", help="Show only changes after this sequence number.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Maximum number of changes. [100; with --follow, no limit]")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue with new changes until Ctrl-C.")] = False,
    consumer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --follow: start after the position that the archive keeps for this consumer, and set it after "
            "showing changes.",
        ),
    ] = None,
    as_json: JsonOption = False,
    core: CoreOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show the change feed of all partitions, oldest first. With --json, print one object per line.

    With --follow, the command reconnects after a broken connection and continues at the same place: no change is missed
    or shown twice. With --consumer, also a later start continues there; it fails if another program moves the consumer.
    """
    chosen = target(ctx, core, None, quiet)
    if consumer is not None and (not follow or after):
        fail(Failure("--consumer requires --follow and excludes --after", exit_code=NOT_EXECUTED))
    if follow:
        run(_follow(chosen, after, limit, as_json, consumer), core=chosen.core, interrupted=0)
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


async def _follow(chosen: Target, after: int, limit: int | None, as_json: bool, consumer: str | None) -> int:
    shown = 0
    async with chosen.channel() as channel:
        position = None if consumer is None else await _position(chosen, channel, consumer)
        async with aclosing(_watched(chosen, channel, position.sequence if position else after)) as received:
            async for entries in received:
                page = entries if limit is None else entries[: limit - shown]
                for entry in page:
                    typer.echo(json.dumps(to_json(entry)) if as_json else "  ".join(to_row(entry)))
                shown += len(page)
                if position is not None:
                    await position.move(page[-1].sequence)
                if shown == limit:
                    break
    return 0


@dataclass
class _Position:
    """The position of a consumer, which no other program is expected to move."""

    chosen: Target
    channel: grpc.aio.Channel
    name: str
    sequence: int

    async def move(self, to: int) -> None:
        """Set the position; retried until it succeeds. Raises AioRpcError if it is refused."""
        stub = change_feed_service_pb2_grpc.ChangeFeedServiceStub(self.channel)
        request = pb.SetConsumerPositionRequest(name=self.name, sequence=to, expected_sequence=self.sequence)
        failures = 0
        while True:
            try:
                await stub.SetConsumerPosition(request, metadata=self.chosen.metadata(), timeout=CALL_TIMEOUT_S)
                break
            except grpc.aio.AioRpcError as error:
                info = reason_of(error)
                if failures and info and info.reason == "CONSUMER_MOVED" and info.metadata["sequence"] == str(to):
                    break  # an earlier attempt had its effect
                if error.code() not in _RETRIED:
                    raise
            await _pause(self.chosen, failures, f"the position {to} is not saved; trying again")
            failures += 1
        self.sequence = to


async def _position(chosen: Target, channel: grpc.aio.Channel, name: str) -> _Position:
    stub = change_feed_service_pb2_grpc.ChangeFeedServiceStub(channel)
    try:
        response = await stub.GetConsumer(
            pb.GetConsumerRequest(name=name), metadata=chosen.metadata(), timeout=CALL_TIMEOUT_S
        )
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return _Position(chosen, channel, name, 0)
    return _Position(chosen, channel, name, response.consumer.sequence)


async def _watched(
    chosen: Target, channel: grpc.aio.Channel, after: int
) -> AsyncGenerator[Sequence[pb.ChangeEntry], None]:
    """Yield entries without end. Raises if the first connection fails; later ones are retried until they succeed."""
    failures = 0
    connected_once = False
    while True:
        try:
            async for response in _messages(chosen, channel, after):
                connected_once, failures = True, 0
                if response.entries:
                    yield response.entries
                after = max(after, response.checkpoint_sequence)
        except grpc.aio.AioRpcError as error:
            refused = reason_of(error) and error.code() is not grpc.StatusCode.UNAVAILABLE
            if refused or not connected_once:
                raise
        await _pause(chosen, failures, f"connection lost after change {after}; reconnecting")
        failures += 1


async def _pause(chosen: Target, failures: int, message: str) -> None:
    """Say why, and wait before the next attempt."""
    if not chosen.quiet:
        problems.print(message, style="yellow")
    await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])


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
