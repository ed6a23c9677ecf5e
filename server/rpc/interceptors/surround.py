"""Base class of the interceptors: wraps the handlers of the contract in a context manager."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any

import grpc

_CONTRACT = "/dicomstore."
_Details = grpc.HandlerCallDetails
_Handler = Any  # grpc.RpcMethodHandler is generic for type checkers only


class Surround(grpc.aio.ServerInterceptor, ABC):  # type: ignore[type-arg] # not generic at run time
    """Wraps all handlers of the contract, but not those of health and reflection."""

    def __init__(self) -> None:
        self._wrapped: dict[str, _Handler] = {}  # by method; handlers do not change

    @abstractmethod
    def around(self, method: str, context: Any) -> AbstractAsyncContextManager[Any] | None:
        """Return the context manager for a call, or None for a call that needs nothing.

        Args:
            method: full name, as in "/dicomstore.v1.SearchService/Search".
            context: the context of the next outer interceptor; for the outermost, a `grpc.aio.ServicerContext`.

        Entering returns the context for the next inner interceptor or the handler.
        """

    async def intercept_service(
        self, continuation: Callable[[_Details], Awaitable[_Handler]], details: _Details
    ) -> _Handler:
        """Return the wrapped handler of a call."""
        method = details.method
        if method not in self._wrapped:
            handler = await continuation(details)
            if handler is None or not method.startswith(_CONTRACT):
                return handler
            self._wrapped[method] = self._wrap(method, handler)
        return self._wrapped[method]

    def _wrap(self, method: str, handler: _Handler) -> _Handler:
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_stream
        if not handler.response_streaming:
            wrapped, make = self._unary(method, behaviour), grpc.unary_unary_rpc_method_handler
        elif handler.request_streaming:
            wrapped, make = self._streaming(method, behaviour), grpc.stream_stream_rpc_method_handler
        else:
            wrapped, make = self._streaming(method, behaviour), grpc.unary_stream_rpc_method_handler
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    def _unary(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Any) -> Any:
            async with self.around(method, context) or nullcontext(context) as inner:
                return await behaviour(request, inner)

        return call

    def _streaming(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            async with (
                self.around(method, context) or nullcontext(context) as inner,
                # Close it now and not on garbage collection: a call may be cancelled between two messages.
                aclosing(behaviour(request, inner)) as responses,
            ):
                async for response in responses:
                    yield response

        return call


class Chain(Surround):
    """Several interceptors as one: each message of a stream passes one generator instead of one for each interceptor.

    Args:
        surrounds: the outermost first. Their context managers must not suppress exceptions.
    """

    def __init__(self, surrounds: Sequence[Surround]) -> None:
        super().__init__()
        self._surrounds = tuple(surrounds)

    def around(self, method: str, context: Any) -> "_Chained":
        """See `Surround`."""
        return _Chained(self._surrounds, method, context)


class _Chained:
    __slots__ = ("_context", "_entered", "_method", "_surrounds")

    def __init__(self, surrounds: Sequence[Surround], method: str, context: Any) -> None:
        self._surrounds = surrounds
        self._method = method
        self._context = context
        self._entered: list[AbstractAsyncContextManager[Any]] = []

    async def __aenter__(self) -> Any:
        context = self._context
        try:
            for surround in self._surrounds:
                manager = surround.around(self._method, context)
                if manager is None:
                    continue
                context = await manager.__aenter__()
                self._entered.append(manager)
        except BaseException as error:
            await self._leave(error)
            raise
        return context

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        """Leave the entered context managers; raise the last error that one of them raises, if any."""
        current = error
        for manager in reversed(self._entered):
            try:
                if current is None:
                    await manager.__aexit__(None, None, None)
                else:
                    await manager.__aexit__(type(current), current, current.__traceback__)
            except BaseException as raised:  # noqa: BLE001 - the next one handles it, and the last one is raised
                current = raised
        if current is not None and current is not error:
            raise current
