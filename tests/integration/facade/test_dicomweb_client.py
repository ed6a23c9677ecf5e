"""The Python DICOMweb client against facade and core, as 3D Slicer, wsidicom and others use it."""

import asyncio
from collections.abc import Callable
from io import BytesIO
from typing import Any

import httpx
import pydicom
from dicomweb_client.api import DICOMwebClient

from tests.data import JPEG_BASELINE, part10

STUDY = "1.2.826.0.1.3680043.10.1.1"
SERIES = f"{STUDY}.1"


async def call(method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return await asyncio.to_thread(method, *arguments, **options)


def read(file: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(file))


async def test_an_archive_from_storing_to_deleting(web: httpx.AsyncClient) -> None:
    client = DICOMwebClient(f"{web.base_url}/v2".replace("//v2", "/v2"))
    frames = [bytes([number]) * 2048 for number in range(3)]
    native = part10(SOPInstanceUID="1.2.3", frames=frames, Rows=32, Columns=64)
    jpeg = part10(SOPInstanceUID="1.2.4", transfer_syntax=JPEG_BASELINE, fragments=[[b"\xff\xd8\xff\xd9"]])

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
        assert compressed == [b"\xff\xd8\xff\xd9"]

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
