"""A proxy between a node and an S3 server that delays and breaks requests."""

import asyncio
import hashlib
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

_SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
_MISMATCH = b"<?xml version='1.0'?><Error><Code>XAmzContentSHA256Mismatch</Code><Message>Changed.</Message></Error>"


class Fault(StrEnum):
    """What happens to a request."""

    DELAY = "delay"
    CUT_BEFORE = "connection closed before the request reaches the server"
    CUT_AFTER = "response lost"
    TRUNCATED = "response cut off"
    SHORTENED = "object without its last bytes, as if it were complete"
    ERROR = "status 500"
    SLOW_DOWN = "status 503"
    CHANGED_RESPONSE = "a byte of an object changed"
    CHANGED_REQUEST = "a byte of a request changed, which the server notices by its checksum"


@dataclass
class FaultyProxy:
    """The proxy. Its attributes may be changed while it runs.

    Args:
        server: the address of the server.
        rate: share of requests with a fault.
        kinds: the faults to choose from.
        delay_seconds: added to each request.
    """

    server: str
    rate: float = 0.0
    kinds: Sequence[Fault] = tuple(Fault)
    delay_seconds: float = 0.0
    seed: int = 0
    endpoint: str = ""
    requests: int = 0
    faults: Counter[Fault] = field(default_factory=Counter)
    choice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.choice = random.Random(self.seed)

    async def serve(self, client: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on the requests of one connection."""
        parts = urlsplit(self.server)
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        with suppress(OSError, asyncio.IncompleteReadError, ValueError):
            while head := await _head(client):
                body = await _body(client, head)
                if upstream is None:
                    assert parts.hostname is not None
                    assert parts.port is not None
                    upstream = await asyncio.open_connection(parts.hostname, parts.port)
                if not await self._pass_on(head, body, upstream, writer):
                    break
        for one in (writer, upstream[1] if upstream else None):
            if one is not None:
                one.close()

    async def _pass_on(
        self,
        head: bytes,
        body: bytes,
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Pass on one request and its response; return whether the connection can be used again."""
        self.requests += 1
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        fault = self.choice.choice(self.kinds) if self.choice.random() < self.rate else None
        method, target = head.split(b" ", 2)[:2]
        if fault is Fault.DELAY:
            await asyncio.sleep(self.choice.uniform(0, 0.2))
        elif fault is Fault.CUT_BEFORE:
            self.faults[fault] += 1
            return False
        elif fault in (Fault.ERROR, Fault.SLOW_DOWN):
            self.faults[fault] += 1
            status = b"500 Internal Server Error" if fault is Fault.ERROR else b"503 Slow Down"
            return await _answer(writer, status, _SLOW_DOWN if fault is Fault.SLOW_DOWN else b"")
        elif fault is Fault.CHANGED_REQUEST and body and _changed_is_noticed(head, _changed(body, self.choice)):
            self.faults[fault] += 1
            return await _answer(writer, b"400 Bad Request", _MISMATCH)
        reader, server = upstream
        server.write(head)
        server.write(body)
        await server.drain()
        answer = await _head(reader)
        data = b"" if method == b"HEAD" else await _body(reader, answer)
        if fault is Fault.CUT_AFTER:
            self.faults[fault] += 1
            return False
        is_object = method == b"GET" and b"list-type" not in target and b" 20" in answer[:13] and bool(data)
        is_object &= b"transfer-encoding" not in _headers(answer)
        if fault is Fault.CHANGED_RESPONSE and is_object:
            self.faults[fault] += 1
            data = _changed(data, self.choice)
        if fault is Fault.SHORTENED and is_object:
            self.faults[fault] += 1
            data = data[: self.choice.randrange(len(data))]
            answer = _with_length(answer, len(data))
        if fault is Fault.TRUNCATED and data:
            self.faults[fault] += 1
            writer.write(answer + data[: self.choice.randrange(len(data))])
            await writer.drain()
            return False
        if fault is Fault.DELAY:
            self.faults[fault] += 1
        writer.write(answer)
        writer.write(data)
        await writer.drain()
        return b"connection: close" not in answer.lower()


@contextmanager
def running_proxy(server: str, **options: float) -> Iterator[FaultyProxy]:
    """Run a proxy in a thread of its own."""
    proxy = FaultyProxy(server, **options)  # type: ignore[arg-type]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    starting = asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=1 << 20)
    listener = asyncio.run_coroutine_threadsafe(starting, loop).result()
    proxy.endpoint = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"

    async def stop() -> None:
        listener.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    """Return the head of a message; nothing at the end of the connection."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """Return a body as it is transferred: with the sizes of its chunks if it is in chunks."""
    headers = _headers(head)
    if b"chunked" not in headers.get(b"transfer-encoding", b""):
        return await reader.readexactly(int(headers.get(b"content-length", b"0")))
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line, 16)
        body += line + await reader.readexactly(size + 2)
        if not size:
            return body


def _headers(head: bytes) -> dict[bytes, bytes]:
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in lines}


def _with_length(head: bytes, length: int) -> bytes:
    lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(b"content-length:")]
    return b"\r\n".join((*lines, b"Content-Length: %d" % length, b"", b""))


async def _answer(writer: asyncio.StreamWriter, status: bytes, body: bytes) -> bool:
    writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
    await writer.drain()
    return True


def _changed(data: bytes, choice: random.Random) -> bytes:
    at = choice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def _changed_is_noticed(head: bytes, changed: bytes) -> bool:
    """Return whether an S3 server would refuse a changed body: its SHA-256 is signed."""
    stated = _headers(head).get(b"x-amz-content-sha256", b"")
    return len(stated) == 64 and hashlib.sha256(changed).hexdigest().encode() != stated
