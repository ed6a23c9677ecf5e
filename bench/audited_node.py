"""`python -m bench.audited_node`: a node that measures the CPU time of its own audit trail.

On SIGUSR1 it writes the times since the last one, as JSON, to the file in `BENCH_STEPS`: for each step the number of
its calls and their CPU time in nanoseconds. A step is a function of the audit trail that others call; a clock of the
thread is read before and after it, so neither other threads nor other programs are included, but the caches are as the
requests leave them. What the measurement itself takes is subtracted.
"""

import server.import_hygiene  # noqa: F401 - before anything imports pydicom

# isort: split

import asyncio
import json
import os
import signal
import statistics
import time
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import Any

from node.__main__ import main
from server.adapters.blobs.audit_trail.group_commit import GroupCommit
from server.adapters.sql import instances
from server.adapters.sql.writing import adding
from server.domain.audit.outbox import Outbox
from server.domain.audit.recorder import RecordedCall
from server.rpc.interceptors.auditing import Auditing

_clock = time.thread_time_ns

STEPS: dict[str, tuple[tuple[Any, str], ...]] = {
    "begin and end of a call": (
        (Auditing, "around"),
        (RecordedCall, "accesses"),
        (RecordedCall, "begin"),
        (RecordedCall, "expedite"),
        (RecordedCall, "begun"),
        (RecordedCall, "stored"),
        (RecordedCall, "end"),
        (Outbox, "committed"),
    ),
    "records that wait": ((GroupCommit, "_write_now"), (GroupCommit, "_done")),
    "transaction of the index": (
        (Outbox, "changes"),
        (RecordedCall, "deleted_record"),
        (adding, "change_outbox"),
        (instances, "change_outbox"),
    ),
    "thread that writes": ((GroupCommit, "_commit_pending"), (GroupCommit, "_checkpoint_if_due")),
}
"""The functions of each step; none of them calls another one."""


class _Step:
    """The calls of a step in one thread at a time."""

    def __init__(self) -> None:
        self.calls = self.nanoseconds = 0

    def add(self, nanoseconds: int) -> None:
        """Add a call."""
        self.calls += 1
        self.nanoseconds += nanoseconds

    def measured(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time measured; of a coroutine, without the time in which it is suspended."""
        if asyncio.iscoroutinefunction(function):

            async def coroutine(*arguments: Any, **named: Any) -> Any:
                return await _Measured(function(*arguments, **named), self)

            return coroutine

        def measured(*arguments: Any, **named: Any) -> Any:
            began = _clock()
            try:
                return function(*arguments, **named)
            finally:
                self.add(_clock() - began)

        return measured


class _Measured:
    def __init__(self, coroutine: Any, step: _Step) -> None:
        self._coroutine = coroutine
        self._step = step

    def __await__(self) -> Generator[Any, Any, Any]:
        running = self._coroutine.__await__()
        sent, error = None, None
        while True:
            began = _clock()
            try:
                yielded = running.send(sent) if error is None else running.throw(error)
            except StopIteration as end:
                return end.value
            finally:
                self._step.add(_clock() - began)
            try:
                sent, error = (yield yielded), None
            except BaseException as raised:  # noqa: BLE001 - passed on
                error = raised


def _measure(steps: dict[str, _Step]) -> None:
    for name, functions in STEPS.items():
        for owner, function in functions:
            step = steps.setdefault(f"{name}: {function}", _Step())  # of one thread each
            setattr(owner, function, step.measured(getattr(owner, function)))


def _measurement_nanoseconds() -> int:
    """Return the time that is measured for a function that does nothing."""
    found = []
    for _ in range(1000):
        step = _Step()
        step.measured(lambda *_: None)(step, "", None)
        found.append(step.nanoseconds)
    return int(statistics.median(found))


def _written(steps: dict[str, _Step], path: Path) -> None:
    nothing, found = _measurement_nanoseconds(), {}
    for name, step in steps.items():
        found[name] = step.calls, max(0, step.nanoseconds - step.calls * nothing)
        step.calls = step.nanoseconds = 0
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(found))
    unfinished.rename(path)


if __name__ == "__main__":
    _steps: dict[str, _Step] = {}
    _measure(_steps)

    def _write(_: int, __: FrameType | None) -> None:
        _written(_steps, Path(os.environ["BENCH_STEPS"]))

    signal.signal(signal.SIGUSR1, _write)
    main()
