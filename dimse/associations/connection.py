"""The transport connection of an association: exact reads and complete writes with timeouts, over TCP or TLS."""

import select
import socket
import ssl
import time
from collections.abc import Sequence

from dimse.associations.errors import AssociationLost

_BUFFER_BYTES = 32 << 10
_MAX_PARTS = 512
"""Parts that are passed to the system at once; Linux accepts 1,024."""

_JOINED_BYTES = 16 << 10
"""Copying so few takes less time than passing several parts to the system."""


class Connection:
    """A connected socket.

    Small reads are served from a buffer, so that headers cost no system call; large ones go directly to their target.
    """

    def __init__(self, connected: socket.socket) -> None:
        if connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._view = memoryview(bytearray(_BUFFER_BYTES))
        self._start = self._end = 0
        self._deadline: float | None = None
        self._timeout: float | None = None

    def set_timeout(self, seconds: float) -> None:
        """Set the longest time that the peer may neither send nor accept a byte."""
        self._deadline = None
        if seconds != self._timeout:  # it is a system call
            self._timeout = seconds
            self._socket.settimeout(seconds)

    def set_deadline(self, seconds: float) -> None:
        """Set the time within which all that is read must arrive, until `set_timeout`."""
        self._deadline = time.monotonic() + seconds

    def read(self, length: int) -> bytes:
        """Return exactly `length` bytes. Raises AssociationLost at the end of the connection or after the timeout."""
        if length > _BUFFER_BYTES:
            data = bytearray(length)
            self.read_into(memoryview(data))
            return bytes(data)
        while self._end - self._start < length:
            self._fill()
        start = self._start
        self._start = start + length
        return bytes(self._view[start : start + length])

    def read_into(self, target: memoryview) -> None:
        """Fill `target`. Raises: as `read`."""
        filled = min(len(target), self._end - self._start)
        target[:filled] = self._view[self._start : self._start + filled]
        self._start += filled
        while filled < len(target):
            filled += self._receive(target[filled:])

    def has_data(self, seconds: float = 0) -> bool:
        """Return whether a read would find data, or the end of the connection, after at most `seconds`."""
        if self._end > self._start:
            return True
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send data completely. Raises AssociationLost if the peer does not accept it within the timeout."""
        try:
            self._socket.sendall(data)
        except (OSError, ValueError) as error:
            raise AssociationLost(f"the connection failed: {_reason(error)}") from None

    def send_parts(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """Send parts one after the other, as `send`, without joining them."""
        if isinstance(self._socket, ssl.SSLSocket) or sum(map(len, parts)) <= _JOINED_BYTES:
            self.send(b"".join(parts))
            return
        try:
            for start in range(0, len(parts), _MAX_PARTS):
                left = parts[start : start + _MAX_PARTS]
                while left := _after(left, self._socket.sendmsg(left)):
                    pass
        except (OSError, ValueError) as error:
            raise AssociationLost(f"the connection failed: {_reason(error)}") from None

    def wait_for_close(self, seconds: float) -> None:
        """Wait until the peer closes the connection, for a limited time; what it sends is discarded."""
        self._timeout = None
        self._socket.settimeout(seconds)
        try:
            while self._socket.recv_into(self._view):
                pass
        except OSError:
            return

    def interrupt(self) -> None:
        """Let reads and writes of another thread fail at once."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _fill(self) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == _BUFFER_BYTES or self._start > _BUFFER_BYTES // 2:
            rest = self._end - self._start
            self._view[:rest] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, rest
        self._end += self._receive(self._view[self._end :])

    def _receive(self, target: memoryview) -> int:
        try:
            if self._deadline is not None:
                self._timeout = None
                self._socket.settimeout(max(self._deadline - time.monotonic(), 0.001))
            count = self._socket.recv_into(target)
        except (OSError, ValueError) as error:
            raise AssociationLost(f"the connection failed: {_reason(error)}") from None
        if not count:
            raise AssociationLost("the peer has closed the connection")
        return count


def _after(parts: Sequence[bytes | bytearray | memoryview], count: int) -> Sequence[bytes | bytearray | memoryview]:
    """Return what is left of parts after a number of bytes."""
    for number, part in enumerate(parts):
        if count < len(part):
            return [memoryview(part)[count:], *parts[number + 1 :]]
        count -= len(part)
    return ()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
