"""Ports for programs that tests and benchmarks start."""

import random
import socket

_random = random.SystemRandom()  # not repeatable: test processes may not try the same ports


def free_port() -> int:
    """Return a port that was free a moment ago.

    It is below those that systems give to outgoing connections, one of which could otherwise take the port while a
    test restarts its program.
    """
    while True:
        port = _random.randrange(15_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
