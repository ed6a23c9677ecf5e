"""Taking connections of a port on which several processes listen, so that each gets its part of them.

A viewer opens a handful of connections and keeps them. If whoever wakes first takes all that wait, or chance deals them
out, one process may work for all of them while the others sleep. Here each takes one at a time, and lets those go first
that have fewer: it waits a little for each connection it has already.
"""

import asyncio
import socket
from collections.abc import Callable, Sized

_STEP_SECONDS = 0.00025
_MOST_STEPS = 8
_AT_ONCE_ALONE = 64
_STARVED_SECONDS = 1.0
"""How long to let those wait for whom there is no descriptor left; they would knock without a pause."""


class Door:
    """Takes connections until it is closed, which closes the socket as well.

    Args:
        listener: listens already.
        protocol: makes the protocol of a new connection.
        connections: those that this process has.
        is_shared: other processes listen on the same port.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        connections: Sized,
        *,
        is_shared: bool,
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._protocol = protocol
        self._connections = connections
        self._is_shared = is_shared
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._greeting: set[asyncio.Task[object]] = set()
        self._open()

    def close(self) -> None:
        """Take no more."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _open(self) -> None:
        self._loop.add_reader(self._listener, self._knocked)

    def _knocked(self) -> None:
        """Somebody waits."""
        if not self._is_shared:
            self._take(_AT_ONCE_ALONE)
        elif steps := min(len(self._connections) + len(self._greeting), _MOST_STEPS):
            self._wait(steps * _STEP_SECONDS)
        else:
            self._take(1)

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._open()
        self._take(1)

    def _take(self, most: int) -> None:
        for _ in range(most):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, ConnectionError):  # another process was faster, or the peer has gone again
                return
            except OSError:  # too many open files, or no memory
                self._wait(_STARVED_SECONDS)
                return
            greeting = self._loop.create_task(self._greet(connection))
            self._greeting.add(greeting)
            greeting.add_done_callback(self._greeting.discard)

    async def _greet(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # the peer has gone again
            connection.close()
