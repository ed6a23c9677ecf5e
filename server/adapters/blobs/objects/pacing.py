"""When requests may start."""

import threading
import time


class Starts:
    """Starts requests of several threads one after the other.

    Args:
        rate: of the bytes that they request, per second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self, size_bytes: int) -> None:
        """Wait until a request of a size may start; blocks."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + size_bytes / self._rate
        if start > now:
            time.sleep(start - now)
