"""Headers that tell browsers what they may do with a response; `tests/e2e/test_browser_attacks.py` tries it in one."""

from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import JSON, serving, stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

STUDY = "1.2.826.0.1.3680043.10.1.1"
INSTANCE = f"/v2/studies/{STUDY}/series/{STUDY}.1/instances/1.2.3"
PAGE = {"Accept": "text/html"}
ANY = {"Accept": "*/*"}
INLINE = "'sha256-LAfYd7pbFUgwfQu8b4q135PeTG2z+/coPEUYCd74eCQ='"
"""The digest of `let a = 1`."""

ANCESTORS = (
    "frame-ancestors 'self' https://ris.example "
    "http://localhost:* https://localhost:* http://127.0.0.1:* https://127.0.0.1:*"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def web(module_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    folder = module_path / "viewer"
    folder.mkdir()
    (folder / "index.html").write_text("<title>viewer</title><script>let a = 1</script><script src='a.js'></script>")
    (folder / "a.js").write_text("let b = 2")
    async with (
        running(settings_for(module_path / "core")) as core,
        serving(core.address, viewer=str(folder), cors_origins="https://ris.example, loopback") as client,
    ):
        await stored(client, part10(SOPInstanceUID="1.2.3", frames=[bytes(64)]))
        yield client


def policy_of(response: httpx.Response) -> list[str]:
    return response.headers["content-security-policy"].split("; ")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/viewer/", PAGE, 200),
        ("GET", "/viewer/a.js", ANY, 200),
        ("GET", "/viewer/app-config.js", ANY, 200),
        ("GET", "/v2", PAGE, 200),
        ("GET", "/v2/api.json", ANY, 200),
        ("GET", "/health/check", ANY, 200),
        ("GET", "/v2/studies", JSON, 200),
        ("GET", f"{INSTANCE}/metadata", JSON, 200),
        ("GET", INSTANCE, ANY, 200),
        ("GET", f"{INSTANCE}/frames/1", {"Accept": "application/octet-stream"}, 200),
        ("GET", f"{INSTANCE}/rendered", ANY, 200),
        ("HEAD", f"{INSTANCE}/rendered", ANY, 200),
        ("GET", f"/v2/studies/{STUDY}/thumbnail", ANY, 200),
        ("GET", "/v2/nothing", PAGE, 404),
        ("GET", "/v2/studies?limit=%3Cscript%3E", PAGE | JSON, 400),
        ("PATCH", "/v2/studies", ANY, 405),
        ("GET", f"{INSTANCE}/rendered", {"Accept": "text/x-unknown"}, 406),
        ("POST", "/v2/studies", {"Origin": "https://evil.example"}, 403),
        ("GET", "/v2/studies", {"Host": "evil.example"}, 421),
    ],
)
async def test_every_response_restricts_browsers(
    web: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    response = await web.request(method, path, headers=headers)
    assert response.status_code == status
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert "camera=()" in response.headers["permissions-policy"]
    assert response.headers["cross-origin-opener-policy"] == "same-origin"
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    assert {"default-src 'none'", "default-src 'self'"} & set(policy_of(response))
    assert [name for name, _ in response.headers.multi_items()].count("content-security-policy") == 1


async def test_stored_content_and_errors_are_isolated_from_the_origin(web: httpx.AsyncClient) -> None:
    for path in (f"{INSTANCE}/rendered", "/v2/nothing", "/v2/api.json", f"{INSTANCE}/bulkdata/7FE00010"):
        policy = policy_of(await web.get(path))
        assert policy[0] == "default-src 'none'"
        assert {"sandbox", "base-uri 'none'", "form-action 'none'", ANCESTORS} <= set(policy)
        assert "script-src" not in " ".join(policy)


async def test_the_viewer_executes_only_its_own_files_and_inline_scripts(web: httpx.AsyncClient) -> None:
    for path in ("/viewer/", "/viewer/a.js", "/viewer/app-config.js", "/viewer/any/route"):
        policy = policy_of(await web.get(path, headers=PAGE))
        [scripts] = [directive for directive in policy if directive.startswith("script-src ")]
        assert scripts.split()[1:] == ["'self'", "'unsafe-eval'", INLINE]
        assert ANCESTORS in policy


async def test_pages_of_the_service_cannot_be_shown_in_a_frame(web: httpx.AsyncClient) -> None:
    assert "frame-ancestors 'none'" in policy_of(await web.get("/v2", headers=PAGE))


@pytest.mark.parametrize(
    ("origins", "ancestors"), [("", "'self'"), ("*", "*"), ("https://a.example", "'self' https://a.example")]
)
async def test_pages_that_may_call_may_show_responses_in_a_frame(origins: str, ancestors: str) -> None:
    async with serving("127.0.0.1:1", cors_origins=origins) as web:
        assert f"frame-ancestors {ancestors}" in policy_of(await web.get("/nothing"))


async def test_no_response_names_versions_of_software(web: httpx.AsyncClient) -> None:
    """A version tells an attacker which faults to try."""
    for path, headers in (("/v2", PAGE), ("/v2", JSON), ("/health/check", ANY), ("/v2/api.json", ANY), ("/x", JSON)):
        response = await web.get(path, headers=headers)
        assert "server" not in response.headers
        for name in ("uvicorn", "starlette", "python", "grpc", version("dicomstore")):
            assert name not in response.text.lower()
