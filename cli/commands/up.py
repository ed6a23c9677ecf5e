"""`dicomstore up`: the whole archive, until Ctrl-C.

It runs nodes, each of which is a core and a facade in one process; several share the ports, the data directory and the
database. Beside them a worker does the long work that they start. Each of them is started again when it ends by itself.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.markup import escape

from cli.addresses import Address, claim, listening_at, parse_address
from cli.config import origin_of
from cli.connection import GlobalOptions, QuietOption
from cli.errors import FAILED, NOT_ASKED, Failure, run
from cli.output import data
from cli.processes.environment import (
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
from cli.processes.programs import Module, command, core_settings, facade_settings
from cli.processes.restarts import Kept

HTTP_SOCKET = "DICOMSTORE_HTTP_SOCKET"
"""Tells a node the descriptor of the socket that it shall take connections from."""

WORKER_STATE = "DICOMSTORE_WORKER_STATE"
"""Tells a node the descriptor of a file whose first byte says whether the worker runs: `1` or `0`."""

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
    start; a database of your own is not, see `dicomstore migrate`. Port 0 picks a free one. A process that ends by
    itself is started again, after 1 s and then ever longer up to a minute, while the others go on. It ends with 1 if no
    node can be started any more. A second Ctrl-C kills them all.
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

    def __init__(self, programs: Sequence[Kept], changed: asyncio.Event) -> None:
        self.is_asked = False
        self._programs = programs
        self._changed = changed
        for number in _STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._ask)

    def _ask(self) -> None:
        if self.is_asked:
            for program in self._programs:
                program.kill()
        self.is_asked = True
        self._changed.set()


async def _up(environment: Mapping[str, str], *, quiet: bool) -> int:
    programs: list[Kept] = []
    changed = asyncio.Event()
    signals = _Signals(programs, changed)
    plan = plan_of(environment)
    # One socket for all: connections wait in it until a node takes them, also while one is started again.
    with listening_at(plan.http) as listener, os.fdopen(os.memfd_create("worker-state"), "r+b", 0) as worker_state:
        try:
            await _run(plan, programs, [listener.fileno(), worker_state.fileno()], signals, changed, quiet=quiet)
        finally:
            listener.close()
            await asyncio.gather(*(program.stop(plan.stop_s) for program in programs))
    return 0 if all(program.ended_cleanly for program in programs) else FAILED


async def _run(
    plan: Plan, programs: list[Kept], descriptors: list[int], signals: _Signals, changed: asyncio.Event, *, quiet: bool
) -> None:
    """Run nodes, and then a worker, until asked to stop.

    Args:
        descriptors: of the socket for HTTP, and of the file with the state of the worker.

    Raises:
        Failure: no node can be started, or not any more.
    """
    http_socket, worker_state = descriptors
    os.pwrite(worker_state, b"1", 0)  # the nodes need not report one that is not started yet
    environment = {**plan.environment, HTTP_SOCKET: str(http_socket), WORKER_STATE: str(worker_state)}
    nodes = [
        Kept(
            "node" if plan.processes == 1 else f"node {number}",
            command(Module.NODE),
            environment,
            echo=not quiet,
            descriptors=descriptors,
            on_change=changed.set,
        )
        for number in range(1, plan.processes + 1)
    ]
    programs += nodes

    async def until(condition: Callable[[], bool]) -> None:
        while not signals.is_asked and not condition():
            if all(node.has_given_up and not node.is_ready for node in nodes):
                raise _death(nodes, quiet=quiet)
            changed.clear()
            await changed.wait()

    def note_worker() -> None:
        os.pwrite(worker_state, b"1" if worker.is_ready else b"0", 0)

    await until(lambda: all(node.is_ready or node.fault for node in nodes) and any(node.is_ready for node in nodes))
    if signals.is_asked:
        return
    worker = Kept("worker", command(Module.CORE, "work"), plan.environment, echo=not quiet, on_change=note_worker)
    programs.append(worker)
    await worker.was_started.wait()
    if not quiet:
        _welcome(plan)
    await until(lambda: False)


def _death(nodes: Sequence[Kept], *, quiet: bool) -> Failure:
    """Return what to say about nodes that can't be started."""
    node = nodes[0]
    log = f"; its last words:\n{node.log_tail}" if quiet and node.log_tail else ""
    return Failure(
        f"the {node.name} {node.fault}{log}",
        hint="the reason is in the log above; `dicomstore doctor` with the same settings tells more",
    )


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
