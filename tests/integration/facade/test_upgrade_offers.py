"""Requests that offer a protocol upgrade, as Java's HTTP client sends them, are served in HTTP/1.1.

RFC 9110 section 7.8: a server may ignore the Upgrade field.
"""

import asyncio

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facade.app import create_app
from facade.config import Settings
from tests.integration.facade.serving import serving_application

OFFER = b"Host: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
LENGTH = b"POST /echo?a=%20 HTTP/1.1\r\n" + OFFER + b"Content-Length: 5\r\n\r\nabcde"
CHUNKED = (
    b"POST /echo?a=%20 HTTP/1.1\r\n" + OFFER + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
)
NO_BODY = b"GET /echo?a=%20 HTTP/1.1\r\n" + OFFER + b"\r\n"


async def echo(request: Request) -> Response:
    return Response(f"{request.method} {request.url.query} ".encode() + await request.body())


async def answers_to(sent: list[bytes]) -> list[bytes]:
    """Send pieces on one connection, the last request with Connection: close; return the bodies of all answers."""
    app = create_app(Settings())
    app.router.routes.insert(0, Route("/echo", echo, methods=["GET", "POST"]))
    async with serving_application(app) as client, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        for piece in sent:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)  # lets the server read this piece by itself
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert received.count(b"HTTP/1.1 200 OK\r\n") == received.count(b"HTTP/1.1 ")
    return [answer.partition(b"\r\n\r\n")[2] for answer in received.split(b"HTTP/1.1 200 OK\r\n")[1:]]


LAST = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [(LENGTH, b"POST a=%20 abcde"), (CHUNKED, b"POST a=%20 abcde"), (NO_BODY, b"GET a=%20 ")],
    ids=["length", "chunks", "no body"],
)
@pytest.mark.parametrize("piece", [1, 7, 1000], ids=lambda size: f"pieces of {size}")
async def test_the_offer_is_declined_and_the_request_served(request_bytes: bytes, answer: bytes, piece: int) -> None:
    whole = request_bytes + LAST
    pieces = [whole[at : at + piece] for at in range(0, len(whole), piece)]
    assert await answers_to(pieces) == [answer, b"GET  "]


async def test_a_body_may_arrive_later_than_its_head() -> None:
    head, separator, body = LENGTH.partition(b"\r\n\r\n")
    assert await answers_to([head + separator, body, LENGTH, LAST]) == [b"POST a=%20 abcde"] * 2 + [b"GET  "]


async def test_the_connect_method_is_refused() -> None:
    app = create_app(Settings())
    async with serving_application(app) as client, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nUpgrade: h2c\r\nConnection: close, upgrade\r\n\r\n")
        status = await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert status.split()[1] == b"400"
