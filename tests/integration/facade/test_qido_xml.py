"""Search responses in the Native DICOM Model (PS3.18 section 8.7.3.2, PS3.19 section A.1)."""

import re
import xml.etree.ElementTree as ElementTree

import httpx
import pytest

from tests.data import part10
from tests.integration.facade.serving import JSON, next_of, parts_of, stored, stow

XML = {"Accept": 'multipart/related; type="application/dicom+xml"'}
NAMESPACE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


def texts(document: bytes, keyword: str) -> list[str]:
    """Return the values of an attribute of one match."""
    root = ElementTree.fromstring(document)
    return [value.text or "" for value in root.iterfind(f"{NAMESPACE}DicomAttribute[@keyword='{keyword}']/*")]


@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related; type="application/dicom+xml"',
        "multipart/related;type=application/dicom+xml",
        "application/dicom+xml",
        "multipart/related",
        'multipart/related; type="application/dicom+xml", application/dicom+json',
        'application/dicom+json;q=0.5, multipart/related; type="application/dicom+xml"',
    ],
)
async def test_each_match_is_a_part_if_the_client_prefers_xml(web: httpx.AsyncClient, accept: str) -> None:
    await stored(web, part10(StudyInstanceUID="1.9", PatientID="A&B"), part10(StudyInstanceUID="1.8"))

    answer = await web.get("/v2/studies", headers={"Accept": accept})

    assert re.fullmatch(
        'multipart/related; type="application/dicom\\+xml"; boundary=[0-9a-f]+', answer.headers["content-type"]
    )
    assert answer.headers["vary"] == "Accept, Accept-Encoding, Origin"
    parts = parts_of(answer)
    assert [content_type for content_type, _ in parts] == ["application/dicom+xml"] * 2
    assert [texts(part, "StudyInstanceUID") for _, part in parts] == [["1.8"], ["1.9"]]
    assert texts(parts[1][1], "PatientID") == ["A&B"]
    assert texts(parts[1][1], "RetrieveURL") == [f"{web.base_url}/v2/studies/1.9"]


@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom+json",
        "application/dicom+json, application/dicom+xml",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
        "multipart/related; type=application/octet-stream; transfer-syntax=*, application/dicom+json",
        "multipart/related, application/dicom+json",
        "*/*",
    ],
)
async def test_a_client_that_does_not_prefer_xml_gets_json(web: httpx.AsyncClient, accept: str) -> None:
    await stored(web, part10(StudyInstanceUID="1.9"))

    answer = await web.get("/v2/studies", headers={"Accept": accept})

    assert answer.headers["content-type"] == "application/dicom+json"


async def test_a_client_that_accepts_neither_gets_406_with_the_possible_types(web: httpx.AsyncClient) -> None:
    for accept in ("nonsense", "text/html", 'multipart/related; type="application/dicom"'):
        answer = await web.get("/v2/studies", headers={"Accept": accept})
        assert answer.status_code == 406
        assert "application/dicom+json" in answer.text
        assert "application/dicom+xml" in answer.text


async def test_xml_has_pages_and_empty_responses_like_json(web: httpx.AsyncClient) -> None:
    await stored(web, *(part10(StudyInstanceUID=f"1.9.{number}") for number in range(3)))

    first = await web.get("/v2/studies?limit=2&totalcount=true", headers=XML)
    rest = await web.get(next_of(first) or "", headers=XML)

    assert first.headers["x-total-count"] == "3"
    assert [texts(part, "StudyInstanceUID") for _, part in (*parts_of(first), *parts_of(rest))] == [
        ["1.9.2"],
        ["1.9.1"],
        ["1.9.0"],
    ]
    assert (await web.get("/v2/studies?PatientID=nobody", headers=XML)).status_code == 204


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_a_long_xml_response_is_streamed_completely(web: httpx.AsyncClient, coding: str) -> None:
    await stow(web, *(part10(StudyInstanceUID="1.9") for _ in range(450)))
    everything = (await web.get("/v2/instances?limit=1000", headers=JSON)).json()

    answer = await web.get("/v2/instances?limit=1000", headers=XML | {"Accept-Encoding": coding or "identity"})

    assert "content-length" not in answer.headers
    assert answer.headers.get("content-encoding", "") == coding
    found = [texts(part, "SOPInstanceUID") for _, part in parts_of(answer)]
    assert found == [match["00080018"]["Value"] for match in everything]
