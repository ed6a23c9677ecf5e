"""Entry point: `python -m node` serves gRPC and DICOMweb from one process until SIGTERM or SIGINT."""

import server.import_hygiene  # noqa: F401 - before anything imports pydicom

# isort: split

import asyncio
import logging
import logging.config
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import NoReturn

import typer
import uvicorn
import uvloop
from pydantic import ValidationError

from common import collector
from common.addresses import InsecureOption, accept_insecure
from common.process import socket_calls
from common.process.file_modes import restrict_new_files
from common.process.notify import notify
from common.settings import problem_of
from common.tls import TlsError
from facade.app import create_app
from facade.config import Settings as FacadeSettings
from facade.serving import tls
from facade.serving.connections import Connection
from facade.serving.http import listen, logging_config, server_config
from facade.serving.log_lines import omit_unused_facts
from node.calls import LocalChannel, LocalServer
from node.listener import Listener, plain
from node.session_key import with_session_key
from node.socket_server import serving
from server.bootstrap.components import NO_SUPERVISOR, Supervisor
from server.bootstrap.serving import check_exposure, running
from server.config import Settings as CoreSettings
from server.model.errors import DicomStoreError
from server.opening import StartError

collector.enable()

HTTP_SOCKET = "DICOMSTORE_HTTP_SOCKET"
"""Variable with the descriptor of a listening socket, set by `dicomstore up`; not a setting."""

GATEWAYS = "DICOMSTORE_GATEWAYS"
"""Variable with the number of gateway processes, set by `dicomstore up`; not a setting."""

WORKER_STATE = "DICOMSTORE_WORKER_STATE"
"""Variable with the descriptor of a file with the state of the worker, set by `dicomstore up`; not a setting."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_log = logging.getLogger("dicomstore")


class _HttpServer(uvicorn.Server):
    """Serves the connections of a listening socket; the node handles signals."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, *, is_shared: bool) -> None:
        super().__init__(config)
        self._socket = listener
        self._is_shared = is_shared
        self._listener: Listener | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve, and notify the supervisor."""
        await super().startup(sockets=[])
        state = self.config.loaded_app.state
        serve = partial(tls.connect, protocol=self._connection, https=state.https, clients=state.connections)
        self._listener = Listener(
            self._socket,
            serve if state.https else plain(self._connection),
            self.server_state.connections,
            is_shared=self._is_shared,
        )
        notify("READY=1")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting connections, then close the existing ones."""
        notify("STOPPING=1")
        _log.info("dicomstore stops")
        if self._listener is not None:
            self._listener.close()
        await super().shutdown()

    def _connection(self) -> asyncio.Protocol:
        return Connection(
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


@app.command()
def run(insecure: InsecureOption = False) -> None:
    """Serve gRPC and DICOMweb from one process until SIGTERM or SIGINT, with the settings of core and facade."""
    accept_insecure(insecure)
    try:
        core, facade = CoreSettings(), FacadeSettings()
    except (ValidationError, ValueError, OSError) as error:
        _give_up(f"Settings: {problem_of(error)}")
    logging.config.dictConfig(logging_config(core.log_level, core.log_format))
    omit_unused_facts()
    try:
        listener = _inherited() or listen(facade)
    except OSError as error:
        _give_up(f"Cannot listen on {facade.http}: {error.strerror}.")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(core, facade, listener))
    except (StartError, DicomStoreError) as error:
        _give_up(str(error))
    except TlsError as error:
        _give_up(f"TLS: {error}")


async def _serve(core_settings: CoreSettings, facade_settings: FacadeSettings, listener: socket.socket) -> None:
    """Serve both until a signal; HTTP starts last and stops first, so that the core is always available to it."""
    async with running(core_settings, kind="node", supervisor=_supervisor()) as core:
        await check_exposure(
            facade_settings.http, core_settings, core.authenticator, has_tls=bool(facade_settings.tls_certificate)
        )
        local = LocalServer(core.interceptors)
        core.register(local)
        shared = with_session_key(facade_settings, core_settings.data, core_settings.session_keys)
        application = create_app(shared, LocalChannel(local))
        server = _HttpServer(
            server_config(application, facade_settings), listener, is_shared=facade_settings.share_ports
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.handle_exit, number, None)
        host, port = listener.getsockname()[:2]
        _log.info("dicomstore listens on %s (gRPC) and %s:%d (HTTP)", core.address, host, port)
        async with AsyncExitStack() as stack:
            if (descriptor := os.environ.get(socket_calls.SOCKET)) is not None:
                calls = socket.socket(fileno=int(descriptor))
                await stack.enter_async_context(
                    serving(calls, local, is_shared=True, stop_seconds=core_settings.shutdown_seconds)
                )
            await server.serve()
        _log.info("dicomstore has stopped")


def main() -> None:
    """Entry point of `dicomstore-node`."""
    restrict_new_files()
    app(prog_name="dicomstore-node")


def _inherited() -> socket.socket | None:
    """Return the listening socket that `dicomstore up` shares among its nodes, or None without it."""
    descriptor = os.environ.get(HTTP_SOCKET)
    return socket.socket(fileno=int(descriptor)) if descriptor else None


def _supervisor() -> Supervisor:
    """Return the interface to `dicomstore up`, or NO_SUPERVISOR if it did not start this process."""
    if not (descriptor := os.environ.get(WORKER_STATE)):
        return NO_SUPERVISOR
    return Supervisor(
        worker_runs=lambda: os.pread(int(descriptor), 1, 0) != b"0",
        need_worker=lambda: notify("X_DICOMSTORE_OPERATIONS=1", may_be_lost=True),
        gateways=int(os.environ.get(GATEWAYS, "0")),
    )


def _give_up(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
