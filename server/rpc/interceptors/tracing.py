"""Tracing: the span of each call, as a part of the trace that its metadata state (W3C Trace Context)."""

from common.telemetry import tracing
from server.rpc.errors import outcome
from server.rpc.interceptors.call_context import Context
from server.rpc.interceptors.surround import Surround

_PACKAGE = "/dicomstore.v1."
_OF_THE_SERVER = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes that are errors of a server's span, by OpenTelemetry's conventions for gRPC."""


class Tracing(Surround):
    """Makes the span of a call the current one."""

    def around(self, method: str, context: Context) -> "_Traced | None":
        """See `Surround`."""
        parent = ""
        for key, value in context.metadata:
            if key == "traceparent" and isinstance(value, str):
                parent = value
                break
        if tracing.is_within(parent):  # as nearly always in a node
            return None
        return _Traced(method, context, parent)


class _Traced:
    __slots__ = ("_context", "_span")

    def __init__(self, method: str, context: Context, parent: str) -> None:
        self._context = context
        name = method.removeprefix(_PACKAGE)
        span = self._span = tracing.received(name, parent, {})
        if span.is_sampled:
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
        if span.is_sampled:
            code, reason = outcome(error)
            span.attributes["rpc.grpc.status_code"] = code
            if reason:
                span.attributes["dicomstore.reason"] = reason
            if code in _OF_THE_SERVER:
                span.fault = code
        span.__exit__(None, None, None)
