"""Share links over HTTP: links for reading and for uploads, their paths, and their pages."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import JSON, STOW, multipart, next_of, serving, stored

STUDY, OTHER = "1.1", "1.2"
INSTANCE = f"/studies/{STUDY}/series/1.1.1/instances/1.1.1.1"
IMAGE = {"Rows": 4, "Columns": 4, "frames": [bytes(range(16))]}
FILES = (
    part10(StudyInstanceUID=STUDY, SeriesInstanceUID="1.1.1", SOPInstanceUID="1.1.1.1", **IMAGE),
    part10(StudyInstanceUID=STUDY, SeriesInstanceUID="1.1.2", SOPInstanceUID="1.1.2.1"),
    part10(StudyInstanceUID=OTHER, SeriesInstanceUID="1.2.1", SOPInstanceUID="1.2.1.1"),
)
PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A facade with two studies, without a viewer."""
    async with running(settings_for(tmp_path)) as core, serving(core.address) as client:
        await stored(client, *FILES)
        yield client


@pytest.fixture
async def viewer(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A facade with a viewer, with partitions and a study in one of them."""
    (tmp_path / "index.html").write_text("<title>a viewer</title>")
    async with (
        running(settings_for(tmp_path / "data", partitions=True)) as core,
        serving(core.address, viewer=str(tmp_path)) as client,
    ):
        await stored(client, *FILES, base="/v2/partitions/ward")
        yield client


async def created(web: httpx.AsyncClient, path: str = f"/v2/studies/{STUDY}/$share", **body: Any) -> dict[str, Any]:
    """Create a link; return the response."""
    response = await web.post(path, **({"json": body} if body else {}))
    assert response.status_code == 201, response.text
    assert response.headers["cache-control"] == "no-store"
    link: dict[str, Any] = response.json()
    return link


def cookie_of(response: httpx.Response) -> str:
    return response.headers["set-cookie"].partition(";")[0]


async def test_a_link_is_created_listed_and_revoked(web: httpx.AsyncClient) -> None:
    link = await created(web, expiresInSeconds=3600, label="for a colleague")
    assert re.fullmatch(rf"{web.base_url}/?share/dcms_[\w-]{{56}}", link.pop("url"))
    assert link.pop("dicomwebUrl").endswith("/v2")
    lifetime = datetime.fromisoformat(link["expiresTime"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < lifetime <= timedelta(hours=1)
    assert (link["purpose"], link["studyInstanceUid"], link["label"]) == ("read", STUDY, "for a colleague")
    newer = await created(web, f"/v1{INSTANCE}/$share")
    page = await web.get("/v2/shares?limit=1")
    assert [one["id"] for one in page.json()] == [newer["id"]]
    rest = await web.get(next_of(page) or "")
    assert rest.json() == [link]
    assert next_of(rest) is None
    assert (await web.delete(f"/v2/shares/{link['id']}")).status_code == 204
    assert (await web.delete(f"/v2/shares/{link['id']}")).status_code == 404
    assert [one["id"] for one in (await web.get("/v2/shares")).json()] == [newer["id"]]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v2/studies/9/$share", {}, 404),
        ("/v2/studies/x/$share", {}, 400),
        (f"/v2/studies/{STUDY}/$share", {"expiresInSeconds": "1"}, 400),
        (f"/v2/studies/{STUDY}/$share", {"expiresInSeconds": True}, 400),
        (f"/v2/studies/{STUDY}/$share", {"expiresInSeconds": 0}, 400),
        (f"/v2/studies/{STUDY}/$share", {"expiresInSeconds": 31 * 86400}, 400),
        (f"/v2/studies/{STUDY}/$share", {"label": 1}, 400),
        (f"/v2/studies/{STUDY}/$share", {"other": 1}, 400),
        (f"/v2/studies/{STUDY}/$share", [], 400),
    ],
)
async def test_an_invalid_link_is_not_created(web: httpx.AsyncClient, path: str, body: Any, status: int) -> None:
    response = await web.post(path, json=body)
    assert response.status_code == status, response.text
    assert (await web.get("/v2/shares")).json() == []


async def test_below_a_link_every_url_keeps_its_path(web: httpx.AsyncClient) -> None:
    base = (await created(web))["dicomwebUrl"]
    metadata = await web.get(f"{base}/studies/{STUDY}/metadata")
    [bulk] = re.findall(r'"BulkDataURI":"([^"]+)"', metadata.text)
    assert bulk.startswith(f"{base}/studies/{STUDY}/")
    assert (await web.get(bulk)).content == bytes(range(16))
    plain = await web.get(f"/v2/studies/{STUDY}/metadata")
    assert "/share/" not in plain.text
    assert plain.text == metadata.text.replace(base, f"{str(web.base_url).rstrip('/')}/v2")
    again = await web.get(f"{base}/studies/{STUDY}/metadata")
    assert again.text == metadata.text
    found = await web.get(f"{base}/instances?limit=1", headers=JSON)
    assert found.json()[0]["00081190"]["Value"][0].startswith(f"{base}/studies/{STUDY}/series/")
    following = next_of(found) or ""
    assert following.startswith(f"{base}/instances?")
    assert len((await web.get(following, headers=JSON)).json()) == 1


async def test_a_link_shows_only_what_is_shared(web: httpx.AsyncClient) -> None:
    base = (await created(web))["dicomwebUrl"]
    assert [one["0020000D"]["Value"] for one in (await web.get(f"{base}/studies", headers=JSON)).json()] == [[STUDY]]
    statuses = {
        f"/studies/{OTHER}/metadata": 404,
        f"/studies/{STUDY}/metadata": 200,
        "/changefeed": 403,
        "/extendedquerytags": 403,
        "/shares": 403,
        "/nothing": 404,
    }
    for path, status in statuses.items():
        assert (await web.get(base + path)).status_code == status, path
    assert (await web.delete(f"{base}/studies/{STUDY}")).status_code == 403
    assert (await web.post(f"{base}/studies", content=multipart(FILES[0]), headers=STOW)).status_code == 403
    assert (await web.post(f"{base}/studies/{STUDY}/$share")).status_code == 403
    assert (await web.get(f"/v2/studies/{STUDY}")).status_code == 200


async def test_the_link_decides_whatever_other_credentials_there_are(web: httpx.AsyncClient) -> None:
    base = (await created(web))["dicomwebUrl"]
    for headers in ({"Authorization": "Bearer other"}, {"Authorization": "Basic eA=="}, {"Cookie": "dicomstore=x"}):
        assert (await web.get(f"{base}/studies/{STUDY}/metadata", headers=headers)).status_code == 200
        assert (await web.get(f"{base}/changefeed", headers=headers)).status_code == 403


async def test_ranges_head_and_conditional_requests_work_below_a_link(web: httpx.AsyncClient) -> None:
    url = f"{(await created(web))['dicomwebUrl']}{INSTANCE}"
    rendered = await web.get(f"{url}/rendered", headers={"Accept": "image/png"})
    assert rendered.headers["content-type"] == "image/png"
    assert rendered.headers["cache-control"] == "private, no-cache"
    assert rendered.headers["cross-origin-resource-policy"] == "cross-origin"
    assert rendered.headers["referrer-policy"] == "no-referrer"
    known = {"If-None-Match": rendered.headers["etag"], "Accept": "image/png"}
    assert (await web.get(f"{url}/rendered", headers=known)).status_code == 304
    single = {"Accept": "application/dicom; transfer-syntax=*"}
    head = await web.head(url, headers=single)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(FILES[0])))
    part = await web.get(url, headers=single | {"Range": "bytes=128-131"})
    assert (part.status_code, part.content) == (206, b"DICM")


async def test_a_revoked_or_damaged_link_is_refused(web: httpx.AsyncClient) -> None:
    link = await created(web)
    await web.delete(f"/v2/shares/{link['id']}")
    for url in (link["url"], f"{link['url'][:-1]}!", "/share/nothing", "/share/dcms_"):
        page = await web.get(url, headers=PAGE)
        assert page.status_code == 401, url
        assert page.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert page.headers["cache-control"] == "no-store"
        assert "not valid" in page.text
    refused = await web.get(f"{link['dicomwebUrl']}/studies")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert "dcms_" not in refused.text


async def test_the_log_has_no_token(web: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    link = await created(web)
    with caplog.at_level("DEBUG"):
        for path in ("", "/v2/studies", "/v2/nothing", "/nothing", "/v2/studies/%00", "/v2/changefeed", "/v3/studies"):
            await web.get(link["url"] + path)
    text = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith(("http", "hpack")))
    assert "route=/share/{token} " in text
    assert "route=/share/{token}/{version}/studies " in text
    assert "dcms_" not in text


async def test_a_page_lists_what_is_shared_without_scripts(web: httpx.AsyncClient) -> None:
    link = await created(web, f"/v2{INSTANCE}/$share")
    page = await web.get(link["url"], headers=PAGE)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script" not in page.headers["content-security-policy"]
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "no-referrer")
    targets = re.findall(r'href="([^"]+)"', page.text)
    assert len(targets) == 3
    for target in targets:
        assert (await web.get(target)).status_code == 200, target


async def test_an_upload_page_posts_to_the_path_of_its_link(web: httpx.AsyncClient) -> None:
    link = await created(web, "/v2/$share-upload")
    page = await web.get(link["url"], headers=PAGE)
    [target] = re.findall(r'data-url="([^"]+)"', page.text)
    [script] = re.findall(r'<script type="module" src="([^"]+)"', page.text)
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert page.headers["cache-control"] == "no-store"
    assert (await web.get(script)).headers["content-type"] == "text/javascript; charset=utf-8"
    image = part10(StudyInstanceUID="1.9")
    response = await web.post(target, content=multipart(image), headers=STOW)
    assert response.status_code == 200
    assert len(response.json()["00081199"]["Value"]) == 1
    assert (await web.get("/v2/studies?StudyInstanceUID=1.9", headers=JSON)).status_code == 200
    for path in ("/studies", "/studies/1.9/metadata", "/changefeed"):
        assert (await web.get(link["dicomwebUrl"] + path)).status_code == 403, path


async def test_with_a_viewer_a_link_opens_it_with_a_cookie_for_the_path_of_the_link(viewer: httpx.AsyncClient) -> None:
    link = await created(viewer, f"/v2/partitions/ward/studies/{STUDY}/$share")
    opened = await viewer.get(link["url"], headers=PAGE)
    assert opened.status_code == 303
    root = str(viewer.base_url).rstrip("/")
    assert opened.headers["location"] == f"{root}/viewer/viewer/share-{link['id']}-ward?StudyInstanceUIDs={STUDY}"
    token = link["url"].rpartition("/")[2]
    assert opened.headers["set-cookie"] == (
        f"dicomstore-share={token}; HttpOnly; Path=/shared/{link['id']}; SameSite=strict"
    )
    base = f"/shared/{link['id']}/v2/partitions/ward"
    seen = await viewer.get(f"{base}/studies/{STUDY}/metadata", headers={"Cookie": cookie_of(opened)})
    assert seen.status_code == 200
    assert token not in seen.text
    assert re.findall(r'"BulkDataURI":"([^"]+)"', seen.text)[0].startswith(f"{root}{base}/studies/")
    viewer.cookies.clear()
    assert (await viewer.get(f"{base}/studies/{STUDY}/metadata")).status_code == 401
    assert token not in (await viewer.get("/viewer/app-config.js")).text


async def test_over_https_the_cookie_is_secure_and_below_the_path_of_the_proxy(viewer: httpx.AsyncClient) -> None:
    proxied = {"X-Forwarded-Host": "127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/dicom"}
    link = await created(viewer, f"/v2/partitions/ward/studies/{STUDY}/series/1.1.1/$share")
    opened = await viewer.get(link["url"], headers=PAGE | proxied)
    cookie = opened.headers["set-cookie"]
    assert cookie.startswith("__Secure-dicomstore-share=dcms_")
    assert f"; Path=/dicom/shared/{link['id']};" in cookie
    assert cookie.endswith("; Secure")
    assert opened.headers["location"].startswith("https://127.0.0.1/dicom/viewer/viewer/share-")
    assert opened.headers["location"].endswith(f"?StudyInstanceUIDs={STUDY}&SeriesInstanceUIDs=1.1.1")


async def test_a_path_that_only_resembles_that_of_a_link_gives_no_access(web: httpx.AsyncClient) -> None:
    link = await created(web)
    token = link["url"].rpartition("/")[2]
    escaped = token.replace("_", "%5F")
    for path in (
        f"/share/{escaped}/v2/studies",
        f"//share/{token}/v2/studies",
        f"/share//{token}/v2/studies",
        f"/share/{token}//v2/studies",
        f"/share/{token}/v2%2Fstudies",
        f"/share/{token}/v22/studies",
        f"/share/{token}/share/{token}/v2/studies",
        f"/shared/{link['id']}/share/{token}/v2/studies",
        f"/SHARE/{token}/v2/studies",
        f"/share/{token}/health/check",
        f"/share/{token}/login",
    ):
        url = web.base_url.copy_with(raw_path=path.encode())
        answer = await web.send(web.build_request("GET", url, headers=JSON))
        assert answer.status_code in (400, 401, 404), path
        assert token not in answer.text, path


async def test_a_cookie_of_another_link_gives_access_to_that_link_only(viewer: httpx.AsyncClient) -> None:
    first, second = [await created(viewer, f"/v2/partitions/ward/studies/{study}/$share") for study in (STUDY, OTHER)]
    cookie = {"Cookie": cookie_of(await viewer.get(first["url"], headers=PAGE))}
    viewer.cookies.clear()
    base = f"/shared/{second['id']}/v2/partitions/ward/studies"
    assert (await viewer.get(f"{base}/{OTHER}/metadata", headers=cookie)).status_code == 404
    assert (await viewer.get("/v2/partitions/ward/changefeed", headers=cookie)).status_code == 404
