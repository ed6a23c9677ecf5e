"""Tracing: the span of each call, as a part of the trace that its metadata state (W3C Trace Context)."""

from common.telemetry import tracing
from server.rpc.errors import outcome
from server.rpc.interceptors.call_context import Context
from server.rpc.interceptors.surround import Surround

_SAME_PROCESS = "inproc"
_PACKAGE = "/dicomstore.v1."
_OF_THE_SERVER = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes that are errors of a server's span, by OpenTelemetry's conventions for gRPC."""


class Tracing(Surround):
    """Makes the span of a call the current one."""

    def around(self, method: str, context: Context) -> "_Traced | None":
        """See `Surround`."""
        if context.peer == _SAME_PROCESS and tracing.is_not_recorded():
            return None  # as nearly always in a node: the call is a part of the request of the facade
        parent = ""
        for key, value in context.metadata:
            if key == "traceparent" and isinstance(value, str):
                parent = value
                break
        return _Traced(method, context, parent)


class _Traced:
    __slots__ = ("_context", "_span")

    def __init__(self, method: str, context: Context, parent: str) -> None:
        self._context = context
        name = method.removeprefix(_PACKAGE)
        span = self._span = tracing.received(name, parent, {})
        if isinstance(span, tracing.Span):
            service, _, rpc = name.partition("/")
            span.attributes |= {
                "rpc.system": "grpc",
                "rpc.service": f"dicomstore.v1.{service}",
                "rpc.method": rpc,
                "dicomstore.request_id": context.request_id,
            }

    async def __aenter__(self) -> Context:
        self._span.__enter__()
        return self._context

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        span = self._span
        if isinstance(span, tracing.Span):
            code, reason = outcome(error)
            span.attributes["rpc.grpc.status_code"] = code
            if reason:
                span.attributes["dicomstore.reason"] = reason
            if code in _OF_THE_SERVER:
                span.fault = code
        span.__exit__(None, None, None)
