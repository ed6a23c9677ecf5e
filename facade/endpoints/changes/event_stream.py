"""Responses of Server-Sent Events (HTML standard, section 9.2)."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from facade.errors import RETRY_AFTER_S, CoreFailure
from facade.response.streaming import body_message, wait_for_disconnect
from facade.timeouts import IdleTimeout

log = logging.getLogger(__name__)

MEDIA_TYPE = "text/event-stream"

RETRY = b"retry: %d\n\n" % (RETRY_AFTER_S * 1000)
"""Tells the client after how many milliseconds to reconnect when the stream has ended."""

HEARTBEAT = b": heartbeat\n\n"
"""A comment, which clients ignore; it shows them and proxies that the connection exists."""

_HEADERS = {
    "Content-Type": MEDIA_TYPE,
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx would keep events until its buffer is full
}


def event(event_id: int, name: str, data: bytes) -> bytes:
    """Return one event; `data` is a single line."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event_id, name.encode(), data)


class EventStream(Response):
    """Sends `events` one at a time as they become available, and closes it and its `source` at the end.

    The stream ends properly, so that the client reconnects, if `events` ends or fails with a `CoreFailure`, and when
    `stopping` is set. A client that does not read for `idle_seconds` is disconnected. Nothing is buffered but what was
    written to the connection last.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        *,
        source: AsyncGenerator[Any, None],
        stopping: asyncio.Event,
        idle_seconds: float,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(_HEADERS)
        self._events = events
        self._source = source
        self._stopping = stopping
        self._idle_seconds = idle_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        async with aclosing(self._source), aclosing(self._events):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] == "HEAD" or await self._is_complete(scope, receive, send):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _is_complete(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Send events until the end; return False if the client is gone."""
        sending = asyncio.create_task(self._send_events(scope, send))
        gone = asyncio.create_task(wait_for_disconnect(receive))
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((sending, gone, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, gone, stopped):
                task.cancel()
            await asyncio.wait((sending, gone, stopped))
        if not sending.cancelled():
            reason = sending.result()
        elif gone.cancelled():
            reason = "SHUTTING_DOWN"
        else:
            reason = _GONE
        log.info("event stream ended reason=%s request_id=%s", reason, scope["state"]["request_id"])
        return reason not in (_GONE, _SILENT)

    async def _send_events(self, scope: Scope, send: Send) -> str:
        """Send all events; return the reason of the end."""
        idle_timeout = IdleTimeout(self._idle_seconds)
        try:
            with idle_timeout:
                await send(body_message(scope, RETRY, more_body=True))
            async for chunk in self._events:
                with idle_timeout:
                    await send(body_message(scope, chunk, more_body=True))
                await asyncio.sleep(0)  # writing to a connection need not suspend this task
        except CoreFailure as failure:
            return failure.reason or failure.code
        except TimeoutError:
            return _SILENT
        finally:
            idle_timeout.close()
        return "COMPLETE"


_GONE = "CLIENT_GONE"
_SILENT = "CLIENT_SILENT"
