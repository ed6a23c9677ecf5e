"""An HTTP client with little overhead: requests are prepared bytes; bodies are counted, and kept only on request."""

import re
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Response:
    """A response. Times count from the first byte sent."""

    status: int
    head: bytes
    size_bytes: int
    """Size of the body as transferred."""
    first_byte_s: float
    whole_s: float
    body: bytes | None
    """Only if it was requested to be kept."""

    def field(self, name: str) -> str:
        """Return a header field in lower case; "" if it is absent."""
        found = re.search(rb"\r\n%b:[ \t]*([^\r]*)" % re.escape(name.encode()), self.head, re.IGNORECASE)
        return found[1].decode().lower() if found else ""


def request(method: str, target: str, fields: dict[str, str] | None = None, body_bytes: int = 0) -> bytes:
    """Return the head of a request; its body is sent separately."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in (fields or {}).items()]
    if method == "POST":
        lines.append(f"Content-Length: {body_bytes}")
    return "\r\n".join([*lines, "", ""]).encode()


class Connection:
    """One persistent connection, for one thread."""

    def __init__(self, port: int, timeout_s: float = 120, tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self._socket = tls.wrap_socket(self._socket, server_hostname="127.0.0.1")
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._unread = self._buffer[:0]

    def __enter__(self) -> "Connection":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._socket.close()

    def exchange(self, buffers: Iterable[bytes], *, keep: bool = False) -> Response:
        """Send one request and read the whole response.

        Raises:
            ConnectionError: the server closed the connection, or did not send HTTP/1.1 with a length or chunks.
        """
        began = time.perf_counter()
        self.send(buffers)
        self._fill()
        first = time.perf_counter() - began
        head = self._head()
        kept: list[bytes] | None = [] if keep else None
        size = self._body(head, kept)
        status = int(head[9:12])
        body = None if kept is None else b"".join(kept)
        return Response(status, head, size, first, time.perf_counter() - began, body)

    def send(self, buffers: Iterable[bytes]) -> None:
        """Send one request."""
        for buffer in buffers:
            self._socket.sendall(buffer)

    def read_some(self, most_bytes: int) -> int:
        """Read a part of a response and discard it; return its size."""
        return self._socket.recv_into(self._buffer, most_bytes)

    def _head(self) -> bytes:
        head = b""
        while True:
            piece = bytes(self._unread[:8192])
            before, head = len(head), head + piece
            end = head.find(b"\r\n\r\n")
            if end >= 0:
                self._unread = self._unread[end + 4 - before :]
                return head[: end + 2]
            self._unread = self._unread[len(piece) :]
            if not self._unread:
                self._fill()

    def _body(self, head: bytes, kept: list[bytes] | None) -> int:
        fields = head.lower()
        if length := re.search(rb"\r\ncontent-length: *(\d+)", fields):
            return self._take(int(length[1]), kept)
        if re.search(rb"\r\ntransfer-encoding: *chunked", fields):
            size = 0
            while chunk := int(self._line(), 16):
                size += self._take(chunk, kept)
                self._line()
            self._line()
            return size
        if head[9:12] in (b"204", b"304"):
            return 0
        raise ConnectionError("a response without length")

    def _take(self, size: int, kept: list[bytes] | None) -> int:
        left = size
        while left:
            if not self._unread:
                self._fill()
            piece = self._unread[:left]
            if kept is not None:
                kept.append(bytes(piece))
            left -= len(piece)
            self._unread = self._unread[len(piece) :]
        return size

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            if not self._unread:
                self._fill()
            piece = bytes(self._unread[:64])
            end = piece.find(b"\n") + 1 or len(piece)
            line += piece[:end]
            self._unread = self._unread[end:]
        return line.strip()

    def _fill(self) -> None:
        received = self._socket.recv_into(self._buffer)
        if not received:
            raise ConnectionError("the server closed the connection")
        self._unread = self._buffer[:received]
