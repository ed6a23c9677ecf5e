"""Responses when the core or the facade is overloaded, and to slow clients."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from dicomstore.v1 import search_service_pb2, search_service_pb2_grpc
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import facade.request.store_body
import facade.serving.connections
from facade.app import create_app
from facade.config import Settings
from facade.serving.admission import ClientConnections
from server.bootstrap.serving import running
from server.domain.flow.ingest_budget import BASE_BYTES
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import JSON, STOW, multipart, serving, serving_application, stow

ANYTHING = {"Accept": "*/*"}
BUSY = "The service is busy. Please try again later."


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)


class HalfABody:
    """A body that stops midway until `proceed` is set."""

    def __init__(self, *files: bytes) -> None:
        self._body = multipart(*files)
        self.proceed = asyncio.Event()
        self.begun = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        half = len(self._body) // 2
        yield self._body[:half]
        self.begun.set()
        await self.proceed.wait()
        yield self._body[half:]


def large(size: int) -> bytes:
    """Return an instance of about `size` bytes."""
    return part10(frames=[bytes(1000 * (size // 1000))], Rows=size // 1000, Columns=1000)


def posting(web: httpx.AsyncClient, body: Any) -> "asyncio.Task[httpx.Response]":
    return asyncio.create_task(web.post("/v2/studies", content=body, headers=STOW))


def assert_busy(response: httpx.Response) -> None:
    assert (response.status_code, response.text) == (503, BUSY)
    assert int(response.headers["retry-after"]) > 0


async def test_requests_beyond_the_limit_get_503_and_health_is_answered(tmp_path: Path) -> None:
    async with (
        running(settings_for(tmp_path)) as core,
        serving(core.address, max_requests=2, cors_origins="https://viewer.example") as web,
    ):
        bodies = [HalfABody(large(200_000)) for _ in range(2)]
        uploads = [posting(web, body) for body in bodies]
        for body in bodies:
            await body.begun.wait()
        response = await web.get("/v2/studies", headers=JSON | {"Origin": "https://viewer.example"})
        assert_busy(response)
        assert response.headers["access-control-allow-origin"] in ("*", "https://viewer.example")
        assert "retry-after" in response.headers["access-control-expose-headers"].lower()
        assert response.headers["x-request-id"]
        assert_busy(await stow(web, part10()))
        assert (await web.get("/health/check")).status_code == 200
        for body in bodies:
            body.proceed.set()
        assert [(await upload).status_code for upload in uploads] == [200, 200]
        assert (await web.get("/v2/studies", headers=JSON)).status_code == 200


async def test_a_core_with_too_many_calls_is_a_503_for_every_request(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, max_calls=1)) as core, serving(core.address) as web:
        body = HalfABody(large(2_000_000))
        upload = posting(web, body)
        await until(lambda: core.ingest_budget.used_bytes)
        assert_busy(await web.get("/v2/studies", headers=JSON))
        assert_busy(await web.get("/v2/studies/1.2", headers=ANYTHING))
        assert_busy(await stow(web, large(3_000_000)))
        assert (await web.get("/health/check")).status_code == 200
        body.proceed.set()
        assert (await upload).status_code == 200


async def test_an_upload_beyond_the_ingest_budget_is_503_and_not_stored(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, max_ingest_bytes=4 * BASE_BYTES, ingest_wait_seconds=0.5)
    async with running(settings) as core, serving(core.address) as web:
        bodies = [HalfABody(large(3_000_000)) for _ in range(4)]
        stalled = [posting(web, body) for body in bodies]
        await until(lambda: core.ingest_budget.used_bytes == 4 * BASE_BYTES)
        assert (await stow(web, part10())).status_code == 200  # stalled ones make room for it
        for body in bodies:
            body.proceed.set()
        responses = await asyncio.gather(*stalled)
        refused = [response for response in responses if response.status_code != 200]
        assert refused  # the uploads that were idle for long enough
        for response in refused:
            assert_busy(response)
        await until(lambda: not core.ingest_budget.used_bytes)
        instances = (await web.get("/v2/instances", headers=JSON)).json()
        assert len(instances) == 1 + len(responses) - len(refused)


async def test_exhaustion_without_a_reason_is_a_503() -> None:
    class Searching(search_service_pb2_grpc.SearchServiceServicer):
        async def Search(self, request: Any, context: Any) -> Any:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "of the library's own making")
            return search_service_pb2.SearchResponse()

    server = grpc.aio.server()
    search_service_pb2_grpc.add_SearchServiceServicer_to_server(Searching(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with serving(f"127.0.0.1:{port}") as web:
        assert_busy(await web.get("/v2/studies", headers=JSON))
    await server.stop(0)


async def test_a_request_with_too_many_parts_gets_the_outcomes_of_the_first_ones(
    web: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facade.request.store_body, "MAX_PARTS", 3)
    response = await stow(web, *[part10() for _ in range(5)])
    assert response.status_code == 413
    assert len(response.json()["00081199"]["Value"]) == 3
    assert response.headers["warning"].startswith("299 ")
    assert len((await web.get("/v2/instances", headers=JSON)).json()) == 3


async def test_the_maximum_number_of_parts_is_accepted(web: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facade.request.store_body, "MAX_PARTS", 3)
    assert (await stow(web, *[part10() for _ in range(3)])).status_code == 200


async def a_connection(web: httpx.AsyncClient) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(web.base_url.host, web.base_url.port)


async def write_for_ever(writer: asyncio.StreamWriter, data: bytes) -> None:
    while True:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0)


async def test_an_incomplete_request_head_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facade.serving.connections, "HEAD_SECONDS", 0.2)
    async with serving("127.0.0.1:1") as web:
        for beginning in (b"", b"GET /v2/studies HTTP/1.1\r\nHost: localhost\r\n", b"\r\n"):
            reader, writer = await a_connection(web)
            writer.write(beginning)
            async with asyncio.timeout(10):
                assert await reader.read() == b""
            writer.close()


async def test_an_incomplete_second_request_head_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving("127.0.0.1:1", call_seconds=1) as web:
        reader, writer = await a_connection(web)
        monkeypatch.setattr(facade.serving.connections, "HEAD_SECONDS", 0.2)
        writer.write(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 404 " in await reader.readline()
        writer.write(b"GET /")
        async with asyncio.timeout(10):
            await reader.read()
        writer.close()


REFUSED_POST = b"POST /v2/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n"


@pytest.mark.parametrize("rest", [b"", b"01234"])
async def test_the_rest_of_a_body_must_arrive_soon_after_its_response(
    monkeypatch: pytest.MonkeyPatch, rest: bytes
) -> None:
    monkeypatch.setattr(facade.serving.connections, "HEAD_SECONDS", 0.2)
    async with serving("127.0.0.1:1") as web:
        reader, writer = await a_connection(web)
        writer.write(REFUSED_POST)
        assert b" 415 " in await reader.readline()
        writer.write(rest)
        async with asyncio.timeout(10):
            await reader.read()
        writer.close()


async def test_a_connection_whose_last_body_ended_after_the_response_is_closed_when_it_is_idle() -> None:
    async with serving_application(create_app(Settings()), timeout_keep_alive=1) as web:
        reader, writer = await a_connection(web)
        writer.write(REFUSED_POST)
        assert b" 415 " in await reader.readline()
        writer.write(b"0123456789")
        async with asyncio.timeout(10):
            await reader.read()
        writer.close()


async def test_a_client_address_has_a_limited_number_of_connections() -> None:
    request = b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    async with serving("127.0.0.1:1", max_client_connections=2, trusted_proxies="") as web:
        connections = []
        for status in (b" 404 ", b" 404 ", b" 503 "):
            reader, writer = await a_connection(web)
            writer.write(request)
            assert status in await reader.readline()
            connections.append((reader, writer))
        reader, writer = connections[1]
        writer.write(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await reader.read()
        connections.append(await a_connection(web))
        reader, writer = connections[-1]
        writer.write(request)
        assert b" 404 " in await reader.readline()
        for _, writer in connections:
            writer.close()


async def test_a_trusted_proxy_has_any_number_of_connections() -> None:
    async with serving("127.0.0.1:1", max_client_connections=1) as web:
        connections = [await a_connection(web) for _ in range(3)]
        for reader, writer in connections:
            writer.write(b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b" 404 " in await reader.readline()
            writer.close()


async def test_a_head_that_is_too_long_is_refused() -> None:
    async with serving("127.0.0.1:1") as web:
        reader, writer = await a_connection(web)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        line = b"X-Filler: " + b"x" * 1000 + b"\r\n"
        for _ in range(70):
            writer.write(line)
        async with asyncio.timeout(10):
            assert b" 431 " in await reader.readline()
        writer.close()


async def test_the_limit_of_a_head_does_not_apply_to_a_body(web: httpx.AsyncClient) -> None:
    assert (await stow(web, large(500_000))).status_code == 200


async def test_a_client_that_reads_nothing_is_disconnected_after_the_idle_timeout() -> None:
    async def answer(request: Request) -> Response:
        return Response(bytes(32 << 20))

    app = Starlette(routes=[Route("/", answer)])
    app.state.settings = Settings(idle_seconds=1)
    app.state.connections = ClientConnections(10, "")
    app.state.https = None
    app.state.stopping = asyncio.Event()
    async with serving_application(app) as web:
        reader, writer = await a_connection(web)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(20):
            with pytest.raises(ConnectionError):
                await write_for_ever(writer, b"GET / HTTP/1.1\r\n")
        writer.transport.abort()
        assert len((await web.get("/")).content) == 32 << 20
