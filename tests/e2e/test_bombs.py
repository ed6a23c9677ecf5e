"""Small requests that would become large: deflated data sets, and images that claim huge sizes."""

import asyncio
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.data import (
    DEFLATED,
    JPEG_BASELINE,
    RLE_LOSSLESS,
    file_head,
    new_uid,
    part10,
    required_elements,
)
from tests.e2e.archive import Archive, running_archive
from tests.e2e.test_slow_clients import memory

pytestmark = pytest.mark.timeout(180)

INFLATED_BYTES = 256 << 20
LIMIT_BYTES = 200 << 20
HEADERS = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}


@pytest.fixture(scope="module")
def archive(module_path: Path) -> Iterator[Archive]:
    with running_archive(module_path / "data") as archive:
        yield archive


def deflated_bomb(tag: int, vr: bytes) -> bytes:
    """Return a deflated data set of a quarter of a megabyte with an element of `INFLATED_BYTES` zeros."""
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    head = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, INFLATED_BYTES)
    parts = [stream.compress(b"".join(required_elements()) + head)]
    parts += [stream.compress(bytes(1 << 20)) for _ in range(INFLATED_BYTES >> 20)]
    return file_head(DEFLATED) + b"".join(parts) + stream.flush()


def assert_little_memory(archive: Archive) -> None:
    assert memory(archive.core, "VmHWM") < LIMIT_BYTES
    assert memory(archive.facade, "VmHWM") < LIMIT_BYTES


async def test_a_deflated_bomb_needs_little_memory_and_does_not_hold_up_others(archive: Archive) -> None:
    async with httpx.AsyncClient(base_url=archive.http, timeout=120, trust_env=False) as client:
        upload = asyncio.create_task(
            client.post("/v2/studies", content=deflated_bomb(0x7FE00010, b"OW"), headers=HEADERS)
        )
        answered = 0
        while not upload.done():
            assert (await client.get("/v2/studies?limit=1", headers=HEADERS)).status_code in (200, 204)
            answered += 1
        assert upload.result().status_code == 200
        assert answered > 10  # otherwise the upload would have blocked the core
        [item] = upload.result().json()["00081199"]["Value"]
        path = item["00081190"]["Value"][0].removeprefix(archive.http)
        size = 0
        accept = {"Accept": "application/octet-stream"}
        async with client.stream("GET", f"{path}/bulkdata/7FE00010", headers=accept) as response:
            async for chunk in response.aiter_raw():
                size += len(chunk)
        assert size == INFLATED_BYTES
        assert (await client.get(f"{path}/rendered")).status_code == 406
    assert_little_memory(archive)


def test_a_deflated_header_ends_at_its_limit(archive: Archive) -> None:
    file = deflated_bomb(0x0040A160, b"UT")
    response = httpx.post(f"{archive.http}/v2/studies", content=file, headers=HEADERS, trust_env=False)
    assert response.status_code == 413
    assert_little_memory(archive)


def jpeg(rows: int, columns: int) -> bytes:
    """Return the head of a baseline JPEG that claims a size."""
    tables = b"\xff\xdb\x00\x43\x00" + bytes([1] * 64)
    frame = b"\xff\xc0\x00\x0b\x08" + struct.pack(">HH", rows, columns) + b"\x01\x01\x11\x00"
    huffman = b"\xff\xc4\x00\x14\x00\x01" + bytes(15) + b"\x00" + b"\xff\xc4\x00\x14\x10\x01" + bytes(15) + b"\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + b"\x00" * 64
    return b"\xff\xd8" + tables + frame + huffman + scan + b"\xff\xd9"


def rle(expansions: int) -> bytes:
    """Return an RLE frame with one segment, in which every two bytes become 128."""
    return struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * expansions


CLAIMS = {
    "JPEG larger than its attributes": (JPEG_BASELINE, jpeg(65_500, 65_500), 64, 64, 1),
    "JPEG and attributes": (JPEG_BASELINE, jpeg(65_500, 65_500), 65_500, 65_500, 1),
    "attributes only": (JPEG_BASELINE, jpeg(8, 8), 65_535, 65_535, 1),
    "RLE": (RLE_LOSSLESS, rle(1 << 20), 16, 16, 1),
    "RLE and attributes": (RLE_LOSSLESS, rle(1 << 20), 65_535, 65_535, 1),
    "frames": (RLE_LOSSLESS, rle(2), 16, 16, 2_000_000_000),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_an_image_that_claims_a_huge_size_is_refused_with_little_memory(archive: Archive, name: str) -> None:
    syntax, frame, rows, columns, count = CLAIMS[name]
    study = new_uid()
    file = part10(
        fragments=[[frame + bytes(len(frame) % 2)]], transfer_syntax=syntax, Rows=rows, Columns=columns,
        NumberOfFrames=count, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", SOPInstanceUID=f"{study}.2",
    )  # fmt: skip
    with httpx.Client(base_url=archive.http, timeout=60, trust_env=False) as client:
        assert client.post("/v2/studies", content=file, headers=HEADERS).status_code in (200, 202)
        path = f"/v2/studies/{study}/series/{study}.1/instances/{study}.2"
        for resource, accept in (
            ("/rendered", "image/jpeg"),
            ("/frames/1", 'application/octet-stream; transfer-syntax="1.2.840.10008.1.2.1"'),
            ("", 'application/dicom; transfer-syntax="1.2.840.10008.1.2.1"'),
            ("/rendered?viewport=32767,32767", "image/png"),
            ("/thumbnail", "image/png"),
        ):
            response = client.get(path + resource, headers={"Accept": accept})
            assert response.status_code in (200, 404, 406), (resource, response.text)
            assert len(response.content) < 64 << 20
        assert client.get("/health/check").json()["overallStatus"] == "Healthy"
    assert_little_memory(archive)
