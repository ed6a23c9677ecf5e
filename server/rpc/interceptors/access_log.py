"""The end of each call: a line in the access log with method, status, reason, time and request id, and its metrics.

Neither has values of a request.
"""

import logging
import time
from contextlib import AbstractAsyncContextManager

from common.telemetry.catalogue import RPC_CALLS, RPC_SECONDS
from common.telemetry.metrics import Counter, Histogram
from server.rpc.errors import outcome
from server.rpc.interceptors.call_context import WATCHES, Context
from server.rpc.interceptors.surround import Surround

_SAME_PROCESS = "inproc"
_PACKAGE = "/dicomstore.v1."
_METRICS = "/dicomstore.v1.MetricsService/GetMetrics"

_log = logging.getLogger("dicomstore.access")


class AccessLog(Surround):
    """Logs each call when it ends."""

    def around(self, method: str, context: Context) -> AbstractAsyncContextManager[Context]:
        """See `Surround`."""
        return _Logged(method, context)


class _Logged:
    __slots__ = ("_began", "_context", "_method")

    def __init__(self, method: str, context: Context) -> None:
        self._method = method
        self._context = context
        self._began = time.perf_counter()

    async def __aenter__(self) -> Context:
        return self._context

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        code, reason = outcome(error)
        log_call(self._method, self._context, code, reason, time.perf_counter() - self._began)


def log_call(method: str, context: Context, code: str, reason: str, seconds: float) -> None:
    """Log and count a call that has ended."""
    _count(method, code, seconds)
    # The facade in the same process also logs the request, with the same request id.
    is_in_facade_log = context.peer == _SAME_PROCESS
    is_of_little_interest = code == "OK" and (is_in_facade_log or method == _METRICS)
    _log.log(
        logging.DEBUG if is_of_little_interest else logging.INFO,
        "call method=%s code=%s reason=%s ms=%.1f request_id=%s",
        method,
        code,
        reason or "-",
        seconds * 1000,
        context.request_id,
    )


def _count(method: str, code: str, seconds: float) -> None:
    """Add a call that has ended to the metrics."""
    try:
        calls, durations = _figures[method, code]
    except KeyError:
        rpc = method.removeprefix(_PACKAGE)
        calls, durations = RPC_CALLS.of(rpc, code), None if method in WATCHES else RPC_SECONDS.of(rpc)
        _figures[method, code] = calls, durations
    calls.value += 1
    if durations is not None:
        durations.observe(seconds)


_figures: dict[tuple[str, str], tuple[Counter, Histogram | None]] = {}
