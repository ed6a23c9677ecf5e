"""Bytes changed on disk are never sent by any resource; the rest of the instance still is."""

import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.bootstrap.serving import running
from tests.contract.blobs import flip_below, flipped
from tests.core import settings_for
from tests.data import EXPLICIT_LITTLE, IMPLICIT_LITTLE, part10
from tests.integration.facade.serving import parts_of, serving, stored

STUDY, SERIES = "1.2.826.0.1.3680043.10.1.1", "1.2.826.0.1.3680043.10.1.1.1"
PACKED, FILE = 4, 12
"""Numbers of frames of two instances: one lies in a segment, one in a file of its own."""

ROWS, COLUMNS = 300, 400
FRAME_BYTES = ROWS * COLUMNS
OCTETS = "application/octet-stream"
ACCEPT = {"Accept": "application/dicom; transfer-syntax=*"}


def image(frames: int) -> bytes:
    bodies = [bytes(frames + number) + bytes(range(200)) * 600 for number in range(frames)]
    return part10(
        frames=[body[:FRAME_BYTES] for body in bodies],
        SOPInstanceUID=f"1.2.{frames}",
        Rows=ROWS,
        Columns=COLUMNS,
        NumberOfFrames=frames,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
    )


FILES = {frames: image(frames) for frames in (PACKED, FILE)}


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings_for(tmp_path, frame_cache_bytes=0, thumbnail_cache_bytes=0)
    async with running(settings) as core, serving(core.address) as web:
        await stored(web, *FILES.values())
        yield web


def requests_for(frames: int) -> list[tuple[str, dict[str, str]]]:
    """Return path and header fields of a request for each kind of resource that has bytes of the instance."""
    series = f"/v2/studies/{STUDY}/series/{SERIES}"
    instance = f"{series}/instances/1.2.{frames}"
    multipart = f'multipart/related; type="{OCTETS}"'
    dicom = 'multipart/related; type="application/dicom"; transfer-syntax='
    numbers = ",".join(map(str, range(1, frames + 1)))
    return [
        *((f"{instance}/frames/{number}", {"Accept": OCTETS}) for number in range(1, frames + 1)),
        (f"{instance}/frames/1", {"Accept": OCTETS, "Range": "bytes=70000-70009"}),
        (f"{instance}/frames/{numbers}", {"Accept": multipart}),
        (f"{instance}/frames/1/rendered", {"Accept": "image/jpeg"}),
        (f"{instance}/frames/{frames}/rendered", {"Accept": "image/png"}),
        (f"{instance}/rendered", {"Accept": "image/gif"}),
        (f"{instance}/thumbnail", {"Accept": "image/jpeg"}),
        (f"{instance}/bulkdata/7FE00010", {"Accept": OCTETS}),
        (f"{instance}/bulkdata/7FE00010", {"Accept": OCTETS, "Range": "bytes=100-199"}),
        (f"{instance}/bulkdata/7FE00010", {"Accept": OCTETS, "Range": "bytes=200000-299999"}),
        (f"{instance}/bulkdata", {"Accept": multipart}),
        (f"{instance}/pixeldata", {"Accept": multipart}),
        (f"{series}/pixeldata", {"Accept": multipart}),
        (instance, {"Accept": "application/dicom; transfer-syntax=*"}),
        (instance, {"Accept": "application/dicom; transfer-syntax=*", "Range": "bytes=131072-131080"}),
        (instance, {"Accept": f"application/dicom; transfer-syntax={IMPLICIT_LITTLE}"}),
        (f"/v2/studies/{STUDY}", {"Accept": f"{dicom}*"}),
        (f"/v2/studies/{STUDY}", {"Accept": f"{dicom}{IMPLICIT_LITTLE}"}),
        (f"/v2/studies/{STUDY}", {"Accept": "application/zip"}),
        (
            f"/v2/wado?requestType=WADO&studyUID={STUDY}&seriesUID={SERIES}&objectUID=1.2.{frames}"
            f"&contentType=application/dicom&transferSyntax={EXPLICIT_LITTLE}",
            {},
        ),
    ]


async def answer(web: httpx.AsyncClient, path: str, headers: dict[str, str]) -> httpx.Response | None:
    """Return a response; None if the connection ends before the response does."""
    try:
        return await web.get(path, headers=headers)
    except httpx.RemoteProtocolError:
        return None


def bodies(response: httpx.Response) -> list[bytes]:
    kind = response.headers["Content-Type"]
    if kind.startswith("multipart/related"):
        return [body for _, body in parts_of(response)]
    if kind == "application/zip":
        archive = zipfile.ZipFile(io.BytesIO(response.content))
        return [archive.read(name) for name in archive.namelist() if name != "errors.txt"]
    return [response.content]


def is_whole(response: httpx.Response | None) -> bool:
    return response is not None and response.status_code in (200, 206) and "Warning" not in response.headers


@pytest.mark.parametrize("frames", [PACKED, FILE])
async def test_changed_bytes_are_never_sent_and_known_damage_is_announced(
    web: httpx.AsyncClient, tmp_path: Path, frames: int
) -> None:
    body = FILES[frames]
    wishes = requests_for(frames)
    healthy = {}
    for number, (path, headers) in enumerate(wishes):
        response = await answer(web, path, headers)
        assert response is not None, path
        assert is_whole(response), (path, response.text)
        healthy[number] = bodies(response)
    for changed in (0, 150_000, len(body) - 10):
        flip_below(tmp_path, body, changed)
        for attempt in range(2):
            for number, (path, headers) in enumerate(wishes):
                response = await answer(web, path, headers)
                if response is None:
                    assert attempt == 0, path
                elif response.status_code in (200, 206):
                    found = bodies(response)
                    if path.endswith("/thumbnail"):  # an icon, or another frame
                        continue
                    assert all(one in healthy[number] for one in found), (path, headers, changed)
                    assert len(found) == len(healthy[number]) or "Warning" in response.headers, path
                else:
                    assert response.status_code == 500, (path, response.text)
        flip_below(tmp_path, flipped(body, changed), changed)
        again = await answer(web, f"/v2/studies/{STUDY}/series/{SERIES}/instances/1.2.{frames}", ACCEPT)
        assert again is not None
        assert again.content == body
        for number, (path, headers) in enumerate(wishes):
            response = await answer(web, path, headers)
            assert response is not None
            assert is_whole(response)
            assert bodies(response) == healthy[number]


@pytest.mark.parametrize("frames", [PACKED, FILE])
async def test_a_damaged_frame_is_an_error_and_its_neighbours_are_sent(
    web: httpx.AsyncClient, tmp_path: Path, frames: int
) -> None:
    flip_below(tmp_path, FILES[frames], len(FILES[frames]) - 10)
    instance = f"/v2/studies/{STUDY}/series/{SERIES}/instances/1.2.{frames}"
    one: dict[str, Any] = {"headers": {"Accept": OCTETS}}
    assert (await web.get(f"{instance}/frames/{frames}", **one)).status_code == 500
    assert (await web.get(f"{instance}/frames/1", **one)).status_code == 200
    listed = await web.get(f"{instance}/frames/1,{frames},2", headers={"Accept": f'multipart/related; type="{OCTETS}"'})
    assert listed.status_code == 206
    assert "BLOB_DAMAGED" in listed.headers["Warning"]
    assert len(parts_of(listed)) == 2
    study = await web.get(
        f"/v2/studies/{STUDY}", headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    )
    assert study.status_code == 206
    assert [body for _, body in parts_of(study)] == [body for number, body in FILES.items() if number != frames]
    assert (await web.get(instance, headers=ACCEPT)).status_code == 500
