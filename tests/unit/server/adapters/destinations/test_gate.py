"""The connections of exports (server/adapters/destinations/gate.py)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest

from server.adapters.destinations.gate import Gate
from server.adapters.destinations.opening import ExportDestinations
from server.adapters.network.addresses import EVERYWHERE, PermittedAddresses
from server.model.buffer import Buffer
from server.model.lifecycle.export import S3Bucket
from server.ports.lifecycle.exports import DestinationError

PUBLIC = PermittedAddresses(only_public=True)
KEYS = {"access_key_id": "test", "secret_access_key": "testtest"}


class Server:
    """An HTTP server that keeps the heads of the requests it gets."""

    def __init__(self, answer: Callable[[str], bytes]) -> None:
        self.answer = answer
        self.heads: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        lengths = [line.partition(":")[2] for line in head.splitlines() if line.lower().startswith("content-length:")]
        await reader.readexactly(int(lengths[0]) if lengths else 0)
        writer.write(self.answer(head))
        await writer.drain()
        writer.close()


@asynccontextmanager
async def server(answer: Callable[[str], bytes]) -> AsyncIterator[Server]:
    made = Server(answer)
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as listening:
        made.port = listening.sockets[0].getsockname()[1]
        yield made


def ok(_: str) -> bytes:
    return b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\n\r\n'


async def asked(gate: Gate, request: bytes) -> bytes:
    """Return what the proxy answers to a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(request)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
async def test_requests_reach_the_host_of_the_destination(method: str) -> None:
    async with server(ok) as upstream, Gate(EVERYWHERE, frozenset({("localhost", upstream.port)})) as gate:
        authority = f"LOCALHOST:{upstream.port}"
        request = f"GET http://{authority}/a%20b?c HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: x\r\n\r\n"
        if method == "CONNECT":
            request = f"CONNECT {authority} HTTP/1.1\r\n\r\nGET /a%20b?c HTTP/1.1\r\nHost: {authority}\r\n\r\n"
        answer = await asked(gate, request.encode())
        [head] = upstream.heads
    assert answer.endswith(ok(""))
    assert head.startswith("GET /a%20b?c HTTP/1.1\r\n")
    assert "proxy" not in head.lower()
    assert not gate.refused


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
@pytest.mark.parametrize("addresses", [PUBLIC, PermittedAddresses()])
async def test_refused_addresses_are_refused_when_connecting(host: str, addresses: PermittedAddresses) -> None:
    async with server(ok) as upstream, Gate(addresses, frozenset({(host.strip("[]"), upstream.port)})) as gate:
        answer = await asked(gate, f"CONNECT {host}:{upstream.port} HTTP/1.1\r\n\r\n".encode())
        assert upstream.heads == []
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert gate.refused


@pytest.mark.parametrize("target", ["http://127.0.0.1:{other}/", "http://localhost:{port}/", "/", "http://[::1"])
async def test_other_hosts_and_ports_are_refused(target: str) -> None:
    async with server(ok) as upstream, server(ok) as other:
        async with Gate(EVERYWHERE, frozenset({("127.0.0.1", upstream.port)})) as gate:
            url = target.replace("{other}", str(other.port)).replace("{port}", str(upstream.port))
            answer = await asked(gate, f"GET {url} HTTP/1.1\r\n\r\n".encode())
        assert (upstream.heads, other.heads) == ([], [])
    assert not answer.startswith(b"HTTP/1.1 200")


async def test_a_redirect_to_another_service_is_not_followed() -> None:
    async with server(ok) as inner:

        def redirect(_: str) -> bytes:
            return (
                f"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:{inner.port}/latest\r\n"
                "Content-Length: 0\r\n\r\n"
            ).encode()

        async with server(redirect) as upstream:
            with pytest.raises(DestinationError) as failed:
                await written(S3Bucket(f"http://127.0.0.1:{upstream.port}", "us-east-1", "bucket"), EVERYWHERE)
            assert upstream.heads
        assert inner.heads == []
    assert not failed.value.may_pass


async def test_a_private_address_is_an_exception_of_the_administrator() -> None:
    async with server(ok) as upstream:
        place = S3Bucket(f"http://127.0.0.1:{upstream.port}", "us-east-1", "bucket", "prefix")
        with pytest.raises(DestinationError) as refused:
            await written(place, PUBLIC)
        assert str(refused.value) == "The address of the destination is not permitted."
        await written(place, PermittedAddresses([ip_network("127.0.0.0/8")], only_public=True))
        assert [head.partition("\r\n")[0] for head in upstream.heads] == ["PUT /bucket/prefix/a.dcm HTTP/1.1"]


async def test_credentials_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "own-key"), ("SESSION_TOKEN", "own-token"), ("REGION", "eu-own-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    async with server(ok) as upstream:
        await written(S3Bucket(f"http://127.0.0.1:{upstream.port}", "us-east-1", "bucket"), EVERYWHERE)
        [head] = upstream.heads
    assert "Credential=test/" in head
    assert "own-" not in head


@pytest.mark.parametrize(
    ("status", "text", "may_pass"),
    [
        ("403 Forbidden", "The destination refuses access with these credentials.", False),
        ("404 Not Found", "The container or bucket of the destination does not exist.", False),
        ("400 Bad Request", "The destination refuses the request with status 400.", False),
    ],
)
async def test_errors_tell_the_cause_and_no_secrets(status: str, text: str, may_pass: bool) -> None:
    def answer(_: str) -> bytes:
        return f"HTTP/1.1 {status}\r\nContent-Length: 8\r\n\r\nQzsecret".encode()

    async with server(answer) as upstream:
        with pytest.raises(DestinationError) as failed:
            await written(S3Bucket(f"http://127.0.0.1:{upstream.port}", "us-east-1", "bucket"), EVERYWHERE)
    assert (str(failed.value), failed.value.may_pass) == (text, may_pass)


async def written(place: S3Bucket, addresses: PermittedAddresses) -> Any:
    async def pieces() -> AsyncIterator[Buffer]:
        yield b"content"

    async with ExportDestinations(addresses, ()).open(place, KEYS) as destination:
        return await destination.write("a.dcm", pieces())
