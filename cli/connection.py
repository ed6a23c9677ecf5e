"""The channel to the core, and the options for it that all commands have."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import grpc
import typer
from google.protobuf.message import Message
from rich.markup import escape

from cli.addresses import parse_address
from cli.config import Settings
from cli.credentials import access_token
from cli.errors import NOT_EXECUTED, Failure, fail
from cli.output import problems
from common.addresses import is_loopback
from common.core_channel import address_of, core_tls_files, open_channel
from common.tls import TlsFiles

CALL_TIMEOUT_S = 60
"""Deadline of unary calls. Streams have none, but an idle timeout."""

SILENT_S = 60.0
"""Idle timeout of a response stream."""

Answer = TypeVar("Answer")

_OPTIONS = [
    # A data set without bulk data is one message and may have up to 64 MiB by default.
    ("grpc.max_receive_message_length", 256 * 2**20),
    # The user names the address; an HTTP proxy from the environment must not be used.
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


async def messages_of(call: grpc.aio.UnaryStreamCall[Any, Answer], silent_s: float = SILENT_S) -> AsyncIterator[Answer]:
    """Yield the messages of a response stream; the call is always ended.

    Raises:
        TimeoutError: no message within `silent_s`.
        grpc.aio.AioRpcError: the call failed.
    """
    try:
        while True:
            async with asyncio.timeout(silent_s):
                answer = await call.read()
            if not isinstance(answer, Message):  # grpc.aio.EOF
                return
            yield cast(Answer, answer)
    finally:
        call.cancel()


CoreOption = Annotated[
    str | None,
    typer.Option(
        "--core",
        metavar="HOST:PORT",
        help="Address of the core, or https://HOST:PORT for TLS. \\[DICOMSTORE_CORE; 127.0.0.1:50051]",
    ),
]
CoreCaOption = Annotated[
    str | None,
    typer.Option(
        "--core-ca", metavar="FILE", help="Authorities of the core's certificate. \\[DICOMSTORE_CORE_CA; public ones]"
    ),
]
CoreCertificateOption = Annotated[
    str | None,
    typer.Option(
        "--core-certificate", metavar="FILE", help="Own certificate for the core. \\[DICOMSTORE_CORE_CERTIFICATE]"
    ),
]
CoreKeyOption = Annotated[
    str | None,
    typer.Option("--core-key", metavar="FILE", help="Private key of the own certificate. \\[DICOMSTORE_CORE_KEY]"),
]
PartitionOption = Annotated[
    str | None,
    typer.Option("--partition", metavar="NAME", help="Data partition to use. \\[DICOMSTORE_PARTITION]"),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and failures.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", metavar="FILE", help="File with the access token. \\[DICOMSTORE_TOKEN or DICOMSTORE_TOKEN_FILE]"
    ),
]


@dataclass(frozen=True, slots=True)
class Target:
    """Core and partition of a command, its verbosity, and its access token, empty for none."""

    core: str
    partition: str
    quiet: bool
    token: str = field(default="", repr=False)
    tls: TlsFiles | None = None

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """Open a channel; it connects on first use."""
        async with open_channel(self.core, self.tls, _OPTIONS) as channel:
            yield channel

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of one call; the core logs the request id."""
        request_id = ("x-request-id", uuid.uuid4().hex)
        return (request_id, ("authorization", f"Bearer {self.token}")) if self.token else (request_id,)


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """Options before the name of the command."""

    core: str | None = None
    partition: str | None = None
    quiet: bool = False
    token_file: Path | None = None
    core_ca: str | None = None
    core_certificate: str | None = None
    core_key: str | None = None

    def settings(self, core: str | None = None) -> Settings:
        """Return the settings; these options, and `core`, take precedence.

        Raises:
            ValueError: they are invalid.
        """
        given: dict[str, Any] = {
            "core": core or self.core,
            "core_ca": self.core_ca,
            "core_certificate": self.core_certificate,
            "core_key": self.core_key,
        }
        return Settings(**{name: value for name, value in given.items() if value is not None})


def target(ctx: typer.Context, core: str | None, partition: str | None, quiet: bool) -> Target:
    """Return the target from options after and before the command's name, environment, file, default, in this order."""
    given = ctx.obj or GlobalOptions()
    try:
        settings = given.settings(core)
        parse_address(address_of(settings.core))
        tls = core_tls_files(settings)
        token = access_token(settings, address_of(settings.core), given.token_file)
    except (ValueError, OSError) as error:
        fail(Failure(f"settings: {error}", exit_code=NOT_EXECUTED))
    if token and tls is None and not is_loopback(settings.core):
        problems.print(f"[yellow]warning:[/] the access token is sent to {escape(settings.core)} without encryption")
    written = given.partition if partition is None else partition
    partition = settings.partition if written is None else written
    return Target(settings.core, partition, quiet or given.quiet, token, tls)
