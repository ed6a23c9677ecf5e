"""Bytes on sockets, for requests that no HTTP library sends."""

import re
import socket
from dataclasses import dataclass

SECONDS = 20.0

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass(frozen=True)
class Replies:
    """All that the server sent until it closed the connection."""

    received: bytes

    @property
    def statuses(self) -> list[int]:
        """The status of each response."""
        return [int(status) for status in _STATUS.findall(self.received)]

    @property
    def text(self) -> str:
        """Everything as text."""
        return self.received.decode("latin-1")


def connect(address: str) -> socket.socket:
    """Connect to HOST:PORT."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=SECONDS)


def send(address: str, *pieces: bytes) -> Replies:
    """Send pieces on a new connection, and read until the server closes it."""
    with connect(address) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break  # refused before all was sent
        return Replies(read_all(connection))


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    received = b""
    try:
        while data := connection.recv(1 << 16):
            received += data
    except ConnectionResetError:
        pass  # closed with data of this client on its way
    return received
