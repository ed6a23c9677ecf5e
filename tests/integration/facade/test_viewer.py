"""A folder with a built viewer below `/viewer/`."""

import base64
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from facade.config import Settings
from server.bootstrap.serving import running
from tests.core import settings_for
from tests.integration.facade.serving import JSON, serving

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
HASHED = "app.bundle.0f6159c501addfe9.js"
REWRITTEN = "main.bundle.1f6159c501addfe9.js"
PAGE_OF_VIEWER = (
    '<!doctype html><title>viewer</title><link href="/app.css"><script>window.PUBLIC_URL="/"</script>'
    '<script src="/app.js"></script><a href="https://ohif.org/">OHIF</a>'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    built = tmp_path / "dist"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_text(PAGE_OF_VIEWER)
    (built / HASHED).write_text("let big = 1;")
    (built / f"{HASHED}.gz").write_bytes(gzip.compress(b"let big = 1;"))
    (built / REWRITTEN).write_text('__webpack_require__.p = "/"; split("/");')
    (built / f"{REWRITTEN}.gz").write_bytes(gzip.compress(b"the original"))
    (built / "0ddf166f7a343eda.wasm").write_bytes(b"\0asm")
    (built / "logo.svg").write_text("<svg/>")
    (built / "app-config.js").write_text("window.config = {wrong: true};")
    (tmp_path / "secret.txt").write_text("not the viewer's")
    (built / "link.txt").symlink_to(tmp_path / "secret.txt")
    return built


@pytest.fixture
async def web(tmp_path: Path, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running(settings_for(tmp_path / "data")) as core,
        serving(core.address, viewer=str(folder)) as client,
    ):
        yield client


def config_in(answer: httpx.Response) -> dict[str, object]:
    text = answer.text.removeprefix("window.config = ")
    found: dict[str, object] = json.loads(text[: text.index(";\n")])
    return found


async def test_every_path_of_the_viewer_returns_its_page(web: httpx.AsyncClient) -> None:
    for path in ("", "viewer?StudyInstanceUIDs=1.2.3", "segmentation/deep/down", "index.html"):
        answer = await web.get(f"/viewer/{path}", headers=PAGE)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "<title>viewer</title>" in answer.text


async def test_a_missing_file_is_404_for_clients_that_do_not_accept_html(web: httpx.AsyncClient) -> None:
    assert (await web.get("/viewer/missing.js")).status_code == 404


async def test_api_and_health_check_take_precedence_over_viewer_files(web: httpx.AsyncClient) -> None:
    assert (await web.get("/v2/studies", headers=JSON)).status_code == 204
    assert (await web.get("/health/check")).json()["overallStatus"] == "Healthy"
    assert (await web.patch("/v2/studies")).status_code == 405
    for path in ("/v2/nothing", "/v3/studies", "/v3", "/health"):
        assert (await web.get(path, headers=PAGE)).status_code == 404, path


async def test_the_viewer_supports_only_get_and_head(web: httpx.AsyncClient) -> None:
    answer = await web.post("/viewer/index.html")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        (HASHED, "text/javascript; charset=utf-8"),
        ("0ddf166f7a343eda.wasm", "application/wasm"),
        ("logo.svg", "image/svg+xml"),
        ("app-config.js", "text/javascript; charset=utf-8"),
    ],
)
async def test_files_have_the_media_types_that_browsers_require(
    web: httpx.AsyncClient, path: str, media_type: str
) -> None:
    answer = await web.get(f"/viewer/{path}")
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_file_name_with_a_hash_is_cached_forever_and_others_are_revalidated(web: httpx.AsyncClient) -> None:
    for path in (HASHED, "0ddf166f7a343eda.wasm"):
        assert "immutable" in (await web.get(f"/viewer/{path}")).headers["cache-control"]
    page = await web.get("/viewer/", headers=PAGE)
    assert page.headers["cache-control"] == "no-cache"
    again = await web.get("/viewer/", headers=PAGE | {"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_precompressed_file_is_sent_to_clients_that_accept_gzip(web: httpx.AsyncClient) -> None:
    compressed = await web.get(f"/viewer/{HASHED}", headers={"Accept-Encoding": "gzip, br"})
    plain = await web.get(f"/viewer/{HASHED}", headers={"Accept-Encoding": "identity"})
    assert compressed.headers["content-encoding"] == "gzip"
    assert compressed.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "content-encoding" not in plain.headers
    assert compressed.text == plain.text == "let big = 1;"
    assert compressed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding, Origin"
    assert compressed.headers["etag"] != plain.headers["etag"]


async def test_addresses_in_files_are_below_the_path_of_the_viewer(web: httpx.AsyncClient) -> None:
    page = await web.get("/viewer/", headers=PAGE)
    for text in ('href="/viewer/app.css"', 'src="/viewer/app.js"', 'PUBLIC_URL="/viewer/"', 'href="https://ohif.org/"'):
        assert text in page.text
    digest = base64.b64encode(hashlib.sha256(b'window.PUBLIC_URL="/viewer/"').digest()).decode()
    assert f"'sha256-{digest}'" in page.headers["content-security-policy"]
    for coding in ("gzip", "identity"):
        script = await web.get(f"/viewer/{REWRITTEN}", headers={"Accept-Encoding": coding})
        assert script.text == '__webpack_require__.p = "/viewer/"; split("/");'
        assert script.headers.get("content-encoding", "identity") == coding
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script.headers["cache-control"] == "no-cache"  # its name has the hash of the original
        known = {"Accept-Encoding": coding, "If-None-Match": script.headers["etag"]}
        assert (await web.get(f"/viewer/{REWRITTEN}", headers=known)).status_code == 304


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/viewer", "/viewer/"),
        ("/viewer?StudyInstanceUIDs=1.2", "/viewer/viewer?StudyInstanceUIDs=1.2"),
        ("/viewer/partition-north?StudyInstanceUIDs=1.2", "/viewer/viewer/partition-north?StudyInstanceUIDs=1.2"),
        ("/microscopy?a=b&StudyInstanceUIDs=1.2", "/viewer/microscopy?a=b&StudyInstanceUIDs=1.2"),
        ("/segmentation/dicomstore?StudyInstanceUIDs=1.2", "/viewer/segmentation/dicomstore?StudyInstanceUIDs=1.2"),
    ],
)
async def test_an_address_of_a_viewer_at_the_root_is_redirected(web: httpx.AsyncClient, old: str, new: str) -> None:
    answer = await web.get(old, headers=PAGE)
    assert answer.status_code == 308
    assert answer.headers["location"] == f"{web.base_url}{new}"


@pytest.mark.parametrize(
    "path",
    ["../secret.txt", "%2e%2e/secret.txt", "assets/..%2f..%2fsecret.txt", "/etc/passwd", "link.txt", "x%00"],
)
async def test_nothing_outside_the_folder_is_sent(web: httpx.AsyncClient, path: str) -> None:
    url = web.base_url.copy_with(raw_path=f"/viewer/{path}".encode())
    assert (await web.send(web.build_request("GET", url))).status_code in (400, 404)


async def test_pages_and_api_responses_allow_shared_memory(web: httpx.AsyncClient) -> None:
    for path in ("/viewer/", f"/viewer/{HASHED}", "/v2/studies", "/v2/nothing"):
        answer = await web.get(path, headers=PAGE | JSON)
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-embedder-policy"] == "require-corp"


async def test_the_generated_settings_refer_to_this_archive(web: httpx.AsyncClient) -> None:
    answer = await web.get("/viewer/app-config.js")
    [source] = config_in(answer)["dataSources"]  # type: ignore[misc]
    configuration = source["configuration"]
    assert [configuration[root] for root in ("qidoRoot", "wadoRoot", "wadoUriRoot")] == ["/v2", "/v2", "/v2/wado"]
    assert configuration["imageRendering"] == "wadors"
    assert configuration["singlepart"] == "bulkdata,video,pdf"
    assert configuration["bulkDataURI"] == {"enabled": True}
    assert "window.location.origin + configuration[root]" in answer.text
    assert answer.headers["cache-control"] == "no-cache"


async def test_each_data_partition_is_a_separate_data_source(tmp_path: Path, folder: Path) -> None:
    settings = settings_for(tmp_path / "data", partitions=True)
    async with running(settings) as core, serving(core.address, viewer=str(folder)) as web:
        await web.post("/v2/partitions/north/studies", content=b"", headers={"Content-Type": "application/dicom"})
        config = config_in(await web.get("/viewer/app-config.js"))
        partitions = (await web.get("/v2/partitions")).json()
    roots = [source["configuration"]["wadoRoot"] for source in config["dataSources"]]  # type: ignore[attr-defined]
    assert roots == [f"/v2/partitions/{partition['partitionName']}" for partition in partitions]
    assert len(roots) >= 1


async def test_the_log_has_no_query_string_of_the_viewer(
    web: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "facade.access"):
        await web.get("/viewer/app-config.js?PatientName=Doe")
    [line] = [record.getMessage() for record in caplog.records if record.name == "facade.access"]
    assert "route=viewer " in line
    assert "Doe" not in line


async def test_without_a_folder_there_is_no_viewer(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path)) as core, serving(core.address) as web:
        answer = await web.get("/viewer/", headers=PAGE)
    assert answer.status_code == 404
    assert "cross-origin-embedder-policy" not in answer.headers


@pytest.mark.parametrize("name", ["assets", "missing", "logo.svg"])
def test_a_viewer_folder_without_an_index_page_is_refused_at_the_start(folder: Path, name: str) -> None:
    with pytest.raises(ValidationError, match="it has no index"):
        Settings(viewer=str(folder / name))
