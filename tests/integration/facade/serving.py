"""A facade with real HTTP on a free port, in this process."""

import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn

from facade.app import create_app
from facade.config import Settings
from facade.serving.connections import Connection
from facade.serving.tls import TlsConnection
from tests.core import given


@asynccontextmanager
async def serving(core: str, verify: ssl.SSLContext | bool = True, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run a facade for the core at address `core`; yield a client with the facade's root as base URL."""
    async with serving_application(create_app(given(Settings, core=core, **settings)), verify) as client:
        yield client


@asynccontextmanager
async def serving_application(
    app: Any, verify: ssl.SSLContext | bool = True, **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application as the facade is served; `options` are further options of uvicorn."""
    has_tls = app.state.https is not None
    config = uvicorn.Config(
        app,
        http=TlsConnection if has_tls else Connection,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        lifespan="on",
        **options,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    # asyncio switches Nagle's algorithm off only for sockets that name TCP; with it each response takes 40 ms more.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        await server.startup(sockets=[listener])
        try:
            url = f"{'https' if has_tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
            # Without TLS there is nothing to verify, and reading the certificates of all authorities takes time.
            async with httpx.AsyncClient(base_url=url, timeout=20, verify=verify if has_tls else False) as client:
                yield client
        finally:
            for connection in list(server.server_state.connections):
                connection.shutdown()
            for listening in server.servers:
                listening.close()
            await server.lifespan.shutdown()


def multipart(*files: bytes, boundary: str = "boundary", part_type: str | None = "application/dicom") -> bytes:
    """Return files as a multipart/related body."""
    head = "" if part_type is None else f"Content-Type: {part_type}\r\n"
    parts = [f"--{boundary}\r\n{head}\r\n".encode() + file + b"\r\n" for file in files]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


MULTIPART = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=boundary'}
JSON = {"Accept": "application/dicom+json"}
STOW = MULTIPART | JSON


async def stow(web: httpx.AsyncClient, *files: bytes, path: str = "/v2/studies") -> httpx.Response:
    """Store files as one multipart request."""
    return await web.post(path, content=multipart(*files), headers=STOW)


async def stored(web: httpx.AsyncClient, *files: bytes, base: str = "/v2") -> None:
    """Store files one after the other, so that their order is known; all must be stored."""
    for file in files:
        response = await stow(web, file, path=f"{base}/studies")
        assert response.status_code in (200, 202), response.text


async def stored_together(web: httpx.AsyncClient, *files: bytes) -> None:
    """Store files in one request, in a fifth of the time of `stored`; all must be stored."""
    response = await stow(web, *files)
    assert response.status_code in (200, 202), response.text


def parts_of(response: httpx.Response) -> list[tuple[str, bytes]]:
    """Return Content-Type and bytes of each part of a multipart answer, found as viewers find them."""
    content_type = response.headers["content-type"]
    assert content_type.startswith("multipart/related; type=")
    delimiter = b"--" + content_type.rpartition("boundary=")[2].encode()
    head, *parts, end = (b"\r\n" + response.content).split(b"\r\n" + delimiter)
    assert head == b""
    assert end == b"--\r\n"
    found = []
    for part in parts:
        headers, _, body = part.partition(b"\r\n\r\n")
        first_line = headers.removeprefix(b"\r\n").partition(b"\r\n")[0]
        name, _, value = first_line.partition(b": ")
        assert name == b"Content-Type"
        found.append((value.decode(), body))
    return found


def next_of(response: httpx.Response) -> str | None:
    """Return the address of the next page of a search; None if there is none."""
    link = response.headers.get("link")
    if link is None:
        return None
    found = re.fullmatch(r'<([^<>\s]+)>; rel="next"', link)
    assert found, link
    return found[1]
