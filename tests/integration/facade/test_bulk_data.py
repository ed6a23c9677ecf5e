"""Bulk data over HTTP: PS3.18 sections 10.4.1.1.5 and 10.4.1.1.6, RFC 9110 sections 13 and 14."""

import asyncio
import random

import httpx
import pytest
import pytest_asyncio
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset

from tests.data import EXPLICIT_LITTLE, JPEG_BASELINE, part10
from tests.integration.facade.serving import JSON, parts_of, stored

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def web(emptied_web: httpx.AsyncClient) -> httpx.AsyncClient:
    return emptied_web


STUDY = "/v2/studies/1.2.826.0.1.3680043.10.1.1"
SERIES = f"{STUDY}/series/1.2.826.0.1.3680043.10.1.1.1"
INSTANCE = f"{SERIES}/instances/1.2.3"
VIDEO = random.Random(1).randbytes(900_000)
MPEG4 = "1.2.840.10008.1.2.4.102"
OCTETS = f"application/octet-stream; transfer-syntax={EXPLICIT_LITTLE}"
PARTS = {"Accept": 'multipart/related; type="application/octet-stream"'}


@pytest_asyncio.fixture(loop_scope="module")
async def video(web: httpx.AsyncClient) -> httpx.AsyncClient:
    pieces = [VIDEO[:300_000], VIDEO[300_000:300_100], VIDEO[300_100:]]
    body = part10(SOPInstanceUID="1.2.3", transfer_syntax=MPEG4, fragments=[pieces], NumberOfFrames=25)
    await stored(web, body)
    return web


@pytest_asyncio.fixture(loop_scope="module")
async def document(web: httpx.AsyncClient) -> httpx.AsyncClient:
    pdf = b"%PDF-" + bytes(3001)
    await stored(
        web,
        part10(SOPInstanceUID="1.2.3", EncapsulatedDocument=pdf, MIMETypeOfEncapsulatedDocument="application/pdf"),
    )
    return web


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-", 0, 900_000),
        ("bytes=299990-300109", 299_990, 300_110),
        ("bytes=-100", 899_900, 900_000),
        ("bytes=300050-300050", 300_050, 300_051),
        ("bytes=899999-1000000", 899_999, 900_000),
    ],
)
async def test_byte_ranges_of_a_video_are_returned(video: httpx.AsyncClient, asked: str, first: int, end: int) -> None:
    headers = {"Accept": "video/mp4", "Range": asked}
    for path in (f"{INSTANCE}/bulkdata/7FE00010", f"{INSTANCE}/pixeldata"):
        response = await video.get(path, headers=headers)
        assert response.status_code == 206
        assert response.content == VIDEO[first:end]
        assert response.headers["content-range"] == f"bytes {first}-{end - 1}/900000"
        assert response.headers["content-type"] == "video/mp4"
        assert response.headers["accept-ranges"] == "bytes"


async def test_a_video_is_selected_by_the_accept_parameter(video: httpx.AsyncClient) -> None:
    for path in (f"{INSTANCE}/pixeldata?accept=video/mp4", f"{INSTANCE}/bulkdata/7FE00010?accept=video%2Fmp4"):
        response = await video.get(path, headers={"Accept": "text/html"})
        assert (response.status_code, response.content) == (200, VIDEO)
        assert response.headers["content-type"] == "video/mp4"
        assert response.headers["content-length"] == "900000"


async def test_a_range_beyond_a_video_is_not_satisfiable(video: httpx.AsyncClient) -> None:
    for asked in ("bytes=900000-", "bytes=-0"):
        response = await video.get(f"{INSTANCE}/bulkdata/7FE00010", headers={"Range": asked})
        assert response.status_code == 416
        assert response.headers["content-range"] == "bytes */900000"


async def test_several_ranges_return_the_whole_value(video: httpx.AsyncClient) -> None:
    response = await video.get(f"{INSTANCE}/bulkdata/7FE00010", headers={"Range": "bytes=0-1,5-6"})
    assert (response.status_code, response.content) == (200, VIDEO)


async def test_if_range_must_match_the_entity_tag(video: httpx.AsyncClient) -> None:
    path = f"{INSTANCE}/bulkdata/7FE00010"
    tag = (await video.head(path)).headers["etag"]
    for condition, status in ((tag, 206), ('"other"', 200), ("Wed, 21 Oct 2015 07:28:00 GMT", 200)):
        response = await video.get(path, headers={"Range": "bytes=5-9", "If-Range": condition})
        assert (response.status_code, len(response.content)) == (status, 5 if status == 206 else len(VIDEO))


async def test_a_client_with_the_value_gets_304(document: httpx.AsyncClient) -> None:
    path = f"{INSTANCE}/bulkdata/00420011"
    tags = {}
    for accept in ("application/pdf", "application/octet-stream"):
        tags[accept] = (await document.get(path, headers={"Accept": accept})).headers["etag"]
        for known in (tags[accept], tags[accept].strip('"'), f'"x", W/{tags[accept]}', "*"):
            response = await document.get(path, headers={"Accept": accept, "If-None-Match": known})
            assert (response.status_code, response.content) == (304, b"")
    assert len(set(tags.values())) == 2


async def test_head_has_the_headers_of_a_get(document: httpx.AsyncClient) -> None:
    path = f"{INSTANCE}/bulkdata/00420011"
    for headers in ({"Accept": "application/pdf"}, {"Accept": "*/*"}):
        head, get = await document.head(path, headers=headers), await document.get(path, headers=headers)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-type", "content-length", "etag", "accept-ranges", "cache-control", "vary"):
            assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, OCTETS),
        ("*/*", OCTETS),
        ("application/octet-stream; transfer-syntax=*", OCTETS),
        ("application/octet-stream", OCTETS),
        ("application/pdf", "application/pdf"),
        ("text/html, application/pdf;q=0.5", "application/pdf"),
        ("application/octet-stream;q=0.5, application/pdf", "application/pdf"),
        ("image/png, */*;q=0.1", OCTETS),
    ],
)
async def test_a_value_has_the_requested_media_type(
    document: httpx.AsyncClient, accept: str | None, content_type: str
) -> None:
    del document.headers["accept"]
    response = await document.get(f"{INSTANCE}/bulkdata/00420011", headers={} if accept is None else {"Accept": accept})
    assert (response.status_code, response.headers["content-type"]) == (200, content_type)
    assert response.content.startswith(b"%PDF-")


@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related; type="*/*"',
        'multipart/related; type="application/octet-stream"',
        "multipart/related; type=application/octet-stream; transfer-syntax=*",
        "multipart/related",
    ],
)
async def test_a_part_has_the_location_of_its_value(document: httpx.AsyncClient, accept: str) -> None:
    path = f"{INSTANCE}/bulkdata/00420011"
    response = await document.get(path, headers={"Accept": accept})
    [(content_type, body)] = parts_of(response)
    assert (content_type, len(body)) == (OCTETS, 3006)
    assert f"\r\nContent-Location: {document.base_url}{path}\r\n".encode() in response.content
    assert response.headers["content-length"] == str(len(response.content))
    assert "etag" not in response.headers


async def test_a_range_in_a_part_is_partial_content(document: httpx.AsyncClient) -> None:
    response = await document.get(f"{INSTANCE}/bulkdata/00420011", headers=PARTS | {"Range": "bytes=0-4"})
    assert response.status_code == 206
    assert parts_of(response) == [(OCTETS, b"%PDF-")]
    assert response.headers["content-range"] == "bytes 0-4/3006"
    assert response.headers["content-length"] == str(len(response.content))


@pytest.mark.parametrize("accept", ["text/html", "image/png", f"application/octet-stream; transfer-syntax={MPEG4}"])
async def test_other_media_types_of_a_value_are_406(document: httpx.AsyncClient, accept: str) -> None:
    response = await document.get(f"{INSTANCE}/bulkdata/00420011", headers={"Accept": accept})
    assert response.status_code == 406


def locations(response: httpx.Response) -> list[str]:
    lines = response.content.split(b"\r\n")
    return [line.partition(b": ")[2].decode() for line in lines if line.startswith(b"Content-Location: ")]


@pytest_asyncio.fixture(loop_scope="module")
async def series(web: httpx.AsyncClient) -> httpx.AsyncClient:
    item = Dataset()
    item.ICCProfile = bytes(2000)
    await stored(
        web,
        part10(SOPInstanceUID="1.2.3", frames=[b"frame1", b"frame2"], OpticalPathSequence=[item]),
        part10(SOPInstanceUID="1.2.4", transfer_syntax=JPEG_BASELINE, fragments=[[b"\xff\xd8jp", b"eg"]]),
    )
    return web


@pytest.mark.parametrize("accept", [None, "*/*", *PARTS.values(), 'multipart/related; type="*/*"; transfer-syntax=*'])
async def test_all_values_are_parts_with_the_uris_of_the_metadata(
    series: httpx.AsyncClient, accept: str | None
) -> None:
    del series.headers["accept"]
    sent = {} if accept is None else {"Accept": accept}
    for path in (STUDY, SERIES):
        found = await series.get(f"{path}/bulkdata", headers=sent)
        assert [body for _, body in parts_of(found)] == [bytes(2000), b"frame1", b"frame2", b"\xff\xd8jpeg"]
        uris = []
        for data_set in (await series.get(f"{path}/metadata", headers=JSON)).json():
            if "00480105" in data_set:
                uris.append(data_set["00480105"]["Value"][0]["00282000"]["BulkDataURI"])
            uris += [data_set["7FE00010"]["BulkDataURI"]] * data_set.get("00280008", {"Value": [1]})["Value"][0]
        assert locations(found) == uris
    one = await series.get(f"{INSTANCE}/bulkdata", headers=sent)
    assert [body for _, body in parts_of(one)] == [bytes(2000), b"frame1", b"frame2"]


async def test_pixel_data_is_a_part_for_each_frame(series: httpx.AsyncClient) -> None:
    response = await series.get(f"{SERIES}/pixeldata", headers={"Accept": 'multipart/related; type="*/*"'})
    assert [body for _, body in parts_of(response)] == [b"frame1", b"frame2", b"\xff\xd8jpeg"]
    assert [content_type.rpartition("=")[2] for content_type, _ in parts_of(response)] == [
        EXPLICIT_LITTLE,
        EXPLICIT_LITTLE,
        JPEG_BASELINE,
    ]
    base = f"{series.base_url}{SERIES}/instances"
    assert locations(response) == [f"{base}/1.2.3/frames/1", f"{base}/1.2.3/frames/2", f"{base}/1.2.4/frames/1"]
    for url, (_, frame) in zip(locations(response), parts_of(response), strict=True):
        alone = await series.get(url, headers={"Accept": "application/octet-stream; transfer-syntax=*"})
        assert alone.content == frame


async def test_pixel_data_unavailable_in_the_requested_form_is_omitted(series: httpx.AsyncClient) -> None:
    accept = f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG_BASELINE}'
    path = f"{SERIES}/instances/1.2.4/pixeldata"
    [(content_type, body)] = parts_of(await series.get(path, headers={"Accept": accept}))
    assert (content_type, body) == (f"image/jpeg; transfer-syntax={JPEG_BASELINE}", b"\xff\xd8jpeg")


@pytest.mark.parametrize("accept", ["application/octet-stream", "image/png", "application/dicom+json"])
async def test_several_values_need_multipart(series: httpx.AsyncClient, accept: str) -> None:
    for path in (f"{STUDY}/bulkdata", f"{SERIES}/pixeldata"):
        assert (await series.get(path, headers={"Accept": accept})).status_code == 406


async def test_a_resource_without_bulk_data_is_not_found(web: httpx.AsyncClient) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3"))
    for path in (STUDY, SERIES, INSTANCE):
        for kind in ("bulkdata", "pixeldata"):
            assert (await web.get(f"{path}/{kind}")).status_code == 404
    assert (await web.get("/v2/studies/1.9/bulkdata")).status_code == 404
    assert (await web.get(f"{INSTANCE}/pixeldata?accept=video/mp4")).status_code == 404


async def test_the_python_client_retrieves_values_and_ranges(document: httpx.AsyncClient) -> None:
    client = DICOMwebClient(f"{document.base_url}/v2")
    url = f"{document.base_url}{INSTANCE}/bulkdata/00420011"
    whole = await asyncio.to_thread(client.retrieve_bulkdata, url)
    assert [(len(value), value[:5]) for value in whole] == [(3006, b"%PDF-")]
    typed = await asyncio.to_thread(client.retrieve_bulkdata, url, ("application/octet-stream",))
    assert typed == whole
    assert await asyncio.to_thread(client.retrieve_bulkdata, url, None, (1, 3)) == [whole[0][1:4]]


@pytest.mark.parametrize(
    ("headers", "root"),
    [
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "pacs.example"}, "https://pacs.example"),
        ({"X-Forwarded-Host": "pacs.example:8443", "X-Forwarded-Proto": "https"}, "https://pacs.example:8443"),
        (
            {"X-Forwarded-Host": "pacs.example", "X-Forwarded-Port": "8443", "X-Forwarded-Proto": "https"},
            "https://pacs.example:8443",
        ),
        (
            {"X-Forwarded-Host": "pacs.example", "X-Forwarded-Port": "443", "X-Forwarded-Proto": "https"},
            "https://pacs.example",
        ),
        (
            {"X-Forwarded-Host": "pacs.example", "X-Forwarded-Prefix": "/a/dicom-web"},
            "http://pacs.example/a/dicom-web",
        ),
        ({"Forwarded": 'for=10.0.0.1;host="pacs.example:444";proto=https'}, "https://pacs.example:444"),
        (
            {"Forwarded": "host=outer.example;proto=https, host=inner", "X-Forwarded-Host": "x.example"},
            "https://outer.example",
        ),
    ],
)
async def test_every_uri_has_the_host_seen_by_the_client(
    series: httpx.AsyncClient, headers: dict[str, str], root: str
) -> None:
    for path in (STUDY, SERIES, INSTANCE):
        (data_set, *_) = (await series.get(f"{path}/metadata", headers=JSON | headers)).json()
        assert data_set["7FE00010"]["BulkDataURI"] == f"{root}{INSTANCE}/bulkdata/7FE00010"
        icc = data_set["00480105"]["Value"][0]["00282000"]["BulkDataURI"]
        assert icc == f"{root}{INSTANCE}/bulkdata/00480105/1/00282000"
        found = await series.get(f"{path}/bulkdata", headers=headers)
        assert locations(found)[:2] == [icc, data_set["7FE00010"]["BulkDataURI"]]
    part = await series.get(f"{INSTANCE}/bulkdata/7FE00010", headers=PARTS | headers)
    assert locations(part) == [f"{root}{INSTANCE}/bulkdata/7FE00010"]
