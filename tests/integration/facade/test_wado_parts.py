"""Byte ranges, entity tags and HEAD for instances and frames (RFC 9110 sections 8.8, 13 and 14)."""

import httpx
import pytest
import pytest_asyncio

from tests.data import EXPLICIT_LITTLE, IMPLICIT_LITTLE, JPEG_BASELINE, part10
from tests.integration.facade.serving import parts_of, stored

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def web(emptied_web: httpx.AsyncClient) -> httpx.AsyncClient:
    return emptied_web


STUDY = "1.2.826.0.1.3680043.10.1.1"
INSTANCE = f"/v2/studies/{STUDY}/series/{STUDY}.1/instances/1.2.3"
FRAME = f"{INSTANCE}/frames/2"
ALONE = {"Accept": "application/dicom; transfer-syntax=*"}
OCTETS = {"Accept": "application/octet-stream; transfer-syntax=*"}
FILE = part10(
    SOPInstanceUID="1.2.3", frames=[bytes(range(256)) * 4, bytes(range(255, -1, -1)) * 4], Rows=32, Columns=32
)
SECOND = bytes(range(255, -1, -1)) * 4


@pytest_asyncio.fixture(loop_scope="module")
async def archive(web: httpx.AsyncClient) -> httpx.AsyncClient:
    await stored(web, FILE)
    return web


@pytest.mark.parametrize(("path", "accept", "whole"), [(INSTANCE, ALONE, FILE), (FRAME, OCTETS, SECOND)])
@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("0-0", 0, 1), ("0-99", 0, 100), ("100-", 100, None), ("-10", -10, None), ("500-99999", 500, None)],
)
async def test_a_byte_range_of_a_body_is_returned(
    archive: httpx.AsyncClient,
    path: str,
    accept: dict[str, str],
    whole: bytes,
    asked: str,
    start: int,
    stop: int | None,
) -> None:
    response = await archive.get(path, headers=accept | {"Range": f"bytes={asked}"})
    first = range(len(whole))[start]
    part = whole[start:stop]

    assert response.status_code == 206
    assert response.content == part
    assert response.headers["content-range"] == f"bytes {first}-{first + len(part) - 1}/{len(whole)}"
    assert response.headers["content-length"] == str(len(part))
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["etag"] == (await archive.head(path, headers=accept)).headers["etag"]


@pytest.mark.parametrize(("path", "accept", "size"), [(INSTANCE, ALONE, len(FILE)), (FRAME, OCTETS, 1024)])
@pytest.mark.parametrize("asked", ["99999-", "99999-100000", "-0"])
async def test_an_unsatisfiable_range_is_refused_with_the_size(
    archive: httpx.AsyncClient, path: str, accept: dict[str, str], size: int, asked: str
) -> None:
    response = await archive.get(path, headers=accept | {"Range": f"bytes={asked}"})

    assert response.status_code == 416
    assert response.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize("asked", ["bytes=5-1", "bytes=0-1,5-6", "lines=1-2", "bytes=x"])
async def test_a_malformed_range_is_ignored(archive: httpx.AsyncClient, asked: str) -> None:
    response = await archive.get(FRAME, headers=OCTETS | {"Range": asked})

    assert (response.status_code, response.content) == (200, SECOND)


async def test_multipart_has_no_ranges_and_no_tag(archive: httpx.AsyncClient) -> None:
    response = await archive.get(INSTANCE, headers={"Accept": "*/*", "Range": "bytes=0-9", "If-None-Match": "*"})

    assert response.status_code == 200
    assert [body for _, body in parts_of(response)] == [FILE]
    assert "etag" not in response.headers
    assert response.headers["vary"] == "Accept, Origin"
    assert response.headers["cache-control"] == "private, no-cache"


async def test_ranges_apply_to_the_selected_form(archive: httpx.AsyncClient) -> None:
    accept = {"Accept": 'application/dicom; transfer-syntax=*, multipart/related; type="application/dicom";q=0.1'}
    response = await archive.get(INSTANCE, headers=accept | {"Range": "bytes=0-9"})

    assert (response.status_code, response.content) == (206, FILE[:10])


async def test_a_fragmented_frame_supports_any_range(web: httpx.AsyncClient) -> None:
    fragments = [[b"\xff\xd8aaaa", b"bbbbbb", b"cccc\xff\xd9"]]
    await stored(web, part10(SOPInstanceUID="1.2.3", transfer_syntax=JPEG_BASELINE, fragments=fragments))
    response = await web.get(f"{INSTANCE}/frames/1", headers=OCTETS | {"Range": "bytes=4-11"})

    assert response.status_code == 206
    assert response.content == b"aabbbbbb"
    assert response.headers["content-range"] == "bytes 4-11/18"


async def test_a_transcoded_instance_is_sent_as_a_whole(web: httpx.AsyncClient) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3", transfer_syntax=IMPLICIT_LITTLE))
    accept = {"Accept": f"application/dicom; transfer-syntax={EXPLICIT_LITTLE}"}
    whole = await web.get(INSTANCE, headers=accept)
    response = await web.get(INSTANCE, headers=accept | {"Range": "bytes=0-9"})

    assert (response.status_code, response.content) == (200, whole.content)
    assert response.headers["etag"] == whole.headers["etag"]
    assert "content-range" not in response.headers


@pytest.mark.parametrize(("path", "accept"), [(INSTANCE, ALONE), (FRAME, OCTETS)])
async def test_a_client_with_the_current_bytes_gets_304(
    archive: httpx.AsyncClient, path: str, accept: dict[str, str]
) -> None:
    first = await archive.get(path, headers=accept)
    tag = first.headers["etag"]

    assert tag.startswith('"')
    assert tag.endswith(f'-{EXPLICIT_LITTLE}"')
    for known in (tag, tag.strip('"'), f"W/{tag}", f'"1-x", {tag}', "*"):
        for method in ("GET", "HEAD"):
            again = await archive.request(method, path, headers=accept | {"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
            assert again.headers["cache-control"] == "private, no-cache"
            assert again.headers["vary"] == "Accept, Origin"
    other = await archive.get(path, headers=accept | {"If-None-Match": '"1-x", "2-y"'})
    assert (other.status_code, other.content) == (200, first.content)


async def test_each_form_and_each_version_has_its_own_tag(archive: httpx.AsyncClient) -> None:
    explicit = await archive.head(INSTANCE, headers=ALONE)
    implicit = await archive.head(INSTANCE, headers={"Accept": "application/dicom; transfer-syntax=1.2.840.10008.1.2"})
    assert (await archive.delete(INSTANCE)).status_code == 204
    await stored(archive, FILE)
    again = await archive.head(INSTANCE, headers=ALONE)

    assert len({response.headers["etag"] for response in (explicit, implicit, again)}) == 3


async def test_if_range_gives_a_range_or_the_whole_of_changed_bytes(
    archive: httpx.AsyncClient,
) -> None:
    tag = (await archive.head(FRAME, headers=OCTETS)).headers["etag"]
    part = OCTETS | {"Range": "bytes=4-7"}

    same = await archive.get(FRAME, headers=part | {"If-Range": tag})
    other = await archive.get(FRAME, headers=part | {"If-Range": '"1-x"'})
    last = await archive.get(FRAME, headers=OCTETS | {"Range": "bytes=-4", "If-Range": '"1-x"'})

    assert (same.status_code, same.content) == (206, SECOND[4:8])
    assert (other.status_code, other.content) == (200, SECOND)
    assert (last.status_code, last.content) == (200, SECOND)


async def test_a_condition_is_evaluated_before_a_range(archive: httpx.AsyncClient) -> None:
    tag = (await archive.head(FRAME, headers=OCTETS)).headers["etag"]
    part = OCTETS | {"Range": "bytes=4-7"}

    assert (await archive.get(FRAME, headers=part | {"If-None-Match": tag})).status_code == 304
    other = await archive.get(FRAME, headers=part | {"If-None-Match": '"1-x"'})
    assert (other.status_code, other.content) == (206, SECOND[4:8])


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (INSTANCE, ALONE["Accept"]),
        (INSTANCE, "*/*"),
        (FRAME, OCTETS["Accept"]),
        (FRAME, "*/*"),
        (f"{INSTANCE}/frames/1,2", "*/*"),
        (f"/v2/studies/{STUDY}", "*/*"),
        (f"/v2/studies/{STUDY}", "application/zip"),
    ],
)
async def test_head_has_the_headers_of_get(archive: httpx.AsyncClient, path: str, accept: str) -> None:
    head = await archive.head(path, headers={"Accept": accept})
    get = await archive.get(path, headers={"Accept": accept})
    own = {"date", "x-request-id", "content-type", "content-length", "transfer-encoding"}

    assert (head.status_code, head.content) == (200, b"")
    assert {name: value for name, value in head.headers.items() if name not in own} == {
        name: value for name, value in get.headers.items() if name not in own
    }
    assert head.headers["content-type"].split("; boundary")[0] == get.headers["content-type"].split("; boundary")[0]
    assert head.headers.get("content-length", get.headers.get("content-length")) == get.headers.get("content-length")


async def test_head_of_an_unknown_resource_is_404(archive: httpx.AsyncClient) -> None:
    assert (await archive.head(f"{INSTANCE}9", headers=ALONE)).status_code == 404
    assert (await archive.head(f"{INSTANCE}/frames/3", headers=OCTETS)).status_code == 404


@pytest.mark.parametrize(
    ("path", "location"),
    [
        (INSTANCE, INSTANCE),
        (f"/v2/studies/{STUDY}", INSTANCE),
        (FRAME, FRAME),
        (f"{INSTANCE}/frames/2,2", FRAME),
    ],
)
async def test_each_part_has_its_own_location(archive: httpx.AsyncClient, path: str, location: str) -> None:
    response = await archive.get(path, headers={"Accept": "*/*"})
    locations = [line[18:] for line in response.content.split(b"\r\n") if line.startswith(b"Content-Location: ")]

    assert set(locations) == {f"{archive.base_url}".rstrip("/").encode() + location.encode()}
    assert len(locations) == len(parts_of(response))
    alone = await archive.get(locations[0].decode(), headers={"Accept": "*/*"})
    assert parts_of(alone)[0] == parts_of(response)[0]
