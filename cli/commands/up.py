"""`dicomstore up`: run the whole archive until Ctrl-C.

It runs one or more nodes; a node is a core and a facade in one process. Nodes share the ports, the data directory and
the database. A separate worker process runs long operations. Every process is restarted if it ends by itself.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.markup import escape

from cli.addresses import Address, claim, listening_at, parse_address
from cli.config import origin_of
from cli.connection import GlobalOptions, QuietOption
from cli.errors import FAILED, NOT_EXECUTED, Failure, run
from cli.output import data
from cli.processes.environment import (
    DatabaseOption,
    DataOption,
    DimseOption,
    GrpcOption,
    HttpOption,
    PartitionsOption,
    ViewerOption,
    WorkersOption,
    environment_of,
)
from cli.processes.gateways import NODE, gateway_programs, gateway_socket
from cli.processes.programs import Module, command, core_settings, facade_settings, gateway_settings
from cli.processes.restarts import SupervisedProgram
from common.addresses import InsecureOption, accept_insecure
from common.core_channel import TLS
from common.process import socket_calls
from common.settings import without_password

HTTP_SOCKET = "DICOMSTORE_HTTP_SOCKET"
"""Variable of a node: file descriptor of the shared HTTP listening socket."""

GATEWAYS = "DICOMSTORE_GATEWAYS"
"""Variable of a node: number of gateway processes."""

WORKER_STATE = "DICOMSTORE_WORKER_STATE"
"""Variable of a node: file descriptor of a file that contains `1` if the worker runs, otherwise `0`."""

STOP_EXTRA_S = 5.0
"""Time to stop, in addition to the program's own time for calls in progress."""

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(
    ctx: typer.Context,
    data_directory: DataOption = None,
    http: HttpOption = None,
    grpc_address: GrpcOption = None,
    dimse: DimseOption = None,
    workers: WorkersOption = None,
    database: DatabaseOption = None,
    partitions: PartitionsOption = None,
    viewer: ViewerOption = None,
    insecure: InsecureOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the whole archive, core and facade, until Ctrl-C.

    Options take precedence over DICOMSTORE_* variables, and these over dicomstore.toml. The embedded database is
    migrated at start; an external one is not (see `dicomstore migrate`). Port 0 selects a free port. A process that
    ends by itself is restarted, after 1 s at first and at most 60 s, while the others continue. The exit code is 1 if
    no node can be started. A second Ctrl-C kills all processes.
    """
    given = ctx.obj or GlobalOptions()
    accept_insecure(insecure)
    environment = environment_of(
        data=data_directory,
        http=http,
        grpc=grpc_address,
        dimse=dimse,
        workers=workers,
        database=database,
        partitions=partitions,
        viewer=viewer,
    )
    run(_up(environment, has_gateway=dimse is not None, quiet=quiet or given.quiet))


@dataclass(frozen=True, slots=True)
class Plan:
    """Addresses, directories and environment of the processes to run."""

    environment: Mapping[str, str]
    grpc: Address
    http: Address
    data: Path
    database: str
    """URL of an external database, without password; empty means the embedded one."""
    blobs: str
    """URL of an object store; empty for blobs on local files."""
    has_viewer: bool
    has_https: bool
    has_grpc_tls: bool
    processes: int
    worker_idle_s: float
    stop_s: float
    dimse: str
    """Address of the DIMSE gateway; empty for none."""
    dimse_processes: int
    ae_title: str

    @property
    def core(self) -> str:
        """Address of the core for clients on this machine."""
        return f"{TLS if self.has_grpc_tls else ''}{self.grpc.to_connect()}"

    @property
    def url(self) -> str:
        """URL of the facade for clients on this machine."""
        return f"{'https' if self.has_https else 'http'}://{self.http.to_connect()}"


def plan_of(environment: Mapping[str, str], *, has_gateway: bool = False) -> Plan:
    """Read the settings of core and facade, and check that their ports are free.

    Args:
        has_gateway: run the DIMSE gateway, too.

    Raises:
        Failure: a setting is invalid, or a port is in use.
    """
    core, facade = core_settings(environment), facade_settings(environment)
    grpc_address = _claim(str(core["grpc"]), "the core", "--grpc HOST:PORT or DICOMSTORE_GRPC")
    if core["grpc_client_certificates"]:
        second = str(core["grpc_client_certificates"])
        mutual = _claim(second, "the core", "DICOMSTORE_GRPC_CLIENT_CERTIFICATES")
        environment = {**environment, "DICOMSTORE_GRPC_CLIENT_CERTIFICATES": str(mutual)}
    http_address = _claim(str(facade["http"]), "the facade", "--http HOST:PORT or DICOMSTORE_HTTP")
    database = without_password(str(core["database"])) if origin_of("server", "database", environment) else ""
    complete = {
        **environment,
        "DICOMSTORE_GRPC": str(grpc_address),
        "DICOMSTORE_HTTP": str(http_address),
    }
    gateway = {}
    if has_gateway:
        scheme = TLS if core["tls_certificate"] else ""
        complete["DICOMSTORE_CORE"] = f"{scheme}{grpc_address.to_connect()}"
        gateway = gateway_settings(complete)
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
        blobs="" if str(core["blobs"]).startswith("file:") else str(core["blobs"]),
        has_viewer=bool(facade["viewer"]),
        has_https=bool(facade["tls_certificate"]),
        has_grpc_tls=bool(core["tls_certificate"]),
        processes=processes,
        worker_idle_s=float(core["worker_idle_seconds"]),
        stop_s=float(core["shutdown_seconds"]) + float(facade["shutdown_seconds"]) + STOP_EXTRA_S,
        dimse=str(gateway.get("dimse", "")),
        dimse_processes=int(gateway.get("dimse_processes", 0)),
        ae_title=str(gateway.get("ae_title", "")),
    )


def _claim(text: str, program: str, hint: str) -> Address:
    try:
        return claim(parse_address(text))
    except (ValueError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Failure(
            f"{program} cannot listen on {text}: {why}", hint=f"choose another with {hint}", exit_code=NOT_EXECUTED
        ) from error


class _Signals:
    """Signal handlers: the first signal requests a stop; the second kills."""

    def __init__(self, programs: Sequence[SupervisedProgram], changed: asyncio.Event) -> None:
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


async def _up(environment: Mapping[str, str], *, has_gateway: bool, quiet: bool) -> int:
    programs: list[SupervisedProgram] = []
    changed = asyncio.Event()
    signals = _Signals(programs, changed)
    plan = plan_of(environment, has_gateway=has_gateway)
    with ExitStack() as stack:
        # One socket for all nodes: its backlog holds connections until a node accepts them, also during a restart.
        listener = stack.enter_context(listening_at(plan.http))
        worker_state = stack.enter_context(os.fdopen(os.memfd_create("worker-state"), "r+b", 0))
        gateway = stack.enter_context(gateway_socket(plan.dimse)) if plan.dimse else None
        calls = stack.enter_context(socket_calls.listen()) if plan.dimse else None
        try:
            descriptors = [listener.fileno(), worker_state.fileno()]
            await _run(plan, programs, descriptors, gateway, calls, signals, changed, quiet=quiet)
        finally:
            listener.close()
            await _stop(programs, plan)
    return 0 if all(program.ended_cleanly for program in programs) else FAILED


async def _stop(programs: Sequence[SupervisedProgram], plan: Plan) -> None:
    """Stop all programs, gateways before the nodes that they call."""
    for kind in (True, False):
        stopped = [program for program in programs if program.name.startswith("dimse") is kind]
        await asyncio.gather(*(program.stop(plan.stop_s) for program in stopped))


async def _run(
    plan: Plan,
    programs: list[SupervisedProgram],
    descriptors: list[int],
    gateway: socket.socket | None,
    calls: socket.socket | None,
    signals: _Signals,
    changed: asyncio.Event,
    *,
    quiet: bool,
) -> None:
    """Run nodes, and a worker while there are pending operations, until a signal requests a stop.

    Args:
        descriptors: file descriptors of the HTTP socket and of the file with the worker's state.
        gateway: listening socket of the DIMSE gateway; None for none.
        calls: listening socket of the nodes for calls of the gateway; None without it.

    Raises:
        Failure: no node can be started or restarted.
    """
    http_socket, worker_state = descriptors
    os.pwrite(worker_state, b"1", 0)  # nodes must not report a worker that has not been started yet
    environment = {
        **plan.environment,
        HTTP_SOCKET: str(http_socket),
        WORKER_STATE: str(worker_state),
        GATEWAYS: str(plan.dimse_processes),
    }

    if calls is not None:
        environment[socket_calls.SOCKET] = str(calls.fileno())
        descriptors = [*descriptors, calls.fileno()]

    def note_worker() -> None:
        os.pwrite(worker_state, b"0" if worker.is_down else b"1", 0)

    worker = SupervisedProgram(
        "worker",
        command(Module.CORE, "work", "--idle-seconds", str(plan.worker_idle_s)),
        plan.environment,
        echo=not quiet,
        on_change=note_worker,
        on_demand=True,
    )
    nodes = [
        SupervisedProgram(
            "node" if plan.processes == 1 else f"node {number}",
            command(Module.NODE),
            environment,
            echo=not quiet,
            descriptors=descriptors,
            on_change=changed.set,
            on_operations=worker.want,
        )
        for number in range(1, plan.processes + 1)
    ]
    programs += [*nodes, worker]
    address, gateways = None, []
    if gateway is not None and calls is not None:
        address = Address(parse_address(plan.dimse).host, gateway.getsockname()[1])
        variables = {
            **plan.environment,
            NODE: str(plan.data),
            socket_calls.ADDRESS: socket_calls.name_of(calls),
        }
        gateways = gateway_programs(
            gateway,
            address,
            plan.dimse_processes,
            variables,
            echo=not quiet,
            on_change=changed.set,
        )
        programs += gateways

    async def until(condition: Callable[[], bool]) -> None:
        while not signals.is_asked and not condition():
            if all(node.has_given_up and not node.is_ready for node in nodes):
                raise _death(nodes, quiet=quiet)
            changed.clear()
            await changed.wait()

    await until(lambda: all(node.is_ready or node.fault for node in nodes) and any(node.is_ready for node in nodes))
    await until(lambda: all(program.is_ready or program.fault for program in gateways))
    if signals.is_asked:
        return
    if not quiet:
        _welcome(plan, address)
    await until(lambda: False)


def _death(nodes: Sequence[SupervisedProgram], *, quiet: bool) -> Failure:
    """Return the failure of nodes that cannot be started."""
    node = nodes[0]
    log = f"; the end of its log:\n{node.log_tail}" if quiet and node.log_tail else ""
    return Failure(
        f"the {node.name} {node.fault}{log}",
        hint="the reason is in the log above; `dicomstore doctor` with the same settings reports more",
    )


def _welcome(plan: Plan, gateway: Address | None) -> None:
    core = "" if plan.core == "127.0.0.1:50051" else f" --core {plan.core}"
    index = f"\n  Index      {plan.database}" if plan.database else ""
    blobs = f"\n  Blobs      {plan.blobs}" if plan.blobs else ""
    viewer = f"  Viewer     {plan.url}/viewer/\n" if plan.has_viewer else ""
    dimse = f"  DIMSE      {plan.ae_title} at {gateway}\n" if gateway else ""
    data.print(
        "\n[bold green]dicomstore is running[/]\n"
        + escape(
            f"  Explorer   {plan.url}/\n"
            f"  DICOMweb   {plan.url}/v2  (and /v1)\n{viewer}"
            f"  gRPC       {plan.core}\n{dimse}"
            f"  Data       {plan.data.absolute()}{index}{blobs}\n"
            f"  Upload     dicomstore store{core} FOLDER\n"
            f"  Search     dicomstore search{core} PatientName='A*'\n"
            "  Stop       Ctrl-C\n"
        ),
        soft_wrap=True,
    )
