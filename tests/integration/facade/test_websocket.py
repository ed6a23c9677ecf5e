"""WebSockets of the HTTP server (RFC 6455; facade/serving/websocket.py)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from facade.app import create_app
from facade.config import Settings
from facade.errors import CoreFailure
from facade.serving.admission import count_as_event_stream
from facade.serving.websocket import Batch, WebSocketResponse, accept_headers
from tests.integration.facade.serving import serving_application

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Source:
    """The batches of one WebSocket, and what was acknowledged."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[Batch | CoreFailure | None] = asyncio.Queue()
        self.acknowledged: list[str] = []
        self.taken = 0
        self.has_ended = asyncio.Event()

    def put(self, *texts: bytes, checkpoint: str = "") -> None:
        self.waiting.put_nowait(Batch(texts, checkpoint))

    async def acknowledge(self, checkpoint: str) -> None:
        self.acknowledged.append(checkpoint)

    async def batches(self) -> AsyncGenerator[Batch, None]:
        try:
            while (batch := await self.waiting.get()) is not None:
                if isinstance(batch, CoreFailure):
                    raise batch
                self.taken += 1
                yield batch
        finally:
            self.has_ended.set()


@asynccontextmanager
async def serving_websocket(source: Source, **settings: Any) -> AsyncIterator[str]:
    """Serve the source at a path; yield its address, without scheme."""

    async def websocket(request: Request) -> Response:
        headers = accept_headers(request)
        count_as_event_stream(request)
        batches = source.batches()
        app_settings = request.app.state.settings
        return WebSocketResponse(
            headers,
            batches,
            source=batches,
            acknowledge=source.acknowledge,
            stopping=request.app.state.stopping,
            idle_seconds=app_settings.idle_seconds,
        )

    async def plain(request: Request) -> Response:
        return Response("plain")

    app = create_app(Settings(**settings))
    app.router.routes[:0] = [Route("/websocket", websocket), Route("/plain", plain)]
    async with serving_application(app) as client, asyncio.timeout(20):
        yield f"{client.base_url.host}:{client.base_url.port}"


@asynccontextmanager
async def connected(address: str, **options: Any) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://{address}/websocket", compression=None, proxy=None, **options) as client:
        yield client


async def close_of(client: ClientConnection) -> tuple[int, str]:
    """Wait for the end of a connection; return code and reason with which the server closed it."""
    await client.wait_closed()
    return client.close_code or 0, client.close_reason or ""


async def test_texts_are_sent_in_order_and_acknowledged_when_the_client_has_read_them() -> None:
    source = Source()
    async with serving_websocket(source) as address:
        async with connected(address) as client:
            source.put(b'{"a":1}', '{"b":"ä"}'.encode(), checkpoint="first")
            source.put()
            source.put(b"x" * 200_000, checkpoint="second")
            assert [await client.recv() for _ in range(3)] == ['{"a":1}', '{"b":"ä"}', "x" * 200_000]
            await client.send("is ignored")
            await (await client.ping())
        await source.has_ended.wait()
    assert source.acknowledged in (["first", "second"], ["second"])


async def test_a_client_that_confirms_nothing_gets_a_limited_number_of_batches_and_then_its_connection_ends() -> None:
    source = Source()
    for number in range(50):
        source.put(b"text", checkpoint=str(number))
    async with serving_websocket(source, idle_seconds=0.5) as address:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request_for(address))
        received = await reader.read()
        writer.close()
        await source.has_ended.wait()
    assert received.startswith(b"HTTP/1.1 101 ")
    assert received.count(b"\x81\x04text") == 16
    assert source.acknowledged == []


async def test_a_client_that_answers_no_ping_is_disconnected() -> None:
    source = Source()
    source.put(b"text")
    async with serving_websocket(source, idle_seconds=0.3) as address:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request_for(address))
        await reader.readuntil(b"text")
        await asyncio.sleep(0.4)
        source.put()  # a heartbeat
        await reader.read()
        writer.close()
        await source.has_ended.wait()


@pytest.mark.parametrize(
    ("end", "code", "reason"),
    [
        (None, 1000, "COMPLETE"),
        (CoreFailure("UNAUTHENTICATED", "UNAUTHENTICATED", ""), 1008, "UNAUTHENTICATED"),
        (CoreFailure("PERMISSION_DENIED", "PERMISSION_DENIED", ""), 1008, "PERMISSION_DENIED"),
        (CoreFailure("SHUTTING_DOWN", "UNAVAILABLE", ""), 1001, "SHUTTING_DOWN"),
        (CoreFailure("", "UNAVAILABLE", ""), 1013, "UNAVAILABLE"),
        (CoreFailure("DATABASE_UNAVAILABLE", "UNAVAILABLE", ""), 1013, "DATABASE_UNAVAILABLE"),
        (CoreFailure("INTERNAL", "INTERNAL", ""), 1011, "INTERNAL"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_the_close_code_tells_why_the_connection_ends(end: CoreFailure | None, code: int, reason: str) -> None:
    source = Source()
    source.put(b"text")
    source.waiting.put_nowait(end)
    async with serving_websocket(source) as address, connected(address) as client:
        assert await client.recv() == "text"
        assert await close_of(client) == (code, reason)


async def test_a_malformed_or_large_message_ends_the_connection() -> None:
    async with serving_websocket(Source()) as address:
        async with connected(address) as client:
            await client.send("x" * 5000)
            assert (await close_of(client))[0] == 1009
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request_for(address) + b"\x81\x01x")  # the frames of a client are masked (RFC 6455 section 5.1)
        received = await reader.read()
        writer.close()
        assert b"\x03\xea" in received  # 1002, protocol error


def request_for(address: str, path: str = "/websocket", **headers: str) -> bytes:
    """Return the head of a request that offers WebSocket."""
    fields = {
        "Host": address,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()


async def answer_to(address: str, request: bytes) -> bytes:
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    received = await reader.read()
    writer.close()
    return received


async def test_the_handshake_is_that_of_the_rfc() -> None:
    source = Source()
    source.waiting.put_nowait(None)
    async with serving_websocket(source) as address:
        head = (await answer_to(address, request_for(address))).partition(b"\r\n\r\n")[0].lower()
    lines = head.split(b"\r\n")
    assert lines[0] == b"http/1.1 101 switching protocols"
    assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in lines  # RFC 6455 section 1.3
    assert {b"upgrade: websocket", b"connection: upgrade"} < set(lines)
    assert not any(line.startswith((b"transfer-encoding", b"content-length", b"sec-websocket-ext")) for line in lines)
    assert any(line.startswith(b"x-request-id: ") for line in lines)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upgrade": ""}, 426),
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Version": ""}, 426),
        ({"Sec_WebSocket_Key": ""}, 400),
        ({"Sec_WebSocket_Key": "c2hvcnQ="}, 400),
        ({"Sec_WebSocket_Key": "not base64"}, 400),
        ({"Host": "attacker.example"}, 421),
        ({"Origin": "https://attacker.example"}, 403),
        ({"Origin": "https://attacker.example", "Sec_Fetch_Site": "cross-site"}, 403),
    ],
)
async def test_other_handshakes_are_refused(headers: dict[str, str], status: int) -> None:
    async with serving_websocket(Source()) as address:
        request = request_for(address, **headers).replace(b"Upgrade\r\n", b"Upgrade, close\r\n")
        received = await answer_to(address, request)
    assert received.startswith(b"HTTP/1.1 %d " % status), received
    if status == 426:
        assert b"sec-websocket-version: 13" in received.lower() or b"upgrade: websocket" in received.lower()


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://viewer.example"])
async def test_pages_of_allowed_origins_may_connect(origin: str) -> None:
    source = Source()
    source.put(b"text")
    async with (
        serving_websocket(source, cors_origins="loopback,https://viewer.example") as address,
        connected(address, origin=origin) as client,
    ):
        assert await client.recv() == "text"


async def test_an_offer_at_another_resource_is_declined_and_the_connection_ends() -> None:
    async with serving_websocket(Source()) as address:
        rest = b"GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n"
        received = await answer_to(address, request_for(address, "/plain") + rest)
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"\r\n\r\nplain")
    assert received.count(b"HTTP/1.1 ") == 1  # what follows an offer is not HTTP


async def test_an_offer_with_a_body_is_a_normal_request() -> None:
    async with serving_websocket(Source()) as address:
        request = request_for(address, "/plain", Content_Length="2") + b"{}"
        received = await answer_to(address, request + b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert received.count(b"HTTP/1.1 ") == 2


async def test_an_offer_may_follow_other_requests_and_arrive_in_pieces() -> None:
    source = Source()
    source.put(b"text")
    source.waiting.put_nowait(None)
    async with serving_websocket(source) as address:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        whole = request_for(address, "/plain").replace(b"Upgrade: websocket\r\n", b"") + request_for(address)
        for at in range(0, len(whole), 7):
            writer.write(whole[at : at + 7])
            await writer.drain()
            await asyncio.sleep(0)
        received = await reader.read()
        writer.close()
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 101 " in received
    assert b"\x81\x04text" in received


async def test_channels_do_not_take_the_places_of_requests_and_have_a_limit_of_their_own() -> None:
    source = Source()
    async with serving_websocket(source, max_requests=1, max_event_streams=2) as address:
        async with connected(address) as one, connected(address) as two:
            source.put(b"a")
            source.put(b"b")
            assert {await one.recv(), await two.recv()} == {"a", "b"}
            with pytest.raises(InvalidStatus) as refused:
                await connected(address).__aenter__()
            assert refused.value.response.status_code == 503
        async with connected(address) as three:
            source.put(b"c")
            assert await three.recv() == "c"


async def test_a_stop_of_the_facade_closes_the_channels() -> None:
    source = Source()
    serving = serving_websocket(source)
    address = await serving.__aenter__()
    async with connected(address) as client:
        source.put(b"text", checkpoint="one")
        assert await client.recv() == "text"
        await (await client.ping())
        await serving.__aexit__(None, None, None)
        assert await close_of(client) == (1001, "SHUTTING_DOWN")
    await source.has_ended.wait()
    assert source.acknowledged == ["one"]
