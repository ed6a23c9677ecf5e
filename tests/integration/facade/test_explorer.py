"""The page of the explorer and its files."""

import gzip
import re
from pathlib import Path

import httpx
import pytest

from tests.integration.facade.serving import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}


async def page_of(web: httpx.AsyncClient) -> str:
    return (await web.get("/", headers=BROWSER)).text


async def test_the_root_is_the_explorer_for_browsers_and_json_for_programs(shared_web: httpx.AsyncClient) -> None:
    page = await shared_web.get("/", headers=BROWSER)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "Accept" in page.headers["vary"]
    assert '<div id="app">' in page.text
    for accept in ("application/json", "application/dicom+json, */*;q=0.1", "application/json, text/html;q=0.9"):
        assert (await shared_web.get("/", headers={"Accept": accept})).json()["name"] == "dicomstore"


async def test_the_policy_of_the_page_allows_only_files_of_the_service(shared_web: httpx.AsyncClient) -> None:
    policy = (await shared_web.get("/", headers=BROWSER)).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy


async def test_every_file_that_the_page_names_exists_and_is_kept_by_browsers(shared_web: httpx.AsyncClient) -> None:
    named = re.findall(r'(?:src|href)="(explorer/[^"]+)"', await page_of(shared_web))
    named.remove("explorer/settings.json")  # of the session
    assert len(named) > 10
    for path in named:
        response = await shared_web.get(f"/{path}")
        assert response.status_code == 200, path
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert response.headers["content-type"].startswith(("text/javascript", "text/css", "image/svg+xml"))


async def test_files_are_compressed_for_clients_that_accept_it(shared_web: httpx.AsyncClient) -> None:
    [path] = re.findall(r'<script type="module" src="([^"]+)"', await page_of(shared_web))
    plain = await shared_web.get(f"/{path}", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    async with shared_web.stream("GET", f"/{path}", headers={"Accept-Encoding": "gzip"}) as packed:
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join([chunk async for chunk in packed.aiter_raw()])) == plain.content


async def test_files_of_another_version_are_the_current_ones_and_not_kept(shared_web: httpx.AsyncClient) -> None:
    response = await shared_web.get("/explorer/0123456789abcdef/app.js")
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/explorer/", 404),
        ("GET", "/explorer/0123456789abcdef/missing.js", 404),
        ("GET", "/explorer/0123456789abcdef/index.html", 404),
        ("GET", "/explorer/0123456789abcdef/../../config.py", 404),
        ("POST", "/explorer/settings.json", 405),
    ],
)
async def test_there_is_nothing_else(shared_web: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    assert (await shared_web.request(method, path)).status_code == status


async def test_an_unchanged_page_is_not_sent_again(shared_web: httpx.AsyncClient) -> None:
    first = await shared_web.get("/", headers=BROWSER)
    assert first.headers["cache-control"] == "no-cache"
    again = await shared_web.get("/", headers=BROWSER | {"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_the_settings_contain_no_data(shared_web: httpx.AsyncClient) -> None:
    response = await shared_web.get("/explorer/settings.json")
    assert response.json() == {"hasPartitions": False, "needsLogin": False, "hasSession": False, "viewers": []}
    assert response.headers["cache-control"] == "no-store"


async def test_viewers_are_that_of_the_service_and_those_of_the_setting(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>a viewer</title>")
    url = "https://viewer.example/?study={study}"
    async with serving("127.0.0.1:1", viewer=str(tmp_path), explorer_viewers=f"Example={url}") as web:
        settings = (await web.get("/explorer/settings.json")).json()
    assert settings["viewers"] == [
        {"name": "OHIF", "url": "/viewer/viewer?StudyInstanceUIDs={study}"},
        {"name": "Example", "url": url},
    ]
