"""Requests in progress when the facade stops."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from facade.app import create_app
from facade.config import Settings
from facade.serving.http import server_config


class Facade:
    """A facade over HTTP with two endpoints that never finish: `/silent` sends nothing, `/begun` has begun to send."""

    def __init__(self) -> None:
        settings = Settings(shutdown_seconds=0)
        self._app = create_app(settings)
        self.entered = asyncio.Event()
        self._app.router.routes += [Route("/silent", self._silent), Route("/begun", self._begun)]
        self._server = uvicorn.Server(server_config(self._app, settings))

    async def _silent(self, request: Request) -> Response:
        self.entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def _begun(self, request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"begun"
            self.entered.set()
            await asyncio.Event().wait()

        return StreamingResponse(chunks())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[httpx.AsyncClient]:
        """Serve until the context is left."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(self._server._serve(sockets=[listener]))
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
                yield client
            self.stop()
            await serving

    def stop(self) -> None:
        """Stop serving; requests in flight get no time to finish."""
        self._server.should_exit = True


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Undo the facade's logging set-up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


async def test_a_request_interrupted_by_the_shutdown_is_503_and_can_be_repeated(
    capfd: pytest.CaptureFixture[str],
) -> None:
    facade = Facade()
    async with facade.running() as client:
        request = asyncio.create_task(client.get("/silent"))
        await facade.entered.wait()
        facade.stop()
        response = await request

    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert response.text == "The service is restarting. Please try again later."
    log = capfd.readouterr().err
    assert "request cut off reason=SHUTTING_DOWN" in log
    assert " ERROR " not in log


async def test_a_response_interrupted_by_the_shutdown_is_recognisably_incomplete(
    capfd: pytest.CaptureFixture[str],
) -> None:
    facade = Facade()
    async with facade.running() as client:
        request = asyncio.create_task(client.get("/begun"))
        await facade.entered.wait()
        facade.stop()
        with pytest.raises(httpx.RemoteProtocolError):
            await request

    assert " ERROR " not in capfd.readouterr().err
