"""Readiness notifications of programs: the protocol of systemd's `NOTIFY_SOCKET` (sd_notify(3))."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

VARIABLE = "NOTIFY_SOCKET"
_READY = b"READY=1"
_OPERATIONS = b"X_DICOMSTORE_OPERATIONS=1"


class Notices(asyncio.DatagramProtocol):
    """Receives the notifications of one program.

    address: value of the program's `NOTIFY_SOCKET`.
    ready: set when the program is ready; the caller clears it before a restart.
    on_operations: called when the program notifies that there are pending operations.
    """

    def __init__(self, address: str, on_operations: Callable[[], None]) -> None:
        """Use `listening` instead."""
        self.address = address
        self.ready = asyncio.Event()
        self._on_operations = on_operations

    def datagram_received(self, data: bytes, _address: object) -> None:
        """Handle a notification."""
        lines = data.splitlines()
        if _READY in lines:
            self.ready.set()
        if _OPERATIONS in lines:
            self._on_operations()


@asynccontextmanager
async def listening(on_operations: Callable[[], None] = lambda: None) -> AsyncIterator[Notices]:
    """Listen for the notifications of one program.

    The socket has an abstract name (unix(7)) instead of a file, so that it works with a full disk.
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
