"""Entry point: `python -m facade` serves until SIGTERM or SIGINT, `python -m facade config` prints the settings."""

from common import collector

# isort: split

import asyncio
import json
import logging
import logging.config
import os
import secrets
import signal
from types import FrameType

import typer
import uvicorn
from pydantic import ValidationError
from uvicorn.supervisors import Multiprocess

from common.addresses import InsecureOption, accept_insecure, exposure, exposure_warnings
from common.core_channel import core_tls_files
from common.settings import problem_of, variable_of
from common.tls import TlsError
from facade.channel import Core, channel_to
from facade.config import Settings
from facade.serving.exposure import must_be_closed, requires_authentication
from facade.serving.http import listen, logging_config, server_config
from facade.serving.tls import https_listener

collector.enable()

log = logging.getLogger("facade")

_APPLICATION = "facade.app:create_app"

app = typer.Typer(add_completion=False, help="DICOMweb in front of a dicomstore core.", pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def serve(context: typer.Context, insecure: InsecureOption = False) -> None:
    """Serve DICOMweb until SIGTERM or SIGINT. Settings come from DICOMSTORE_* variables and dicomstore.toml."""
    if context.invoked_subcommand is not None:
        return
    accept_insecure(insecure)
    settings = _settings()
    # uvicorn raises the signal again after a graceful stop; the exit code must still be 0.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    if not settings.session_keys:  # the same one in all worker processes
        os.environ[variable_of("session_key")] = secrets.token_urlsafe(32)
        settings = _settings()
    config = server_config(_APPLICATION, settings, factory=True)
    try:
        https_listener(settings)
        core_tls_files(settings)
    except TlsError as error:
        typer.echo(f"facade: TLS: {error}", err=True)
        raise typer.Exit(2) from error
    if must_be_closed(settings):
        logging.config.dictConfig(logging_config(settings.log_level, settings.log_format))
        if not asyncio.run(_requires_authentication(settings)):
            typer.echo(f"facade: {exposure(settings.http)}", err=True)
            raise typer.Exit(2)
    try:
        listener = listen(settings)
    except OSError as error:
        typer.echo(f"facade: cannot listen on {settings.http}: {error.strerror}", err=True)
        raise typer.Exit(2) from error
    address, bound_port = listener.getsockname()[:2]
    log.info("facade listens on %s:%s, the core is %s", address, bound_port, settings.core)
    has_tls = bool(settings.tls_certificate)
    for warning in exposure_warnings(settings.http, is_open=settings.insecure_without_authentication, has_tls=has_tls):
        log.warning("%s", warning)
    if settings.processes > 1:
        Multiprocess(config, sockets=[listener]).run()
    else:
        with collector.paused():
            import facade.app  # noqa: F401 - which the server imports by name
        uvicorn.Server(config).run(sockets=[listener])


@app.command()
def config() -> None:
    """Print the effective settings as JSON."""
    typer.echo(json.dumps(_settings().shown(), indent=2))


async def _requires_authentication(settings: Settings) -> bool:
    channel = channel_to(settings.core, core_tls_files(settings))
    core = Core(channel, settings.call_seconds, settings.idle_seconds)
    try:
        return await requires_authentication(core)
    finally:
        await core.close()


def main() -> None:
    """Run the program."""
    app()


def _settings() -> Settings:
    try:
        return Settings()
    except (ValidationError, ValueError, OSError) as error:
        typer.echo(f"facade: {problem_of(error)}", err=True)
        raise typer.Exit(2) from error


def _leave(signal_number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
