"""Failures as one line and an exit code: 1 the command failed, 2 it was not executed."""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, cast

import grpc
import typer
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from rich.markup import escape

from cli.addresses import parse_address
from cli.output import problems
from cli.tls import speaks_tls
from common.core_channel import address_of

DOMAIN = "dicomstore"
FAILED = 1
NOT_EXECUTED = 2
INTERRUPTED = 130

_NOT_EXECUTED_CODES = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class Failure(Exception):
    """A failure with its message for the user and its exit code."""

    def __init__(self, message: str, *, hint: str = "", exit_code: int = FAILED) -> None:
        """Create a failure with a one-line message and an optional one-line hint about the remedy."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


def reason_of(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    """Return the reason sent by the core, or None for connection errors and other servers."""
    try:
        status = rpc_status.from_call(cast(grpc.Call, error))  # it has all methods that are used
    except ValueError:  # details that contradict the status: not from a dicomstore core
        return None
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return info
    return None


def explain(error: grpc.aio.AioRpcError, core: str, *, may_connect: bool = False) -> Failure:
    """Return the failure for an error of a call to `core`.

    Args:
        may_connect: find out by another connection whether the core uses TLS; this may block for a second.
    """
    code = error.code()
    exit_code = NOT_EXECUTED if code in _NOT_EXECUTED_CODES else FAILED
    if info := reason_of(error):
        where = ", ".join(f"{key}: {value}" for key, value in sorted(info.metadata.items()))
        return Failure(f"{error.details()} ({info.reason}{'; ' + where if where else ''})", exit_code=exit_code)
    if code is grpc.StatusCode.UNAVAILABLE:
        return unreachable(core, error.details() or "", may_connect=may_connect)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Failure(f"the core at {core} did not answer in time", exit_code=exit_code)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Failure(f"the server at {core} is not a dicomstore core, or an older version", exit_code=NOT_EXECUTED)
    return Failure(f"{code.name}: {error.details()}", exit_code=exit_code)


def unreachable(core: str, details: str = "", *, may_connect: bool = False) -> Failure:
    """Return the failure for a core to which no connection is possible; `details` are those of gRPC."""
    message = f"no core answers at {core}"
    hint = "start one with `dicomstore up`, or set another address with --core HOST:PORT or DICOMSTORE_CORE"
    address = address_of(core)
    if address == core:
        if may_connect and _speaks_tls(core):
            message = f"the core at {core} uses TLS"
            hint = f"use --core https://{core}, and --core-ca FILE unless a public authority has issued its certificate"
    elif "CERTIFICATE_VERIFY_FAILED" in details:
        message = f"the certificate of the core at {address} is not trusted, or has expired"
        hint = "name the authority that has issued it with --core-ca FILE or DICOMSTORE_CORE_CA"
    elif "Hostname Verification" in details:
        message = f"the certificate of the core at {address} is for another host"
        hint = "use a name of its certificate in --core https://HOST:PORT"
    elif "WRONG_VERSION_NUMBER" in details:
        message, hint = f"the server at {address} does not use TLS", f"use --core {address}"
    elif may_connect and _speaks_tls(address):
        message = f"the core at {address} refuses the connection"
        hint = "it may require the certificate of a client: --core-certificate FILE and --core-key FILE"
    return Failure(message, hint=hint, exit_code=NOT_EXECUTED)


def _speaks_tls(address: str) -> bool:
    try:
        parsed = parse_address(address)
    except ValueError:
        return False
    return speaks_tls(parsed.host, parsed.port)


def fail(failure: Failure) -> NoReturn:
    """Print the failure to stderr and exit with its exit code."""
    problems.print(f"[bold red]dicomstore:[/] {escape(failure.message)}", soft_wrap=True)
    if failure.hint:
        problems.print(f"[dim]hint:[/] {escape(failure.hint)}", soft_wrap=True)
    raise typer.Exit(failure.exit_code)


def run(work: Coroutine[Any, Any, int], *, core: str = "", interrupted: int = INTERRUPTED) -> NoReturn:
    """Run a command and exit with its exit code; after Ctrl-C exit with `interrupted`."""
    try:
        exit_code = asyncio.run(work)
    except grpc.aio.AioRpcError as error:
        fail(explain(error, core, may_connect=True))
    except Failure as failure:
        fail(failure)
    except TimeoutError:
        fail(Failure(f"timeout while waiting for the core at {core}", exit_code=NOT_EXECUTED))
    except KeyboardInterrupt:
        exit_code = interrupted
    raise typer.Exit(exit_code)
