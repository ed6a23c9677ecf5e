"""A thread pool for the event loop in which each thread owns a resource, such as a connection, across calls.

Passing work costs less than half of an executor's time. The thread that became idle last gets work first, so that under
low load a single thread does everything, with a single resource and warm caches.
"""

import asyncio
import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from common.telemetry.metrics import Counter, Histogram


class Closable(Protocol):
    """The resource of a thread."""

    def close(self) -> None:
        """Release it; called in the thread that used it."""


class NoneLeft(Exception):
    """Raised by work if no further resource is available for its thread.

    The thread ends and passes the work to another one, unless it is the only one: then the work fails with `error`.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Figures(NamedTuple):
    """Metrics of one kind of work: its durations from submission to result, and the number of failures."""

    seconds: Histogram
    failures: Counter


Owned = TypeVar("Owned", bound=Closable)
Result = TypeVar("Result")

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[Any], Any]]


class Threads(Generic[Owned]):
    """At most `most` threads; each calls `own` for its resource before its first work.

    After a `NoneLeft`, no further threads are started for `fewer_seconds`.
    """

    def __init__(self, most: int, name: str, own: Callable[[], Owned], fewer_seconds: float = 60.0) -> None:
        self._most = most
        self._fewer_seconds = fewer_seconds
        self._fewer_until = 0.0
        self._name = name
        self._own = own
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._idle: list[SimpleQueue[_Job | None]] = []
        self._waiting: deque[_Job] = deque()
        self._is_closing = False

    @property
    def waiting(self) -> int:
        """Number of jobs that wait for a thread."""
        return len(self._waiting)

    async def run(self, work: Callable[[Owned], Result], figures: Figures | None = None) -> Result:
        """Run `work` in a thread with its resource. Work whose caller was cancelled before its start is skipped.

        Args:
            figures: metrics of such work. They are here because a coroutine around this one would take longer.

        Raises:
            RuntimeError: after `close`.
        """
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        job = (loop, done, work)
        with self._lock:
            if self._is_closing:
                raise RuntimeError("closed")
            if self._idle:
                self._idle.pop().put(job)
            elif len(self._threads) < self._most and (not self._threads or time.monotonic() >= self._fewer_until):
                self._start(job)
            else:
                self._waiting.append(job)
        try:
            return await done
        except Exception:
            if figures is not None:
                figures.failures.value += 1
            raise
        finally:
            if figures is not None:
                figures.seconds.observe(time.perf_counter() - began)

    def close(self) -> None:
        """Wait for submitted work to finish; blocking."""
        with self._lock:
            self._is_closing = True
            for inbox in self._idle:
                inbox.put(None)
            self._idle.clear()
        for thread in self._threads:
            thread.join()

    def _start(self, job: _Job) -> None:
        # Daemon threads, so that a program that exits without closing does not hang.
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._work, args=(job,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, first: _Job) -> None:
        owned = self._own()
        inbox: SimpleQueue[_Job | None] = SimpleQueue()
        job: _Job | None = first
        while job is not None:
            try:
                complete = _run(job, owned)
            except NoneLeft as none_left:
                if self._retire(job):
                    break
                complete = functools.partial(_complete, job[0], _fail, job[1], none_left.error)
            job = self._next(inbox)  # before the caller can submit more
            complete()
            del complete  # results may be large: not referenced while waiting
            if job is None:
                job = inbox.get()
        owned.close()

    def _retire(self, job: _Job) -> bool:
        """Pass work to another thread; False if there is none."""
        with self._lock:
            if len(self._threads) == 1:
                return False
            self._threads.remove(threading.current_thread())
            self._fewer_until = time.monotonic() + self._fewer_seconds
            if self._idle:
                self._idle.pop().put(job)
            else:
                self._waiting.appendleft(job)
        return True

    def _next(self, inbox: "SimpleQueue[_Job | None]") -> _Job | None:
        """Return waiting work. If there is none, arrange that it is sent to `inbox`, or None at the end."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._is_closing:
                inbox.put(None)
            else:
                self._idle.append(inbox)
        return None


def _run(job: _Job, owned: Any) -> Callable[[], None]:
    """Run one piece of work and return the function that completes its future."""
    loop, done, work = job
    if done.cancelled():
        return lambda: None
    try:
        result = work(owned)
    except NoneLeft:
        raise
    except BaseException as error:  # noqa: BLE001 - the caller raises it
        return functools.partial(_complete, loop, _fail, done, error)
    return functools.partial(_complete, loop, _succeed, done, result)


def _complete(
    loop: asyncio.AbstractEventLoop, set_outcome: Callable[..., None], done: "asyncio.Future[Any]", outcome: Any
) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: no caller is waiting
        loop.call_soon_threadsafe(set_outcome, done, outcome)


def _succeed(done: "asyncio.Future[Any]", result: Any) -> None:
    if not done.cancelled():
        done.set_result(result)


def _fail(done: "asyncio.Future[Any]", error: BaseException) -> None:
    if not done.cancelled():
        done.set_exception(error)
