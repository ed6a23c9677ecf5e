"""A TCP proxy in front of PostgreSQL that delays every COMMIT, like a slow disk or replica.

Messages of the client are parsed only to find commits (PostgreSQL documentation, chapter "Message Formats"): a Query
with its text, or the Bind of a prepared statement. All other messages are forwarded immediately.
"""

import asyncio
import struct
import sys
from typing import cast

import uvloop

_LENGTH = struct.Struct("!I")
_COMMIT = b"COMMIT"


class _Server(asyncio.Protocol):
    """The connection to PostgreSQL; its messages are forwarded to the client immediately."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._client.close()


class _Client(asyncio.Protocol):
    """The connection of a client; its commits, and the messages after them, are forwarded after the delay."""

    def __init__(self, socket_path: str, delay_seconds: float) -> None:
        self._socket_path = socket_path
        self._delay_seconds = delay_seconds
        self._server: asyncio.Transport | None = None
        self._received = b""
        self._is_started = False
        self._commits: set[bytes] = set()
        self._is_held = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._client = cast(asyncio.Transport, transport)
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._server, _ = await loop.create_unix_connection(lambda: _Server(self._client), self._socket_path)
        self._release()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._is_held:
            self._pass_on()

    def connection_lost(self, error: Exception | None) -> None:
        if self._server is not None:
            self._server.close()

    def _release(self) -> None:
        self._is_held = False
        self._pass_on()

    def _pass_on(self) -> None:
        """Forward complete messages up to a commit, which is delayed first."""
        assert self._server is not None
        passed = 0
        while (end := self._end_of_message(passed)) is not None:
            is_commit = self._is_commit(self._received[passed:end])
            self._is_started = self._is_started or self._received[4:8] == b"\x00\x03\x00\x00"
            if is_commit:
                if passed:
                    self._server.write(self._received[:passed])
                held, self._received, self._is_held = self._received[passed:end], self._received[end:], True
                asyncio.get_running_loop().call_later(self._delay_seconds, self._send_held, held)
                return
            passed = end
        if passed:
            self._server.write(self._received[:passed])
            self._received = self._received[passed:]

    def _send_held(self, message: bytes) -> None:
        assert self._server is not None
        self._server.write(message)
        self._release()

    def _end_of_message(self, start: int) -> int | None:
        """Return the end of the message that starts at `start`; None if it is incomplete."""
        of_length = start + (1 if self._is_started else 0)
        if len(self._received) < of_length + _LENGTH.size:
            return None
        end = of_length + _LENGTH.unpack_from(self._received, of_length)[0]
        return end if end <= len(self._received) else None

    def _is_commit(self, message: bytes) -> bool:
        if not self._is_started:
            return False
        match message[:1]:
            case b"Q":
                return message[5:].startswith(_COMMIT)
            case b"P":
                name, statement, _ = message[5:].split(b"\0", 2)
                self._commits.discard(name)
                if statement.startswith(_COMMIT):
                    self._commits.add(name)
            case b"B":
                return message[5:].split(b"\0", 2)[1] in self._commits
        return False


async def serve(socket_path: str, delay_seconds: float) -> None:
    """Serve until cancelled; the first line of the output is the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Client(socket_path, delay_seconds), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], float(sys.argv[2]) / 1000))
