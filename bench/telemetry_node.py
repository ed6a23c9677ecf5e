"""`python -m bench.telemetry_node`: a node that switches its metrics and traces on and off while it serves requests.

Every tenth of a second it changes between nothing, metrics, and metrics and traces, so that the load of the machine and
everything that varies slowly affects all alike. On SIGUSR1 it writes what it measured since the last one, as JSON, to
the file in `BENCH_WINDOWS`: for each window the number of its round, the state, the CPU time of the process in seconds
without that of exports, and the number of requests that ended; and the CPU time of the thread that exports spans.
"""

import server.import_hygiene  # noqa: F401 - before anything imports pydicom

# isort: split

import asyncio
import itertools
import json
import os
import signal
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace.export import BatchSpanProcessor

from common.telemetry import otlp, tracing
from facade.serving import observe
from node.__main__ import main
from server.adapters.sql.core import transactions
from server.bootstrap import grpc_server
from server.config import Settings
from server.domain.audit.recorder import AuditRecorder
from server.rpc.interceptors import access_log
from server.rpc.interceptors.authentication import Authenticator
from server.rpc.interceptors.surround import Surround

_WINDOW_SECONDS = 0.1
_ROUND = ("nothing", "metrics", "both", "both", "metrics", "nothing")

_interceptors = grpc_server.interceptors


def _nothing(*_: object) -> None:
    """Do nothing."""


_METRICS: tuple[tuple[Any, str, Any], ...] = (
    (observe, "_count", _nothing),
    (access_log, "_count", _nothing),
    (transactions, "_FIGURES", dict.fromkeys(transactions._FIGURES)),
)
"""What counts, and what takes its place. The histogram of read blobs is always on: replacing a method of a class would
make the interpreter slower in all states."""

_COUNTING = [getattr(owner, name) for owner, name, _ in _METRICS]


class _Measured:
    """The windows, the requests of the current one, and the CPU time of exports."""

    def __init__(self) -> None:
        self.requests = 0
        self.exporting = 0.0
        self.windows: list[tuple[int, str, float, int]] = []

    def write(self, path: Path) -> None:
        """Write them, and begin again."""
        found = {"windows": self.windows, "exporting": self.exporting}
        self.windows, self.exporting = [], 0.0
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(found))
        unfinished.rename(path)


_measured = _Measured()


class _Observe(observe.Observe):
    async def __call__(self, *arguments: Any) -> None:
        """Serve a request, and count it."""
        await super().__call__(*arguments)
        _measured.requests += 1


class _Processor(BatchSpanProcessor):
    def __init__(self, exporter: Any) -> None:
        export = exporter.export

        def measured(spans: Any) -> Any:
            began = time.thread_time()
            try:
                return export(spans)
            finally:
                _measured.exporting += time.thread_time() - began

        exporter.export = measured
        super().__init__(exporter)


class _Switched(Surround):
    """The interceptors with tracing or without."""

    def __init__(self, traced: Surround, untraced: Surround) -> None:
        super().__init__()
        self._traced = traced
        self._chosen = self._untraced = untraced
        self._recorder = tracing._recorder
        self._alternating = asyncio.create_task(self._alternate())

    async def _alternate(self) -> None:
        for number in itertools.count():
            for state in _ROUND:
                self._choose(state)
                began, exported, _measured.requests = time.process_time(), _measured.exporting, 0
                await asyncio.sleep(_WINDOW_SECONDS)
                cpu = time.process_time() - began - (_measured.exporting - exported)
                _measured.windows.append((number, state, cpu, _measured.requests))

    def _choose(self, state: str) -> None:
        is_traced, is_counted = state == "both", state != "nothing"
        self._chosen = self._traced if is_traced else self._untraced
        tracing._recorder = self._recorder if is_traced else None
        for (owner, name, nothing), counting in zip(_METRICS, _COUNTING, strict=True):
            setattr(owner, name, counting if is_counted else nothing)

    def around(self, method: str, context: Any) -> AbstractAsyncContextManager[Any] | None:
        """See `Surround`."""
        return self._chosen.around(method, context)


def _switched(settings: Settings, authenticator: Authenticator, recorder: AuditRecorder | None) -> Sequence[Surround]:
    assert tracing.is_on(), "OTEL_EXPORTER_OTLP_ENDPOINT is not set"
    [traced] = _interceptors(settings, authenticator, recorder)
    recording, tracing._recorder = tracing._recorder, None
    [untraced] = _interceptors(settings, authenticator, recorder)
    tracing._recorder = recording
    return [_Switched(traced, untraced)]


if __name__ == "__main__":
    import facade.app

    vars(otlp)["BatchSpanProcessor"] = _Processor
    vars(facade.app)["Observe"] = _Observe
    grpc_server.interceptors = _switched
    signal.signal(signal.SIGUSR1, lambda *_: _measured.write(Path(os.environ["BENCH_WINDOWS"])))
    main()
