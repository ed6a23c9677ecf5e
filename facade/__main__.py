"""Entry point: `python -m facade` serves until SIGTERM or SIGINT, `python -m facade config` prints the settings."""

import json
import logging
import signal
from types import FrameType

import typer
import uvicorn
from pydantic import ValidationError
from uvicorn.supervisors import Multiprocess

from facade.config import Settings
from facade.serving.http import listen, server_config

log = logging.getLogger("facade")

_APPLICATION = "facade.app:create_app"

app = typer.Typer(add_completion=False, help="DICOMweb in front of a dicomstore core.", pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Serve DICOMweb until SIGTERM or SIGINT. Settings come from DICOMSTORE_* variables and dicomstore.toml."""
    if context.invoked_subcommand is not None:
        return
    settings = _settings()
    # uvicorn raises the signal again after a graceful stop; the exit code must still be 0.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    config = server_config(_APPLICATION, settings, factory=True)
    try:
        listener = listen(settings)
    except OSError as error:
        typer.echo(f"facade: cannot listen on {settings.http}: {error.strerror}", err=True)
        raise typer.Exit(2) from error
    address, bound_port = listener.getsockname()[:2]
    log.info("facade listens on %s:%s, the core is %s", address, bound_port, settings.core)
    if settings.processes > 1:
        Multiprocess(config, sockets=[listener]).run()
    else:
        uvicorn.Server(config).run(sockets=[listener])


@app.command()
def config() -> None:
    """Print the effective settings as JSON."""
    typer.echo(json.dumps(_settings().shown(), indent=2))


def main() -> None:
    """Run the program."""
    app()


def _settings() -> Settings:
    try:
        return Settings()
    except (ValidationError, ValueError, OSError) as error:
        typer.echo(f"facade: {error}", err=True)
        raise typer.Exit(2) from error


def _leave(signal_number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
