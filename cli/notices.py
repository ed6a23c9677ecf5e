"""How programs tell that they are ready: the protocol of systemd's `NOTIFY_SOCKET` (sd_notify(3))."""

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

VARIABLE = "NOTIFY_SOCKET"
_READY = b"READY=1"


class Notices(asyncio.DatagramProtocol):
    """Counts the programs that are ready."""

    def __init__(self, address: str) -> None:
        """Use `listening` instead."""
        self.address = address
        self._ready = 0
        self._more = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def ready(self, count: int) -> None:
        """Return when so many have said that they are ready."""
        async with self._more:
            await self._more.wait_for(lambda: self._ready >= count)

    def datagram_received(self, data: bytes, _address: object) -> None:
        """Take a notice."""
        if _READY in data.splitlines():
            task = asyncio.create_task(self._count())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _count(self) -> None:
        async with self._more:
            self._ready += 1
            self._more.notify_all()


@asynccontextmanager
async def listening() -> AsyncIterator[Notices]:
    """Listen for notices at an address of our own, which programs get as `NOTIFY_SOCKET`."""
    with tempfile.TemporaryDirectory(prefix="dicomstore-") as folder:
        address = os.path.join(folder, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.bind(address)
            end.setblocking(False)
            loop = asyncio.get_running_loop()
            transport, notices = await loop.create_datagram_endpoint(lambda: Notices(address), sock=end)
            try:
                yield notices
            finally:
                transport.close()
