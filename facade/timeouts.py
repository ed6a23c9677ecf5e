"""A time limit for many short waits, of which nearly none lasts.

`asyncio.timeout` sets and cancels a timer for each wait, which costs more than most of the waits of a transfer. Here
one timer serves all waits of a request, and is moved only when it fires.
"""

import asyncio
from types import TracebackType


class Patience:
    """Limits each wait in `with patience: await ...` to `seconds`; one wait at a time. Close it when all is over.

    seconds: may be set between two waits.

    Raises, from a wait:
        TimeoutError: it lasted longer.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[object] | None = None
        self._until = 0.0
        self._looks_at = 0.0
        self._is_over = False

    def __enter__(self) -> None:
        """Begin to wait."""
        self._until = self._loop.time() + self.seconds
        self._waiting = asyncio.current_task()
        if self._timer is None or self._looks_at > self._until:
            self._look_later()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the wait."""
        task, self._waiting = self._waiting, None
        if not self._is_over:
            return
        self._is_over = False
        assert task is not None
        if task.uncancel() == 0 and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def close(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self) -> None:
        self.close()
        self._looks_at = self._until
        self._timer = self._loop.call_at(self._until, self._look)

    def _look(self) -> None:
        """End a wait that lasts too long, or look again when the present one would."""
        self._timer = None
        if self._waiting is None:
            return  # the next wait sets it again
        if self._loop.time() < self._until:
            self._look_later()
            return
        self._is_over = True
        self._waiting.cancel()
