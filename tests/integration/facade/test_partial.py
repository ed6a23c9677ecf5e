"""Partial responses: reported by status and Warning if known, never silent (PS3.18 section 10.4.3)."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pydicom
import pytest

from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import EXPLICIT_LITTLE, RLE_LOSSLESS, part10
from tests.integration.facade.serving import parts_of, serving, stored

STUDY, SERIES = "1.2.826.0.1.3680043.10.1.1", "1.2.826.0.1.3680043.10.1.1.1"
MPEG2 = "1.2.840.10008.1.2.4.100"
DICOM_PARTS = 'multipart/related; type="application/dicom"'
NAMED = {"Accept": f"{DICOM_PARTS}; transfer-syntax={EXPLICIT_LITTLE}"}
BROKEN = b"\x02\0\0\0" + b"\xff" * 70


def rle(value: int) -> bytes:
    """Return a frame of eight pixels of one value, compressed."""
    return struct.pack("<16I", 1, 64, *[0] * 14) + bytes([7]) + bytes([value]) * 8 + b"\0"


def image(number: int, *frames: bytes) -> bytes:
    """Return an image of eight pixels; a frame that is `BROKEN` cannot be decoded."""
    return part10(
        transfer_syntax=RLE_LOSSLESS,
        fragments=[[frame] for frame in frames],
        SOPInstanceUID=f"1.2.{number}",
        Rows=1,
        Columns=8,
        NumberOfFrames=len(frames),
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
    )


def video(number: int) -> bytes:
    return part10(transfer_syntax=MPEG2, fragments=[[b"video!"]], SOPInstanceUID=f"1.2.{number}")


def said(response: httpx.Response) -> tuple[int, str, str | None]:
    """Return status, how many are left out by the Warning, and Cache-Control; none of them may have an entity tag."""
    assert "ETag" not in response.headers
    warning = response.headers.get("Warning", "")
    count = warning.partition('"')[2].partition(" ")[0]
    return response.status_code, count, response.headers.get("Cache-Control")


WHOLE = (200, "", "private, no-cache")


def left_out(count: int) -> tuple[int, str, str]:
    return 206, str(count), "no-store"


async def broken_off(web: httpx.AsyncClient, path: str, headers: dict[str, str]) -> bool:
    """Return whether the connection ends before the response does."""
    try:
        await web.get(path, headers=headers)
    except httpx.RemoteProtocolError:
        return True
    return False


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_without_a_transfer_syntax_untranscodable_instances_are_sent_as_stored(
    web: httpx.AsyncClient, version: str
) -> None:
    """PS3.18 section 8.7.3.3."""
    files = [image(1, rle(1)), image(2, BROKEN), video(3), image(4, rle(4))]
    await stored(web, *files)
    for path in (f"/{version}/studies/{STUDY}", f"/{version}/studies/{STUDY}/series/{SERIES}"):
        response = await web.get(path, headers={"Accept": DICOM_PARTS})
        assert said(response) == WHOLE
        syntaxes = [label.partition("transfer-syntax=")[2] for label, _ in parts_of(response)]
        assert syntaxes == [EXPLICIT_LITTLE, RLE_LOSSLESS, MPEG2, EXPLICIT_LITTLE]
        assert [body for _, body in parts_of(response)][1:3] == files[1:3]


async def test_an_instance_with_a_later_damaged_frame_is_sent_as_stored(
    web: httpx.AsyncClient,
) -> None:
    damaged = image(2, rle(1), BROKEN)
    await stored(web, image(1, rle(1)), damaged, image(3, rle(3)))
    study = f"/v2/studies/{STUDY}"
    instance = f"{study}/series/{SERIES}/instances/1.2.2"
    alone = await web.get(instance, headers={"Accept": "application/dicom"})
    assert (alone.status_code, alone.content) == (200, damaged)
    response = await web.get(study, headers={"Accept": DICOM_PARTS})

    assert said(response) == WHOLE
    assert parts_of(response)[1] == (f"application/dicom; transfer-syntax={RLE_LOSSLESS}", damaged)


@pytest.mark.parametrize("accept", ["header", "list", "query"])
async def test_an_instance_that_is_not_available_in_the_named_transfer_syntax_is_counted(
    web: httpx.AsyncClient, accept: str
) -> None:
    await stored(web, video(1), image(2, rle(2)), video(3))
    named = NAMED["Accept"]
    path, headers = (
        f"/v2/studies/{STUDY}",
        {
            "header": {"Accept": named},
            "list": {"Accept": f"{named}, {DICOM_PARTS}; transfer-syntax=1.2.840.10008.1.2; q=0.5"},
            "query": {"Accept": "text/html"},
        }[accept],
    )
    path += f"?accept={quote(named)}" if accept == "query" else ""
    response = await web.get(path, headers=headers)

    assert said(response) == left_out(2)
    assert "NOT_ACCEPTABLE_TRANSFER_SYNTAX" in response.headers["Warning"]
    [(_, body)] = parts_of(response)
    assert pydicom.dcmread(io.BytesIO(body)).PixelData == bytes([2]) * 8
    assert said(await web.head(path, headers=headers)) == left_out(2)


async def test_a_response_without_any_instance_is_406(web: httpx.AsyncClient) -> None:
    await stored(web, video(1), image(2, BROKEN))
    for _ in range(2):
        assert (await web.get(f"/v2/studies/{STUDY}", headers=NAMED)).status_code == 406


async def test_damage_that_is_known_before_the_first_byte_is_counted_at_once(web: httpx.AsyncClient) -> None:
    await stored(web, image(1, BROKEN), image(2, rle(2)), image(3, BROKEN))
    assert said(await web.get(f"/v2/studies/{STUDY}", headers=NAMED)) == left_out(2)


async def test_damage_found_midway_closes_the_connection_and_is_counted_next_time(tmp_path: Path) -> None:
    """Also after a restart of the core, because it is recorded in the index."""
    large: dict[str, Any] = {"Rows": 1200, "Columns": 1000}
    frames = [part10(frames=[bytes(1_200_000)], SOPInstanceUID=f"1.2.{n}", **large) for n in (1, 2)]
    path = f"/v2/studies/{STUDY}"
    async with running(settings_for(tmp_path)) as core, serving(core.address) as web:
        await stored(web, *frames, image(3, BROKEN), image(4, rle(4)))
        assert await broken_off(web, path, NAMED)
        assert said(await web.get(path, headers=NAMED)) == left_out(1)
    async with running(settings_for(tmp_path)) as core, serving(core.address) as web:
        response = await web.get(path, headers=NAMED)
        assert said(response) == left_out(1)
        assert len(parts_of(response)) == 3


async def test_a_zip_archive_lists_omitted_instances(web: httpx.AsyncClient) -> None:
    await stored(web, image(1, rle(1)), video(2))
    named = {"Accept": f"application/zip; transfer-syntax={EXPLICIT_LITTLE}"}
    response = await web.get(f"/v2/studies/{STUDY}", headers=named)

    assert said(response) == left_out(1)
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert archive.namelist() == [f"{STUDY}/{SERIES}/1.2.1.dcm", "errors.txt"]
    assert archive.read("errors.txt") == b"1.2.2 NOT_ACCEPTABLE_TRANSFER_SYNTAX\r\n"
    whole = await web.get(f"/v2/studies/{STUDY}", headers={"Accept": "application/zip"})
    assert said(whole) == WHOLE
    assert len(zipfile.ZipFile(io.BytesIO(whole.content)).namelist()) == 2


async def test_lost_bytes_are_counted_until_they_are_restored(tmp_path: Path) -> None:
    large: dict[str, Any] = {"Rows": 1200, "Columns": 1000}
    files = [part10(frames=[bytes(1_200_000)], SOPInstanceUID=f"1.2.{n}", **large) for n in (1, 2, 3)]
    as_stored = {"Accept": f"{DICOM_PARTS}; transfer-syntax=*"}
    path = f"/v2/studies/{STUDY}"
    async with running(settings_for(tmp_path)) as core, serving(core.address) as web:
        await stored(web, *files)
        [blob] = [found for found in (tmp_path / "blobs").glob("*/*") if files[1] in found.read_bytes()]
        away = blob.rename(tmp_path / "away")
        assert await broken_off(web, path, as_stored)
        response = await web.get(path, headers=as_stored)
        assert said(response) == left_out(1)
        assert [body for _, body in parts_of(response)] == [files[0], files[2]]
        lost = await web.get(f"{path}/series/{SERIES}/instances/1.2.2", headers={"Accept": "application/dicom"})
        assert lost.status_code == 500
        away.rename(blob)
        assert said(await web.get(path, headers=as_stored)) == WHOLE


async def test_changed_bytes_are_counted(tmp_path: Path) -> None:
    large: dict[str, Any] = {"Rows": 1200, "Columns": 1000}
    files = [part10(frames=[bytes(1_200_000)], SOPInstanceUID=f"1.2.{n}", **large) for n in (1, 2)]
    path, as_stored = f"/v2/studies/{STUDY}", {"Accept": f"{DICOM_PARTS}; transfer-syntax=*"}
    async with running(settings_for(tmp_path)) as core, serving(core.address) as web:
        await stored(web, *files)
        [blob] = [found for found in (tmp_path / "blobs").glob("*/*") if files[1] in found.read_bytes()]
        blob.chmod(0o644)
        blob.write_bytes(blob.read_bytes().replace(files[1], files[1][:-1] + b"\1"))
        assert await broken_off(web, path, as_stored)
        response = await web.get(path, headers=as_stored)
        assert said(response) == left_out(1)
        assert "BLOB_DAMAGED" in response.headers["Warning"]


# Frames and pixel data


async def test_a_damaged_frame_is_sent_as_stored_unless_a_transfer_syntax_is_named(web: httpx.AsyncClient) -> None:
    await stored(web, image(1, rle(1), BROKEN, rle(3)))
    frames = f"/v2/studies/{STUDY}/series/{SERIES}/instances/1.2.1/frames"
    octets = "application/octet-stream"
    one = await web.get(f"{frames}/2", headers={"Accept": octets})
    assert (one.status_code, one.headers["Content-Type"]) == (200, f"{octets}; transfer-syntax={RLE_LOSSLESS}")
    assert one.content == BROKEN
    listed = await web.get(f"{frames}/1,2,3", headers={"Accept": f'multipart/related; type="{octets}"'})
    assert [label.partition("transfer-syntax=")[2] for label, _ in parts_of(listed)] == [
        EXPLICIT_LITTLE,
        RLE_LOSSLESS,
        EXPLICIT_LITTLE,
    ]
    named = {"Accept": f'multipart/related; type="{octets}"; transfer-syntax={EXPLICIT_LITTLE}'}
    response = await web.get(f"{frames}/1,2,3", headers=named)
    assert said(response) == left_out(1)
    assert [body for _, body in parts_of(response)] == [bytes([1]) * 8, bytes([3]) * 8]
    assert (await web.get(f"{frames}/2", headers=named)).status_code == 406


async def test_pixel_data_of_a_study_follows_the_same_rules(web: httpx.AsyncClient) -> None:
    await stored(web, image(1, rle(1), BROKEN), image(2, rle(2)), video(3))
    octets = 'multipart/related; type="application/octet-stream"'
    for level in (f"/v2/studies/{STUDY}", f"/v2/studies/{STUDY}/series/{SERIES}"):
        everything = await web.get(f"{level}/pixeldata", headers={"Accept": octets})
        assert said(everything) == WHOLE
        assert len(parts_of(everything)) == 4
        named = await web.get(f"{level}/pixeldata", headers={"Accept": f"{octets}; transfer-syntax={EXPLICIT_LITTLE}"})
        assert said(named) == left_out(2)
        assert [body for _, body in parts_of(named)] == [bytes([2]) * 8]


# Rendered


async def test_unrenderable_instances_are_counted(web: httpx.AsyncClient) -> None:
    plan = part10(SOPInstanceUID="1.2.9", SOPClassUID="1.2.840.10008.5.1.4.1.1.481.5")
    await stored(web, image(1, rle(1)), image(2, BROKEN), plan, image(3, rle(3), BROKEN))
    path = f"/v2/studies/{STUDY}/rendered"
    await broken_off(web, path, {"Accept": "image/*"})
    response = await web.get(path, headers={"Accept": "image/*"})
    assert said(response) == left_out(2)
    assert len(parts_of(response)) == 2
    frames = f"/v2/studies/{STUDY}/series/{SERIES}/instances/1.2.3/frames/1,2/rendered"
    await broken_off(web, frames, {"Accept": "image/png"})
    response = await web.get(frames, headers={"Accept": "image/png"})
    assert said(response) == left_out(1)
    assert response.headers["Warning"].startswith('299 dicomstore "1 frame is missing or incomplete: ')


async def test_a_single_image_of_a_study_is_the_body_if_the_client_names_its_type(web: httpx.AsyncClient) -> None:
    await stored(web, image(1, rle(1)))
    for level in (f"/v2/studies/{STUDY}", f"/v2/studies/{STUDY}/series/{SERIES}"):
        for accept in ("image/png", "image/jpeg"):
            alone = await web.get(f"{level}/rendered", headers={"Accept": accept})
            assert (alone.status_code, alone.headers["Content-Type"]) == (200, accept)
            assert alone.content[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")
        for accept in ("*/*", 'multipart/related; type="image/png"'):
            assert len(parts_of(await web.get(f"{level}/rendered", headers={"Accept": accept}))) == 1
    await stored(web, image(2, rle(2)), image(3, rle(3)))
    several = await web.get(f"/v2/studies/{STUDY}/rendered", headers={"Accept": "image/png"})
    assert [label for label, _ in parts_of(several)] == ["image/png"] * 3
