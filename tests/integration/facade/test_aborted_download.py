"""A client that closes the connection during a large response."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facade.app import create_app
from facade.config import Settings
from facade.response.streaming import StreamedResponse
from tests.integration.facade.serving import serving_application

PIECE = bytes(1 << 20)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Endless:
    """A response with pieces that are always available at once, as with blobs in the page cache."""

    def __init__(self) -> None:
        self.pieces = 0
        self.closed = asyncio.Event()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            while self.pieces < 1000:
                self.pieces += 1
                yield PIECE
        finally:
            self.closed.set()

    async def source(self) -> AsyncGenerator[None, None]:
        yield None

    async def endpoint(self, request: Request) -> Response:
        return StreamedResponse(self.chunks(), {}, source=self.source(), idle_seconds=20)


async def test_an_aborted_download_reads_no_more_than_a_few_pieces() -> None:
    endless = Endless()
    app = create_app(Settings())
    app.router.routes.insert(0, Route("/endless", endless.endpoint))
    async with serving_application(app) as client:
        address = (client.base_url.host, client.base_url.port)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readexactly(10 << 20)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        sent_before = endless.pieces
        writer.transport.abort()
        async with asyncio.timeout(10):
            await endless.closed.wait()

    assert endless.pieces <= sent_before + 2
