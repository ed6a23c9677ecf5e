"""`python -m server`: commands to run the core, migrate its database, show its settings, and check its data."""

import server.import_hygiene  # noqa: F401 - before anything imports pydicom

# isort: split

import asyncio
import gc
import json
import logging
import signal
import sys
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvloop
from pydantic import ValidationError

from common import collector
from common.addresses import InsecureOption, accept_insecure
from common.process.file_modes import restrict_new_files
from common.process.malloc import tune_malloc
from common.process.notify import notify
from common.settings import problem_of
from common.telemetry.json_lines import JSON, CountedRecords, JsonFormatter
from server import opening
from server.config import Settings
from server.model.errors import DicomStoreError
from server.opening import StartError

collector.enable()

_COLLECT_AFTER = 20_000
"""Number of new containers that triggers garbage collection. The default, 700, is reached by every search."""

# Entry points are imported by the commands that use them: a worker does not load the modules that serve calls.

app = typer.Typer(add_completion=False, help=__doc__)
_log = logging.getLogger("dicomstore")


@app.callback(invoke_without_command=True)
def _default(context: typer.Context, insecure: InsecureOption = False) -> None:
    if context.invoked_subcommand is None:
        serve(insecure)


@app.command()
def serve(insecure: InsecureOption = False) -> None:
    """Run the core until SIGTERM or SIGINT."""
    accept_insecure(insecure)
    settings = _settings()
    _log_to_stderr(settings)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except (StartError, DicomStoreError) as error:
        _give_up(str(error))


@app.command()
def work(
    idle_seconds: Annotated[
        float | None, typer.Option(help="Exit after this time without unfinished operations; never by default.")
    ] = None,
) -> None:
    """Run operations, which the core only records, until SIGTERM or SIGINT."""
    settings = _settings()
    _log_to_stderr(settings)
    try:
        asyncio.run(_work(settings, idle_seconds))
    except (StartError, DicomStoreError) as error:
        _give_up(str(error))


@app.command()
def migrate() -> None:
    """Migrate the database to the current schema."""
    settings = _settings()
    from server.bootstrap import maintenance

    try:
        asyncio.run(maintenance.migrate(settings))
        present = opening.schema_state(settings).present
    except (StartError, DicomStoreError) as error:
        _give_up(str(error))
    typer.echo(f"schema {present}")


@app.command()
def accept_clock() -> None:
    """Confirm that the system clock is correct although it is far ahead of the last recorded time."""
    from server.bootstrap import maintenance

    try:
        recorded = asyncio.run(maintenance.accept_clock(_settings()))
    except (ValueError, DicomStoreError) as error:
        _give_up(str(error))
    typer.echo(f"recorded {recorded.isoformat(timespec='seconds')}")


@app.command()
def recover(
    with_quarantined: Annotated[
        bool, typer.Option("--with-quarantined", help="Also index quarantined blobs, which no index referenced.")
    ] = False,
) -> None:
    """Rebuild a lost index from the stored bytes, or complete one that is old or has lost transactions.

    The archive must be stopped. Repeat an interrupted recovery.
    """
    from server.bootstrap import maintenance

    settings = _settings()
    _log_to_stderr(settings)
    try:
        done = asyncio.run(maintenance.recover(settings, with_quarantined=with_quarantined))
    except (StartError, DicomStoreError) as error:
        _give_up(str(error))
    for count, label in (
        (done.known, "blobs already in the index"),
        (done.added, "instances added"),
        (done.damaged, "of which damaged"),
        (done.deleted, "instances deleted, as recorded in the journal"),
        (done.moved, "instances whose blob location was updated"),
        (done.retired, "blobs of deleted instances, quarantined"),
        (done.quarantined, "blobs already in quarantine"),
        (done.duplicates, "duplicate blobs of indexed instances, quarantined"),
        (done.labelled, "studies, series and instances with labels from the journal"),
        (done.workitems, "workitems from the journal"),
        (done.unreadable, "unreadable blobs, left unchanged"),
    ):
        typer.echo(f"{count:>9} {label}")
    for example in done.examples:
        typer.echo(example)


@app.command()
def verify_audit(
    key: Annotated[Path | None, typer.Option(help="Public key that must have signed, in PEM format.")] = None,
    checkpoint: Annotated[str, typer.Option(help="Checkpoint of an earlier verification.")] = "",
) -> None:
    """Check that no record of the audit trail was changed or removed; the exit code is 1 if one was."""
    from server.bootstrap import maintenance

    try:
        trusted = key.read_text() if key else ""
        found = maintenance.verify_audit(_settings(), trusted_key=trusted, checkpoint=checkpoint)
    except (OSError, DicomStoreError) as error:
        _give_up(str(error))
    for finding in found.findings:
        label = "TAMPERED" if finding.kind.is_tampering else "note"
        typer.echo(f"{label}  {finding.kind}  {finding.place}: {finding.message}")
    state = "intact" if found.is_intact else "NOT intact"
    typer.echo(f"{found.records} records of {found.writers} processes are {state}")
    typer.echo(f"checkpoint {found.checkpoint}")
    typer.echo(f"key {found.key}")
    raise typer.Exit(0 if found.is_intact else 1)


@app.command()
def replace_audit_key(
    old: Annotated[Path, typer.Option(help="The key until now, which signs the new one.")] = Path("/nonexistent"),
) -> None:
    """Sign the audit trail with the key of the settings from now on."""
    from server.bootstrap import maintenance

    try:
        asyncio.run(maintenance.replace_audit_key(_settings(), old))
    except (StartError, DicomStoreError) as error:
        _give_up(str(error))
    typer.echo("the audit trail is signed with the new key")


@app.command()
def config() -> None:
    """Print the effective settings as JSON, passwords masked."""
    typer.echo(json.dumps(_settings().shown(), indent=2))


@app.command()
def stores() -> None:
    """Print the stores of the blobs, and what the index has in each, as JSON."""
    from server.bootstrap import maintenance

    try:
        found = asyncio.run(maintenance.stores(_settings()))
    except (StartError, DicomStoreError) as error:
        _give_up(str(error))
    typer.echo(json.dumps({"stores": found}, indent=2))


@app.command()
def check(deep: Annotated[bool, typer.Option(help="Read all bytes and compare their checksums.")] = False) -> None:
    """Check settings, disk, database and whether index, blobs and change feed agree; print JSON."""
    from server.bootstrap.checks import checks

    results = asyncio.run(checks(_settings(), deep=deep))
    typer.echo(json.dumps({"version": version("dicomstore"), "checks": results}, indent=2))
    raise typer.Exit(any(entry["status"] == "failed" for entry in results))


async def _serve(settings: Settings) -> None:
    with collector.paused():
        from server.bootstrap.serving import running

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with running(settings) as core:
        for number in (signal.SIGTERM, signal.SIGINT):  # until here, a signal ends the process at once
            loop.add_signal_handler(number, stop.set)
        _collect_rarely()
        _log.info("dicomstore core listening on %s", core.address)
        await stop.wait()
        _log.info("dicomstore core stopping")


async def _work(settings: Settings, idle_seconds: float | None) -> None:
    with collector.paused():
        from server.bootstrap.working import working

    stop = asyncio.Event()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # `dicomstore up` sends it when an operation has been started
    async with working(settings) as engine, AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):  # until here, a signal ends the process at once
            loop.add_signal_handler(number, stop.set)
        if engine is not None:
            wake = engine.wake
            signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(wake))
            stack.callback(signal.signal, signal.SIGUSR1, signal.SIG_IGN)
        notify("READY=1")
        if engine is None:
            _log.warning("operations wait: the archive is read-only")
            if idle_seconds is None:
                await stop.wait()
            return
        _collect_rarely()
        _log.info("dicomstore operations worker running")
        work = asyncio.create_task(engine.run(idle_seconds))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if work.done():
            work.result()
        work.cancel()
        _log.info("dicomstore operations worker stopping")


def _collect_rarely() -> None:
    """Let the garbage collector ignore the objects created at start-up, which are permanent, and run less often."""
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


def _settings() -> Settings:
    try:
        return Settings()
    except (ValidationError, ValueError) as error:
        _give_up(f"Settings: {problem_of(error)}")


def _give_up(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


def _log_to_stderr(settings: Settings) -> None:
    line = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == JSON else line)
    handler.addFilter(CountedRecords())
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper())


def main() -> None:
    """Entry point of `dicomstore-server`."""
    restrict_new_files()
    # glibc keeps freed buffers of megabytes, which avoids page faults for new ones; measured in docs/performance.md.
    tune_malloc(mmap_threshold_bytes=32 << 20, trim_threshold_bytes=64 << 20, arenas=2)
    app(prog_name="dicomstore-server")


if __name__ == "__main__":
    main()
