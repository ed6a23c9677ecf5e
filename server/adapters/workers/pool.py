"""`Workers` as processes of this machine, started on demand and ended when idle.

No available library meets the requirements: `concurrent.futures` loses all jobs when one process dies and cannot stop a
hanging one; `anyio.to_process` has an unbounded queue, unpickles the output of workers, and ends no worker before five
minutes. Both import the program's main module into the worker, and with it the whole node.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Self

from common.telemetry.catalogue import PIXEL_FAILURES, PIXEL_SECONDS, PIXEL_WAITING, PIXEL_WORKERS, PIXEL_WORKERS_LIMIT
from common.telemetry.metrics import Sample
from common.telemetry.tracing import part
from server.adapters.workers.worker import Task, Worker, pickled
from server.model.errors import Exhausted, Reason, Unavailable

MAX_WAITING_JOBS = 256
MAX_WAITING_BYTES = 64 << 20


class WorkerPool:
    """A bounded number of worker processes; see `server.ports.workers`.

    Args:
        perform: dotted name of the function that runs a job in a worker.
        count: maximum number of processes.
        job_seconds: time limit of one job, from its start in a worker.
        idle_seconds: a worker ends after this time without jobs.
        memory_bytes: memory limit of a worker, in addition to its memory after imports.
    """

    def __init__(
        self, perform: str, *, count: int, job_seconds: float, memory_bytes: int, idle_seconds: float = 60.0
    ) -> None:
        self.count = count
        self._idle_seconds = idle_seconds
        self._new_worker: Callable[[], Worker] = lambda: Worker(perform, job_seconds, memory_bytes)
        self._lanes: set[asyncio.Task[None]] = set()
        self._active = 0  # lanes, without those that only end their process
        self._idle: list[asyncio.Future[Task]] = []
        self._waiting: deque[Task] = deque()
        self._waiting_bytes = 0
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all workers immediately; waiting jobs fail."""
        self._is_closed = True
        for task in self._waiting:
            task.fail(_stopping())
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)

    def samples(self) -> Iterator[Sample]:
        """Yield the numbers of processes and waiting jobs."""
        yield Sample(PIXEL_WORKERS, len(self._lanes))
        yield Sample(PIXEL_WORKERS_LIMIT, self.count)
        yield Sample(PIXEL_WAITING, len(self._waiting))

    async def perform(self, job: object) -> bytes:
        """See `Workers`."""
        started, kind = time.perf_counter(), type(job).__name__
        try:
            with part("pixel job", {"dicomstore.job": kind}):
                return await self._perform(job)
        except Exception:
            PIXEL_FAILURES.of(kind).value += 1
            raise
        finally:
            PIXEL_SECONDS.of(kind).observe(time.perf_counter() - started)

    async def _perform(self, job: object) -> bytes:
        if self._is_closed:
            raise _stopping()
        task = Task(type(job).__name__, pickled(job), asyncio.get_running_loop().create_future())
        if self._idle:
            self._idle.pop().set_result(task)  # the one that worked last, so that others can end
        elif self._active < self.count:
            self._active += 1
            lane = asyncio.create_task(self._work(task))
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)
        else:
            self._let_wait(task)
        try:
            return await task.result
        except asyncio.CancelledError:
            self._give_up(task)
            raise

    def _let_wait(self, task: Task) -> None:
        is_too_much = self._waiting and self._waiting_bytes + task.size_bytes > MAX_WAITING_BYTES
        if is_too_much or len(self._waiting) == MAX_WAITING_JOBS:
            raise Exhausted(Reason.BUSY, "Too many pixel data jobs are in progress; try again later.")
        self._waiting.append(task)
        self._waiting_bytes += task.size_bytes

    def _give_up(self, task: Task) -> None:
        if task in self._waiting:
            self._waiting.remove(task)
            self._waiting_bytes -= task.size_bytes

    async def _work(self, task: Task | None) -> None:
        """Run jobs, starting with `task`, in one process or, if it dies, its successors."""
        worker = self._new_worker()
        try:
            while task is not None:
                await worker.do(task)
                task = None  # not kept while idle: it holds the frame
                task = await self._next()
        finally:
            if task is not None:
                task.fail(_stopping())
            self._active -= 1
            await worker.end()

    async def _next(self) -> Task | None:
        """Return the next job; None after the idle time."""
        if self._waiting:
            task = self._waiting.popleft()
            self._waiting_bytes -= task.size_bytes
            return task
        given: asyncio.Future[Task] = asyncio.get_running_loop().create_future()
        self._idle.append(given)
        done, _ = await asyncio.wait({given}, timeout=self._idle_seconds)
        if done:
            return given.result()
        self._idle.remove(given)
        return None


def _stopping() -> Unavailable:
    return Unavailable(Reason.SHUTTING_DOWN, "The server is stopping.")
