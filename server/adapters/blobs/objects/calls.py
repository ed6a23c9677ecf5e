"""Calls of `obstore` in progress. The interpreter waits for them when it exits.

A call that returns while the interpreter is being finalized would end its thread within the library, which aborts the
process.
"""

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from server.model.errors import Reason, Unavailable

_EXIT_SECONDS = 120
"""Longest wait at exit, more than the time after which every call gives up."""


class Calls:
    """Counts calls, of all threads."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._running = 0
        self._is_ending = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count a call. Raises: Unavailable, while the interpreter exits."""
        with self._change:
            if self._is_ending:
                raise Unavailable(Reason.STORAGE_UNAVAILABLE, "The process is ending.")
            self._running += 1
        try:
            yield
        finally:
            with self._change:
                self._running -= 1
                if not self._running:
                    self._change.notify_all()

    def end(self) -> None:
        """Refuse calls from now on, and wait for those in progress."""
        with self._change:
            self._is_ending = True
            self._change.wait_for(lambda: not self._running, _EXIT_SECONDS)


calls = Calls()
"""The calls of this process."""

atexit.register(calls.end)
