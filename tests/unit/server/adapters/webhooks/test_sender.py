"""Sending events over HTTP (server/adapters/webhooks/sender.py)."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme

from server.adapters.network.addresses import PermittedAddresses
from server.adapters.webhooks.messages import EventOrigin
from server.adapters.webhooks.sender import HttpSender
from server.model.events.webhook import Event, EventPosition, EventType, Webhook, WebhookFilter, new_secret
from server.model.ids import DEFAULT_PARTITION, Address, Uid
from server.ports.events.webhooks import Outcome
from tests.receiver import receiving

NOW = datetime(2026, 3, 1, tzinfo=UTC)
INSTANCE = Address(DEFAULT_PARTITION, Uid("1"), Uid("2"), Uid("3"))
EVENT = Event(EventPosition(1), "1", EventType.IMAGE_CREATED, NOW, 1, INSTANCE)
ORIGIN = EventOrigin("urn:dicomstore:test", "archive.example", has_partitions=True)
LOOPBACK = PermittedAddresses([ip_network("127.0.0.0/8"), ip_network("::1/128")])


def webhook(url: str) -> Webhook:
    return Webhook("0" * 16, url, (new_secret(),), "", WebhookFilter(), True, "anonymous", NOW)


async def sent(url: str, addresses: PermittedAddresses = LOOPBACK, **options: Any) -> Outcome:
    async with HttpSender(addresses, ORIGIN, **options) as sender:
        return await sender.send(webhook(url), EVENT, NOW)


@pytest.mark.parametrize("status", [200, 204, 301, 307, 500])
async def test_only_success_accepts_an_event_and_redirects_are_not_followed(status: int) -> None:
    problem = "" if status < 300 else f"STATUS_{status}"
    async with receiving() as receiver:
        receiver.answer = lambda request: status
        receiver.headers = f"Location: {receiver.url}\r\nRetry-After: 30\r\n"
        outcome = await sent(receiver.url)
        assert outcome.problem == problem
        assert outcome.retry_seconds == (30 if problem else None)
        assert len(receiver.requests) == 1
        [event] = [request.event for request in receiver.requests]
        assert event["data"]["partitionName"] == DEFAULT_PARTITION
        assert event["subject"].startswith(f"archive.example/v1/partitions/{DEFAULT_PARTITION}/studies/1/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "127.1"])
async def test_no_connection_is_made_to_a_refused_address(host: str) -> None:
    async with receiving() as receiver:
        outcome = await sent(f"http://{host}:{receiver.port}/", PermittedAddresses())
        assert outcome == Outcome("ADDRESS_REFUSED")
        assert receiver.requests == []


async def test_a_name_is_resolved_and_checked_for_each_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name that gets another address later (DNS rebinding) is refused then."""
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo
    answers: Iterator[str] = iter(("127.0.0.1", "127.0.0.2"))

    async def answer(host: Any, port: Any, **options: Any) -> Any:
        return await resolve(next(answers) if host == "rebinding.example" else host, port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", answer)
    async with (
        receiving() as receiver,
        HttpSender(PermittedAddresses([ip_network("127.0.0.1/32")]), ORIGIN) as sender,
    ):
        receiver.headers = "Connection: close\r\n"
        target = webhook(f"http://rebinding.example:{receiver.port}/")
        assert await sender.send(target, EVENT, NOW) == Outcome()
        assert await sender.send(target, EVENT, NOW) == Outcome("ADDRESS_REFUSED")
        assert [request.headers["host"] for request in receiver.requests] == [f"rebinding.example:{receiver.port}"]


async def test_connections_are_used_again() -> None:
    async with receiving() as receiver, HttpSender(LOOPBACK, ORIGIN) as sender:
        for _ in range(3):
            assert await sender.send(webhook(receiver.url), EVENT, NOW) == Outcome()
        assert len(receiver.connections) == 1


async def test_proxies_from_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert await sent(receiver.url) == Outcome()


async def test_certificates_are_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with receiving(tls=context) as receiver:
        url = f"https://localhost:{receiver.port}/"
        assert await sent(url, authorities=str(tmp_path / "ca.pem")) == Outcome()
        assert await sent(url) == Outcome("TLS_FAILED")
        other_host = f"https://127.0.0.1:{receiver.port}/"
        assert await sent(other_host, authorities=str(tmp_path / "ca.pem")) == Outcome("TLS_FAILED")
        assert len(receiver.requests) == 1


async def test_failures_of_the_network_have_names() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert await sent(f"http://127.0.0.1:{unused.getsockname()[1]}/") == Outcome("CONNECTION_FAILED")
        unused.listen()
        assert await sent(f"http://127.0.0.1:{unused.getsockname()[1]}/", seconds=0.2) == Outcome("TIMEOUT")
    assert await sent("http://no-such-host.invalid/") == Outcome("HOST_NOT_FOUND")
    async with receiving() as receiver:
        receiver.answer = lambda request: 0
        assert await sent(receiver.url) == Outcome("INVALID_RESPONSE")


async def test_a_response_without_end_is_bounded() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"1000\r\n" + bytes(0x1000) + b"\r\n")
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    assert await sent(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/") == Outcome()
    server.close()
