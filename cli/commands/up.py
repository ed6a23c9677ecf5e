"""`dicomstore up`: the whole archive, until Ctrl-C.

It runs nodes, each of which is a core and a facade in one process; several share the ports, the data directory and the
database. Beside them a worker does the long work that they start.
"""

import asyncio
import signal
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from cli.addresses import Address, claim, listening_at, parse_address
from cli.config import origin_of
from cli.connection import GlobalOptions, QuietOption
from cli.environment import (
    DatabaseOption,
    DataOption,
    GrpcOption,
    HttpOption,
    PartitionsOption,
    ViewerOption,
    WorkersOption,
    environment_of,
    without_password,
)
from cli.errors import FAILED, NOT_ASKED, Failure, run
from cli.notices import VARIABLE as NOTIFY_SOCKET
from cli.notices import listening
from cli.output import data
from cli.programs import Module, command, core_settings, facade_settings
from cli.supervise import Program

START_S = 300.0
"""Time they have to serve; bringing a large index up to date takes a while."""

HTTP_SOCKET = "DICOMSTORE_HTTP_SOCKET"
"""Tells a node the descriptor of the socket that it shall take connections from."""

STOP_EXTRA_S = 5.0
"""Time a program has to stop beyond what its own settings give to calls in flight."""

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(
    ctx: typer.Context,
    data_directory: DataOption = None,
    http: HttpOption = None,
    grpc_address: GrpcOption = None,
    workers: WorkersOption = None,
    database: DatabaseOption = None,
    partitions: PartitionsOption = None,
    viewer: ViewerOption = None,
    quiet: QuietOption = False,
) -> None:
    """Run the whole archive, core and facade, until Ctrl-C.

    Options beat DICOMSTORE_* variables, which beat dicomstore.toml. The embedded database is brought up to date at
    start; a database of your own is not, see `dicomstore migrate`. Port 0 picks a free one. If one process ends by
    itself, the others are stopped. A second Ctrl-C kills them all.
    """
    given = ctx.obj or GlobalOptions()
    environment = environment_of(
        data=data_directory,
        http=http,
        grpc=grpc_address,
        workers=workers,
        database=database,
        partitions=partitions,
        viewer=viewer,
    )
    run(_up(environment, quiet=quiet or given.quiet))


@dataclass(frozen=True, slots=True)
class Plan:
    """What will run, and where."""

    environment: Mapping[str, str]
    grpc: Address
    http: Address
    data: Path
    database: str
    """URL of a database of the user's own, without password; empty is the embedded one."""
    has_viewer: bool
    processes: int
    stop_s: float

    @property
    def core(self) -> str:
        """Address under which clients on this machine find the core."""
        return str(self.grpc.to_connect())

    @property
    def url(self) -> str:
        """URL under which clients on this machine find the facade."""
        return f"http://{self.http.to_connect()}"


def plan_of(environment: Mapping[str, str]) -> Plan:
    """Read the settings of core and facade, and make sure that their ports are free.

    Raises:
        Failure: a setting is not accepted, or a port is taken.
    """
    core, facade = core_settings(environment), facade_settings(environment)
    grpc_address = _claim(str(core["grpc"]), "the core", "--grpc HOST:PORT or DICOMSTORE_GRPC")
    http_address = _claim(str(facade["http"]), "the facade", "--http HOST:PORT or DICOMSTORE_HTTP")
    database = without_password(str(core["database"])) if origin_of("server", "database", environment) else ""
    complete = {
        **environment,
        "DICOMSTORE_GRPC": str(grpc_address),
        "DICOMSTORE_HTTP": str(http_address),
        "DICOMSTORE_CORE": str(grpc_address.to_connect()),
    }
    processes = int(facade["workers"])
    if processes > 1:
        complete["DICOMSTORE_SHARE_PORTS"] = "true"
    if not database:
        complete["DICOMSTORE_MIGRATE"] = "true"
    return Plan(
        environment=complete,
        grpc=grpc_address,
        http=http_address,
        data=Path(str(core["data"])),
        database=database,
        has_viewer=bool(facade["viewer"]),
        processes=processes,
        stop_s=float(core["shutdown_seconds"]) + float(facade["shutdown_seconds"]) + STOP_EXTRA_S,
    )


def _claim(text: str, whose: str, hint: str) -> Address:
    try:
        return claim(parse_address(text))
    except (ValueError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Failure(
            f"{whose} can't listen on {text}: {why}", hint=f"choose another with {hint}", exit_code=NOT_ASKED
        ) from error


class _Signals:
    """The first signal asks to stop; the second kills."""

    def __init__(self, programs: list[Program]) -> None:
        self.asked = asyncio.Event()
        self._programs = programs
        for number in _STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._ask)

    def _ask(self) -> None:
        if self.asked.is_set():
            for program in self._programs:
                program.kill()
        self.asked.set()


async def _up(environment: Mapping[str, str], *, quiet: bool) -> int:
    programs: list[Program] = []
    signals = _Signals(programs)
    plan = plan_of(environment)
    try:
        await _start(plan, programs, signals, quiet=quiet)
        await _first(signals.asked.wait(), *(program.wait() for program in programs))
        if not signals.asked.is_set():
            raise _death(programs, quiet=quiet)
    finally:
        await asyncio.gather(*(program.stop(plan.stop_s) for program in programs))
    return 0 if all(program.ended_cleanly for program in programs) else FAILED


async def _start(plan: Plan, programs: list[Program], signals: _Signals, *, quiet: bool) -> None:
    """Start all nodes; returns when they serve, or when asked to stop.

    Raises:
        Failure: one of them did not come up.
    """
    hint = "the reason is in the log above; `dicomstore doctor` with the same settings tells more"
    # One socket for all: who connects from now on waits until a node takes the connection.
    with listening_at(plan.http) as listener:
        async with listening() as notices:
            environment = {
                **plan.environment,
                NOTIFY_SOCKET: notices.address,
                HTTP_SOCKET: str(listener.fileno()),
            }
            for number in range(1, plan.processes + 1):
                program = await Program.start(
                    "node" if plan.processes == 1 else f"node {number}",
                    command(Module.NODE),
                    environment,
                    echo=not quiet,
                    descriptors=[listener.fileno()],
                )
                programs.append(program)
            ends = [program.wait() for program in programs]
            try:
                async with asyncio.timeout(START_S):
                    await _first(notices.ready(plan.processes), *ends, signals.asked.wait())
            except TimeoutError:
                raise Failure(f"the archive does not answer after {START_S:.0f} s", hint=hint) from None
    if signals.asked.is_set():
        return
    if not any(program.exit_code is not None for program in programs):
        worker = await Program.start("worker", command(Module.CORE, "work"), plan.environment, echo=not quiet)
        programs.append(worker)
    if any(program.exit_code is not None for program in programs):
        raise Failure(_death(programs, quiet=quiet).message, hint=hint)
    if not quiet:
        _welcome(plan)


def _death(programs: list[Program], *, quiet: bool) -> Failure:
    """Return what to say about a program that ended by itself."""
    dead = next(program for program in programs if program.exit_code is not None)
    log = f"; its last words:\n{dead.log_tail}" if quiet and dead.log_tail else ""
    return Failure(f"the {dead.name} ended by itself with exit code {dead.exit_code}{log}")


async def _first(*awaitables: Coroutine[Any, Any, Any]) -> None:
    """Return when the first is done, raise if it raises, and drop the others."""
    tasks = [asyncio.create_task(awaitable) for awaitable in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _welcome(plan: Plan) -> None:
    core = "" if plan.core == "127.0.0.1:50051" else f" --core {plan.core}"
    index = f"\n  Index      {plan.database}" if plan.database else ""
    viewer = f"  Viewer     {plan.url}/\n" if plan.has_viewer else ""
    data.print(
        "\n[bold green]dicomstore is running[/]\n"
        + escape(
            f"  DICOMweb   {plan.url}/v2  (and /v1)\n{viewer}"
            f"  gRPC       {plan.core}\n"
            f"  Data       {plan.data.absolute()}{index}\n"
            f"  Upload     dicomstore store{core} FOLDER\n"
            f"  Search     dicomstore search{core} PatientName='A*'\n"
            "  Stop       Ctrl-C\n"
        ),
        soft_wrap=True,
    )
