"""`python -m server`: run the core, migrate its database, show its settings, or check what it stores."""

import server.lean  # noqa: F401 - before anything imports pydicom

# isort: split

import asyncio
import gc
import json
import logging
import shutil
import signal
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer
import uvloop
from pydantic import ValidationError

from server import bootstrap, opening
from server.bootstrap import auditing, running
from server.config import Settings
from server.memory import tune_malloc
from server.model.errors import DicomStoreError
from server.model.scrub import ScrubPosition
from server.notify import notify
from server.opening import StartError

gc.enable()

_THIS_MACHINE = {"127.0.0.1", "localhost", "[::1]"}

_COLLECT_AFTER = 20_000
"""New containers until cycles are looked for. The default of 700 is reached by every search, where all are alive."""

app = typer.Typer(add_completion=False, help=__doc__)
_log = logging.getLogger("dicomstore")


@app.callback(invoke_without_command=True)
def _default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        serve()


@app.command()
def serve() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = _settings()
    _log_to_stderr(settings.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except (StartError, DicomStoreError) as error:
        _give_up(str(error))


@app.command()
def work() -> None:
    """Work on operations, which the core starts but does not do, until SIGTERM or SIGINT."""
    settings = _settings()
    _log_to_stderr(settings.log_level)
    try:
        asyncio.run(_work(settings))
    except (StartError, DicomStoreError) as error:
        _give_up(str(error))


@app.command()
def migrate() -> None:
    """Bring the database up to date."""
    settings = _settings()
    try:
        opening.migrate(settings)
        present, _ = opening.schema_state(settings)
    except (StartError, DicomStoreError) as error:
        _give_up(str(error))
    typer.echo(f"schema {present}")


@app.command()
def accept_clock() -> None:
    """Confirm that the system's clock is right although it is far ahead of the last recorded time."""
    try:
        recorded = asyncio.run(bootstrap.accept_clock(_settings()))
    except (ValueError, DicomStoreError) as error:
        _give_up(str(error))
    typer.echo(f"recorded {recorded.isoformat(timespec='seconds')}")


@app.command()
def recover(
    with_quarantined: Annotated[
        bool, typer.Option("--with-quarantined", help="Index bytes that a complete index did not know, too.")
    ] = False,
) -> None:
    """Rebuild a lost index from the stored bytes, or complete one that is old or has lost transactions.

    The archive must not run. An interrupted recovery is run again.
    """
    settings = _settings()
    _log_to_stderr(settings.log_level)
    try:
        done = asyncio.run(bootstrap.recover(settings, with_quarantined=with_quarantined))
    except (StartError, DicomStoreError) as error:
        _give_up(str(error))
    for count, what in (
        (done.known, "blobs that the index knew"),
        (done.added, "instances added"),
        (done.damaged, "of these damaged"),
        (done.deleted, "instances deleted again"),
        (done.moved, "instances whose bytes had moved"),
        (done.retired, "blobs of deleted instances, quarantined"),
        (done.quarantined, "blobs that were quarantined before"),
        (done.duplicates, "blobs of instances that are there already, quarantined"),
        (done.unreadable, "blobs that could not be read, left as they are"),
    ):
        typer.echo(f"{count:>9} {what}")
    for example in done.examples:
        typer.echo(example)


@app.command()
def config() -> None:
    """Print the effective settings as JSON, passwords masked."""
    typer.echo(json.dumps(_settings().shown(), indent=2))


@app.command()
def check(deep: Annotated[bool, typer.Option(help="Read all bytes and compare their checksums.")] = False) -> None:
    """Check settings, disk, database and whether index, blobs and change feed agree; print JSON."""
    checks = asyncio.run(_checks(_settings(), deep=deep))
    typer.echo(json.dumps({"version": version("dicomstore"), "checks": checks}, indent=2))
    raise typer.Exit(any(entry["status"] == "failed" for entry in checks))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with running(settings) as core:
        for number in (signal.SIGTERM, signal.SIGINT):  # before it serves, a signal may end it at once
            loop.add_signal_handler(number, stop.set)
        gc.freeze()  # what start-up made stays
        gc.set_threshold(_COLLECT_AFTER)
        _log.info("dicomstore core listening on %s", core.address)
        if core.address.rpartition(":")[0] not in _THIS_MACHINE:
            _log.warning("this port is open to other machines and asks nobody who they are; see docs/security.md")
        await stop.wait()
        _log.info("dicomstore core stopping")


async def _work(settings: Settings) -> None:
    stop = asyncio.Event()
    async with bootstrap.working(settings) as engine:
        for number in (signal.SIGTERM, signal.SIGINT):  # before it works, a signal may end it at once
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        notify("READY=1")
        if engine is None:
            _log.warning("operations wait: the archive is read-only")
            await stop.wait()
            return
        _log.info("dicomstore works on operations")
        task = asyncio.create_task(engine.run())
        asked = asyncio.create_task(stop.wait())
        await asyncio.wait((task, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if task.done():
            task.result()  # it never ends by itself; if it does, that is not a good end
        task.cancel()
        _log.info("dicomstore stops working on operations")


async def _checks(settings: Settings, *, deep: bool) -> list[dict[str, Any]]:
    archive, is_usable = await asyncio.to_thread(_archive, settings)
    results = [_disk(settings), archive, await asyncio.to_thread(_schema, settings)]
    if is_usable and results[-1]["status"] == "ok":
        results.append(await _operations(settings))
        results.append(await _clock(settings))
        results += await _agreement(settings, deep=deep)
    return results


def _disk(settings: Settings) -> dict[str, Any]:
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        usage = shutil.disk_usage(settings.data)
    except OSError as error:
        return _entry("disk", "failed", f"The data directory can't be used: {error.strerror}.")
    free = f"{usage.free / 1e9:.1f} GB free of {usage.total / 1e9:.1f} GB"
    return _entry("disk", "ok" if usage.free >= settings.warn_free_bytes else "warning", free)


def _archive(settings: Settings) -> tuple[dict[str, Any], bool]:
    """Compare data directory and index; say also whether what they hold can be looked at."""
    try:
        lost = opening.check_binding(settings)
    except (StartError, DicomStoreError) as error:
        return _entry("archive", "failed", str(error)), False
    if lost:
        return _entry("archive", "failed", f"read-only: {lost}"), True
    return _entry("archive", "ok", "data directory and index belong together"), True


def _schema(settings: Settings) -> dict[str, Any]:
    try:
        present, wanted = opening.schema_state(settings)
    except (DicomStoreError, ValueError) as error:
        return _entry("database", "failed", str(error))
    if present != wanted:
        return _entry("database", "failed", f"schema {present or 'none'}, wanted {wanted}: run `dicomstore migrate`")
    return _entry("database", "ok", f"schema {present}")


async def _operations(settings: Settings) -> dict[str, Any]:
    try:
        backlog = await bootstrap.backlog(settings)
    except DicomStoreError as error:
        return _entry("operations", "failed", error.message)
    return _entry(
        "operations", "warning" if backlog.trouble else "ok", backlog.trouble or f"{backlog.unfinished} unfinished"
    )


async def _clock(settings: Settings) -> dict[str, Any]:
    try:
        problem = await bootstrap.check_clock(settings)
    except DicomStoreError as error:
        return _entry("clock", "failed", error.message)
    return _entry("clock", "warning" if problem else "ok", problem or "agrees with the recorded time")


async def _agreement(settings: Settings, *, deep: bool) -> list[dict[str, Any]]:
    try:
        async with auditing(settings) as audit:
            report = await audit.run(deep=deep)
        position = await bootstrap.scrub_position(settings)
    except DicomStoreError as error:
        return [_entry("agreement", "failed", error.message)]
    found = (
        f"{report.instances} instances, {report.missing} without bytes, {report.damaged} damaged, "
        f"{report.current_changes} current entries in the change feed"
    )
    return [
        _entry("agreement", "ok" if report.agrees else "failed", found, report.examples),
        _scrub(settings, report.known_damaged, position),
        _entry(
            "unused blobs",
            "warning" if report.unused else "ok",
            f"{report.blobs} blobs, {report.unused} unused",
        ),
        _entry(
            "quarantine",
            "warning" if report.quarantined else "ok",
            f"{report.quarantined} blobs, {report.quarantined_bytes} bytes that the index does not know"
            + (f"; erased {settings.quarantine_hours:g} h after they were found" if report.quarantined else ""),
        ),
    ]


def _scrub(settings: Settings, known_damaged: int, position: ScrubPosition | None) -> dict[str, Any]:
    """Say how many instances are known to be damaged, and whether the scrub keeps to its time."""
    damaged = f"{known_damaged} instances known to be damaged"
    if not settings.scrub_days:
        return _entry("scrub", "warning" if known_damaged else "ok", f"switched off, {damaged}")
    complete = position.complete if position else None
    since = complete or (position.began if position else None)
    is_late = since is not None and datetime.now(UTC) - since > timedelta(days=2 * settings.scrub_days)
    return _entry(
        "scrub",
        "warning" if known_damaged or is_late else "ok",
        f"{f'last complete {complete:%Y-%m-%d}' if complete else 'not complete yet'}, {damaged}",
    )


def _entry(name: str, status: str, detail: str, examples: list[str] | None = None) -> dict[str, Any]:
    return {"name": name, "status": status, "detail": detail, **({"examples": examples} if examples else {})}


def _settings() -> Settings:
    try:
        return Settings()
    except (ValidationError, ValueError) as error:
        _give_up(f"Settings: {error}")


def _give_up(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")


def main() -> None:
    """Entry point of `dicomstore-server`."""
    # Freed megabyte buffers are kept instead of faulting new pages in for each; measured in docs/performance.md.
    tune_malloc(mmap_threshold_bytes=32 << 20, trim_threshold_bytes=64 << 20, arenas=2)
    app(prog_name="dicomstore-server")


if __name__ == "__main__":
    main()
