"""`dicomstore up`: the core and the facade together, until Ctrl-C."""

import asyncio
import signal
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import typer
from rich.markup import escape

from cli.addresses import Address, claim, parse_address
from cli.config import origin_of
from cli.connection import GlobalOptions, QuietOption
from cli.environment import (
    DatabaseOption,
    DataOption,
    GrpcOption,
    HttpOption,
    PartitionsOption,
    WorkersOption,
    environment_of,
    without_password,
)
from cli.errors import FAILED, NOT_ASKED, Failure, run
from cli.health import NotServing, core_serves, facade_serves
from cli.output import data
from cli.programs import Module, command, settings_of
from cli.supervise import Program

CORE_START_S = 300.0
"""Time the core has to serve; bringing a large index up to date takes a while."""

FACADE_START_S = 60.0
STOP_EXTRA_S = 5.0
"""Time a program has to stop beyond what its own setting gives to calls in flight."""

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(
    ctx: typer.Context,
    data_directory: DataOption = None,
    http: HttpOption = None,
    grpc_address: GrpcOption = None,
    workers: WorkersOption = None,
    database: DatabaseOption = None,
    partitions: PartitionsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Run the whole archive, core and facade, until Ctrl-C.

    Options beat DICOMSTORE_* variables, which beat dicomstore.toml. The embedded database is brought up to date at
    start; a database of your own is not, see `dicomstore migrate`. Port 0 picks a free one. If one program ends, the
    other is stopped. A second Ctrl-C kills both.
    """
    given = ctx.obj or GlobalOptions()
    environment = environment_of(
        data=data_directory,
        http=http,
        grpc=grpc_address,
        workers=workers,
        database=database,
        partitions=partitions,
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
    core_stop_s: float
    facade_stop_s: float

    @property
    def core(self) -> str:
        """Address under which clients on this machine find the core."""
        return str(self.grpc.to_connect())

    @property
    def url(self) -> str:
        """URL under which clients on this machine find the facade."""
        return f"http://{self.http.to_connect()}"


async def plan_of(environment: Mapping[str, str]) -> Plan:
    """Ask both programs for their settings, and make sure that their ports can be had.

    Raises:
        Failure: a setting is not accepted, or a port is taken.
    """
    core, facade = await asyncio.gather(settings_of(Module.CORE, environment), settings_of(Module.FACADE, environment))
    grpc_address = _claim(str(core["grpc"]), "the core", "--grpc HOST:PORT or DICOMSTORE_GRPC")
    http_address = _claim(str(facade["http"]), "the facade", "--http HOST:PORT or DICOMSTORE_HTTP")
    database = without_password(str(core["database"])) if origin_of("server", "database", environment) else ""
    complete = {
        **environment,
        "DICOMSTORE_GRPC": str(grpc_address),
        "DICOMSTORE_HTTP": str(http_address),
        "DICOMSTORE_CORE": str(grpc_address.to_connect()),
    }
    if not database:
        complete["DICOMSTORE_MIGRATE"] = "true"
    return Plan(
        environment=complete,
        grpc=grpc_address,
        http=http_address,
        data=Path(str(core["data"])),
        database=database,
        core_stop_s=float(core["shutdown_seconds"]) + STOP_EXTRA_S,
        facade_stop_s=float(facade["shutdown_seconds"]) + STOP_EXTRA_S,
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
    plan = await plan_of(environment)
    try:
        await _start(plan, programs, signals, quiet=quiet)
        await _first(signals.asked.wait(), *(program.wait() for program in programs))
        if not signals.asked.is_set():
            raise _death(programs, quiet=quiet)
    finally:
        # The facade first, so that what it still answers finds its core.
        graces_s = (plan.core_stop_s, plan.facade_stop_s)
        for program, grace_s in reversed(list(zip(programs, graces_s, strict=False))):
            await program.stop(grace_s)
    return 0 if all(program.ended_cleanly for program in programs) else FAILED


async def _start(plan: Plan, programs: list[Program], signals: _Signals, *, quiet: bool) -> None:
    """Start core, then facade; returns early when asked to stop.

    Raises:
        Failure: one of them did not come up.
    """
    core = await Program.start("core", command(Module.CORE, "serve"), plan.environment, echo=not quiet)
    programs.append(core)
    async with grpc.aio.insecure_channel(
        plan.core, options=[("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 200)]
    ) as channel:
        await _ready(core_serves(channel), programs, CORE_START_S, plan, signals, quiet=quiet)
    if signals.asked.is_set():
        return
    facade = await Program.start("facade", command(Module.FACADE), plan.environment, echo=not quiet)
    programs.append(facade)
    await _ready(facade_serves(plan.url), programs, FACADE_START_S, plan, signals, quiet=quiet)
    if not signals.asked.is_set() and not quiet:
        _welcome(plan)


async def _ready(
    serves: Coroutine[Any, Any, None],
    programs: list[Program],
    timeout_s: float,
    plan: Plan,
    signals: _Signals,
    *,
    quiet: bool,
) -> None:
    """Wait until the newest program serves, all others living on, or we are asked to stop."""
    hint = "run `dicomstore doctor` with the same settings"
    if plan.database:
        hint = "a database of your own is not brought up to date here: run `dicomstore migrate` with the same settings"
    name = programs[-1].name
    try:
        async with asyncio.timeout(timeout_s):
            await _first(serves, *(program.wait() for program in programs), signals.asked.wait())
    except TimeoutError:
        raise Failure(f"the {name} does not answer after {timeout_s:.0f} s", hint=hint) from None
    except NotServing:
        raise Failure(f"the {name} is up but does not serve", hint=hint) from None
    if not signals.asked.is_set() and any(program.exit_code is not None for program in programs):
        raise Failure(_death(programs, quiet=quiet).message, hint=hint)


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
    data.print(
        "\n[bold green]dicomstore is running[/]\n"
        + escape(
            f"  DICOMweb   {plan.url}/v2  (and /v1)\n"
            f"  gRPC       {plan.core}\n"
            f"  Data       {plan.data.absolute()}{index}\n"
            f"  Upload     dicomstore store{core} FOLDER\n"
            f"  Search     dicomstore search{core} PatientName='A*'\n"
            "  Stop       Ctrl-C\n"
        ),
        soft_wrap=True,
    )
