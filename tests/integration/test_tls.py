"""Transport encryption of both interfaces, and between facade and core (BCP 195: RFC 8996 and RFC 9325)."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from dicomstore.v1.search_service_pb2 import QUERY_LEVEL_STUDY, SearchRequest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common import tls
from server.bootstrap.serving import Core, running
from server.opening import StartError
from tests.certificates import Authority, Pair
from tests.core import CoreClient, settings_for
from tests.data import part10
from tests.integration.facade.event_channels import opened
from tests.integration.facade.serving import serving, stow
from tests.worklist import workitem

SECONDS = 20.0


@pytest.fixture(autouse=True)
def frequent_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "CHECK_SECONDS", 0.02)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def with_tls(pair: Pair, **settings: Any) -> dict[str, Any]:
    return {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key), **settings}


@asynccontextmanager
async def tls_core(data: Path, pair: Pair, **settings: Any) -> AsyncIterator[Core]:
    async with running(settings_for(data / "data", **with_tls(pair, **settings))) as core:
        yield core


async def handshake(url: str, context: ssl.SSLContext) -> ssl.SSLObject:
    """Connect to the address of a URL or HOST:PORT and return the state of the connection, which is closed."""
    address = urlsplit(url if "//" in url else f"//{url}")
    _, writer = await asyncio.open_connection(address.hostname, address.port, ssl=context)
    found: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.transport.abort()
    return found


class Logged(logging.Handler):
    """Waits for messages of the log, which may come from other threads."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._messages: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self._loop.call_soon_threadsafe(self._messages.put_nowait, record.getMessage())

    async def twice(self, text: str) -> None:
        """Wait until both interfaces have logged a text."""
        for _ in range(2):
            await self.once(text)

    async def once(self, text: str) -> None:
        async with asyncio.timeout(SECONDS):
            while text not in await self._messages.get():
                pass


@pytest.fixture
async def logged() -> AsyncIterator[Logged]:
    logger, handler = logging.getLogger("dicomstore.tls"), Logged()
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(before)
    logger.removeHandler(handler)


async def is_serving(channel: grpc.aio.Channel) -> bool:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def test_instances_are_stored_and_found_over_tls_from_client_to_core(
    tmp_path: Path, authority: Authority
) -> None:
    pair, client = authority.server(), authority.issue("facade", "facade.example")
    async with (
        tls_core(tmp_path, pair, tls_client_ca=str(authority.certificate), tls_client_required=True) as core,
        serving(
            f"https://{core.address}",
            authority.context(),
            core_ca=str(authority.certificate),
            core_certificate=str(client.certificate),
            core_key=str(client.key),
            **with_tls(pair),
        ) as web,
    ):
        stored = await stow(web, part10())
        found = await web.get("/v2/studies", headers={"Accept": "application/dicom+json"})

    assert stored.status_code == 200
    [study] = found.json()
    assert study["00081190"]["Value"][0].startswith(f"{web.base_url}/v2/studies/")


async def test_an_event_channel_of_the_worklist_has_tls(tmp_path: Path, authority: Authority) -> None:
    context = authority.context()
    async with (
        running(settings_for(tmp_path)) as core,
        serving(core.address, context, **with_tls(authority.server())) as web,
    ):
        subscribed = await web.post("/v2/workitems/1.2.840.10008.5.1.4.34.5/subscribers/VIEWER")
        assert subscribed.headers["content-location"] == f"wss{str(web.base_url)[5:].rstrip('/')}/v2/subscribers/VIEWER"
        async with opened(web, "VIEWER", ssl=context) as channel:
            await web.post("/v2/workitems?1.2.3", json=[workitem()])
            assert await channel.reports(1) == ["1.2.3 1 SCHEDULED"]


async def test_responses_over_https_require_https_from_then_on(tmp_path: Path, authority: Authority) -> None:
    pair = authority.server()
    async with running(settings_for(tmp_path)) as core:
        async with serving(core.address, authority.context(), **with_tls(pair)) as web:
            for path in ("/v2/studies", "/no/such/path"):
                assert (await web.get(path)).headers["strict-transport-security"] == "max-age=31536000"
            at_localhost = await web.get(f"https://localhost:{web.base_url.port}/v2/studies")
            assert "strict-transport-security" not in at_localhost.headers
        async with serving(core.address, authority.context(), **with_tls(pair, hsts_seconds=0)) as web:
            assert "strict-transport-security" not in (await web.get("/v2/studies")).headers
        async with serving(core.address) as web:
            assert "strict-transport-security" not in (await web.get("/v2/studies")).headers


WEAK = ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES128-SHA256", "AES256-SHA", "NULL-SHA256"]


@pytest.mark.parametrize("interface", ["http", "grpc"])
async def test_versions_and_cipher_suites_follow_bcp_195(interface: str, tmp_path: Path, authority: Authority) -> None:
    protocol = {"http": "http/1.1", "grpc": "h2"}[interface]

    def client(maximum: ssl.TLSVersion, ciphers: str = "ALL:@SECLEVEL=0") -> ssl.SSLContext:
        context = authority.context()
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = maximum
        context.set_ciphers(ciphers)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    pair = authority.server()
    async with tls_core(tmp_path, pair) as core, serving(core.address, core_ca="", **with_tls(pair)) as web:
        address = core.address if interface == "grpc" else str(web.base_url)
        newest = await handshake(address, client(ssl.TLSVersion.TLSv1_3))
        older = await handshake(address, client(ssl.TLSVersion.TLSv1_2))
        with pytest.raises((ssl.SSLError, ConnectionError)), pytest.warns(DeprecationWarning, match="TLSv1_1"):
            await handshake(address, client(ssl.TLSVersion.TLSv1_1))
        for weak in WEAK:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await handshake(address, client(ssl.TLSVersion.TLSv1_2, f"{weak}:@SECLEVEL=0"))

    assert newest.version() == "TLSv1.3"
    assert older.version() == "TLSv1.2"
    name, _, bits = older.cipher() or ("", "", 0)
    assert name.startswith("ECDHE-")
    assert "GCM" in name or "POLY1305" in name
    assert bits >= 128
    assert newest.selected_alpn_protocol() == older.selected_alpn_protocol() == protocol


async def test_a_plain_http_request_to_an_https_port_is_told_so(tmp_path: Path, authority: Authority) -> None:
    async with (
        running(settings_for(tmp_path)) as core,
        serving(core.address, authority.context(), **with_tls(authority.server())) as web,
        httpx.AsyncClient() as plain,
    ):
        response = await plain.post(f"http://127.0.0.1:{web.base_url.port}/v2/studies", content=bytes(1 << 20))
        assert (await web.get("/health/check")).status_code == 200

    assert response.status_code == 400
    assert "https://" in response.text


async def test_a_client_that_sends_nothing_or_garbage_does_not_disturb_others(
    tmp_path: Path, authority: Authority
) -> None:
    async with (
        running(settings_for(tmp_path)) as core,
        serving(core.address, authority.context(), **with_tls(authority.server())) as web,
    ):
        port = web.base_url.port
        _, silent = await asyncio.open_connection("127.0.0.1", port)
        reader, broken = await asyncio.open_connection("127.0.0.1", port)
        broken.write(b"\x16" + bytes(500))
        assert (await web.get("/health/check")).status_code == 200
        async with asyncio.timeout(SECONDS):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(10_000)  # an alert, then the end
        for writer in (silent, broken):
            writer.transport.abort()


async def test_changed_certificates_are_used_for_new_connections_while_others_continue(
    tmp_path: Path, authority: Authority, logged: Logged
) -> None:
    pair, new = authority.server(), authority.server("new")
    other = tmp_path / "other"
    other.mkdir()
    foreign = Authority(other).server()

    async def served(address: str) -> int:
        state = await handshake(address, authority.context())
        return int((state.getpeercert() or {})["serialNumber"], 16)

    async with (
        tls_core(tmp_path, pair) as core,
        serving(core.address, authority.context(), **with_tls(pair)) as web,
        grpc.aio.secure_channel(core.address, authority.credentials()) as channel,
    ):
        addresses = (core.address, str(web.base_url))
        first = [await served(address) for address in addresses]
        assert await is_serving(channel)
        await web.get("/v2/studies")

        pair.certificate.write_text("no certificate")
        await logged.twice("changed certificate files are not used")
        assert [await served(address) for address in addresses] == first
        pair.certificate.write_bytes(foreign.certificate.read_bytes())
        await logged.twice("key values mismatch")
        assert [await served(address) for address in addresses] == first

        pair.replace(new)
        await logged.twice("loaded the changed files of tls_certificate")
        second = [await served(address) for address in addresses]

        assert await is_serving(channel)
        await web.get("/v2/studies")
        assert len({*first}) == len({*second}) == 1
        assert first != second


@pytest.mark.parametrize(("client", "is_accepted"), [("own", True), ("foreign", False), ("none", False)])
async def test_with_required_certificates_both_interfaces_refuse_other_clients(
    client: str, is_accepted: bool, tmp_path: Path, authority: Authority
) -> None:
    (tmp_path / "other").mkdir()
    pairs = {
        "own": authority.issue("client", "client.example"),
        "foreign": Authority(tmp_path / "other").issue("client", "client.example"),
        "none": None,
    }
    required = {"tls_client_ca": str(authority.certificate), "tls_client_required": True}
    pair = authority.server()
    async with (
        running(settings_for(tmp_path / "data")) as plain_core,
        tls_core(tmp_path / "tls", pair, **required) as core,
    ):
        async with serving(plain_core.address, authority.context(pairs[client]), **with_tls(pair, **required)) as web:
            try:
                assert (await web.get("/v2/studies")).status_code == 204
                over_http = True
            except httpx.TransportError:
                over_http = False
        async with grpc.aio.secure_channel(core.address, authority.credentials(pairs[client])) as channel:
            try:
                over_grpc = await is_serving(channel)
            except grpc.aio.AioRpcError:
                over_grpc = False
    assert over_http is over_grpc is is_accepted


async def test_certificates_are_optional_over_http_and_on_the_first_address_of_the_core(
    tmp_path: Path, authority: Authority
) -> None:
    pair, client = authority.server(), authority.issue("client", "client.example")
    ca = {"tls_client_ca": str(authority.certificate)}
    async with tls_core(tmp_path, pair, grpc_client_certificates="127.0.0.1:0", **ca) as core:
        for used in (None, client):
            async with serving("127.0.0.1:1", authority.context(used), **with_tls(pair, **ca)) as web:
                assert (await web.get("/health/check")).status_code == 503
            async with grpc.aio.secure_channel(core.address, authority.credentials(used)) as channel:
                assert await is_serving(channel)
        async with grpc.aio.secure_channel(core.client_certificates_address, authority.credentials(client)) as channel:
            assert await is_serving(channel)
        async with grpc.aio.secure_channel(core.client_certificates_address, authority.credentials()) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
                await is_serving(channel)


async def test_a_plain_grpc_client_of_a_core_with_tls_fails(tmp_path: Path, authority: Authority) -> None:
    async with tls_core(tmp_path, authority.server()) as core, grpc.aio.insecure_channel(core.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
            await CoreClient(channel, tmp_path).search_stub.Search(SearchRequest(level=QUERY_LEVEL_STUDY))


async def test_a_facade_uses_its_changed_certificate_for_new_connections_to_the_core(
    tmp_path: Path, authority: Authority, logged: Logged
) -> None:
    pair, client = authority.server(), authority.issue("facade", "facade.example")
    required = {"tls_client_ca": str(authority.certificate), "tls_client_required": True}
    core_settings = {
        "core_ca": str(authority.certificate),
        "core_certificate": str(client.certificate),
        "core_key": str(client.key),
    }
    async with (
        tls_core(tmp_path, pair, **required) as core,
        serving(f"https://{core.address}", **core_settings) as web,
    ):
        assert (await web.get("/v2/studies")).status_code == 204
        client.replace(authority.issue("renewed", "facade.example"))
        await logged.once("loaded the changed files of core_certificate")
        assert (await web.get("/v2/studies")).status_code == 204


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pair: pair.certificate.unlink(), "tls_certificate: .* cannot be read: No such file"),
        (lambda pair: pair.certificate.write_text("x"), "tls_certificate and tls_key cannot be used: .*"),
        (lambda pair: pair.key.write_text("x"), "tls_certificate and tls_key cannot be used: .*"),
    ],
)
async def test_a_core_does_not_start_without_usable_files(
    change: Callable[[Pair], object], message: str, tmp_path: Path, authority: Authority
) -> None:
    pair = authority.server()
    change(pair)
    with pytest.raises(StartError, match=message):
        async with tls_core(tmp_path, pair):
            pass
