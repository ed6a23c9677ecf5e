"""Accepting of connections on a port that several processes share, so that each gets its share.

A viewer opens a few connections and keeps them. If the first process that wakes up accepted all waiting connections, or
the kernel distributed them at random, one process might serve all of them while the others are idle. Here each process
accepts one connection at a time, and first waits a short time for each connection that it already has, so that
processes with fewer connections accept first.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sized

_DELAY_PER_CONNECTION_SECONDS = 0.00025
_MAX_DELAYS = 8
_ACCEPTED_AT_ONCE = 64
_OUT_OF_RESOURCES_SECONDS = 1.0
"""Pause without free file descriptors or memory; waiting connections would otherwise wake the loop all the time."""

Connect = Callable[[socket.socket], Coroutine[None, None, None]]
"""Serves an accepted connection: returns when its protocol has taken it over, or it is closed."""


class Listener:
    """Accepts connections until it is closed, which closes the socket as well.

    Args:
        listening: a listening socket.
        connect: serves an accepted connection.
        connections: the open connections of this process.
        is_shared: other processes listen on the same port.
    """

    def __init__(
        self,
        listening: socket.socket,
        connect: Connect,
        connections: Sized,
        *,
        is_shared: bool,
    ) -> None:
        listening.setblocking(False)
        self._socket = listening
        self._connect = connect
        self._connections = connections
        self._is_shared = is_shared
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._connecting: set[asyncio.Task[object]] = set()
        self._resume()

    def close(self) -> None:
        """Accept no more connections."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _resume(self) -> None:
        self._loop.add_reader(self._socket, self._connection_waits)

    def _connection_waits(self) -> None:
        if not self._is_shared:
            self._accept(_ACCEPTED_AT_ONCE)
        elif delays := min(len(self._connections) + len(self._connecting), _MAX_DELAYS):
            self._wait(delays * _DELAY_PER_CONNECTION_SECONDS)
        else:
            self._accept(1)

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(seconds, self._pause_ended)

    def _pause_ended(self) -> None:
        self._pause = None
        self._resume()
        self._accept(1)

    def _accept(self, most: int) -> None:
        for _ in range(most):
            try:
                connection, _address = self._socket.accept()
            except (BlockingIOError, ConnectionError):  # another process was faster, or the client has disconnected
                return
            except OSError:  # too many open files, or no memory
                self._wait(_OUT_OF_RESOURCES_SECONDS)
                return
            task = self._loop.create_task(self._connect(connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)


def plain(protocol: Callable[[], asyncio.Protocol]) -> Connect:
    """Return a function that serves connections without TLS."""

    async def connect(connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)
        except OSError:  # the client has disconnected
            connection.close()

    return connect
