"""Large ranges of objects of an S3 service that is reached without TLS, such as one in the same network.

The library takes 0.15 to 0.3 ms of processor time to receive half a megabyte: it passes 32 KiB at a time between its
threads and joins the pieces. Here the thread that waits for the range receives it, into memory that is used again
(`receive_memory`), which takes 0.06 to 0.1 ms.

Requests have the signature in the URL, which the library computes. Whatever is not the expected response is left to the
library, which repeats the request and knows retries and errors. With TLS the library is as fast, so it does everything.
"""

import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from server.adapters.blobs.objects.receive_memory import ReceiveMemory

LEAST_BYTES = 256 << 10
"""Smaller ranges cost the library little more."""

_MOST_HEAD_BYTES = 16 << 10
_IDLE_SECONDS = 5.0
"""A connection that was not used for longer may have been closed by the server."""

_MEMORY_BYTES = 112 << 20
"""Received ranges in memory that is used again; more are allocated as usual."""

_MOST_IDLE = 16
_MOST_FAILURES = 3
_PAUSE_SECONDS = 60.0
"""After `_MOST_FAILURES` unexpected responses in succession, the library does everything for this time."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n")
_RANGE = re.compile(rb"\r\ncontent-range: *bytes (\d+)-(\d+)/")
_ENCODED = re.compile(rb"\r\n(transfer-encoding|content-encoding):")
_CLOSES = re.compile(rb"\r\nconnection: *close")


class _Idle(NamedTuple):
    """A connection without a request, and since when."""

    connection: socket.socket
    since: float


class PlainRanges:
    """Reads ranges of objects, for all threads of a process.

    Args:
        sign: returns the URL with which an object can be read for some minutes, from its name.
        connect_seconds: time limit of connecting.
        timeout_seconds: time limit of a request.
    """

    def __init__(self, sign: Callable[[str], str], connect_seconds: float, timeout_seconds: float) -> None:
        self._sign = sign
        self._connect_seconds = connect_seconds
        self._timeout_seconds = timeout_seconds
        self._memory = ReceiveMemory(_MEMORY_BYTES)
        self._timeval = struct.pack("ll", int(timeout_seconds), int(timeout_seconds % 1 * 1e6))
        self._lock = threading.Lock()
        self._idle: list[_Idle] = []
        self._failures = 0
        self._resumes = 0.0

    def __del__(self) -> None:
        """Close the connections."""
        for idle in self._idle:
            idle.connection.close()

    def get(self, name: str, offset: int, length: int) -> memoryview | None:
        """Return a range of an object; None if the library must read it. Blocks.

        The bytes are where `direct` can write them from at the same offset of a file.
        """
        if time.monotonic() < self._resumes:
            return None
        try:
            url = urlsplit(self._sign(name))
        except Exception:  # noqa: BLE001 - the library raises many; it cannot sign for every store
            self._resumes = float("inf")
            return None
        if url.scheme != "http":
            self._resumes = float("inf")
            return None
        data = None
        with suppress(OSError, ValueError):
            data = self._request(url, offset, length)
        self._failures = self._failures + 1 if data is None else 0
        if self._failures >= _MOST_FAILURES:
            self._failures, self._resumes = 0, time.monotonic() + _PAUSE_SECONDS
        return data

    def release_memory(self) -> bool:
        """Return memory that is not in use to the system; return whether none is in use."""
        return self._memory.release()

    def _request(self, url: SplitResult, offset: int, length: int) -> memoryview | None:
        deadline = time.monotonic() + self._timeout_seconds
        connection: socket.socket | None = self._connection(url)
        assert connection is not None
        try:
            connection.sendall(
                f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n"
                f"Range: bytes={offset}-{offset + length - 1}\r\n\r\n".encode()
            )
            received = b""
            while (end := received.find(b"\r\n\r\n") + 2) < 2:
                some = connection.recv(_MOST_HEAD_BYTES)
                if not some or len(received) > _MOST_HEAD_BYTES or time.monotonic() > deadline:
                    return None
                received += some
            head = received[:end].lower()
            if not _has_range(head, offset, length):
                return None
            data = self._memory.buffer_for(offset, length)
            size = len(received) - end - 2
            if size > length:
                return None
            data[:size] = received[end + 2 :]
            while size < length:
                count = connection.recv_into(data[size:], length - size, socket.MSG_WAITALL)
                if not count or time.monotonic() > deadline:
                    return None
                size += count
            if not _CLOSES.search(head):
                self._keep(connection)
                connection = None
            return data.toreadonly()
        finally:
            if connection is not None:
                connection.close()

    def _connection(self, url: SplitResult) -> socket.socket:
        """Return a connection. The kernel limits its waits: with a limit of Python, MSG_WAITALL has no effect."""
        while True:
            with self._lock:
                idle = self._idle.pop() if self._idle else None
            if idle is None:
                break
            if time.monotonic() - idle.since < _IDLE_SECONDS:
                return idle.connection
            idle.connection.close()
        connection = socket.create_connection((url.hostname, url.port or 80), self._connect_seconds)
        connection.settimeout(None)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, option, self._timeval)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _keep(self, connection: socket.socket) -> None:
        with self._lock:
            if len(self._idle) < _MOST_IDLE:
                self._idle.append(_Idle(connection, time.monotonic()))
                return
        connection.close()


def _has_range(head: bytes, offset: int, length: int) -> bool:
    """Return whether a response, of which this is the head in lower case, has exactly the bytes of a range."""
    size, found = _LENGTH.search(head), _RANGE.search(head)
    return (
        head.startswith(b"http/1.1 206")
        and size is not None
        and int(size[1]) == length
        and found is not None
        and (int(found[1]), int(found[2])) == (offset, offset + length - 1)
        and not _ENCODED.search(head)
    )
