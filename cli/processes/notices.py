"""How a program tells that it is ready: the protocol of systemd's `NOTIFY_SOCKET` (sd_notify(3))."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

VARIABLE = "NOTIFY_SOCKET"
_READY = b"READY=1"
_OPERATIONS = b"X_DICOMSTORE_OPERATIONS=1"


class Notices(asyncio.DatagramProtocol):
    """What one program says of itself.

    address: for the program's `NOTIFY_SOCKET`.
    ready: set when it has said that it is ready; to be cleared before it is started again.
    on_operations: called when it says that there are operations to work on.
    """

    def __init__(self, address: str, on_operations: Callable[[], None]) -> None:
        """Use `listening` instead."""
        self.address = address
        self.ready = asyncio.Event()
        self._on_operations = on_operations

    def datagram_received(self, data: bytes, _address: object) -> None:
        """Take a notice."""
        lines = data.splitlines()
        if _READY in lines:
            self.ready.set()
        if _OPERATIONS in lines:
            self._on_operations()


@asynccontextmanager
async def listening(on_operations: Callable[[], None] = lambda: None) -> AsyncIterator[Notices]:
    """Listen for the notices of one program.

    The socket has a name of Linux that is no file (unix(7), abstract): a full disk is no obstacle.
    """
    name = f"dicomstore-{secrets.token_hex(16)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0{name}")
        end.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, notices = await loop.create_datagram_endpoint(lambda: Notices(f"@{name}", on_operations), sock=end)
        try:
            yield notices
        finally:
            transport.close()
