"""A core and a DIMSE gateway in this process, in threads of their own, for tests that use synchronous clients."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimse.associations.acceptor import listen
from dimse.config import Settings
from dimse.gateway import Gateway
from server.bootstrap.serving import running
from tests.core import settings_for


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
            address[0] = core.address
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
def running_gateway(core: str, **settings: Any) -> Iterator[RunningGateway]:
    """Run a gateway for the core at an address."""
    values = {"dimse": "127.0.0.1:0", "dimse_shutdown_seconds": 5} | settings
    listener = listen(values["dimse"])
    gateway = Gateway(Settings(core=core, **values), listener)
    port = listener.getsockname()[1]
    thread = threading.Thread(target=gateway.run)
    thread.start()
    try:
        yield RunningGateway(gateway, port, core)
    finally:
        gateway.stop()
        thread.join()
