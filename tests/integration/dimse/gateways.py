"""A core and a DIMSE gateway for synchronous clients: in threads of this process; a gateway also as a process."""

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.process import socket_calls
from dimse.associations.acceptor import listen
from dimse.config import Settings
from dimse.gateway import Gateway
from node.calls import LocalServer
from node.socket_server import serving
from server.bootstrap.serving import running
from tests.core import settings_for
from tests.programs import Program

_local: dict[str, str] = {}
"""Addresses of cores for local calls, by those for gRPC."""


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A gateway, its port on 127.0.0.1, and the address of its core."""

    gateway: Gateway
    port: int
    core: str


@contextmanager
def running_core(data: Path, **settings: Any) -> Iterator[str]:
    """Run a core in a thread with an event loop; yield its address."""
    loop = asyncio.new_event_loop()
    started, address, stop = threading.Event(), [""], asyncio.Event()

    async def serve() -> None:
        async with running(settings_for(data, **settings)) as core:
            local = LocalServer(core.interceptors)
            core.register(local)
            listener = socket_calls.listen()
            async with serving(listener, local, is_shared=False, stop_seconds=1):
                address[0] = core.address
                _local[core.address] = socket_calls.name_of(listener)
                started.set()
                await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(30)
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@contextmanager
def running_gateway(core: str, *, is_local: bool = True, **settings: Any) -> Iterator[RunningGateway]:
    """Run a gateway for the core at an address; unless `is_local`, all of its calls are over gRPC."""
    values = {"dimse": "127.0.0.1:0", "dimse_shutdown_seconds": 5} | settings
    listener = listen(values["dimse"])
    gateway = Gateway(Settings(core=core, **values), listener, local=_local.get(core, "") if is_local else "")
    port = listener.getsockname()[1]
    thread = threading.Thread(target=gateway.run)
    thread.start()
    try:
        yield RunningGateway(gateway, port, core)
    finally:
        gateway.stop()
        thread.join()


def gateway_process(folder: Path, variables: Mapping[str, str]) -> Program:
    """Start a gateway in a process of its own, which writes its log into a folder."""
    log = folder / "gateway.log"
    return Program("dimse", environment=os.environ | variables, folder=folder, stdout=log, stderr=log)
