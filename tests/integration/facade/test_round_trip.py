"""Metadata and bulk data together rebuild the stored data set: every file of the corpus, over HTTP.

What is compared with is what pydicom reads from the file. The only exceptions are attributes that the store reported
as invalid, which metadata leaves out, and what pydicom itself can't say.
"""

import base64
import re
import warnings
from io import BytesIO
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments

from tests.corpus import corpus
from tests.integration.facade.serving import JSON, parts_of, stow
from tests.unit.server.dicom.reading import differences, pydicom_json

pytestmark = pytest.mark.asyncio(loop_scope="module")

_UID = re.compile(r"[0-9.]{1,64}")
_REPORTED = re.compile(r"\(([0-9a-f]{4}),([0-9a-f]{4})\)")

# pydicom refuses to read a value, or reads a file only up to where it is damaged.
_CUT_OFF = {"rtplan_truncated.dcm"}
_NOT_READ = {
    "emri_small_jpeg_2k_lossless_too_short.dcm",  # its end is missing: pydicom keeps nothing of it
    "badVR.dcm",  # an IS that is no number
}


FILES = [(path.name, path.read_bytes()) for path in corpus()]


def is_whole(name: str, data: bytes) -> bool:
    """Return whether pydicom reads the file as DICOM and it has the required UIDs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read = pydicom.dcmread(BytesIO(data))
        except Exception:  # noqa: BLE001 - pydicom raises many types
            return False
        uids = [str(read.get(f"{level}InstanceUID", "")) for level in ("Study", "Series", "SOP")]
    return name not in _CUT_OFF and all(_UID.fullmatch(uid) for uid in uids) and "PatientID" in read


@pytest.mark.parametrize(("name", "data"), FILES, ids=[name for name, _ in FILES])
async def test_metadata_and_bulk_data_rebuild_the_data_set(
    shared_web: httpx.AsyncClient, name: str, data: bytes
) -> None:
    response = await stow(shared_web, data)
    if response.status_code not in (200, 202):
        assert not is_whole(name, data), response.text
        return
    [item] = response.json()["00081199"]["Value"]
    url = item["00081190"]["Value"][0]
    try:
        [found] = (await shared_web.get(f"{url}/metadata", headers=JSON)).json()
        await check_frames(shared_web, url, found)
        rebuilt = await with_values(shared_web, found)
    finally:
        await shared_web.delete(url)
    if name in _NOT_READ:
        return
    reported = {"".join(tag).upper() for tag in _REPORTED.findall(str(item.get("00741048", {}).get("Value", [])))}
    expected = pydicom_json(data)
    assert expected is not None
    join_fragments(data, expected)
    left_out = reported - rebuilt.keys()
    assert differences(rebuilt, {tag: value for tag, value in expected.items() if tag not in left_out}) == []


async def with_values(web: httpx.AsyncClient, data_set: dict[str, Any]) -> dict[str, Any]:
    """Return a data set with its BulkDataURIs replaced by the retrieved values."""
    made = {}
    for tag, element in data_set.items():
        if "BulkDataURI" in element:
            response = await web.get(element["BulkDataURI"], headers={"Accept": "application/octet-stream"})
            assert response.status_code == 200
            made[tag] = {"vr": element["vr"], "InlineBinary": base64.b64encode(response.content).decode()}
        elif element["vr"] == "SQ":
            made[tag] = element | {"Value": [await with_values(web, item) for item in element.get("Value", [])]}
        else:
            made[tag] = element
    return made


def join_fragments(data: bytes, expected: dict[str, Any]) -> None:
    """Join fragments, and convert pixels of more than 16 bits to the byte order of JSON."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = pydicom.dcmread(BytesIO(data))
    _join(whole, expected)
    bits = int(whole.get("BitsAllocated") or 0)
    if not whole.original_encoding[1] and bits > 16 and "7FE00010" in expected:
        value, unit = whole["PixelData"].value, bits // 8
        swapped = b"".join(value[at : at + unit][::-1] for at in range(0, len(value), unit))
        expected["7FE00010"]["InlineBinary"] = base64.b64encode(swapped).decode()


def _join(data_set: Dataset, expected: dict[str, Any]) -> None:
    for tag, element in expected.items():
        if element["vr"] == "SQ":
            for item, its_expected in zip(data_set[int(tag, 16)].value, element.get("Value", []), strict=True):
                _join(item, its_expected)
        elif "InlineBinary" in element and data_set[int(tag, 16)].is_undefined_length:
            value = data_set[int(tag, 16)].value
            pieces = list(generate_fragments(value, endianness="<"))
            element["InlineBinary"] = base64.b64encode(b"".join(pieces[1:])).decode()


async def check_frames(web: httpx.AsyncClient, url: str, found: dict[str, Any]) -> None:
    """Prove that the frames as stored, one after the other, are the pixel data; padding may follow."""
    uri = found.get("7FE00010", {}).get("BulkDataURI")
    if uri is None:
        return
    whole = (await web.get(uri)).content
    response = await web.get(f"{url}/pixeldata", headers={"Accept": 'multipart/related; type="*/*"; transfer-syntax=*'})
    assert response.status_code == 200
    if found.get("00280100", {}).get("Value") != [1]:  # frames of single bits begin within bytes
        joined = b"".join(body for _, body in parts_of(response))
        assert whole.startswith(joined)
        assert joined


async def test_nearly_all_of_the_corpus_is_rebuilt() -> None:
    assert sum(is_whole(name, data) for name, data in FILES) > 200
