"""A timeout for many short waits, optimised for waits that end early.

`asyncio.timeout` sets and cancels a timer for each wait, which takes longer than most waits of a transfer. Here one
timer serves all waits of a request, and is rescheduled only when it fires.
"""

import asyncio
from types import TracebackType


class IdleTimeout:
    """Limits each wait in `with timeout: await ...` to `seconds`; one wait at a time. Call `close` at the end.

    seconds: may be changed between two waits.

    Raises, from a wait:
        TimeoutError: the wait exceeded `seconds`.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[object] | None = None
        self._deadline = 0.0
        self._timer_at = 0.0
        self._has_expired = False

    def __enter__(self) -> None:
        """Begin a wait."""
        self._deadline = self._loop.time() + self.seconds
        self._waiting = asyncio.current_task()
        if self._timer is None or self._timer_at > self._deadline:
            self._set_timer()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the wait."""
        task, self._waiting = self._waiting, None
        if not self._has_expired:
            return
        self._has_expired = False
        assert task is not None
        if task.uncancel() == 0 and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        self.close()
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._check)

    def _check(self) -> None:
        """End the wait if its deadline has passed, or set the timer to the deadline of the current wait."""
        self._timer = None
        if self._waiting is None:
            return  # the next wait sets the timer
        if self._loop.time() < self._deadline:
            self._set_timer()
            return
        self._has_expired = True
        self._waiting.cancel()
