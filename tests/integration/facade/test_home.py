"""The description of the service at `/v1`, `/v2` and `/docs`, and as JSON also at `/`."""

from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from tests.integration.facade.serving import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}
PAGES = ["/v1", "/v2", "/v2/", "/docs"]
PATHS = ["/", *PAGES]


class Page(HTMLParser):
    """The elements of a page and the addresses that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def links(self) -> list[str]:
        return [value or "" for name, value in self.attributes if name == "href"]


@pytest.mark.parametrize("path", PAGES)
async def test_a_browser_gets_a_page_with_working_links(shared_web: httpx.AsyncClient, path: str) -> None:
    response = await shared_web.get(path, headers=BROWSER)

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    page = Page(response.text)
    assert "dicomstore" in response.text
    for url in page.links():
        assert url.startswith(str(shared_web.base_url).rstrip("/"))
        assert (await shared_web.get(url)).status_code in (200, 204)
    assert any(url.endswith("/v2/api.json") for url in page.links())


async def test_the_page_loads_no_other_resources(shared_web: httpx.AsyncClient) -> None:
    response = await shared_web.get("/docs", headers=BROWSER)
    page = Page(response.text)

    assert set(page.tags).isdisjoint({"script", "img", "link", "iframe", "form", "base"})
    assert {name for name, _ in page.attributes}.isdisjoint({"src", "style", "onclick"})
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert ("lang", "en") in page.attributes
    assert page.tags.count("h1") == page.tags.count("main") == page.tags.count("title") == 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("accept", ["application/json", "application/dicom+json, */*;q=0.1"])
async def test_a_client_that_accepts_json_gets_json(shared_web: httpx.AsyncClient, path: str, accept: str) -> None:
    response = await shared_web.get(path, headers={"Accept": accept})
    body = response.json()

    assert response.headers["content-type"].startswith("application/json")
    assert (body["name"], body["apiVersions"]) == ("dicomstore", ["v1", "v2"])
    assert "version" not in body  # it would tell everybody which faults to try
    assert "viewer" not in body["links"]
    assert (await shared_web.get(body["links"]["apiDescription"])).status_code == 200


async def test_the_links_have_the_host_seen_by_the_client(shared_web: httpx.AsyncClient) -> None:
    proxied = {"X-Forwarded-Host": "pacs.example", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/dicom"}
    response = await shared_web.get("/docs", headers=BROWSER | proxied)
    links = Page(response.text).links()
    assert links
    assert all(url.startswith("https://pacs.example/dicom/") for url in links)


async def test_a_viewer_is_linked(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>a viewer</title>")
    async with serving("127.0.0.1:1", viewer=str(tmp_path)) as web:
        for path in PAGES:
            links = Page((await web.get(path, headers=BROWSER)).text).links()
            assert str(web.base_url).rstrip("/") + "/viewer/" in links
        paths = (await web.get("/v2/api.json")).json()["paths"]
        assert "/v2/studies" in paths
