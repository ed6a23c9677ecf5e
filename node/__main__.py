"""The program: `python -m node` serves gRPC and DICOMweb from one process until SIGTERM or SIGINT."""

import asyncio
import logging
import logging.config
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
import uvicorn
import uvloop
from pydantic import ValidationError

from facade.app import create_app
from facade.config import Settings as FacadeSettings
from facade.http import listen, logging_config, server_config
from node.calls import LocalChannel, LocalServer
from node.notify import notify
from server.bootstrap import StartError, running
from server.config import Settings as CoreSettings
from server.model.errors import DicomStoreError

_log = logging.getLogger("dicomstore")


class _HttpServer(uvicorn.Server):
    """Leaves the signals to the node, which has more to end than this."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        await super().startup(sockets)
        notify("READY=1")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


def main() -> None:
    """Run until SIGTERM or SIGINT; settings are those of the core and of the facade."""
    try:
        core, facade = CoreSettings(), FacadeSettings()
    except (ValidationError, ValueError, OSError) as error:
        _give_up(f"Settings: {error}")
    logging.config.dictConfig(logging_config(core.log_level))
    try:
        listener = listen(facade)
    except OSError as error:
        _give_up(f"Can't listen on {facade.http}: {error.strerror}.")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(core, facade, listener))
    except (StartError, DicomStoreError) as error:
        _give_up(str(error))


async def _serve(core_settings: CoreSettings, facade_settings: FacadeSettings, listener: socket.socket) -> None:
    """Serve both until a signal; HTTP begins last and ends first, so that it always finds its core."""
    async with running(core_settings) as core:
        local = LocalServer(core.interceptors)
        core.register(local)
        application = create_app(facade_settings, LocalChannel(local))
        server = _HttpServer(server_config(application, facade_settings))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.handle_exit, number, None)
        host, port = listener.getsockname()[:2]
        _log.info("dicomstore listens on %s (gRPC) and %s:%d (HTTP)", core.address, host, port)
        await server.serve(sockets=[listener])
        notify("STOPPING=1")
        _log.info("dicomstore stops")


def _give_up(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
