"""Request ids, common response headers, and the access log.

The log line has the route template instead of path and query, which may contain patient data.
"""

import logging
import random
import re
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.telemetry import tracing
from common.telemetry.catalogue import HTTP_IN_PROGRESS, HTTP_REQUESTS, HTTP_RESPONSE_BYTES, HTTP_SECONDS
from common.telemetry.metrics import OTHER, Counter, Histogram
from facade.channel import Metadata
from facade.prefixes import route_prefix
from facade.serving.caller import caller_metadata
from facade.serving.client_certificate import CERTIFICATE, forwarded_names
from facade.versions import SUPPORTED, VERSIONS

log = logging.getLogger("facade.access")

RawHeaders = list[tuple[bytes, bytes]]

_NOT_ASCII = re.compile(r"[^\x20-\x7e]")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SUPPORTED = (b"api-supported-versions", SUPPORTED.encode())
_TRACEPARENT = "traceparent"
"""The header for calls of the core, in the state of a request, instead of the one of the client. It is empty for a core
in this process that finds in the context that the trace is not recorded."""

_FREQUENT = ("/health/check", "/metrics")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_STREAMS = ("/stream", "/subscribers/{aetitle}")
"""Ends of routes whose responses may last for days."""

_IN_PROGRESS, _RESPONSE_BYTES = HTTP_IN_PROGRESS.of(), HTTP_RESPONSE_BYTES.of()
_VERSIONED = tuple(f"/{version}/" for version in VERSIONS)


class Observe:
    """ASGI middleware: assigns a request id and logs one line at the end of each request."""

    def __init__(
        self,
        app: ASGIApp,
        add_headers: Callable[[RawHeaders, RawHeaders], None],
        hsts_seconds: int,
        *,
        is_in_core: bool,
    ) -> None:
        """Wrap `app`.

        add_headers: adds common headers to those of a response, given those of the request. A response over HTTPS also
            has the one of RFC 6797.
        is_in_core: the core is in this process.
        """
        self.app = app
        self._is_in_core = is_in_core
        self._add_headers = add_headers
        self._hsts = (b"strict-transport-security", b"max-age=%d" % hsts_seconds) if hsts_seconds else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given_id = traceparent = host = ""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given_id = value.decode("latin-1")
            elif name == b"traceparent":
                traceparent = value.decode("latin-1")
            elif name == b"host":
                host = value.decode("latin-1")
        number = random.getrandbits(128)
        request_id = given_id if given_id and _REQUEST_ID.fullmatch(given_id) else f"{number:032x}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        span = tracing.arrived(traceparent, number)
        if span is not None:
            state[_TRACEPARENT] = span.traceparent
        elif (traceparent or not self._is_in_core) and (trace := tracing.current()) is not None:
            state[_TRACEPARENT] = "" if self._is_in_core else trace.traceparent
        # A browser would apply it to every port of localhost.
        is_https = scope["scheme"] == "https" and not host.startswith("localhost")
        started = time.perf_counter()
        _IN_PROGRESS.value += 1
        status, sent_bytes = 0, 0

        async def observed_send(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                headers: RawHeaders = message["headers"]
                self._add_headers(headers, scope["headers"])
                if is_https and self._hsts:
                    headers.append(self._hsts)
                headers.append((b"x-request-id", request_id.encode()))
                if scope["path"].startswith(_VERSIONED):
                    headers.append(_SUPPORTED)
            elif message["type"] == "http.response.body":
                sent_bytes += len(message.get("body", b"")) + sum(map(len, message.get("buffers", ())))
            await send(message)

        try:
            await self.app(scope, receive, observed_send)
        finally:
            seconds = time.perf_counter() - started
            route = route_prefix(scope) + scope.get("template", "-")
            _IN_PROGRESS.value -= 1
            _count(route, scope["method"], status, sent_bytes, seconds)
            log.log(
                logging.DEBUG if route in _FREQUENT else logging.INFO,
                "method=%s route=%s status=%d bytes=%d ms=%.1f request_id=%s",
                scope["method"],
                route,
                status,
                sent_bytes,
                seconds * 1000,
                request_id,
            )
            if span is not None:
                _end(span, scope["method"], route, status, request_id)


def _end(span: tracing.Span, method: str, route: str, status: int, request_id: str) -> None:
    """End the span of a request, with the attributes of OpenTelemetry's conventions for HTTP servers."""
    method = method if method in _METHODS else OTHER
    span.name = f"{method} {route}"
    span.attributes |= {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
        "dicomstore.request_id": request_id,
    }
    if status == 0 or status >= 500:
        span.fault = str(status)
    tracing.ended(span)


def _count(route: str, method: str, status: int, sent_bytes: int, seconds: float) -> None:
    """Add a request that has ended to the metrics."""
    if method not in _METHODS:
        method = OTHER
    _RESPONSE_BYTES.value += sent_bytes
    try:
        requests, durations = _figures[route, method, status]
    except KeyError:
        requests = HTTP_REQUESTS.of(route, method, str(status))
        durations = None if route.endswith(_STREAMS) else HTTP_SECONDS.of(route, method)
        _figures[route, method, status] = requests, durations
    requests.value += 1
    if durations is not None:
        durations.observe(seconds)


_figures: dict[tuple[str, str, int], tuple[Counter, Histogram | None]] = {}


def call_metadata(request: Request) -> Metadata:
    """Return the metadata of calls to the core: request id, credentials, trace context, and facts for the audit trail.

    Raises:
        Refusal: 400, headers for the audit trail that cannot be recorded.
    """
    return (*identity_metadata(request), *caller_metadata(request))


def identity_metadata(request: Request) -> Metadata:
    """Return the part of `call_metadata` that identifies a request and its client."""
    scope = request.scope
    # All credentials: the core refuses a request with several, which a proxy may have understood differently.
    found: list[tuple[str, str | bytes]] = [
        ("x-request-id", scope["state"]["request_id"]),
        (CERTIFICATE, forwarded_names(scope)),
    ]
    traceparent: str | None = scope["state"].get(_TRACEPARENT)
    for name, value in scope["headers"]:
        if name == b"authorization":
            found.append(("authorization", _in_ascii(value.decode("latin-1"))))
        elif name == b"tracestate" or (name == b"traceparent" and traceparent is None):
            text = value.decode("latin-1")
            if _is_text(text):
                found.append((name.decode(), text))
    if traceparent:
        found.append(("traceparent", traceparent))
    return tuple(found)


def _in_ascii(value: str) -> str:
    """Return a credential as gRPC can send it; one with other characters becomes an invalid one."""
    return value if _is_text(value) else _NOT_ASCII.sub("?", value)


def _is_text(value: str) -> bool:
    """Return whether metadata of gRPC can have a value."""
    return value.isascii() and value.isprintable()
