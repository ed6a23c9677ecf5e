"""Every failure becomes one clear line and an exit code: 1 the work failed, 2 it could not be asked for."""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, cast

import grpc
import typer
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from rich.markup import escape

from cli.output import problems

DOMAIN = "dicomstore"
FAILED = 1
NOT_ASKED = 2
INTERRUPTED = 130

_NOT_ASKED_CODES = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class Failure(Exception):
    """What a person should read, and the exit code."""

    def __init__(self, message: str, *, hint: str = "", exit_code: int = FAILED) -> None:
        """Take one line for `message` and perhaps one for `hint`, what to do about it."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


def reason_of(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    """Return the core's own reason, or None when the error comes from the connection or from a stranger."""
    try:
        status = rpc_status.from_call(cast(grpc.Call, error))  # it has all that is read of a call
    except ValueError:  # details that contradict the status: not written by our core
        return None
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return info
    return None


def explain(error: grpc.aio.AioRpcError, core: str) -> Failure:
    """Return what went wrong with a call to `core`, for people."""
    code = error.code()
    exit_code = NOT_ASKED if code in _NOT_ASKED_CODES else FAILED
    if info := reason_of(error):
        where = ", ".join(f"{key}: {value}" for key, value in sorted(info.metadata.items()))
        return Failure(f"{error.details()} ({info.reason}{'; ' + where if where else ''})", exit_code=exit_code)
    if code is grpc.StatusCode.UNAVAILABLE:
        return unreachable(core)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Failure(f"the core at {core} did not answer in time", exit_code=exit_code)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Failure(f"what answers at {core} is not a dicomstore core, or an older one", exit_code=NOT_ASKED)
    return Failure(f"{code.name}: {error.details()}", exit_code=exit_code)


def unreachable(core: str) -> Failure:
    """Return the failure of a core that does not answer."""
    return Failure(
        f"no core answers at {core}",
        hint="start one with `dicomstore up`, or name another with --core HOST:PORT or DICOMSTORE_CORE",
        exit_code=NOT_ASKED,
    )


def fail(failure: Failure) -> NoReturn:
    """Print the failure to stderr and leave with its exit code."""
    problems.print(f"[bold red]dicomstore:[/] {escape(failure.message)}", soft_wrap=True)
    if failure.hint:
        problems.print(f"[dim]hint:[/] {escape(failure.hint)}", soft_wrap=True)
    raise typer.Exit(failure.exit_code)


def run(work: Coroutine[Any, Any, int], *, core: str = "", interrupted: int = INTERRUPTED) -> NoReturn:
    """Run a command to its end and leave with its exit code; Ctrl-C leaves with `interrupted`."""
    try:
        exit_code = asyncio.run(work)
    except grpc.aio.AioRpcError as error:
        fail(explain(error, core))
    except Failure as failure:
        fail(failure)
    except TimeoutError:
        fail(Failure(f"the core at {core} fell silent", exit_code=NOT_ASKED))
    except KeyboardInterrupt:
        exit_code = interrupted
    raise typer.Exit(exit_code)
