"""The Python DICOMweb client against facade and core, as used by 3D Slicer, wsidicom and others."""

import asyncio
from collections.abc import Callable
from io import BytesIO
from typing import Any

import httpx
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from requests import HTTPError

from tests.data import JPEG_BASELINE, part10

STUDY = "1.2.826.0.1.3680043.10.1.1"
SERIES = f"{STUDY}.1"


async def call(method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return await asyncio.to_thread(method, *arguments, **options)


def read(file: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(file))


def jpeg_of(columns: int, rows: int) -> bytes:
    """Return a grey image with an even number of bytes."""
    file = BytesIO()
    Image.new("L", (columns, rows), 128).save(file, "JPEG")
    return file.getvalue() + bytes(len(file.getvalue()) % 2)


async def test_an_archive_from_storing_to_deleting(web: httpx.AsyncClient) -> None:
    client = DICOMwebClient(f"{web.base_url}/v2".replace("//v2", "/v2"))
    frames = [bytes([number]) * 2048 for number in range(3)]
    native = part10(SOPInstanceUID="1.2.3", frames=frames, Rows=32, Columns=64)
    image = jpeg_of(64, 32)
    jpeg = part10(SOPInstanceUID="1.2.4", transfer_syntax=JPEG_BASELINE, fragments=[[image]], Rows=32, Columns=64)

    answer = await call(client.store_instances, [read(native), read(jpeg)])
    assert len(answer.ReferencedSOPSequence) == 2

    (study,) = await call(client.search_for_studies, fuzzymatching=True, search_filters={"PatientName": "Test"})
    assert study["0020000D"]["Value"] == [STUDY]
    found = await call(
        client.search_for_instances, search_filters={"0020000E": SERIES}, fields=["AvailableTransferSyntaxUID"]
    )
    assert {match["00083002"]["Value"][0] for match in found} == {"1.2.840.10008.1.2.1", JPEG_BASELINE}

    assert {item.SOPInstanceUID for item in await call(client.retrieve_study, STUDY)} == {"1.2.3", "1.2.4"}
    assert len(await call(client.retrieve_series, STUDY, SERIES)) == 2
    assert await call(client.retrieve_instance, STUDY, SERIES, "1.2.3") == read(native)
    assert await call(client.retrieve_instance_frames, STUDY, SERIES, "1.2.3", [3, 1]) == [frames[2], frames[0]]
    for media_types in (("image/jpeg",), (("image/jpeg", JPEG_BASELINE),)):
        compressed = await call(client.retrieve_instance_frames, STUDY, SERIES, "1.2.4", [1], media_types=media_types)
        assert compressed == [image]

    metadata = await call(client.retrieve_instance_metadata, STUDY, SERIES, "1.2.3")
    assert await call(client.retrieve_bulkdata, metadata["7FE00010"]["BulkDataURI"]) == [b"".join(frames)]
    assert len(await call(client.retrieve_study_metadata, STUDY)) == 2

    await call(client.delete_instance, STUDY, SERIES, "1.2.3")
    await call(client.delete_study, STUDY)
    assert await call(client.search_for_studies) == []


async def test_large_stores_are_sent_in_chunks(web: httpx.AsyncClient) -> None:
    client = DICOMwebClient(f"{web.base_url}/v2".replace("//v2", "/v2"))
    client.set_chunk_size(10_000)
    files = [part10(frames=[bytes(1 << 18)], Rows=512, Columns=512) for _ in range(4)]

    answer = await call(client.store_instances, [read(file) for file in files])

    assert len(answer.ReferencedSOPSequence) == 4


async def test_instances_come_in_each_form_that_the_client_can_ask_for(web: httpx.AsyncClient) -> None:
    client = DICOMwebClient(f"{web.base_url}/v2".replace("//v2", "/v2"))
    pixels = bytes(x * 4 for x in range(64)) * 32
    native = read(part10(SOPInstanceUID="1.2.3", frames=[pixels], Rows=32, Columns=64))
    await call(client.store_instances, [native])

    for media_types in (
        None,
        ("application/dicom",),
        (("application/dicom", "*"),),
        (("application/dicom", "1.2.840.10008.1.2.1"),),
    ):
        one = await call(client.retrieve_instance, STUDY, SERIES, "1.2.3", media_types=media_types)
        (of_series,) = await call(client.retrieve_series, STUDY, SERIES, media_types=media_types)
        (of_study,) = await call(client.retrieve_study, STUDY, media_types=media_types)
        for found in (one, of_series, of_study):
            assert found.SOPInstanceUID == "1.2.3"
            assert found.PixelData == pixels
    (compressed,) = await call(
        client.retrieve_series, STUDY, SERIES, media_types=(("application/dicom", "1.2.840.10008.1.2.4.90"),)
    )
    assert compressed.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.90"
    assert compressed.pixel_array.tobytes() == pixels


async def test_frames_come_in_each_form_that_the_client_can_ask_for(web: httpx.AsyncClient) -> None:
    client = DICOMwebClient(f"{web.base_url}/v2".replace("//v2", "/v2"))
    pixels = bytes(x * 4 for x in range(64)) * 32
    await call(client.store_instances, [read(part10(SOPInstanceUID="1.2.3", frames=[pixels], Rows=32, Columns=64))])
    where = STUDY, SERIES, "1.2.3", [1]

    for media_types in (
        None,
        ("application/octet-stream",),
        (("application/octet-stream", "1.2.840.10008.1.2.1"),),
        (("application/octet-stream", "*"),),
        ("*/*",),
        ("image/jp2", "application/octet-stream"),
    ):
        assert await call(client.retrieve_instance_frames, *where, media_types=media_types) == [pixels], media_types
    for media_type, start in (
        (("image/jp2", "1.2.840.10008.1.2.4.90"), b"\xff\x4f\xff\x51"),
        (("image/jls", "1.2.840.10008.1.2.4.80"), b"\xff\xd8\xff"),
        (("image/jpeg", "1.2.840.10008.1.2.4.50"), b"\xff\xd8\xff"),
        ("image/jp2", b"\xff\x4f\xff\x51"),
    ):
        (frame,) = await call(client.retrieve_instance_frames, *where, media_types=(media_type,))
        assert frame.startswith(start), media_type
    with pytest.raises(HTTPError) as refused:
        await call(client.retrieve_instance_frames, *where, media_types=(("image/jpeg", "1.2.840.10008.1.2.4.51"),))
    assert refused.value.response.status_code == 406
