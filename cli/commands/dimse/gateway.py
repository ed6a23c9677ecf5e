"""`dicomstore dimse`: run the DIMSE gateway until Ctrl-C."""

import asyncio
import os
import signal
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape

from cli.addresses import Address, parse_address
from cli.connection import GlobalOptions, QuietOption
from cli.errors import FAILED, Failure, run
from cli.output import data
from cli.processes.environment import UpstreamOption, environment_of
from cli.processes.gateways import gateway_programs, gateway_socket
from cli.processes.programs import Module, command, gateway_settings
from cli.processes.restarts import SupervisedProgram

_STOP_EXTRA_S = 5.0

app = typer.Typer(help="Run the DIMSE gateway, test connections to remote application entities, and transfer studies.")


@app.callback(invoke_without_command=True)
def dimse(
    ctx: typer.Context,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="Its address. \\[DICOMSTORE_DIMSE; 127.0.0.1:11112]"),
    ] = None,
    core: UpstreamOption = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            min=1,
            metavar="N",
            help="Number of processes. \\[DICOMSTORE_DIMSE_PROCESSES; one for each CPU, at most 4]",
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Run the DIMSE gateway until Ctrl-C: C-ECHO, C-STORE and others for a core, which may run on another machine.

    A process that ends by itself is restarted. A second Ctrl-C kills all processes.
    """
    if ctx.invoked_subcommand is not None:
        return
    given = ctx.obj or GlobalOptions()
    environment = environment_of(dimse=listen, core=core or given.core, dimse_processes=processes)
    run(_run(environment, quiet=quiet or given.quiet))


@app.command()
def echo(
    remote: Annotated[str, typer.Argument(metavar="REMOTE", help="Name in `dimse.remotes`, or HOST:PORT.")],
    ae_title: Annotated[
        str | None, typer.Option("--ae-title", metavar="TITLE", help="AE title of HOST:PORT. \\[ANY-SCP]")
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Connect to HOST:PORT with TLS.")] = False,
) -> None:
    """Test the connection to a remote application entity with C-ECHO, and print why it fails.

    Exit code: 0 if it responds, 1 if not.
    """
    options = [*(("--ae-title", ae_title) if ae_title else ()), *(("--tls",) if tls else ())]
    program = command(Module.DIMSE, "echo", remote, *options)
    os.execve(program[0], program, environment_of())  # noqa: S606 - the command is built here, not input


@app.command()
def find(
    remote: Annotated[str, typer.Argument(metavar="REMOTE", help="Name in `dimse.remotes`, or HOST:PORT.")],
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY[=VALUE]...", help="Keywords of attributes; with a value, it must match.")
    ],
    level: Annotated[str, typer.Option("--level", metavar="LEVEL", help="study, series or image.")] = "study",
    ae_title: Annotated[
        str | None, typer.Option("--ae-title", metavar="TITLE", help="AE title of HOST:PORT. \\[ANY-SCP]")
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Connect to HOST:PORT with TLS.")] = False,
) -> None:
    """Query a remote application entity with C-FIND (Study Root), and print a JSON object for each match.

    Exit code: 0 also without matches, 1 if the query fails.
    """
    options = [*(("--ae-title", ae_title) if ae_title else ()), *(("--tls",) if tls else ())]
    program = command(Module.DIMSE, "find", remote, *keys, "--level", level, *options)
    os.execve(program[0], program, environment_of())  # noqa: S606 - the command is built here, not input


async def _run(environment: Mapping[str, str], *, quiet: bool) -> int:
    settings = gateway_settings(environment)
    programs: list[SupervisedProgram] = []
    changed, stop = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            for program in programs:
                program.kill()
        stop.set()
        changed.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    with gateway_socket(str(settings["dimse"])) as listener:
        address = Address(parse_address(str(settings["dimse"])).host, listener.getsockname()[1])
        try:
            programs += gateway_programs(
                listener, address, int(settings["dimse_processes"]), environment, echo=not quiet, on_change=changed.set
            )
            await _until_ready(programs, changed, stop)
            if not (quiet or stop.is_set()):
                _welcome(settings, address)
            await stop.wait()
        finally:
            stop_s = float(settings["dimse_shutdown_seconds"]) + _STOP_EXTRA_S
            await asyncio.gather(*(program.stop(stop_s) for program in programs))
    return 0 if all(program.ended_cleanly for program in programs) else FAILED


async def _until_ready(programs: list[SupervisedProgram], changed: asyncio.Event, stop: asyncio.Event) -> None:
    while not stop.is_set() and not all(program.is_ready for program in programs):
        if all(program.has_given_up and not program.is_ready for program in programs):
            raise Failure(f"the gateway {programs[0].fault}", hint="the reason is in the log above")
        changed.clear()
        await changed.wait()


def _welcome(settings: Mapping[str, Any], address: Address) -> None:
    facts = f"  DIMSE      {settings['ae_title']} at {address}\n  Core       {settings['core']}\n  Stop       Ctrl-C\n"
    data.print(f"\n[bold green]the DIMSE gateway is running[/]\n{escape(facts)}", soft_wrap=True)
