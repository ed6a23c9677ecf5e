"""Requests that do not belong to the service, are ambiguous, or come from pages of other sites."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from pydantic import ValidationError

from facade.config import Settings
from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import JSON, multipart, serving, stored

NO_CORE = "127.0.0.1:1"
EVIL = "https://evil.example"
DICOM = {"Content-Type": "application/dicom"} | JSON

# ---------------------------------------------------------------------------------------------------------------------
# Hosts


OWN_HOSTS = [
    *("localhost", "localhost:8080", "LOCALHOST.", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080"),
    *("192.0.2.7", "[2001:db8::1]:443", "pacs.example", "pacs.example:8443", "PACS.example."),
    *("archive", "a.hospital.example", "b.a.hospital.example"),
]


async def test_addresses_localhost_and_configured_names_are_hosts_of_the_service() -> None:
    settings = {"public_url": "https://pacs.example/dicom", "allowed_hosts": "archive, *.hospital.example"}
    async with serving(NO_CORE, **settings) as web:
        for host in OWN_HOSTS:
            assert (await web.get("/nothing", headers={"Host": host})).status_code == 404, host


OTHER_HOSTS = [
    *("evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "pacs.example.evil"),
    *("hospital.example", "xhospital.example", "archive.", "0x7f000001", "2130706433", "127.1", "a.localhost"),
]


@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host", "Forwarded"])
async def test_other_names_are_misdirected(header: str) -> None:
    async with serving(NO_CORE, public_url="https://pacs.example", allowed_hosts="*.hospital.example") as web:
        for host in OTHER_HOSTS:
            value = f"for=192.0.2.1;host={host}" if header == "Forwarded" else host
            response = await web.get("/v2/studies", headers=JSON | {header: value})
            assert response.status_code == 421, host
            assert f"'{host}' does not belong to this service" in response.text
            assert "allowed_hosts" in response.text


async def test_a_page_whose_name_was_rebound_can_neither_read_nor_write() -> None:
    """Both its requests and its preflights are those of its own origin."""
    rebound = {"Host": "evil.example:8080", "Origin": "http://evil.example:8080", "Sec-Fetch-Site": "same-origin"}
    async with serving(NO_CORE) as web:
        reading = await web.get("/v2/studies", headers=JSON | rebound)
        writing = await web.post("/v2/studies", content=part10(), headers=DICOM | rebound)
        asking = await web.options("/v2/studies", headers=rebound | {"Access-Control-Request-Method": "DELETE"})
        trusted = rebound | {"X-Forwarded-Host": "localhost"}
        forging = await web.get("/v2/studies", headers=JSON | trusted)
    assert [each.status_code for each in (reading, writing, asking, forging)] == [421, 421, 403, 421]
    assert "access-control-allow-origin" not in {*reading.headers, *writing.headers, *asking.headers}


async def test_a_star_allows_every_host() -> None:
    async with serving(NO_CORE, allowed_hosts="*") as web:
        assert (await web.get("/nothing", headers={"Host": "anything.example"})).status_code == 404


async def test_the_name_of_the_listening_address_is_a_host_of_the_service() -> None:
    async with serving(NO_CORE, http="pacs.lan:8080") as web:
        assert (await web.get("/nothing", headers={"Host": "pacs.lan:8080"})).status_code == 404


@pytest.mark.asyncio(loop_scope="module")
async def test_probes_may_use_any_host(shared_web: httpx.AsyncClient) -> None:
    for host in ("archive-7f9c:8080", "10.1.2.3:8080", "evil.example"):
        response = await shared_web.get("/health/check", headers={"Host": host})
        assert response.status_code == 200
        assert "access-control-allow-origin" not in response.headers


async def test_headers_of_untrusted_clients_do_not_matter() -> None:
    async with serving(NO_CORE, trusted_proxies="192.0.2.1") as web:
        forged = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example", "X-Forwarded-Proto": "https"}
        response = await web.get("/", headers=forged | {"Accept": "application/json"})
    assert response.status_code == 200
    assert response.json()["links"]["studies"].startswith(str(web.base_url))


@pytest.mark.parametrize("entry", ["https://pacs.example", "pacs.example:443", "a b", "*example", "a/b"])
def test_a_malformed_host_name_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(ValidationError, match="is not a host name"):
        Settings(allowed_hosts=entry)


# ---------------------------------------------------------------------------------------------------------------------
# Pages of other sites


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def archive(module_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running(settings_for(module_path / "core")) as core,
        serving(core.address, cors_origins="loopback, https://viewer.example", allowed_hosts="pacs.example") as web,
    ):
        yield web


STUDY = "1.2.826.0.1.3680043.10.1.1"
# A page may send these without a preflight: method, body, and a content type of the Fetch standard's safe list or none.
SIMPLE = {
    "text": {"Content-Type": "text/plain"},
    "form": {"Content-Type": "multipart/form-data; boundary=boundary"},
    "fields": {"Content-Type": "application/x-www-form-urlencoded"},
    "no type": {},
}
FOREIGN = {
    "an origin": {"Origin": EVIL},
    "an origin and a site": {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
    "another port": {"Origin": "http://pacs.example:1", "Host": "pacs.example", "Sec-Fetch-Site": "same-site"},
    "no origin": {"Sec-Fetch-Site": "cross-site"},
    "a sandbox": {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    "an old browser in a sandbox": {"Origin": "null"},
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=list(FOREIGN))
async def test_pages_of_other_sites_cannot_change_anything(archive: httpx.AsyncClient, foreign: dict[str, str]) -> None:
    await stored(archive, part10())
    before = (await archive.get("/v2/changefeed/latest")).json()

    for content_type in (*SIMPLE.values(), DICOM):
        for path in ("/v2/studies", f"/v2/studies/{STUDY}", "/v2/extendedquerytags", "/nothing"):
            response = await archive.post(path, content=multipart(part10()), headers=content_type | foreign)
            assert response.status_code == 403
            assert "access-control-allow-origin" not in response.headers
    for method in ("DELETE", "PUT", "PATCH"):
        assert (await archive.request(method, f"/v2/studies/{STUDY}", headers=foreign)).status_code == 403
    assert (await archive.get("/v2/changefeed/latest")).json() == before


OWN = {
    "no browser": {},
    "a listed viewer": {"Origin": "https://viewer.example", "Sec-Fetch-Site": "cross-site"},
    "a viewer on loopback": {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
    "a page of the archive": {"Origin": "http://pacs.example", "Host": "pacs.example", "Sec-Fetch-Site": "same-origin"},
    "behind TLS": {"Origin": "https://pacs.example", "Host": "pacs.example"},
    "behind a proxy": {"Origin": "https://pacs.example", "X-Forwarded-Host": "pacs.example"},
    "a form without a referrer": {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
    "an address that was typed": {"Sec-Fetch-Site": "none"},
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("own", OWN.values(), ids=list(OWN))
async def test_own_and_allowed_pages_and_programs_may_change(archive: httpx.AsyncClient, own: dict[str, str]) -> None:
    response = await archive.post("/v2/studies", content=part10(), headers=DICOM | own)
    assert response.status_code == 200
    assert (await archive.delete(f"/v2/studies/{STUDY}", headers=own)).status_code == 204


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("simple", SIMPLE.values(), ids=list(SIMPLE))
async def test_content_types_without_a_preflight_are_never_stored(
    archive: httpx.AsyncClient, simple: dict[str, str]
) -> None:
    await stored(archive, part10())
    before = (await archive.get("/v2/changefeed/latest")).json()
    for path in ("/v2/studies", "/v2/extendedquerytags"):
        for body in (multipart(part10()), part10(), b'[{"path":"00101002","level":"study"}]'):
            assert (await archive.post(path, content=body, headers=simple | JSON)).status_code == 415
    assert (await archive.get("/v2/changefeed/latest")).json() == before


@pytest.mark.asyncio(loop_scope="module")
async def test_pages_of_other_sites_may_ask_but_not_read(archive: httpx.AsyncClient) -> None:
    await stored(archive, part10())
    response = await archive.get("/v2/studies", headers=JSON | FOREIGN["an origin and a site"])
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers
