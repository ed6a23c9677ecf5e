"""Calls of the contract within one process.

The facade holds a `LocalChannel` where it would hold a `grpc.aio.Channel`, and the core's servicers are registered with
a `LocalServer` where they would be with a `grpc.aio.Server`. The same messages travel between the two, through the same
interceptors and with the same statuses, but nobody serialises them: a message belongs to its receiver once it has been
sent, and its sender must not touch it again.

A handler runs in the task that reads from its call and starts when that reads first. One message to a handler may lie
ready while it works; whoever writes more waits. Nothing else is buffered here.

Only what the stubs and the facade use of grpc.aio is here; `tests/contract/test_calls.py` holds both to the same.
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
    """What interceptors are told of a call: a `grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: Metadata


@dataclass(frozen=True, slots=True)
class _Status:
    """How a call ended."""

    code: grpc.StatusCode
    details: str = ""
    trailing_metadata: Metadata = ()

    def error(self) -> AioRpcError:
        return AioRpcError(
            self.code, grpc.aio.Metadata(), grpc.aio.Metadata(*self.trailing_metadata), self.details, None
        )


_FAULT = _Status(grpc.StatusCode.UNKNOWN, "The handler failed.")
_CANCELLED = _Status(grpc.StatusCode.CANCELLED, "The call was cancelled.")


class _Context:
    """What a handler knows of its call: as much of a `grpc.aio.ServicerContext` as ours and the health service use."""

    def __init__(self, metadata: Metadata, seconds: float | None = None) -> None:
        self._metadata = metadata
        self._end = None if seconds is None else time.monotonic() + seconds
        self.status = _FAULT

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def time_remaining(self) -> float | None:
        return None if self._end is None else max(self._end - time.monotonic(), 0.0)

    def peer(self) -> str:
        return "inproc"

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> None:
        self.status = _Status(code, details, trailing_metadata)
        raise AbortError

    async def abort_with_status(self, status: grpc.Status) -> None:
        await self.abort(status.code, status.details, status.trailing_metadata or ())


class LocalServer:
    """Knows the handlers: as much of a `grpc.aio.Server` as the generated functions need to register them."""

    def __init__(self, interceptors: Sequence[Interceptor] = ()) -> None:
        self._generic: list[Any] = []
        self._handler: _Find = self._find
        for interceptor in reversed(interceptors):
            self._handler = _intercepted(interceptor, self._handler)

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Register services."""
        self._generic += handlers

    def add_registered_method_handlers(self, _service: str, _handlers: object) -> None:
        """Nothing: this is how grpc learns the names of methods in advance."""

    async def handler(self, method: str, metadata: Metadata) -> Any:
        """Return the handler of a call, a `grpc.RpcMethodHandler`.

        Raises:
            AioRpcError: UNIMPLEMENTED.
        """
        handler = await self._handler(_Details(method, metadata))
        if handler is None:
            raise _Status(grpc.StatusCode.UNIMPLEMENTED, "Method not found!").error()
        return handler

    async def _find(self, details: Any) -> Any:
        return next(filter(None, (generic.service(details) for generic in self._generic)), None)


_Find = Callable[[Any], Awaitable[Any]]


def _intercepted(interceptor: Any, find: _Find) -> _Find:
    return lambda details: interceptor.intercept_service(find, details)


class LocalChannel:
    """Makes calls to a `LocalServer`: as much of a `grpc.aio.Channel` as the generated stubs need."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._ends: set[asyncio.Task[None]] = set()

    async def close(self, grace: float | None = None) -> None:
        """Wait for the ends of calls that were cancelled."""
        if self._ends:
            await asyncio.wait(self._ends)

    def unary_unary(self, method: str, *_: object, **__: object) -> Any:
        """Return a function that makes a call."""

        async def call(request: Any, *, metadata: Metadata = (), timeout: float | None = None) -> Any:  # noqa: ASYNC109
            context = _Context(metadata, timeout)
            try:
                async with asyncio.timeout(timeout):
                    handler = await self._server.handler(method, metadata)
                    return await handler.unary_unary(request, context)
            except TimeoutError as error:
                raise _Status(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded").error() from error
            except AbortError as error:
                raise context.status.error() from error
            except AioRpcError:
                raise
            except Exception as error:
                raise _FAULT.error() from error

        return call

    def unary_stream(self, method: str, *_: object, **__: object) -> Any:
        """Return a function that starts a call."""

        def call(request: Any, *, metadata: Metadata = ()) -> LocalCall:
            async def start(context: _Context) -> AsyncGenerator[Any, None]:
                handler = await self._server.handler(method, metadata)
                return handler.unary_stream(request, context)  # type: ignore[no-any-return]

            return LocalCall(start, metadata, self._see_off)

        return call

    def stream_stream(self, method: str, *_: object, **__: object) -> Any:
        """Return a function that starts a call to write to."""

        def call(*, metadata: Metadata = ()) -> LocalCall:
            requests = _Requests()

            async def start(context: _Context) -> AsyncGenerator[Any, None]:
                handler = await self._server.handler(method, metadata)
                return handler.stream_stream(requests, context)  # type: ignore[no-any-return]

            return LocalCall(start, metadata, self._see_off, requests)

        return call

    def _see_off(self, end: Coroutine[Any, Any, None]) -> None:
        """Run the end of a call for which nobody waits."""
        task = asyncio.create_task(end)
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)


class LocalCall:
    """A call whose answer is a stream: as much of a `grpc.aio.Call` as the facade uses."""

    def __init__(
        self,
        start: Callable[[_Context], Awaitable[AsyncGenerator[Any, None]]],
        metadata: Metadata,
        see_off: Callable[[Coroutine[Any, Any, None]], None],
        requests: "_Requests | None" = None,
    ) -> None:
        self._start = start
        self._see_off = see_off
        self._context = _Context(metadata)
        self._requests = requests
        self._responses: AsyncGenerator[Any, None] | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._status: _Status | None = None
        self._done = asyncio.Event()
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
            self._end(_Status(_OK))
            return _EOF
        except AbortError as error:
            self._end(self._context.status)
            raise self._context.status.error() from error
        except AioRpcError as error:
            self._end(_Status(error.code(), error.details() or ""))
            raise
        except asyncio.CancelledError:
            self._end(_CANCELLED)
            raise
        except Exception as error:
            self._end(_FAULT)
            raise _FAULT.error() from error
        finally:
            self._reader = None

    async def write(self, message: Any) -> None:
        """Hand a message over, after the one before was taken.

        Raises:
            AioRpcError: the call failed; InvalidStateError: it ended otherwise.
        """
        assert self._requests is not None, "a call that is not written to"
        if self._status is None:
            await self._requests.put(message)
        if self._status is not None:
            if self._status.code is _OK:
                raise asyncio.InvalidStateError("The call has ended.")
            raise self._status.error()

    async def done_writing(self) -> None:
        """Say that there are no more messages."""
        assert self._requests is not None, "a call that is not written to"
        self._requests.end()

    def cancel(self) -> bool:
        """End the call, if it has not ended; the handler is told as by a cancelled task."""
        if self._status is not None:
            return False
        if self._reader is not None:
            self._reader.cancel()
            return True
        if self._responses is not None:
            self._see_off(self._responses.aclose())
        self._end(_CANCELLED)
        return True

    def done(self) -> bool:
        """Say whether the call has ended."""
        return self._status is not None

    def add_done_callback(self, callback: "Callable[[LocalCall], None]") -> None:
        """Have a function called when the call ends."""
        self._callbacks.append(callback)

    async def code(self) -> grpc.StatusCode:
        """Return how the call ended, when it has."""
        return (await self._ended()).code

    async def details(self) -> str:
        """Return the message of the status, when the call has ended."""
        return (await self._ended()).details

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """Return what came with the status, when the call has ended."""
        return grpc.aio.Metadata(*(await self._ended()).trailing_metadata)

    async def _ended(self) -> _Status:
        await self._done.wait()
        assert self._status is not None
        return self._status

    def _end(self, status: _Status) -> None:
        self._status = status
        self._done.set()
        if self._requests is not None:
            self._requests.close()
        for callback in self._callbacks:
            callback(self)

    @staticmethod
    def _after_the_end(status: _Status) -> Any:
        if status.code is _OK:
            return _EOF
        if status is _CANCELLED:
            raise asyncio.CancelledError
        raise status.error()


class _Requests:
    """The messages a handler reads: an asynchronous iterator, and the place where the next one lies."""

    def __init__(self) -> None:
        self._message: Any = None
        self._ended = False
        self._changed: asyncio.Future[None] | None = None

    async def put(self, message: Any) -> None:
        """Lay a message down as soon as the place is free."""
        while self._message is not None:
            await self._change()
        self._message = message
        self._wake()

    def end(self) -> None:
        """Let the iterator end after what was put."""
        self._ended = True
        self._wake()

    def close(self) -> None:
        """Let go of everything: nobody reads any more."""
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
        """Wait for the other side; never do both sides wait at once."""
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
