"""Malformed data sets over HTTP, in both versions: JSON, XML and bulk data of stored instances."""

import json
import struct
from xml.etree import ElementTree

import httpx
import pytest

from tests import data
from tests.data import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, element, part10, part10_of, sequence
from tests.integration.facade.serving import stored, stow

INSTANCE = f"/studies/{data.UID_ROOT}.1/series/{data.UID_ROOT}.1.1/instances/{data.UID_ROOT}.1.1.1"
JSON = {"Accept": "application/dicom+json"}
XML = {"Accept": "application/dicom+xml"}


async def _metadata(web: httpx.AsyncClient, base: str) -> dict[str, dict[str, object]]:
    response = await web.get(f"{base}{INSTANCE}/metadata", headers=JSON)
    assert response.status_code == 200
    [found] = json.loads(response.content, parse_constant=pytest.fail)
    return dict(found)


@pytest.mark.parametrize("base", ["/v1", "/v2"])
@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, EXPLICIT_BIG])
async def test_floats_that_are_not_finite_are_retrieved_as_bulk_data(
    web: httpx.AsyncClient, base: str, syntax: str
) -> None:
    values = (1.5, float("nan"), float("-inf"))
    raw = struct.pack(">3d" if syntax == EXPLICIT_BIG else "<3d", *values)
    item = sequence(0x00189117, [element(0x00189220, "FD", raw, syntax)], syntax)
    await stored(web, part10_of([*data.required_elements(syntax), item], syntax), base=base)
    [inner] = (await _metadata(web, base))["00189117"]["Value"]  # type: ignore[misc]
    assert inner["00189220"]["vr"] == "FD"  # type: ignore[index]
    response = await web.get(inner["00189220"]["BulkDataURI"])  # type: ignore[index]
    assert response.content == struct.pack("<3d", *values)
    document = ElementTree.fromstring((await web.get(f"{base}{INSTANCE}/metadata", headers=XML)).content)
    assert [bulk.attrib["uri"] for bulk in document.iter() if bulk.tag.endswith("BulkData")] == [str(response.url)]


@pytest.mark.parametrize("base", ["/v1", "/v2"])
async def test_group_lengths_and_empty_sequences_are_in_no_response(web: httpx.AsyncClient, base: str) -> None:
    length, code = element(0x00080000, "UL", b"\1\0\0\0"), element(0x00080100, "SH", b"A1")
    first = [length, *data.required_elements(), element(0x00081110, "SQ", b"")]
    nested = sequence(0x00081032, [length + code + element(0x00080110, "SQ", b""), b""])
    await stored(web, part10_of([*first, nested]), base=base)
    found = await _metadata(web, base)
    assert found["00081110"] == {"vr": "SQ"}
    code_item = {"00080100": {"vr": "SH", "Value": ["A1"]}, "00080110": {"vr": "SQ"}}
    assert found["00081032"] == {"vr": "SQ", "Value": [code_item, {}]}
    searched = await web.get(f"{base}/instances", params={"includefield": "all"}, headers=JSON)
    assert not [tag for tag in (*found, *searched.json()[0]) if tag.endswith("0000")]
    document = (await web.get(f"{base}{INSTANCE}/metadata", headers=XML)).text
    assert '0000"' not in document
    assert document.count("<Item ") == 2


@pytest.mark.parametrize("base", ["/v1", "/v2"])
@pytest.mark.parametrize(("filler", "status"), [(b"\0", 200), (b"\xff", 202), (b" ", 202)])
async def test_trailing_bytes_are_stored_and_returned(
    web: httpx.AsyncClient, base: str, filler: bytes, status: int
) -> None:
    file = part10(SOPInstanceUID="1.2.3", frames=[b"abcdefgh"]) + filler * 3_000_000
    response = await stow(web, file, path=f"{base}/studies")
    assert response.status_code == (status if base == "/v2" else 200), response.text
    instance = f"{base}/studies/{data.UID_ROOT}.1/series/{data.UID_ROOT}.1.1/instances/1.2.3"
    as_stored = await web.get(instance, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert as_stored.content == file
    implicit = f"application/dicom; transfer-syntax={IMPLICIT_LITTLE}"
    reencoded = await web.get(instance, headers={"Accept": implicit})
    assert (reencoded.status_code, reencoded.content[-8:]) == (200, b"abcdefgh")
