"""The channel to the core, and what every command may be told about it."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

import grpc
import typer
from google.protobuf.message import Message

from cli.addresses import parse_address
from cli.config import Settings
from cli.errors import NOT_ASKED, Failure, fail

CALL_TIMEOUT_S = 60
"""Deadline of calls that answer once. Streams have none; they watch for progress instead."""

SILENT_S = 60.0
"""Longest wait for the next message of a streamed answer."""

Answer = TypeVar("Answer")

_OPTIONS = [
    # A data set without bulk data travels in one message and may have up to 64 MiB by default.
    ("grpc.max_receive_message_length", 256 * 2**20),
    # The address was named by the user; a web proxy of the environment has no part in it.
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


async def messages_of(call: grpc.aio.UnaryStreamCall[Any, Answer], silent_s: float = SILENT_S) -> AsyncIterator[Answer]:
    """Yield the messages of a streamed answer, and end the call however this ends.

    Raises:
        TimeoutError: the core was silent for `silent_s`.
        grpc.aio.AioRpcError: the call failed.
    """
    try:
        while True:
            async with asyncio.timeout(silent_s):
                answer = await call.read()
            if not isinstance(answer, Message):  # the mark of the end
                return
            yield cast(Answer, answer)
    finally:
        call.cancel()


CoreOption = Annotated[
    str | None,
    typer.Option("--core", metavar="HOST:PORT", help="Core to talk to. \\[DICOMSTORE_CORE; 127.0.0.1:50051]"),
]
PartitionOption = Annotated[
    str | None,
    typer.Option("--partition", metavar="NAME", help="Data partition to work in. \\[DICOMSTORE_PARTITION]"),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and failures.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a command works, and how much it says."""

    core: str
    partition: str
    quiet: bool

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """Open a channel; it connects when first used."""
        async with grpc.aio.insecure_channel(self.core, options=_OPTIONS) as channel:
            yield channel

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of one call; the core logs the request id."""
        return (("x-request-id", uuid.uuid4().hex),)


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """What was written before the command's name."""

    core: str | None = None
    partition: str | None = None
    quiet: bool = False


def target(ctx: typer.Context, core: str | None, partition: str | None, quiet: bool) -> Target:
    """Return where to work: options after the command's name, before it, environment, file, default."""
    given = ctx.obj or GlobalOptions()
    try:
        settings = Settings()
        chosen_core = core or given.core or settings.core
        parse_address(chosen_core)
    except (ValueError, OSError) as error:
        fail(Failure(f"settings: {error}", exit_code=NOT_ASKED))
    written = given.partition if partition is None else partition
    return Target(chosen_core, settings.partition if written is None else written, quiet or given.quiet)
