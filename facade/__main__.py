"""The program: `python -m facade` serves until SIGTERM or SIGINT, `python -m facade config` prints its settings."""

import logging
import signal
from types import FrameType
from typing import Any

import typer
import uvicorn
from pydantic import ValidationError
from uvicorn.supervisors import Multiprocess

from facade.config import Settings

log = logging.getLogger("facade")

_APPLICATION = "facade.app:create_app"

_KEEP_ALIVE_SECONDS = 75
"""Longer than proxies and pooled clients keep an idle connection, so that none is closed under a new request."""

app = typer.Typer(add_completion=False, help="DICOMweb in front of a dicomstore core.", pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Serve DICOMweb until SIGTERM or SIGINT. Settings come from DICOMSTORE_* variables and dicomstore.toml."""
    if context.invoked_subcommand is not None:
        return
    settings = _settings()
    # uvicorn raises the signal again after it has stopped gracefully; that must not look like a crash.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    host, _, port = settings.http.rpartition(":")
    config = uvicorn.Config(
        _APPLICATION,
        factory=True,
        host=host.strip("[]"),
        port=int(port),
        workers=settings.workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=_logging(settings.log_level),
        access_log=False,  # one line per request is written where the route is known
        proxy_headers=False,  # read where URLs are made
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    listener = config.bind_socket()
    listener.listen(config.backlog)  # who connects from now on waits until a worker takes the connection
    address, bound_port = listener.getsockname()[:2]
    log.info("facade listens on %s:%s, the core is %s", address, bound_port, settings.core)
    if settings.workers > 1:
        Multiprocess(config, sockets=[listener]).run()
    else:
        uvicorn.Server(config).run(sockets=[listener])


@app.command()
def config() -> None:
    """Print the settings in effect as JSON."""
    typer.echo(_settings().model_dump_json(indent=2))


def main() -> None:
    """Run the program."""
    app()


def _settings() -> Settings:
    try:
        return Settings()
    except (ValidationError, ValueError, OSError) as error:
        typer.echo(f"facade: {error}", err=True)
        raise typer.Exit(2) from error


def _logging(level: str) -> dict[str, Any]:
    """Return the logging set-up; worker processes start from nothing, so it must travel as data."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
    }


def _leave(signal_number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
