"""Rendered resources and thumbnails over HTTP (PS3.18 section 8.3.5; docs/api.md, Rendered resources)."""

import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy
import pytest
import pytest_asyncio
from PIL import Image

from tests.data import EXPLICIT_BIG, dataset, file_of, part10
from tests.integration.facade.serving import parts_of, stored

STUDY = "1.2.826.0.1.3680043.10.1.1"
SERIES = f"/v2/studies/{STUDY}/series/{STUDY}.1"
INSTANCE = f"{SERIES}/instances/1.2.3"
STORAGE = "1.2.840.10008.5.1.4.1.1"
NOTHING = {"Accept": ""}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def web(shared_web: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """A facade without instances. All tests share it and its pixel workers."""
    yield shared_web
    await shared_web.delete(f"/v2/studies/{STUDY}")


def image(*, frames: int = 1, uid: str = "1.2.3", **attributes: Any) -> bytes:
    """Return an image of 20 by 30 in which each frame is brighter than the last."""
    pixels = [bytes([20 * number] * 300 + [255] * 300) for number in range(frames)]
    window = {"WindowCenter": 128, "WindowWidth": 256}
    return part10(frames=pixels, Rows=20, Columns=30, SOPInstanceUID=uid, **(window | attributes))


def opened(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(io.BytesIO(response.content))


def document(body: bytes, media_type: str = "application/pdf", sop_class: str = ".104.1") -> bytes:
    return file_of(
        dataset(
            SOPClassUID=STORAGE + sop_class,
            SOPInstanceUID="1.2.3",
            MIMETypeOfEncapsulatedDocument=media_type,
            EncapsulatedDocument=body + bytes(len(body) % 2),
            EncapsulatedDocumentLength=len(body),
        )
    )


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "image/jpeg"),
        ("*/*", "image/jpeg"),
        ("image/*", "image/jpeg"),
        ("image/", "image/jpeg"),
        ("image/jpeg", "image/jpeg"),
        ("image/png", "image/png"),
        ("IMAGE/PNG; q=1.0", "image/png"),
        ("image/jpeg;q=0.5, image/png", "image/png"),
        ("application/jpeg, image/png", "image/png"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "image/jpeg"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "image/jpeg"),
        ("image/gif", "image/gif"),
        ("image/apng", "image/apng"),
    ],
)
async def test_the_accept_header_selects_the_media_type(web: httpx.AsyncClient, accept: str, media_type: str) -> None:
    await stored(web, image(frames=3))
    response = await web.get(f"{INSTANCE}/rendered", headers={"Accept": accept})

    assert response.headers["content-type"] == media_type
    assert getattr(opened(response), "n_frames", 1) == (3 if media_type in ("image/gif", "image/apng") else 1)
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("accept", ["application/jpeg", "image/tiff", "text/html", "application/dicom", "nonsense"])
async def test_an_unavailable_media_type_is_406_with_the_available_ones(web: httpx.AsyncClient, accept: str) -> None:
    await stored(web, image())
    response = await web.get(f"{INSTANCE}/rendered", headers={"Accept": accept})

    assert response.status_code == 406
    assert "image/jpeg, image/png" in response.text


async def test_the_accept_parameter_overrides_the_accept_header(web: httpx.AsyncClient) -> None:
    await stored(web, image())
    header = {"Accept": 'multipart/related; type="application/octet-stream"'}  # as OHIF sends it
    for path in ("rendered", "thumbnail", "frames/1/rendered"):
        response = await web.get(f"{INSTANCE}/{path}?accept=image%2Fjpeg", headers=header)
        assert response.headers["content-type"] == "image/jpeg"
        assert opened(response).format == "JPEG"


@pytest.mark.parametrize(
    "path",
    [
        *("rendered", "frames/1/rendered", "rendered/1", "thumbnail", "frames/1/thumbnail", "thumbnail/1"),
        *("rendered/", "thumbnail/", "frames/1,1/thumbnail"),
    ],
)
async def test_a_single_rendering_is_the_body(web: httpx.AsyncClient, path: str) -> None:
    await stored(web, image())
    response = await web.get(f"{INSTANCE}/{path}", headers=NOTHING)
    head = await web.head(f"{INSTANCE}/{path}", headers=NOTHING)

    assert opened(response).size == (30, 20)
    assert response.headers["content-length"] == str(len(response.content))
    assert (head.status_code, head.content) == (200, b"")
    assert {name: head.headers[name] for name in ("etag", "content-type", "content-length")} == {
        name: response.headers[name] for name in ("etag", "content-type", "content-length")
    }


async def test_several_frames_are_parts_in_the_requested_order(web: httpx.AsyncClient) -> None:
    await stored(web, image(frames=5))
    for path in ("frames/4,2,4/rendered", "rendered/4,2,4"):
        response = await web.get(f"{INSTANCE}/{path}", headers={"Accept": "image/png"})
        parts = parts_of(response)
        assert [label for label, _ in parts] == ["image/png"] * 3
        values = [int(numpy.asarray(Image.open(io.BytesIO(body)))[0, 0]) for _, body in parts]
        assert values[0] == values[2] > values[1]
        assert f"{INSTANCE}/frames/2/rendered".encode() in response.content
        assert "etag" not in response.headers


async def test_a_study_and_a_series_are_parts_without_unrenderable_instances(web: httpx.AsyncClient) -> None:
    await stored(web, image(uid="1.2.1"), part10(SOPInstanceUID="1.2.2"), document(b"%PDF"))
    for path in (SERIES, f"/v2/studies/{STUDY}"):
        response = await web.get(f"{path}/rendered", headers=NOTHING)
        assert [label for label, _ in parts_of(response)] == ["image/jpeg", "application/pdf"]
        assert opened(await web.get(f"{path}/thumbnail", headers=NOTHING)).size == (30, 20)


async def test_multipart_is_used_if_the_client_requests_it(web: httpx.AsyncClient) -> None:
    await stored(web, image())
    response = await web.get(f"{INSTANCE}/rendered", headers={"Accept": 'multipart/related; type="image/png"'})

    ((label, body),) = parts_of(response)
    assert label == "image/png"
    assert Image.open(io.BytesIO(body)).size == (30, 20)
    assert response.headers["content-length"] == str(len(response.content))


async def test_window_viewport_and_quality_change_the_image(web: httpx.AsyncClient) -> None:
    await stored(web, image(frames=2))
    plain = await web.get(f"{INSTANCE}/frames/2/rendered?accept=image/png")
    bright = await web.get(f"{INSTANCE}/frames/2/rendered?accept=image/png&window=10,5,linear")
    small = await web.get(f"{INSTANCE}/rendered?viewport=15,100")
    part = await web.get(f"{INSTANCE}/rendered?accept=image/png&viewport=10,10,0,0,5,5")
    coarse = await web.get(f"{INSTANCE}/rendered?quality=1")

    assert numpy.asarray(opened(plain))[0, 0] == 20
    assert numpy.asarray(opened(bright))[0, 0] == 255
    assert opened(small).size == (15, 10)
    assert opened(part).size == (10, 10)
    assert len(coarse.content) < len((await web.get(f"{INSTANCE}/rendered")).content)


async def test_a_thumbnail_fits_into_256_pixels_or_the_viewport(web: httpx.AsyncClient) -> None:
    await stored(web, part10(frames=[bytes(400 * 600)], Rows=400, Columns=600, SOPInstanceUID="1.2.3"))
    assert opened(await web.get(f"{INSTANCE}/thumbnail")).size == (256, 171)
    assert opened(await web.get(f"{INSTANCE}/thumbnail?viewport=64%2C64", headers={"Accept": "image/png"})).size == (
        64,
        43,
    )


def jpeg(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (16, 16), value).save(out, "JPEG")
    return out.getvalue()


async def test_an_undecodable_frame_is_detected_before_the_first_byte(web: httpx.AsyncClient) -> None:
    fragments = [[jpeg(0)], [jpeg(9)], [jpeg(9)], [jpeg(9)], [b"\xff\xd8\xff broken"], [jpeg(9)]]
    described = {"Rows": 16, "Columns": 16, "SOPInstanceUID": "1.2.3"}
    await stored(web, part10(transfer_syntax="1.2.840.10008.1.2.4.50", fragments=fragments, **described))

    octets = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'}
    for path, headers in (("frames/4,5,6/rendered", {}), ("frames/4,5,6", octets)):
        response = await web.get(f"{INSTANCE}/{path}", headers=headers)
        assert response.status_code == 206
        assert len(parts_of(response)) == 2
    for media_type in ("image/gif", "image/apng"):
        assert (await web.get(f"{INSTANCE}/rendered?accept={media_type}")).status_code == 406
    assert (await web.get(f"{INSTANCE}/frames/5/rendered")).status_code == 406
    assert opened(await web.get(f"{INSTANCE}/frames/5/thumbnail")).size == (256, 256)  # an icon
    assert opened(await web.get(f"{INSTANCE}/thumbnail")).size == (16, 16)


async def test_a_large_animation_that_fails_midway_closes_the_connection(web: httpx.AsyncClient) -> None:
    noise = numpy.random.default_rng(1).integers(0, 256, (900, 900), dtype=numpy.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "JPEG")
    fragments = [[out.getvalue()]] * 8 + [[b"\xff\xd8\xff broken"]]
    described = {"Rows": 900, "Columns": 900, "SOPInstanceUID": "1.2.3"}
    await stored(web, part10(transfer_syntax="1.2.840.10008.1.2.4.50", fragments=fragments, **described))

    with pytest.raises(httpx.RemoteProtocolError):
        await web.get(f"{INSTANCE}/rendered?accept=image/gif")


# ---------------------------------------------------------------------------------------------------------------------
# Order of checks


@pytest.mark.parametrize(
    "path", ["frames/0/rendered", "frames/x/rendered", "rendered/0", "thumbnail/0", "frames//rendered"]
)
async def test_an_invalid_frame_number_is_checked_first(web: httpx.AsyncClient, path: str) -> None:
    assert (await web.get(f"{INSTANCE}/{path}?quality=0", headers={"Accept": "nonsense"})).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        *("quality=0", "quality=101", "quality=high", "window=1", "window=1,0,linear", "window=1,2,cubic"),
        *("viewport=1", "viewport=-1,5", "viewport=a,b", "iccprofile=x", "annotation=x", "accept=image/png&quality=0"),
    ],
)
async def test_an_invalid_parameter_is_checked_before_accept(web: httpx.AsyncClient, query: str) -> None:
    for path in ("rendered", "thumbnail"):
        response = await web.get(f"{INSTANCE}/{path}?{query}", headers={"Accept": "nonsense"})
        assert response.status_code == 400, path


async def test_accept_is_checked_before_the_resource(web: httpx.AsyncClient) -> None:
    for path in ("rendered", "thumbnail", "frames/1/rendered"):
        assert (await web.get(f"{INSTANCE}/{path}", headers={"Accept": "application/jpeg"})).status_code == 406
        assert (await web.get(f"{INSTANCE}/{path}", headers={"Accept": "image/png"})).status_code == 404


@pytest.mark.parametrize("frames", ["4", "1,4", "99999999999"])
async def test_a_frame_beyond_the_last_is_not_found(web: httpx.AsyncClient, frames: str) -> None:
    await stored(web, image(frames=3))
    assert (await web.get(f"{INSTANCE}/frames/{frames}/rendered")).status_code == 404
    assert (await web.get(f"{INSTANCE}/frames/3/rendered")).status_code == 200


async def test_an_object_without_pixels_has_no_frames_but_a_thumbnail(web: httpx.AsyncClient) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3"))
    assert (await web.get(f"{INSTANCE}/frames/1/rendered")).status_code == 404
    assert (await web.get(f"{INSTANCE}/rendered")).status_code == 404
    assert opened(await web.get(f"{INSTANCE}/thumbnail")).size == (256, 256)


async def test_an_invalid_uid_is_refused(web: httpx.AsyncClient) -> None:
    for path in ("/v2/studies/x/rendered", "/v2/studies/x/thumbnail", f"{SERIES}/instances/x/rendered"):
        assert (await web.get(path, headers={"Accept": "nonsense"})).status_code == 400


# ---------------------------------------------------------------------------------------------------------------------
# Conditions


@pytest.mark.parametrize("path", ["rendered", "thumbnail", "frames/1/rendered"])
async def test_a_client_with_a_rendering_gets_304(web: httpx.AsyncClient, path: str) -> None:
    await stored(web, image())
    url = f"{INSTANCE}/{path}"
    tag = (await web.get(url)).headers["etag"]

    assert tag.startswith('"')
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*", tag.strip('"')):
        again = await web.get(url, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert "private" in again.headers["cache-control"]
    assert (await web.get(url, headers={"If-None-Match": '"other"'})).status_code == 200
    assert (await web.get(f"{url}?quality=7", headers={"If-None-Match": tag})).status_code == 200
    assert (await web.get(url, headers={"If-None-Match": tag, "Accept": "image/png"})).status_code == 200


async def test_a_new_version_has_a_new_tag(web: httpx.AsyncClient) -> None:
    await stored(web, image())
    tags = [(await web.get(f"{INSTANCE}/{path}")).headers["etag"] for path in ("rendered", "thumbnail")]
    assert (await web.delete(INSTANCE)).status_code == 204
    for tag in tags:
        assert (await web.get(f"{INSTANCE}/rendered", headers={"If-None-Match": tag})).status_code == 404
    await stored(web, image(PatientID="P2"))
    for path, tag in zip(("rendered", "thumbnail"), tags, strict=True):
        assert (await web.get(f"{INSTANCE}/{path}", headers={"If-None-Match": tag})).status_code == 200


async def test_the_thumbnail_of_a_series_has_the_tag_of_the_shown_instance(web: httpx.AsyncClient) -> None:
    await stored(web, image())
    tag = (await web.get(f"{SERIES}/thumbnail")).headers["etag"]
    assert (await web.get(f"{SERIES}/thumbnail", headers={"If-None-Match": tag})).status_code == 304
    await stored(web, image(uid="1.2.4"))
    assert (await web.get(f"{SERIES}/thumbnail", headers={"If-None-Match": tag})).status_code == 200


# ---------------------------------------------------------------------------------------------------------------------
# Documents, videos and reports

PDF = b"%PDF-1.4\n" + bytes(number % 251 for number in range(70_000)) + b"\n%%EO"
VIDEO = [bytes([number]) * 40_000 for number in range(1, 6)]


async def test_a_document_is_returned_as_stored(web: httpx.AsyncClient) -> None:
    await stored(web, document(PDF))
    for accept in ("", "*/*", "application/pdf", "text/html,application/xhtml+xml,*/*;q=0.8"):
        response = await web.get(f"{INSTANCE}/rendered", headers={"Accept": accept})
        assert response.content == PDF
        assert response.headers["content-type"] == "application/pdf"
        assert response.headers["content-length"] == str(len(PDF))
        assert response.headers["content-disposition"] == 'inline; filename="1.2.3.pdf"'
        assert response.headers["accept-ranges"] == "bytes"
        assert "sandbox" not in response.headers["content-security-policy"]  # browsers would not show it
    assert (await web.get(f"{INSTANCE}/rendered", headers={"Accept": "image/jpeg"})).status_code == 406


@pytest.mark.parametrize(
    ("media_type", "sop_class", "shown"),
    [("text/XML", ".104.2", "text/xml"), ("text/html", ".104.2", "text/html"), ("model/stl", ".104.3", "model/stl"),
     ("image/svg+xml", ".104.1", "image/svg+xml"), ("", ".104.4", "model/obj")],
)  # fmt: skip
async def test_active_content_has_a_sandbox_policy(
    web: httpx.AsyncClient, media_type: str, sop_class: str, shown: str
) -> None:
    await stored(web, document(b"<x/>", media_type, sop_class))
    response = await web.get(f"{INSTANCE}/rendered")

    assert response.content == b"<x/>"
    assert response.headers["content-type"].partition(";")[0] == shown
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "sandbox" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_report_is_html_with_a_sandbox_policy(web: httpx.AsyncClient) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3", SOPClassUID=f"{STORAGE}.88.11", ValueType="CONTAINER"))
    response = await web.get(f"{INSTANCE}/rendered", headers={"Accept": "text/html"})

    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "Structured Report" in response.text
    assert "script-src" not in response.headers["content-security-policy"]
    assert "sandbox" in response.headers["content-security-policy"]


async def video(web: httpx.AsyncClient) -> bytes:
    syntax = "1.2.840.10008.1.2.4.102"
    await stored(web, part10(transfer_syntax=syntax, fragments=[VIDEO], Rows=4, Columns=4, SOPInstanceUID="1.2.3"))
    return b"".join(VIDEO)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-", 0, 200_000),
        ("bytes=0-0", 0, 1),
        ("bytes=39990-80009", 39990, 80010),
        ("bytes=199999-", 199_999, 200_000),
        ("bytes=150000-999999999", 150_000, 200_000),
        ("bytes=-500", 199_500, 200_000),
        ("bytes=-999999999", 0, 200_000),
    ],
)
async def test_a_video_is_retrieved_in_ranges(web: httpx.AsyncClient, asked: str, start: int, stop: int) -> None:
    whole = await video(web)
    response = await web.get(f"{INSTANCE}/rendered", headers={"Range": asked})

    assert response.status_code == 206
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/200000"
    assert response.headers["content-length"] == str(stop - start)
    assert response.content == whole[start:stop]


async def test_a_range_beyond_the_end_is_refused_with_the_size(web: httpx.AsyncClient) -> None:
    await video(web)
    for asked in ("bytes=200000-", "bytes=-0"):
        response = await web.get(f"{INSTANCE}/rendered", headers={"Range": asked})
        assert (response.status_code, response.headers["content-range"]) == (416, "bytes */200000")


@pytest.mark.parametrize("asked", ["bytes=5-1", "bytes=0-1,5-6", "frames=1-2", "bytes=a-b"])
async def test_a_malformed_range_returns_the_whole_document(web: httpx.AsyncClient, asked: str) -> None:
    whole = await video(web)
    response = await web.get(f"{INSTANCE}/rendered", headers={"Range": asked})
    assert (response.status_code, response.content) == (200, whole)


async def test_a_range_with_another_entity_tag_returns_the_whole_document(web: httpx.AsyncClient) -> None:
    whole = await video(web)
    tag = (await web.head(f"{INSTANCE}/rendered")).headers["etag"]
    for condition, status in ((tag, 206), ('"other"', 200)):
        response = await web.get(f"{INSTANCE}/rendered", headers={"Range": "bytes=10-19", "If-Range": condition})
        assert response.status_code == status
        assert response.content == (whole[10:20] if status == 206 else whole)


async def test_images_and_reports_ignore_ranges(web: httpx.AsyncClient) -> None:
    await stored(web, image())
    whole = await web.get(f"{INSTANCE}/rendered")
    for asked in ("bytes=0-9", "bytes=-5"):
        response = await web.get(f"{INSTANCE}/rendered", headers={"Range": asked})
        assert (response.status_code, response.content) == (200, whole.content)
    assert "accept-ranges" not in whole.headers


async def test_v1_renders_as_well(web: httpx.AsyncClient) -> None:
    await stored(web, image(transfer_syntax=EXPLICIT_BIG))
    assert opened(await web.get(f"{INSTANCE}/rendered".replace("/v2/", "/v1/"))).size == (30, 20)
