"""Metadata and bulk data over a real core (PS3.18 sections 10.4.1.1.2 and 10.4.1.1.5)."""

import httpx
import pytest
import pytest_asyncio

from tests.data import part10
from tests.integration.facade.serving import JSON, parts_of, stored, stow

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def web(emptied_web: httpx.AsyncClient) -> httpx.AsyncClient:
    return emptied_web


STUDY = "1.2.826.0.1.3680043.10.1.1"
SERIES = f"/v2/studies/{STUDY}/series/{STUDY}.1"
INSTANCE = f"{SERIES}/instances/1.2.3"
PIXELS = bytes(range(250)) * 8


@pytest_asyncio.fixture(loop_scope="module")
async def web_with_image(web: httpx.AsyncClient) -> httpx.AsyncClient:
    await stored(web, part10(SOPInstanceUID="1.2.3", frames=[PIXELS]))
    return web


async def test_metadata_is_an_array_of_data_sets(web: httpx.AsyncClient) -> None:
    await stow(web, *[part10(InstanceNumber=str(number)) for number in range(120)])
    for path in (f"/v2/studies/{STUDY}/metadata", f"{SERIES}/metadata"):
        response = await web.get(path, headers=JSON)

        assert response.status_code == 200
        assert response.headers["content-type"] == "application/dicom+json"
        assert sorted(data_set["00200013"]["Value"][0] for data_set in response.json()) == list(range(120))


async def test_bulk_data_uris_are_absolute_and_return_the_value(web_with_image: httpx.AsyncClient) -> None:
    for path in (f"/v2/studies/{STUDY}/metadata", f"{SERIES}/metadata", f"{INSTANCE}/metadata"):
        (data_set,) = (await web_with_image.get(path, headers=JSON)).json()
        uri = data_set["7FE00010"]["BulkDataURI"]

        assert uri == f"{web_with_image.base_url}{INSTANCE}/bulkdata/7FE00010"
        assert (await web_with_image.get(uri)).content == PIXELS


async def test_bulk_data_is_the_body_or_one_part(web_with_image: httpx.AsyncClient) -> None:
    path = f"{INSTANCE}/bulkdata/7FE00010"
    alone = await web_with_image.get(path, headers={"Accept": "application/octet-stream; transfer-syntax=*"})
    part = await web_with_image.get(path, headers={"Accept": 'multipart/related; type="application/octet-stream"'})

    label = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    assert (alone.headers["content-type"], alone.content) == (label, PIXELS)
    assert alone.headers["content-length"] == str(len(PIXELS))
    assert parts_of(part) == [(label, PIXELS)]
    assert (await web_with_image.get(path, headers={"Accept": "text/html"})).status_code == 406


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [("bytes=0-9", 0, 10), ("bytes=100-", 100, 2000), ("bytes=-5", 1995, 2000), ("bytes=1990-5000", 1990, 2000),
     ("bytes=0-", 0, 2000), ("Bytes = 3-3", 3, 4), ("bytes=-9999", 0, 2000)],
)  # fmt: skip
async def test_a_range_of_bulk_data_is_partial_content(
    web_with_image: httpx.AsyncClient, asked: str, first: int, end: int
) -> None:
    response = await web_with_image.get(f"{INSTANCE}/bulkdata/7FE00010", headers={"Range": asked})

    assert response.status_code == 206
    assert response.headers["content-range"] == f"bytes {first}-{end - 1}/2000"
    assert response.headers["content-length"] == str(end - first)
    assert response.content == PIXELS[first:end]


@pytest.mark.parametrize("asked", ["bytes=5-3", "bytes=-", "items=0-3", "bytes=0-1,3-4", "nonsense"])
async def test_a_malformed_range_is_ignored(web_with_image: httpx.AsyncClient, asked: str) -> None:
    response = await web_with_image.get(f"{INSTANCE}/bulkdata/7FE00010", headers={"Range": asked})

    assert (response.status_code, response.content) == (200, PIXELS)


@pytest.mark.parametrize("asked", ["bytes=2000-", "bytes=5000-6000", "bytes=-0"])
async def test_a_range_outside_is_not_satisfiable(web_with_image: httpx.AsyncClient, asked: str) -> None:
    response = await web_with_image.get(f"{INSTANCE}/bulkdata/7FE00010", headers={"Range": asked})

    assert response.status_code == 416
    assert response.headers["content-range"] == "bytes */2000"


async def test_a_range_of_compressed_pixel_data_refers_to_the_joined_fragments(web: httpx.AsyncClient) -> None:
    jpeg = b"\xff\xd8 pixels \xff\xd9"
    await stored(
        web, part10(SOPInstanceUID="1.2.3", transfer_syntax="1.2.840.10008.1.2.4.50", fragments=[[jpeg[:6], jpeg[6:]]])
    )
    response = await web.get(f"{INSTANCE}/bulkdata/7FE00010", headers={"Range": "bytes=4-7"})

    assert (response.status_code, response.content) == (206, jpeg[4:8])
    assert response.headers["content-range"] == f"bytes 4-7/{len(jpeg)}"
    assert response.headers["content-type"].endswith("transfer-syntax=1.2.840.10008.1.2.4.50")


@pytest.mark.parametrize("path", ["00100010", "7FE00011", "nonsense", "00081140/1/00080018"])
async def test_other_bulk_data_is_not_found(web_with_image: httpx.AsyncClient, path: str) -> None:
    assert (await web_with_image.get(f"{INSTANCE}/bulkdata/{path}")).status_code == 404


@pytest.mark.parametrize("path", [f"/v2/studies/{STUDY}/metadata", f"{SERIES}/metadata", f"{INSTANCE}/metadata"])
async def test_the_entity_tag_is_stable_without_changes(web_with_image: httpx.AsyncClient, path: str) -> None:
    tag = (await web_with_image.get(path, headers=JSON)).headers["etag"]
    assert tag.startswith('"')
    assert tag.endswith('"')
    for known in (tag, tag.strip('"'), f"W/{tag}", f'"x", {tag}', "*"):
        response = await web_with_image.get(path, headers=JSON | {"If-None-Match": known})
        assert (response.status_code, response.content) == (304, b""), known

    assert (await web_with_image.get(path, headers=JSON | {"If-None-Match": '"0-0"'})).status_code == 200


async def test_the_entity_tag_of_a_study_changes_with_its_instances(web_with_image: httpx.AsyncClient) -> None:
    path, headers = f"/v2/studies/{STUDY}/metadata", JSON | {"Accept-Encoding": "identity"}
    tags = [(await web_with_image.get(path, headers=headers)).headers["etag"]]
    await stored(web_with_image, part10(SOPInstanceUID="1.2.4", SeriesInstanceUID="1.5"))
    tags.append((await web_with_image.get(path, headers=headers)).headers["etag"])
    await web_with_image.delete(f"/v2/studies/{STUDY}/series/1.5")
    tags.append((await web_with_image.get(path, headers=headers)).headers["etag"])

    assert tags[0] != tags[1] != tags[2]
    assert tags[0].endswith('-1"')
    assert tags[1].endswith('-2"')


@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom+json, application/json",
        "application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*",
        "*/*",
    ],
)
async def test_metadata_is_json_for_clients_that_accept_it(web_with_image: httpx.AsyncClient, accept: str) -> None:
    response = await web_with_image.get(f"{INSTANCE}/metadata", headers={"Accept": accept})

    assert (response.status_code, response.headers["content-type"]) == (200, "application/dicom+json")


@pytest.mark.parametrize("accept", ["nonsense", "application/dicom", "application/data"])
async def test_the_accept_header_is_checked_first(web: httpx.AsyncClient, accept: str) -> None:
    assert (await web.get("/v2/studies/x/metadata", headers={"Accept": accept})).status_code == 406


async def test_metadata_of_an_unknown_resource_is_not_found(web_with_image: httpx.AsyncClient) -> None:
    for path in ("/v2/studies/1.9", f"/v2/studies/{STUDY}/series/1.9", f"{SERIES}/instances/1.9"):
        assert (await web_with_image.get(f"{path}/metadata", headers=JSON)).status_code == 404
    assert (await web_with_image.get("/v2/studies/x/metadata", headers=JSON)).status_code == 400


async def test_urls_have_the_host_seen_by_the_client(web_with_image: httpx.AsyncClient) -> None:
    headers = JSON | {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "pacs.example", "X-Forwarded-Prefix": "/dicom"}
    (data_set,) = (await web_with_image.get(f"{INSTANCE}/metadata", headers=headers)).json()

    assert data_set["7FE00010"]["BulkDataURI"] == f"https://pacs.example/dicom{INSTANCE}/bulkdata/7FE00010"


async def test_head_has_the_entity_tag(web_with_image: httpx.AsyncClient) -> None:
    for path in (f"/v2/studies/{STUDY}/metadata", f"{INSTANCE}/metadata"):
        head, get = await web_with_image.head(path, headers=JSON), await web_with_image.get(path, headers=JSON)

        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["etag"] == get.headers["etag"]
