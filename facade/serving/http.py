"""Configuration of the HTTP server: uvicorn, its limits, its logging and its listening socket."""

import logging
import socket
from typing import Any

import uvicorn

from common.telemetry.json_lines import JSON, TEXT, CountedRecords, JsonFormatter
from facade.config import Settings
from facade.serving.connections import Connection
from facade.serving.log_lines import LineFormatter
from facade.serving.tls import TlsConnection

_KEEP_ALIVE_SECONDS = 75
"""Longer than proxies and client pools keep idle connections, so that no connection is closed during a new request."""

_BACKLOG = 2048


def server_config(application: Any, settings: Settings, **options: Any) -> uvicorn.Config:
    """Return the uvicorn configuration for `application`."""
    return uvicorn.Config(
        application,
        workers=settings.processes,
        loop="uvloop",
        http=TlsConnection if settings.tls_certificate else Connection,
        ws="none",
        log_config=logging_config(settings.log_level, settings.log_format),
        access_log=False,  # `serving.observe` writes a line per request with its route
        proxy_headers=False,  # evaluated by `request.addresses`
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        **options,
    )


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens on the address of the settings; connections wait in its backlog until accepted.

    Raises:
        OSError: the address is not available.
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
    """Drops uvicorn's error messages for responses that were aborted on purpose or by a shutdown.

    The facade logs a line of its own with reason and request id for each.
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


def logging_config(level: str, form: str = TEXT) -> dict[str, Any]:
    """Return the logging configuration as data, because it is passed to newly started worker processes.

    form: setting `log_format`.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"cut-offs": {"()": CutOffs}, "counted": {"()": CountedRecords}},
        "formatters": {"line": {"()": JsonFormatter if form == JSON else LineFormatter}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["counted"],
                "stream": "ext://sys.stderr",
            }
        },
        "loggers": {
            # The program logs start and stop itself, so uvicorn's messages about them are dropped.
            "uvicorn.error": {
                "filters": ["cut-offs"],
                "level": level.upper() if level in ("debug", "error") else "WARNING",
            }
        },
        "root": {"level": level.upper(), "handlers": ["stderr"]},
    }
