"""The HTTP server around the application: uvicorn, its limits, and the socket it listens on."""

import logging
import socket
from typing import Any

import uvicorn

from facade.config import Settings
from facade.serving.connections import Connection

_KEEP_ALIVE_SECONDS = 75
"""Longer than proxies and pooled clients keep an idle connection, so that none is closed under a new request."""

_BACKLOG = 2048


def server_config(application: Any, settings: Settings, **options: Any) -> uvicorn.Config:
    """Return how `application` is served."""
    return uvicorn.Config(
        application,
        workers=settings.processes,
        loop="uvloop",
        http=Connection,
        ws="none",
        log_config=logging_config(settings.log_level),
        access_log=False,  # one line per request is written where the route is known
        proxy_headers=False,  # read where URLs are made
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        **options,
    )


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens where the settings say; who connects waits until a process takes the connection.

    Raises:
        OSError: that address can't be had.
    """
    host, _, port = settings.http.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if settings.share_ports:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, int(port)))
    listener.listen(_BACKLOG)
    listener.set_inheritable(True)  # by worker processes
    return listener


class CutOffs(logging.Filter):
    """Drops what uvicorn logs as errors when a response is cut off on purpose or by a shutdown.

    One line of the facade's own gives the reason and the request id of each.
    """

    _MESSAGES = frozenset(
        {
            "ASGI callable returned without completing response.",
            "Cancel %s running task(s), timeout graceful shutdown exceeded",
        }
    )

    def filter(self, record: logging.LogRecord) -> bool:
        """Return false for these messages."""
        return record.msg not in self._MESSAGES


def logging_config(level: str) -> dict[str, Any]:
    """Return the logging set-up; worker processes start from nothing, so it must travel as data."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"cut-offs": {"()": CutOffs}},
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "loggers": {
            # Its remarks about its own start and end say nothing that a line of the program does not say.
            "uvicorn.error": {
                "filters": ["cut-offs"],
                "level": level.upper() if level in ("debug", "error") else "WARNING",
            }
        },
        "root": {"level": level.upper(), "handlers": ["stderr"]},
    }
