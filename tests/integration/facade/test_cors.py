"""CORS: access of pages of other origins (docs/api.md, Browsers)."""

import asyncio
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from facade.config import Settings
from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import JSON, serving, stored

VIEWER = "https://viewer.example"
LOOPBACK = "http://localhost:3000"
ORIGIN = {"Origin": VIEWER}
LOCAL = {"Origin": LOOPBACK}
ASKED = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization,if-match,x-a"}
NO_CORE = "127.0.0.1:1"
EXPOSED = (
    "Content-Type, Content-Length, Content-Range, Content-Location, ETag, Location, Warning, Link, Retry-After, "
    "X-Total-Count"
)
STUDY = "1.2.826.0.1.3680043.10.1.1"
INSTANCE = f"/v2/studies/{STUDY}/series/{STUDY}.1/instances/1.2.3"
ALONE = {"Accept": "application/dicom; transfer-syntax=*"}


def is_readable(response: httpx.Response, origin: str = LOOPBACK) -> bool:
    exposed = response.headers.get("access-control-expose-headers", "").split(", ")
    return response.headers.get("access-control-allow-origin") == origin and set(EXPOSED.split(", ")) <= set(exposed)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/studies?limit=0", 400),
        ("GET", "/nonsense", 404),
        ("PATCH", "/v2/studies", 405),
        ("OPTIONS", "/v2/studies", 406),
        ("GET", "/v2/studies/1.2", 406),
        ("GET", "/v2/studies", 503),
    ],
)
async def test_pages_on_loopback_may_read_errors_by_default(method: str, path: str, status: int) -> None:
    async with serving(NO_CORE, call_seconds=2) as web:
        accept = JSON if status != 406 else {"Accept": "text/html"}
        response = await web.request(method, path, headers=accept | LOCAL)

    assert response.status_code == status
    assert is_readable(response)
    assert response.headers["cross-origin-resource-policy"] == "same-site"
    assert "access-control-allow-credentials" not in response.headers


async def test_pages_on_loopback_may_read_responses_and_ranges(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path)) as core, serving(core.address) as web:
        await stored(web, part10(SOPInstanceUID="1.2.3"))
        whole = await web.get(INSTANCE, headers=ALONE)  # as <img> would, without an origin
        part = await web.get(INSTANCE, headers=ALONE | LOCAL | {"Range": "bytes=0-9"})
        known = await web.get(INSTANCE, headers=ALONE | LOCAL | {"If-None-Match": whole.headers["etag"]})

    assert [each.status_code for each in (whole, part, known)] == [200, 206, 304]
    assert all(is_readable(each) for each in (part, known))
    assert {each.headers["vary"] for each in (whole, part, known)} == {"Accept, Origin"}


OTHERS = ["https://evil.example", "http://localhost.evil.example", "http://localhost@evil.example", "http://127.0.0.2",
          "http://[::2]", "null", "file://", "http://localhost:", "ftp://localhost", "http://localhost:1/"]  # fmt: skip


async def test_by_default_the_own_origin_and_loopback_may_read_and_no_other() -> None:
    async with serving(NO_CORE, public_url="https://pacs.example") as web:

        async def may_read(origin: str, **headers: str) -> bool:
            response = await web.get("/nonsense", headers={"Origin": origin, **headers})
            preflight = await web.options("/v2/studies/1.2", headers={"Origin": origin, **ASKED, **headers})
            assert "access-control-allow-credentials" not in {*response.headers, *preflight.headers}
            assert is_readable(response, origin) == (preflight.status_code == 200)
            return is_readable(response, origin)

        for origin in ("http://localhost", "https://localhost:8443", "http://127.0.0.1:3000", "http://[::1]:1"):
            assert await may_read(origin), origin
        own = str(web.base_url).rstrip("/")
        assert await may_read(own)
        assert await may_read("https://pacs.example", Host="pacs.example")
        assert await may_read("https://pacs.example", Host="pacs.example:443")
        assert await may_read("https://pacs.example", **{"X-Forwarded-Host": "pacs.example"})
        for origin in OTHERS:
            assert not await may_read(origin), origin
        assert not await may_read("https://evil.example", Host="evil.example")
        assert not await may_read("https://pacs.example:8443", Host="pacs.example")


async def test_pages_may_read_that_they_need_a_credential(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, auth_required=True)) as core, serving(core.address) as web:
        response = await web.get("/v2/studies", headers=JSON | LOCAL)
        preflight = await web.options("/v2/studies", headers=LOCAL | ASKED)
    assert response.status_code == 401
    assert is_readable(response)
    assert "WWW-Authenticate" in response.headers["access-control-expose-headers"]
    assert preflight.status_code == 200


async def test_a_star_lets_every_page_read() -> None:
    async with serving(NO_CORE, cors_origins="*") as web:
        response = await web.get("/nonsense", headers=ORIGIN)
    assert is_readable(response, "*")
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "vary" not in response.headers


@pytest.mark.parametrize(
    "entry", ["viewer.example", "https://viewer.example/ohif", "https://a b", "localhost", "'self'"]
)
def test_a_malformed_origin_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin"):
        Settings(cors_origins=entry)


async def test_a_503_response_is_readable_for_other_origins() -> None:
    async with serving(NO_CORE, max_requests=1, call_seconds=1) as web:
        requests = (web.get("/v2/studies", headers=JSON | LOCAL) for _ in range(5))
        responses = await asyncio.gather(*requests)

    assert all(response.status_code == 503 and is_readable(response) for response in responses)
    assert any("busy" in response.text for response in responses)


async def test_only_pages_of_configured_origins_may_read() -> None:
    async with serving(NO_CORE, cors_origins=f"https://other.example, {VIEWER}/") as web:
        friend = await web.get("/nonsense", headers=ORIGIN)
        stranger = await web.get("/nonsense", headers={"Origin": "https://evil.example"})
        unknown_path = await web.get("/nonsense")

    assert is_readable(friend, VIEWER)
    for response in (stranger, unknown_path):
        assert not [name for name in response.headers if name.startswith("access-control")]
    assert [response.headers["vary"] for response in (friend, stranger, unknown_path)] == ["Origin"] * 3


async def test_vary_contains_the_origin_and_other_headers(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path)) as core, serving(core.address, cors_origins=VIEWER) as web:
        await stored(web, part10(SOPInstanceUID="1.2.3"))
        response = await web.get(INSTANCE, headers=ALONE | ORIGIN)

    assert {name.strip() for name in response.headers["vary"].split(",")} == {"Accept", "Origin"}


async def test_only_the_own_pages_may_read_if_no_origin_is_set() -> None:
    async with serving(NO_CORE, cors_origins="") as web:
        response = await web.get("/nonsense", headers=ORIGIN)
        preflight = await web.options("/v2/studies/1.2", headers=ORIGIN | ASKED)
        own_origin = str(web.base_url).rstrip("/")
        own = await web.get("/nonsense", headers={"Origin": own_origin})

    assert not [name for name in response.headers if name.startswith("access-control")]
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert preflight.status_code == 403
    assert is_readable(own, own_origin)


@pytest.mark.parametrize(
    ("settings", "referer", "policy"),
    [
        ({}, "http://localhost:3000/", "cross-origin"),
        ({}, "https://127.0.0.1/viewer?x=1", "cross-origin"),
        ({}, "http://[::1]:8080/", "cross-origin"),
        ({}, "http://localhost.evil.example/", "same-site"),
        ({}, "https://evil.example/http://localhost/", "same-site"),
        ({}, "localhost", "same-site"),
        ({}, None, "same-site"),
        ({"cors_origins": ""}, "http://localhost:3000/", "same-origin"),
    ],
)
async def test_pages_on_localhost_may_embed_images_of_127_0_0_1(
    settings: dict[str, str], referer: str | None, policy: str
) -> None:
    """To browsers they are different sites, and a request for an image has no Origin."""
    request = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    async with serving(NO_CORE, **settings) as web:
        response = await web.get("/nonsense", headers=request | ({"Referer": referer} if referer else {}))
        other = await web.get("/nonsense", headers={"Referer": referer} if referer else {})

    assert response.headers.get_list("cross-origin-resource-policy") == [policy]
    assert ("Referer" in response.headers.get_list("vary")) is (not settings)
    assert other.headers["cross-origin-resource-policy"] == ("same-origin" if settings else "same-site")


@pytest.mark.parametrize("path", ["/v2/studies/1.2", "/nonsense", "/health/check"])
async def test_a_preflight_is_answered_without_calling_the_core(path: str) -> None:
    async with serving(NO_CORE, max_requests=1) as web:
        response = await web.options(path, headers=LOCAL | ASKED)

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == LOOPBACK
    assert set(response.headers["access-control-allow-methods"].split(", ")) >= {
        *("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
    }
    assert response.headers["access-control-allow-headers"] == ASKED["Access-Control-Request-Headers"]
    assert int(response.headers["access-control-max-age"]) > 0


async def test_a_preflight_without_headers_gets_the_allowed_ones() -> None:
    async with serving(NO_CORE) as web:
        response = await web.options("/v2/studies", headers=LOCAL | {"Access-Control-Request-Method": "GET"})

    allowed = response.headers["access-control-allow-headers"].split(", ")
    assert {"Authorization", "Accept", "Content-Type", "Range", "If-None-Match", "If-Match"} <= set(allowed)


async def test_a_preflight_of_an_unknown_origin_is_refused() -> None:
    async with serving(NO_CORE, cors_origins=VIEWER) as web:
        friend = await web.options("/v2/studies", headers=ORIGIN | ASKED)
        stranger = await web.options("/v2/studies", headers={"Origin": "https://evil.example"} | ASKED)

    assert (friend.status_code, friend.headers["access-control-allow-origin"]) == (200, VIEWER)
    assert stranger.status_code == 403
    assert "access-control-allow-origin" not in stranger.headers
    assert friend.headers["vary"] == stranger.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    ("origins", "allowed"), [(VIEWER, "true"), (f"*, {VIEWER}", "true"), (f"loopback, {VIEWER}", "true"), ("*", None)]
)
async def test_only_configured_origins_may_access_a_private_network(origins: str, allowed: str | None) -> None:
    private = {"Access-Control-Request-Private-Network": "true"}
    async with serving(NO_CORE, cors_origins=origins) as web:
        response = await web.options("/v2/studies", headers=ORIGIN | ASKED | private)

    assert response.headers.get("access-control-allow-private-network") == allowed
