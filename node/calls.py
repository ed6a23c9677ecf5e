"""Calls of the contract within one process, with the interface of grpc.aio.

`LocalChannel` replaces `grpc.aio.Channel` in the facade, and `LocalServer` replaces `grpc.aio.Server` for the core's
servicers. Messages pass through the same interceptors, with the same statuses, but without serialisation: a sent
message belongs to its receiver, and the sender must not change it.

A handler runs in the task that reads from its call and starts with the first read. One message to a handler is buffered
while it works; further writes wait. Nothing else is buffered.

Only the part of grpc.aio that the stubs and the facade use is implemented; `tests/contract/test_calls.py` runs the same
tests on both.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc.aio import AbortError, AioRpcError

Metadata = Sequence[tuple[str, str | bytes]]
Interceptor = Any
"""`grpc.aio.ServerInterceptor`, which is generic for type checkers only."""

_OK = grpc.StatusCode.OK
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined] # unknown to the type stubs


@dataclass(frozen=True, slots=True)
class _Details:
    """Details of a call for interceptors, like `grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: Metadata


@dataclass(frozen=True, slots=True)
class Status:
    """Final status of a call."""

    code: grpc.StatusCode
    details: str = ""
    trailing_metadata: Metadata = ()

    def error(self) -> AioRpcError:
        return AioRpcError(
            self.code, grpc.aio.Metadata(), grpc.aio.Metadata(*self.trailing_metadata), self.details, None
        )


FAULT = Status(grpc.StatusCode.UNKNOWN, "The handler failed.")
_CANCELLED = Status(grpc.StatusCode.CANCELLED, "The call was cancelled.")


class CallContext:
    """Context of a handler: the part of `grpc.aio.ServicerContext` that the core and the health service use."""

    def __init__(self, metadata: Metadata, seconds: float | None = None) -> None:
        self._metadata = metadata
        self._end = None if seconds is None else time.monotonic() + seconds
        self.status = FAULT

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def time_remaining(self) -> float | None:
        return None if self._end is None else max(self._end - time.monotonic(), 0.0)

    def peer(self) -> str:
        return "inproc"

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> None:
        self.status = Status(code, details, trailing_metadata)
        raise AbortError

    async def abort_with_status(self, status: grpc.Status) -> None:
        await self.abort(status.code, status.details, status.trailing_metadata or ())


class LocalServer:
    """Registry of handlers: the part of `grpc.aio.Server` that the generated registration functions need."""

    def __init__(self, interceptors: Sequence[Interceptor] = ()) -> None:
        self._generic: list[Any] = []
        self._handler: _Find = self._find
        for interceptor in reversed(interceptors):
            self._handler = _intercepted(interceptor, self._handler)

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Register services."""
        self._generic += handlers

    def add_registered_method_handlers(self, _service: str, _handlers: object) -> None:
        """Ignored; grpc uses it to know the names of methods in advance."""

    async def handler(self, method: str, metadata: Metadata) -> Any:
        """Return the `grpc.RpcMethodHandler` of a call.

        Raises:
            AioRpcError: UNIMPLEMENTED.
        """
        handler = await self._handler(_Details(method, metadata))
        if handler is None:
            raise Status(grpc.StatusCode.UNIMPLEMENTED, "Method not found!").error()
        return handler

    async def _find(self, details: Any) -> Any:
        return next(filter(None, (generic.service(details) for generic in self._generic)), None)


_Find = Callable[[Any], Awaitable[Any]]


def _intercepted(interceptor: Any, find: _Find) -> _Find:
    return lambda details: interceptor.intercept_service(find, details)


class LocalChannel:
    """Channel to a `LocalServer`: the part of `grpc.aio.Channel` that the generated stubs need."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._ends: set[asyncio.Task[None]] = set()

    async def close(self, grace: float | None = None) -> None:
        """Wait for cancelled calls to end."""
        if self._ends:
            await asyncio.wait(self._ends)

    def unary_unary(self, method: str, *_: object, **__: object) -> Any:
        """Return a function that makes a call."""

        async def call(request: Any, *, metadata: Metadata = (), timeout: float | None = None) -> Any:  # noqa: ASYNC109
            context = CallContext(metadata, timeout)
            try:
                async with asyncio.timeout(timeout):
                    handler = await self._server.handler(method, metadata)
                    return await handler.unary_unary(request, context)
            except TimeoutError as error:
                raise Status(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded").error() from error
            except AbortError as error:
                raise context.status.error() from error
            except AioRpcError:
                raise
            except Exception as error:
                raise FAULT.error() from error

        return call

    def unary_stream(self, method: str, *_: object, **__: object) -> Any:
        """Return a function that starts a call."""

        def call(request: Any, *, metadata: Metadata = ()) -> LocalCall:
            async def start(context: CallContext) -> AsyncGenerator[Any, None]:
                handler = await self._server.handler(method, metadata)
                return handler.unary_stream(request, context)  # type: ignore[no-any-return]

            return LocalCall(start, metadata, self._run_in_background)

        return call

    def stream_stream(self, method: str, *_: object, **__: object) -> Any:
        """Return a function that starts a call with a request stream."""

        def call(*, metadata: Metadata = ()) -> LocalCall:
            requests = _Requests()

            async def start(context: CallContext) -> AsyncGenerator[Any, None]:
                handler = await self._server.handler(method, metadata)
                return handler.stream_stream(requests, context)  # type: ignore[no-any-return]

            return LocalCall(start, metadata, self._run_in_background, requests)

        return call

    def _run_in_background(self, end: Coroutine[Any, Any, None]) -> None:
        """Run the clean-up of a cancelled call in the background."""
        task = asyncio.create_task(end)
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)


class LocalCall:
    """A call with a response stream: the part of `grpc.aio.Call` that the facade uses."""

    def __init__(
        self,
        start: Callable[[CallContext], Awaitable[AsyncGenerator[Any, None]]],
        metadata: Metadata,
        run_in_background: Callable[[Coroutine[Any, Any, None]], None],
        requests: "_Requests | None" = None,
    ) -> None:
        self._start = start
        self._run_in_background = run_in_background
        self._context = CallContext(metadata)
        self._requests = requests
        self._responses: AsyncGenerator[Any, None] | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._status: Status | None = None
        self._done: asyncio.Event | None = None  # while something waits for the end
        self._callbacks: list[Callable[[LocalCall], None]] = []

    async def read(self) -> Any:
        """Return the next message, or EOF. Only one task reads.

        Raises:
            AioRpcError: the call failed.
            CancelledError: it was cancelled.
        """
        if self._status is not None:
            return self._after_the_end(self._status)
        self._reader = asyncio.current_task()
        try:
            if self._responses is None:
                self._responses = await self._start(self._context)
            return await anext(self._responses)
        except StopAsyncIteration:
            self._end(Status(_OK))
            return _EOF
        except AbortError as error:
            self._end(self._context.status)
            raise self._context.status.error() from error
        except AioRpcError as error:
            self._end(Status(error.code(), error.details() or ""))
            raise
        except asyncio.CancelledError:
            self._end(_CANCELLED)
            raise
        except Exception as error:
            self._end(FAULT)
            raise FAULT.error() from error
        finally:
            self._reader = None

    async def write(self, message: Any) -> None:
        """Pass a message to the handler; waits until the previous one was read.

        Raises:
            AioRpcError: the call failed; InvalidStateError: it ended with OK.
        """
        assert self._requests is not None, "the call has no request stream"
        if self._status is None:
            await self._requests.put(message)
        if self._status is not None:
            if self._status.code is _OK:
                raise asyncio.InvalidStateError("The call has ended.")
            raise self._status.error()

    async def done_writing(self) -> None:
        """End the request stream."""
        assert self._requests is not None, "the call has no request stream"
        self._requests.end()

    def cancel(self) -> bool:
        """Cancel the call, if it has not ended; the handler gets a CancelledError."""
        if self._status is not None:
            return False
        if self._reader is not None:
            self._reader.cancel()
            return True
        if self._responses is not None:
            self._run_in_background(self._responses.aclose())
        self._end(_CANCELLED)
        return True

    def done(self) -> bool:
        """Return whether the call has ended."""
        return self._status is not None

    def add_done_callback(self, callback: "Callable[[LocalCall], None]") -> None:
        """Call a function when the call ends."""
        self._callbacks.append(callback)

    async def code(self) -> grpc.StatusCode:
        """Wait for the end of the call and return its status code."""
        return (await self._ended()).code

    async def details(self) -> str:
        """Wait for the end of the call and return the message of its status."""
        return (await self._ended()).details

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """Wait for the end of the call and return the metadata of its status."""
        return grpc.aio.Metadata(*(await self._ended()).trailing_metadata)

    async def _ended(self) -> Status:
        if self._status is None:
            self._done = self._done or asyncio.Event()
            await self._done.wait()
        assert self._status is not None
        return self._status

    def _end(self, status: Status) -> None:
        self._status = status
        if self._done is not None:
            self._done.set()
        if self._requests is not None:
            self._requests.close()
        callbacks, self._callbacks = self._callbacks, []  # they usually refer to this call: a cycle would be freed late
        for callback in callbacks:
            callback(self)

    @staticmethod
    def _after_the_end(status: Status) -> Any:
        if status.code is _OK:
            return _EOF
        if status is _CANCELLED:
            raise asyncio.CancelledError
        raise status.error()


class _Requests:
    """The request stream of a handler: an asynchronous iterator with a buffer of one message."""

    def __init__(self) -> None:
        self._message: Any = None
        self._ended = False
        self._changed: asyncio.Future[None] | None = None

    async def put(self, message: Any) -> None:
        """Put a message into the buffer when it is free."""
        while self._message is not None:
            await self._change()
        self._message = message
        self._wake()

    def end(self) -> None:
        """End the iterator after the buffered message."""
        self._ended = True
        self._wake()

    def close(self) -> None:
        """Discard the buffered message and end the iterator."""
        self._message = None
        self.end()

    def __aiter__(self) -> "_Requests":
        return self

    async def __anext__(self) -> Any:
        while self._message is None:
            if self._ended:
                raise StopAsyncIteration
            await self._change()
        message, self._message = self._message, None
        self._wake()
        return message

    async def _change(self) -> None:
        """Wait for the other side; the two sides never wait at the same time."""
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
