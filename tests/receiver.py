"""A receiver of webhooks for tests: an HTTP server that records what it gets and answers as told."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The CloudEvent in structured mode."""
        assert self.headers["content-type"].startswith("application/cloudevents+json")
        event: dict[str, Any] = json.loads(self.body)
        return event


def accept(received: Received) -> int:
    """Accept every event."""
    return 204


@dataclass
class WebhookReceiver:
    """The server. `answer` returns the status of a response, or 0 to close the connection without one."""

    port: int = 0
    answer: Callable[[Received], int] = accept
    headers: str = ""
    requests: list[Received] = field(default_factory=list)
    accepted: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    connections: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"

    async def until(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until requests or accepted events meet a condition."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(condition)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().strip().split("\r\n")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
                received = Received(first.split()[1], headers, body)
                status = self.answer(received)
                async with self.changed:
                    self.requests.append(received)
                    if 200 <= status < 300:
                        self.accepted.append(received.event)
                    self.changed.notify_all()
                if not status:
                    return
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{self.headers}\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.connections.discard(writer)
            writer.close()


@asynccontextmanager
async def receiving(port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[WebhookReceiver]:
    """Run a receiver on a port of the loopback address."""
    receiver = WebhookReceiver()
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for connection in receiver.connections:
            connection.transport.abort()
