"""Metadata as XML, in pages, and without bulk data (PS3.18 section 10.4.3.3.2; docs/api.md, Metadata)."""

from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
import pytest_asyncio
from pydicom.dataset import Dataset

from server.bootstrap.serving import running
from tests.core import settings_for
from tests.data import part10
from tests.integration.facade.serving import JSON, parts_of, serving, stored, stored_together

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def web(emptied_web: httpx.AsyncClient) -> httpx.AsyncClient:
    return emptied_web


STUDY = "/v2/studies/1.2.826.0.1.3680043.10.1.1"
SERIES = f"{STUDY}/series/1.2.826.0.1.3680043.10.1.1.1"
INSTANCE = f"{SERIES}/instances/1.2.3"
XML = {"Accept": 'multipart/related; type="application/dicom+xml"'}
IDENTIFYING = ["00080016", "00080018", "0020000D", "0020000E"]
_DICOM = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


@pytest_asyncio.fixture(loop_scope="module")
async def series(web: httpx.AsyncClient) -> httpx.AsyncClient:
    bodies = [part10(SOPInstanceUID=f"1.2.{n}", InstanceNumber=str(n), frames=[bytes(8)]) for n in range(3, 28)]
    await stored_together(web, *bodies)
    return web


async def test_xml_is_a_part_for_each_instance(series: httpx.AsyncClient) -> None:
    for path in (STUDY, SERIES):
        response = await series.get(f"{path}/metadata", headers=XML)
        parts = parts_of(response)
        assert {content_type for content_type, _ in parts} == {"application/dicom+xml"}
        roots = [ElementTree.fromstring(document) for _, document in parts]
        numbers = [root.findtext(f"{_DICOM}DicomAttribute[@keyword='InstanceNumber']/{_DICOM}Value") for root in roots]
        assert numbers == [str(number) for number in range(3, 28)]
        bulk = roots[0].find(f"{_DICOM}DicomAttribute[@keyword='PixelData']/{_DICOM}BulkData")
        assert bulk is not None
        assert bulk.attrib == {"uri": f"{series.base_url}{INSTANCE}/bulkdata/7FE00010"}


@pytest.mark.parametrize("accept", ["application/dicom+xml", "text/html, application/xml;q=0.3"])
async def test_one_instance_can_be_a_single_document(series: httpx.AsyncClient, accept: str) -> None:
    response = await series.get(f"{INSTANCE}/metadata", headers={"Accept": accept})
    assert response.headers["content-type"] == "application/dicom+xml"
    assert ElementTree.fromstring(response.content).tag == f"{_DICOM}NativeDicomModel"
    assert len(parts_of(await series.get(f"{SERIES}/metadata", headers={"Accept": accept}))) == 25


@pytest.mark.parametrize(
    ("accept", "query", "content_type"),
    [
        ("application/dicom+xml;q=0.5, application/dicom+json", "", "application/dicom+json"),
        ("application/dicom+json;q=0.5, application/dicom+xml", "", "application/dicom+xml"),
        ("*/*", "", "application/dicom+json"),
        ("application/dicom+json", "accept=application/dicom%2Bxml", "application/dicom+xml"),
        ("text/html", "accept=application/dicom+json", "application/dicom+json"),
    ],
)
async def test_the_client_gets_its_preferred_format(
    series: httpx.AsyncClient, accept: str, query: str, content_type: str
) -> None:
    response = await series.get(f"{INSTANCE}/metadata?{query}", headers={"Accept": accept})
    assert (response.status_code, response.headers["content-type"]) == (200, content_type)


async def test_each_format_has_its_own_entity_tag(series: httpx.AsyncClient) -> None:
    requests: list[tuple[str, dict[str, str]]] = [
        (f"{INSTANCE}/metadata", JSON),
        (f"{INSTANCE}/metadata", {"Accept": "application/dicom+xml"}),
        (f"{INSTANCE}/metadata", XML),
        (f"{INSTANCE}/metadata?includefield=PatientID", JSON),
        (f"{INSTANCE}/metadata?excludefield=PatientID", JSON),
        (f"{INSTANCE}/metadata?limit=1", JSON),
        (f"{INSTANCE}/metadata?includefield=PatientID", XML),
    ]
    tags = [(await series.get(path, headers=headers)).headers["etag"] for path, headers in requests]
    assert len(set(tags)) == len(tags)
    for number, (path, headers) in enumerate(requests):
        for known, tag in enumerate(tags):
            response = await series.get(path, headers=headers | {"If-None-Match": tag})
            assert response.status_code == (304 if known == number else 200)
        listed = await series.get(path, headers=headers | {"If-None-Match": f'"x", {tags[number].removeprefix("W/")}'})
        assert listed.status_code == 304
        assert listed.headers["etag"] == tags[number]


@pytest.mark.parametrize(
    ("query", "tags"),
    [
        ("includefield=PatientID&includefield=InstanceNumber", ["00100020", "00200013"]),
        ("includefield=PatientID,00200013", ["00100020", "00200013"]),
        ("includefield=00100020%2C00200013", ["00100020", "00200013"]),
        ("IncludeField=PatientID&includefield=NoSuchThing,%20,%22", ["00100020"]),
    ],
)
async def test_only_included_attributes_are_sent(series: httpx.AsyncClient, query: str, tags: list[str]) -> None:
    for path in (STUDY, SERIES, INSTANCE):
        found = (await series.get(f"{path}/metadata?{query}", headers=JSON)).json()
        assert {tuple(data_set) for data_set in found} == {tuple(sorted([*IDENTIFYING, *tags]))}
    [(_, document), *_] = parts_of(await series.get(f"{SERIES}/metadata?{query}", headers=XML))
    assert [each.get("tag") for each in ElementTree.fromstring(document)] == sorted([*IDENTIFYING, *tags])


async def test_excluded_attributes_are_not_sent(series: httpx.AsyncClient) -> None:
    (whole, *_) = (await series.get(f"{SERIES}/metadata?includefield=all", headers=JSON)).json()
    (found, *_) = (await series.get(f"{SERIES}/metadata?excludefield=PixelData,00100020", headers=JSON)).json()
    assert found == {tag: whole[tag] for tag in whole if tag not in ("7FE00010", "00100020")}


async def test_all_pages_together_are_the_complete_response(series: httpx.AsyncClient) -> None:
    whole = (await series.get(f"{SERIES}/metadata", headers=JSON)).json()
    pages = []
    for offset in range(0, 30, 10):
        response = await series.get(f"{SERIES}/metadata?limit=10&offset={offset}", headers=JSON)
        assert response.headers["x-total-count"] == "25"
        pages += response.json()
    assert pages == whole
    assert (await series.get(f"{SERIES}/metadata?offset=25", headers=JSON)).json() == []


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "offset=-1", "limit=-5"])
async def test_invalid_limit_and_offset_are_refused(series: httpx.AsyncClient, query: str) -> None:
    assert (await series.get(f"{SERIES}/metadata?{query}", headers=JSON)).status_code == 400


@pytest_asyncio.fixture(loop_scope="module")
async def omitting(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings_for(tmp_path)) as core, serving(core.address, omit_bulk_data_in="v1") as client:
        yield client


async def test_bulk_data_can_be_omitted_from_v1(omitting: httpx.AsyncClient) -> None:
    first, nested = Dataset(), Dataset()
    first.ICCProfile = b"ab"
    first.add_new(0x00091001, "UN", b"cd")
    nested.ICCProfile = bytes(2000)
    nested.OpticalPathIdentifier = "1"
    body = part10(
        SOPInstanceUID="1.2.3",
        frames=[b"ab"],
        OpticalPathSequence=[first, nested],
        ICCProfile=b"ab",
        PatientComments='"7FE00010":{"vr":"OB"}',
    )
    await stored(omitting, body)
    [whole] = (await omitting.get(f"{INSTANCE}/metadata", headers=JSON)).json()
    for path in (STUDY, INSTANCE):
        response = await omitting.get(f"{path}/metadata".replace("v2", "v1"), headers=JSON)
        assert response.json() == [
            {tag: value for tag, value in whole.items() if tag not in ("7FE00010", "00282000")}
            | {"00480105": {"vr": "SQ", "Value": [{}, {"00480106": {"vr": "SH", "Value": ["1"]}}]}}
        ]
