"""`python -m bench.parts.delaying_proxy PORT MILLISECONDS`: passes on TCP connections to a port of this machine.

Delays each request of a protocol like HTTP/1.1. Prints its own port.
"""

import asyncio
import sys
from typing import cast

import uvloop


class _Client(asyncio.Protocol):
    """A connection of a client. The first bytes after an answer are the beginning of a request, which is delayed."""

    def __init__(self, port: int, delay_s: float) -> None:
        self._port = port
        self._delay_s = delay_s
        self._waiting: list[bytes] | None = []  # None if bytes are passed on at once
        self._server: asyncio.Transport | None = None
        self._is_due = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._server, _ = await loop.create_connection(lambda: _Server(self), "127.0.0.1", self._port)
        self._send()

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            assert self._server is not None
            self._server.write(data)
            return
        if not self._waiting:
            asyncio.get_running_loop().call_later(self._delay_s, self._end_delay)
        self._waiting.append(data)

    def _end_delay(self) -> None:
        self._is_due = True
        self._send()

    def _send(self) -> None:
        if self._is_due and self._server is not None and self._waiting is not None:
            self._server.writelines(self._waiting)
            self._waiting = None

    def answered(self, data: bytes) -> None:
        """Pass on bytes of the server."""
        self._waiting, self._is_due = [], False
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._server is not None:
            self._server.close()


class _Server(asyncio.Protocol):
    def __init__(self, client: _Client) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.answered(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.transport.close()


async def _serve(port: int, delay_s: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Client(port, delay_s), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
