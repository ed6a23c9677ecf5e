"""WADO-RS over a real core (PS3.18 section 10.4)."""

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
SERIES = f"/v2/studies/{STUDY}/series/{STUDY}.1"
AS_STORED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
MPEG2 = "1.2.840.10008.1.2.4.100"
FRAMES = {"Accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"}


def instance(uid: str) -> str:
    return f"{SERIES}/instances/{uid}"


@pytest.mark.parametrize("path", [f"/v2/studies/{STUDY}", SERIES, f"{SERIES}/", SERIES.replace("v2", "v1")])
async def test_instances_are_returned_byte_by_byte(web: httpx.AsyncClient, path: str) -> None:
    files = [
        part10(),
        part10(frames=[bytes(range(256)) * 8000], Rows=2000, Columns=1024),
        part10(transfer_syntax=IMPLICIT_LITTLE),
    ]
    await stored(web, *files)
    response = await web.get(path, headers=AS_STORED)

    assert response.status_code == 200
    assert 'type="application/dicom"' in response.headers["content-type"]
    label = "application/dicom; transfer-syntax="
    assert parts_of(response) == [
        (label + EXPLICIT_LITTLE, files[0]),
        (label + EXPLICIT_LITTLE, files[1]),
        (label + IMPLICIT_LITTLE, files[2]),
    ]


async def test_the_wildcard_means_multipart_as_stored(web: httpx.AsyncClient) -> None:
    file = part10(SOPInstanceUID="1.2.3", transfer_syntax=IMPLICIT_LITTLE)
    await stored(web, file)
    response = await web.get(instance("1.2.3"), headers={"Accept": "*/*"})

    assert parts_of(response) == [(f"application/dicom; transfer-syntax={IMPLICIT_LITTLE}", file)]
    assert response.headers["content-length"] == str(len(response.content))


async def test_one_instance_can_be_the_body(web: httpx.AsyncClient) -> None:
    file = part10(SOPInstanceUID="1.2.3", frames=[bytes(3 << 20)], Rows=1536, Columns=2048)
    await stored(web, file)
    response = await web.get(instance("1.2.3"), headers={"Accept": "application/dicom; transfer-syntax=*"})

    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT_LITTLE}"
    assert response.headers["content-length"] == str(len(file))
    assert response.content == file


async def test_without_a_transfer_syntax_native_instances_become_explicit(web: httpx.AsyncClient) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3", transfer_syntax=IMPLICIT_LITTLE))
    response = await web.get(instance("1.2.3"), headers={"Accept": 'multipart/related; type="application/dicom"'})

    ((label, _),) = parts_of(response)
    assert label == f"application/dicom; transfer-syntax={EXPLICIT_LITTLE}"


async def test_without_a_transfer_syntax_undecodable_instances_are_sent_as_stored(web: httpx.AsyncClient) -> None:
    files = [part10(), part10(transfer_syntax=MPEG2, fragments=[[b"\x00\x00\x01\xb3"]])]
    await stored(web, *files)
    response = await web.get(SERIES, headers={"Accept": 'multipart/related; type="application/dicom"'})

    assert [body for _, body in parts_of(response)] == files
    assert parts_of(response)[1][0] == f"application/dicom; transfer-syntax={MPEG2}"


async def test_an_unavailable_transfer_syntax_is_406(web: httpx.AsyncClient) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3", transfer_syntax=JPEG_BASELINE, fragments=[[b"\xff\xd8\xff\xd9"]]))
    explicit = {"Accept": f"application/dicom; transfer-syntax={EXPLICIT_LITTLE}"}

    assert (await web.get(instance("1.2.3"), headers=explicit)).status_code == 406
    probe = {"Accept": 'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.90'}
    assert (await web.get(f"{instance('1.2.3')}/frames/1", headers=probe)).status_code == 406


async def test_rendered_frames_are_in_the_requested_order(web: httpx.AsyncClient) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3", frames=[b"AAAA", b"BBBB", b"CCCC"]))
    response = await web.get(f"{instance('1.2.3')}/frames/3,1,3", headers=FRAMES)

    label = f"application/octet-stream; transfer-syntax={EXPLICIT_LITTLE}"
    assert parts_of(response) == [(label, b"CCCC"), (label, b"AAAA"), (label, b"CCCC")]
    assert response.headers["content-type"].startswith('multipart/related; type="application/octet-stream"; boundary=')


@pytest.mark.parametrize("separator", [",", "%2C", "%2c"])
async def test_the_comma_of_a_frame_list_may_be_encoded(web: httpx.AsyncClient, separator: str) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3", frames=[b"AAAA", b"BBBB"]))
    response = await web.get(f"{instance('1.2.3')}/frames/1{separator}2", headers=FRAMES)

    assert [body for _, body in parts_of(response)] == [b"AAAA", b"BBBB"]


async def test_a_frame_list_may_be_very_long(web: httpx.AsyncClient) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3", frames=[b"AAAA", b"BBBB"]))
    response = await web.get(f"{instance('1.2.3')}/frames/{','.join(['2'.zfill(600)] * 100)}", headers=FRAMES)

    assert response.content.count(b"\r\n\r\nBBBB\r\n--") == 100


async def test_one_frame_can_be_the_body(web: httpx.AsyncClient) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3", frames=[b"AAAA", b"BBBB"]))
    accept = {"Accept": "application/octet-stream; transfer-syntax=*"}
    response = await web.get(f"{instance('1.2.3')}/frames/2", headers=accept)

    assert response.content == b"BBBB"
    assert response.headers["content-type"] == f"application/octet-stream; transfer-syntax={EXPLICIT_LITTLE}"
    assert (await web.get(f"{instance('1.2.3')}/frames/1,2", headers=accept)).status_code == 400


async def test_large_frames_are_streamed(web: httpx.AsyncClient) -> None:
    frames = [bytes([number]) * (3 << 20) for number in range(3)]
    await stored(web, part10(SOPInstanceUID="1.2.3", frames=frames, Rows=1536, Columns=2048))

    multiple = await web.get(f"{instance('1.2.3')}/frames/1,2,3", headers=FRAMES)
    alone = await web.get(f"{instance('1.2.3')}/frames/2", headers={"Accept": "application/octet-stream"})

    assert [body for _, body in parts_of(multiple)] == frames
    assert alone.content == frames[1]
    assert alone.headers["content-length"] == str(3 << 20)


async def test_a_frame_has_the_requested_image_type(web: httpx.AsyncClient) -> None:
    jpeg = b"\xff\xd8 pixels \xff\xd9"
    await stored(web, part10(SOPInstanceUID="1.2.3", transfer_syntax=JPEG_BASELINE, fragments=[[jpeg[:8], jpeg[8:]]]))
    path = f"{instance('1.2.3')}/frames/1"

    typed = await web.get(path, headers={"Accept": 'multipart/related; type="image/jpeg"'})
    any_type = await web.get(path, headers={"Accept": 'multipart/related; type="*/*"'})
    anything = await web.get(path, headers={"Accept": "*/*"})
    by_parameter = await web.get(f"{path}?accept=image/jpeg", headers={"Accept": "text/html"})

    assert parts_of(typed) == [(f"image/jpeg; transfer-syntax={JPEG_BASELINE}", jpeg)]
    assert parts_of(any_type) == [(f"image/jpeg; transfer-syntax={JPEG_BASELINE}", jpeg)]
    assert parts_of(anything) == [(f"application/octet-stream; transfer-syntax={JPEG_BASELINE}", jpeg)]
    assert by_parameter.headers["content-type"] == f"image/jpeg; transfer-syntax={JPEG_BASELINE}"
    assert by_parameter.content == jpeg


@pytest.mark.parametrize("frames", ["0", "-1", "1,0", "x", "1,,2", "1.5", "", "1,"])
async def test_a_malformed_frame_list_is_refused_whether_or_not_the_instance_exists(
    web: httpx.AsyncClient, frames: str
) -> None:
    response = await web.get(f"{instance('1.2.3')}/frames/{frames}", headers={"Accept": "nonsense"})

    assert response.status_code == 400


@pytest.mark.parametrize("frames", ["3", "1,3", "99999999999999999999", "9" * 5000])
async def test_a_frame_beyond_the_last_is_not_found(web: httpx.AsyncClient, frames: str) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3", frames=[b"AAAA", b"BBBB"]))

    assert (await web.get(f"{instance('1.2.3')}/frames/{frames}", headers=FRAMES)).status_code == 404


async def test_an_instance_without_pixels_has_no_frames(web: httpx.AsyncClient) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3"))

    assert (await web.get(f"{instance('1.2.3')}/frames/1", headers=FRAMES)).status_code == 404
    assert (await web.get(instance("1.2.3"), headers=AS_STORED)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v2/studies/1.9",
        f"/v2/studies/{STUDY}/series/1.9",
        f"{SERIES}/instances/1.9",
        f"{SERIES}/instances/1.9/frames/1",
    ],
)
async def test_rendering_an_unknown_resource_is_not_found(web: httpx.AsyncClient, path: str) -> None:
    await stored(web, part10())

    assert (await web.get(path, headers={"Accept": "*/*"})).status_code == 404


@pytest.mark.parametrize("path", ["/v2/studies/x", f"/v2/studies/{STUDY}/series/x", f"{SERIES}/instances/x/frames/1"])
async def test_an_invalid_uid_is_refused_before_anything_else(web: httpx.AsyncClient, path: str) -> None:
    response = await web.get(path, headers={"Accept": "nonsense"})

    assert response.status_code == 400
    assert "InstanceUID is not a valid UID" in response.text


async def test_accept_is_checked_before_the_core_is_called(web: httpx.AsyncClient) -> None:
    for accept in ("nonsense", "text/html", "application/dicom"):
        assert (await web.get("/v2/studies/1.9", headers={"Accept": accept})).status_code == 406
