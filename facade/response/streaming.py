"""Streamed responses, which stop their source when the client disconnects."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from facade.errors import CoreFailure
from facade.serving.exchange import BUFFERS
from facade.timeouts import IdleTimeout

log = logging.getLogger(__name__)

_CLIENT_GONE = "CLIENT_GONE"
_UNCHECKED_BYTES = 1 << 20
"""Bytes sent before the task yields to the event loop, which then detects that the client has disconnected."""


Chunk = bytes | memoryview | list[bytes | memoryview]
"""Data of one ASGI message."""


def body_message(scope: Scope, chunk: Chunk, *, more_body: bool) -> Message:
    """Return the ASGI message with a chunk of a body."""
    buffers = chunk if isinstance(chunk, list) else [chunk]
    if BUFFERS in scope.get("extensions", ()):
        return {"type": "http.response.body", "body": b"", "buffers": buffers, "more_body": more_body}
    return {"type": "http.response.body", "body": b"".join(buffers), "more_body": more_body}


class BuffersResponse(Response):
    """A response with a complete body as a list of buffers; it has a Content-Length."""

    def __init__(self, buffers: list[bytes | memoryview], status_code: int, headers: Mapping[str, str]) -> None:
        self.status_code = status_code
        self.background = None
        self.init_headers({**headers, "Content-Length": str(sum(map(len, buffers)))})
        self._buffers = buffers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send(body_message(scope, self._buffers, more_body=False))


class StreamedResponse(Response):
    """Sends `chunks` one at a time as they become available.

    `chunks` and its `source` are always closed before the request ends, so a client that disconnects, or does not read
    for `idle_seconds`, ends the work in the core. If `chunks` fails after the response has started, the connection is
    closed without a proper end, so that the client detects the incomplete response. HEAD sends no chunks.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[Any, None],
        headers: Mapping[str, str],
        *,
        source: AsyncGenerator[Any, None],
        idle_seconds: float,
        status_code: int = 200,
    ) -> None:
        self.status_code = status_code
        self.background = None
        self.init_headers(headers)
        self._chunks = chunks
        self._source = source
        self._idle_seconds = idle_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        # A generator that was never started does not close its source, so both are closed here.
        async with aclosing(self._source), aclosing(self._chunks):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] != "HEAD" and (problem := await self._send_chunks(scope, receive, send)):
                level = logging.INFO if problem == _CLIENT_GONE else logging.ERROR
                log.log(level, "response aborted reason=%s request_id=%s", problem, scope["state"]["request_id"])
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_chunks(self, scope: Scope, receive: Receive, send: Send) -> str:
        """Send all chunks; returns the reason if the response is incomplete, otherwise ""."""
        gone = asyncio.create_task(wait_for_disconnect(receive))
        idle_timeout = IdleTimeout(self._idle_seconds)
        unchecked = 0
        try:
            async for chunk in self._chunks:
                if gone.done():
                    return _CLIENT_GONE
                with idle_timeout:
                    await send(body_message(scope, chunk, more_body=True))
                unchecked += sum(map(len, chunk)) if isinstance(chunk, list) else len(chunk)
                if unchecked >= _UNCHECKED_BYTES:
                    # Neither reading from the page cache nor writing to a closed socket suspends this task.
                    unchecked = 0
                    await asyncio.sleep(0)
        except CoreFailure as failure:
            return failure.reason or failure.code
        except TimeoutError:
            return "CLIENT_SILENT"
        else:
            return ""
        finally:
            idle_timeout.close()
            gone.cancel()


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
