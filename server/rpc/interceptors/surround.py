"""What the interceptors have in common: each surrounds the handlers of the contract with a context manager."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import grpc

_CONTRACT = "/dicomstore."
_Details = grpc.HandlerCallDetails
_Handler = Any  # grpc.RpcMethodHandler is generic for type checkers only


class Surround(grpc.aio.ServerInterceptor, ABC):  # type: ignore[type-arg] # not generic at run time
    """Surrounds all handlers of the contract; health and reflection are left alone."""

    def __init__(self) -> None:
        self._wrapped: dict[str, _Handler] = {}  # by method; handlers do not change

    @abstractmethod
    def around(self, method: str, context: Any) -> AbstractAsyncContextManager[Any]:
        """Return what is entered before a call is handled and left afterwards.

        Args:
            method: full name, as in "/dicomstore.v1.SearchService/Search".
            context: what the interceptor outside of this one passes on; of the outermost, a `grpc.aio.ServicerContext`.

        Entering returns the context that is passed on inwards.
        """

    async def intercept_service(
        self, continuation: Callable[[_Details], Awaitable[_Handler]], details: _Details
    ) -> _Handler:
        """Return the handler of a call, surrounded."""
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
            async with self.around(method, context) as inner:
                return await behaviour(request, inner)

        return call

    def _streaming(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            async with (
                self.around(method, context) as inner,
                # Closed at once, not when it is collected: a call may be cancelled between two messages.
                aclosing(behaviour(request, inner)) as responses,
            ):
                async for response in responses:
                    yield response

        return call
