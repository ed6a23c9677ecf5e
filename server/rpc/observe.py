"""The edge of every call: request id, the one log line, errors turned into statuses, and a bound on calls at once.

The log says who asked for what kind of thing and how it went: method, status, reason, time, request id. Never values.
"""

import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import grpc

from server.model.errors import DicomStoreError, Exhausted, Reason
from server.rpc.errors import to_status, unexpected

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the call at hand: the client's `x-request-id`, or one made here."""

_MOST_ID_CHARACTERS = 64
_SAME_PROCESS = "inproc"
_WATCHES = "/dicomstore.v1.ChangeFeedService/WatchChanges"
_log = logging.getLogger("dicomstore.access")

Context = Any
"""`grpc.aio.ServicerContext`, of which the type stubs do not know all."""

_Details = grpc.HandlerCallDetails
_Handler = Any  # grpc.RpcMethodHandler is generic for type checkers only


class Boundary(grpc.aio.ServerInterceptor):  # type: ignore[type-arg] # not generic at run time
    """Stands around all handlers of our services; leaves health and reflection alone.

    At most `max_calls` go on at once; more are refused with BUSY before anything is read. Watches, which last, have
    `max_watches` places of their own.
    """

    def __init__(self, max_calls: int, max_watches: int) -> None:
        self._calls = _Places(max_calls)
        self._watches = _Places(max_watches)

    async def intercept_service(
        self, continuation: Callable[[_Details], Awaitable[_Handler]], details: _Details
    ) -> _Handler:
        """Wrap the handler of a call."""
        handler = await continuation(details)
        if handler is None or not details.method.startswith("/dicomstore."):
            return handler
        call_id = _request_id(details)
        places = self._watches if details.method == _WATCHES else self._calls
        if handler.response_streaming:
            wrapped = _streaming(_behaviour(handler), details.method, call_id, places)
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
        else:
            wrapped = _unary(_behaviour(handler), details.method, call_id, places)
            make = grpc.unary_unary_rpc_method_handler
        return make(wrapped, handler.request_deserializer, handler.response_serializer)


def _behaviour(handler: Any) -> Any:
    return handler.unary_unary or handler.unary_stream or handler.stream_stream


def _unary(behaviour: Any, method: str, call_id: str, places: "_Places") -> Any:
    async def call(request: Any, context: Context) -> Any:
        async with _Call(method, call_id, context):
            with places:
                return await behaviour(request, context)

    return call


def _streaming(behaviour: Any, method: str, call_id: str, places: "_Places") -> Any:
    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        async with _Call(method, call_id, context):
            with places:
                # Closed at once, not when it is collected: a call may be given up between two messages.
                async with aclosing(behaviour(request, context)) as responses:
                    async for response in responses:
                        yield response

    return call


class _Places:
    """So many calls at once and no more."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0

    def __enter__(self) -> None:
        """Take a place. Raises Exhausted (BUSY)."""
        if self._taken >= self._limit:
            raise Exhausted(Reason.BUSY, "The server has too many calls in flight; try again later.")
        self._taken += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._taken -= 1


class _Call:
    """One call from begin to end."""

    def __init__(self, method: str, call_id: str, context: Context) -> None:
        self._method = method
        self._call_id = call_id
        self._context = context
        self._began = time.perf_counter()

    async def __aenter__(self) -> None:
        request_id.set(self._call_id)

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError):
            ours = error if isinstance(error, DicomStoreError) else unexpected(error, self._call_id)
            self._record(to_status(ours).code.name, ours.reason)
            await self._context.abort_with_status(to_status(ours))
        self._record("CANCELLED" if error is not None else "OK", "-")

    def _record(self, code: str, reason: str) -> None:
        milliseconds = (time.perf_counter() - self._began) * 1000
        # Of a call from within the process, the facade writes a line with the same request id.
        is_told = code == "OK" and self._context.peer() == _SAME_PROCESS
        _log.log(
            logging.DEBUG if is_told else logging.INFO,
            "call method=%s code=%s reason=%s ms=%.1f request_id=%s",
            self._method,
            code,
            reason,
            milliseconds,
            self._call_id,
        )


def _request_id(details: _Details) -> str:
    for key, value in details.invocation_metadata or ():
        if key == "x-request-id" and isinstance(value, str) and value.isascii() and value.isprintable():
            return value[:_MOST_ID_CHARACTERS]
    return f"{random.getrandbits(128):032x}"
