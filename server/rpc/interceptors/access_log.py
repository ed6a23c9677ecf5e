"""The access log: one line for each call, with method, status, reason, time and request id. No values of a request."""

import logging
import time
from contextlib import AbstractAsyncContextManager

from server.rpc.errors import outcome
from server.rpc.interceptors.call_context import Context
from server.rpc.interceptors.surround import Surround

_SAME_PROCESS = "inproc"

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
    """Log a call that has ended."""
    # The facade in the same process also logs the request, with the same request id.
    is_in_facade_log = code == "OK" and context.peer == _SAME_PROCESS
    _log.log(
        logging.DEBUG if is_in_facade_log else logging.INFO,
        "call method=%s code=%s reason=%s ms=%.1f request_id=%s",
        method,
        code,
        reason or "-",
        seconds * 1000,
        context.request_id,
    )
