"""Values that violate the standard, from STOW-RS to metadata, searches and rendered images."""

import struct
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
import pytest_asyncio

from tests.data import element, part10, part10_of, required_elements, sequence
from tests.integration.facade.serving import JSON, STOW, multipart, stow

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def web(emptied_web: httpx.AsyncClient) -> httpx.AsyncClient:
    return emptied_web


STUDY = "1.2.826.0.1.3680043.10.1.1"
STRICT = {"Prefer": "handling=strict"}
XML = {"Accept": 'multipart/related; type="application/dicom+xml"'}


def file(*elements: bytes, **required: bytes) -> bytes:
    """Return a file with these elements besides the required ones."""
    return part10_of(sorted([*required_elements(**required), *elements], key=lambda one: (one[1::-1], one[3:1:-1])))


async def metadata(web: httpx.AsyncClient) -> dict[str, Any]:
    (data_set,) = (await web.get(f"/v2/studies/{STUDY}/metadata", headers=JSON)).json()
    return dict(data_set)


def comments(items: Iterable[dict[str, Any]]) -> list[str]:
    return [
        comment["00000902"]["Value"][0].partition(" - ")[0]
        for item in items
        for comment in item["00741048"].get("Value", ())
    ]


INVALID = [
    element(0x00080020, "DA", b"2004.01.19"),
    element(0x00080050, "SH", b"SEVENTEEN LETTERS "),
    element(0x00080060, "CS", b"c\0t "),
    element(0x00081030, "LO", b"line\x0c\nline"),
    element(0x00101010, "AS", b"40 "),
    element(0x00101030, "DS", b"seventy "),
    element(0x00200011, "IS", b"1.5 "),
    element(0x00280010, "US", b"abc"),
]


async def test_invalid_values_are_reported_and_returned_in_every_form(web: httpx.AsyncClient) -> None:
    response = await stow(web, file(*INVALID))

    assert response.status_code == 202
    (item,) = response.json()["00081199"]["Value"]
    assert item["00081196"]["Value"] == [1]
    assert len(comments([item])) == len(INVALID)
    stored = await metadata(web)
    assert stored["00080020"] == {"vr": "DA", "Value": ["2004.01.19"]}
    assert stored["00080050"] == {"vr": "SH", "Value": ["SEVENTEEN LETTERS"]}
    assert stored["00080060"] == {"vr": "CS", "Value": ["c\0t"]}
    assert stored["00081030"] == {"vr": "LO", "Value": ["line\x0c\nline"]}
    assert stored["00101010"] == {"vr": "AS", "Value": ["40"]}
    assert stored["00101030"] == {"vr": "DS", "Value": ["seventy"]}
    assert stored["00200011"] == {"vr": "IS", "Value": ["1.5"]}
    assert stored["00280010"] == {"vr": "UN", "InlineBinary": "YWJj"}
    some = await web.get(f"/v2/studies/{STUDY}/metadata?includefield=AccessionNumber", headers=JSON)
    assert some.json()[0]["00080050"] == stored["00080050"]
    xml = await web.get(f"/v2/studies/{STUDY}/metadata", headers=XML)
    document = ElementTree.fromstring(xml.content.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0])
    texts = {one.get("tag"): one.findtext("{*}Value") for one in document}
    assert (texts["00080060"], texts["00101030"]) == ("c\ufffdt", "seventy")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        *(("AccessionNumber=SEVENTEEN LETTERS", 1), ("Modality=c%00t", 1), ("StudyDescription=line%0c*", 1)),
        *(("StudyDate=20040119", 1), ("StudyDate=20040101-20040201", 1), ("StudyDate=-20040101", 0)),
    ],
)
async def test_invalid_text_is_found_as_stored_and_a_date_by_its_value(
    web: httpx.AsyncClient, query: str, count: int
) -> None:
    await stow(web, file(*INVALID))
    found = await web.get(f"/v2/series?{query}", headers=JSON)

    assert found.status_code == (200 if count else 204)
    assert len(found.json() if count else ()) == count


@pytest.mark.parametrize("query", ["StudyDate=2004.01.19", "StudyDate=bogus", "StudyTime=noon", "SeriesNumber=1.5"])
async def test_query_values_must_be_valid(web: httpx.AsyncClient, query: str) -> None:
    await stow(web, file(*INVALID))

    assert (await web.get(f"/v2/series?{query}", headers=JSON)).status_code == 400


@pytest.mark.parametrize("path", ["/v1/studies", "/v2/series", "/v2/instances", f"/v2/studies/{STUDY}/series"])
async def test_a_less_than_sign_that_is_percent_encoded_is_data(web: httpx.AsyncClient, path: str) -> None:
    await stow(web, part10(StudyDescription="size <5 mm", SeriesDescription="size <5 mm"))
    for query in ("SeriesDescription=size%20%3C5*", "StudyDescription=*%3c5+mm"):
        assert (await web.get(f"{path}?{query}", headers=JSON)).status_code in (200, 204)
    key = "StudyDescription" if path == "/v1/studies" else "SeriesDescription"
    assert len((await web.get(f"{path}?{key}=size%20%3C5*", headers=JSON)).json()) == 1


async def test_values_of_only_padding_are_empty(web: httpx.AsyncClient) -> None:
    blank = [
        element(0x00080020, "DA", b"        "),
        element(0x00080050, "SH", b"\0\0"),
        element(0x00080054, "AE", b"\0 \\ "),
        element(0x00081030, "LO", b" \\\0\\"),
        element(0x00081190, "UR", b"\0\0"),
        element(0x00100010, "PN", b" \0"),
        element(0x00200011, "IS", b"\0 "),
    ]
    assert (await stow(web, file(*blank))).status_code == 200
    stored = await metadata(web)
    for tag in ("00080020", "00080050", "00081190", "00100010", "00200011"):
        assert stored[tag].keys() == {"vr"}
    assert [stored[tag]["Value"] for tag in ("00080054", "00081030")] == [["", ""], ["", "", ""]]
    for key in ("StudyDate", "AccessionNumber", "StudyDescription", "PatientName"):
        found = await web.get(f"/v2/studies?emptyvaluematching=true&{key}=%22%22", headers=JSON)
        assert found.status_code == 200, key


async def test_an_invalid_date_is_returned_and_matches_no_search(web: httpx.AsyncClient) -> None:
    await stow(web, file(element(0x00080020, "DA", b"bogus ")))

    assert (await web.get("/v2/studies?StudyDate=10000101-99991231", headers=JSON)).status_code == 204
    (study,) = (await web.get("/v2/studies", headers=JSON)).json()
    assert study["00080020"] == {"vr": "DA", "Value": ["bogus"]}


async def test_an_invalid_date_never_replaces_a_valid_one(web: httpx.AsyncClient) -> None:
    for date in (b"bogus ", b"20040119", b"none"):
        uid = b"1.2.3." + date[:1]
        await stow(web, file(element(0x00080020, "DA", date), SOPInstanceUID=uid))

    (study,) = (await web.get("/v2/studies?StudyDate=20040119", headers=JSON)).json()
    assert study["00080020"] == {"vr": "DA", "Value": ["20040119"]}


NESTED = sequence(
    0x00400275,
    [
        element(0x00080050, "SH", b"ACC2"),
        element(0x00080050, "SH", b"A" * 20) + element(0x0020000D, "UI", b"NOT-A-UID\0"),
    ],
)


@pytest.mark.parametrize(("version", "status"), [("v1", 200), ("v2", 202)])
async def test_an_invalid_nested_value_is_reported_with_its_path_and_affects_nothing_else(
    web: httpx.AsyncClient, version: str, status: int
) -> None:
    response = await stow(web, file(element(0x00080050, "SH", b"ACC1"), NESTED), path=f"/{version}/studies")

    assert response.status_code == status
    if version == "v2":
        assert comments(response.json()["00081199"]["Value"]) == [
            "DICOM100: (0040,0275)[2].(0008,0050)",
            "DICOM100: (0040,0275)[2].(0020,000d)",
        ]
    stored = await metadata(web)
    assert stored["00080050"]["Value"] == ["ACC1"]
    assert stored["00400275"]["Value"][1]["0020000D"]["Value"] == ["NOT-A-UID"]
    assert (await web.get("/v2/studies?AccessionNumber=ACC1", headers=JSON)).status_code == 200


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("fault", [*INVALID, NESTED])
async def test_invalid_instances_of_a_strict_client_are_refused(
    web: httpx.AsyncClient, version: str, fault: bytes
) -> None:
    body = multipart(file(), file(fault, SOPInstanceUID=b"1.2.3\0"))
    response = await web.post(f"/{version}/studies", content=body, headers=STOW | STRICT)

    assert response.status_code == 202
    (failure,) = response.json()["00081198"]["Value"]
    assert (failure["00081155"]["Value"], failure["00081197"]["Value"]) == (["1.2.3"], [43264])
    assert comments([failure])
    assert len(response.json()["00081199"]["Value"]) == 1


@pytest.mark.parametrize("patient_id", ["", None])
async def test_an_instance_without_patient_id_is_stored_unless_the_client_is_strict(
    web: httpx.AsyncClient, patient_id: str | None
) -> None:
    body = part10(PatientID=patient_id)
    v1 = await stow(web, body, path="/v1/studies")
    strict = await web.post("/v2/studies", content=multipart(body), headers=STOW | STRICT)
    v2 = await stow(web, body)

    assert (v1.status_code, strict.status_code, v2.status_code) == (409, 409, 202)
    assert comments(v2.json()["00081199"]["Value"]) == ["DICOM100: (0010,0020)"]
    (study,) = (await web.get("/v2/studies", headers=JSON)).json()
    assert not study.get("00100020", {}).get("Value")


def ramp(sop: bytes, *changes: tuple[int, str, bytes]) -> bytes:
    """Return a 16-bit grey image of rising values, as a CT image has it, with some elements changed."""
    values = struct.pack("<64H", *(number * 2048 // 63 for number in range(64)))
    elements = {
        0x00280002: element(0x00280002, "US", b"\1\0"),
        0x00280004: element(0x00280004, "CS", b"MONOCHROME2 "),
        **{tag: element(tag, "US", b"\x08\0") for tag in (0x00280010, 0x00280011)},
        0x00280100: element(0x00280100, "US", b"\x10\0"),
        0x00280101: element(0x00280101, "US", b"\x0c\0"),
        0x00280102: element(0x00280102, "US", b"\x0b\0"),
        0x00280103: element(0x00280103, "US", b"\0\0"),
        0x00281050: element(0x00281050, "DS", b"40"),
        0x00281051: element(0x00281051, "DS", b"400 "),
        0x00281052: element(0x00281052, "DS", b"-1024 "),
        0x00281053: element(0x00281053, "DS", b"1 "),
        0x7FE00010: element(0x7FE00010, "OW", values),
        **{tag: element(tag, vr, value) for tag, vr, value in changes},
    }
    return file(*elements.values(), SOPInstanceUID=sop)


SAME = [
    [(0x00281052, "DS", b"-1024.000000000000")],
    [(0x00281053, "DS", b"1.0000000000000000")],
    [(0x00281050, "DS", b"40.000000000000000")],
    [(0x00281051, "DS", b"400.00000000000000")],
    [(0x00280004, "CS", b"Monochrome2 ")],
    [(0x00281056, "CS", b"linear")],
    [(0x00280008, "IS", b"1.0 ")],
    [(0x00280010, "UL", b"\x08\0\0\0"), (0x00280011, "UL", b"\x08\0\0\0")],
]


async def test_rendering_uses_invalid_values_as_in_the_metadata(web: httpx.AsyncClient) -> None:
    """Each change is another spelling of the same value, so that the image is the same."""
    images: dict[str, list[bytes]] = {}
    for number, changes in enumerate([[], *SAME], start=1):
        answer = await stow(web, ramp(b"1.2.3.%d" % number, *changes))
        (item,) = answer.json()["00081199"]["Value"]
        url = item["00081190"]["Value"][0]
        for path in ("rendered", "thumbnail", "frames/1/rendered"):
            image = await web.get(f"{url}/{path}", headers={"Accept": "image/png, image/jpeg"})
            assert image.status_code == 200, (changes, path, image.text)
            images.setdefault(path, []).append(image.content)
        frame = await web.get(f"{url}/frames/1", headers={"Accept": "application/octet-stream; transfer-syntax=*"})
        assert len(frame.content) == 128
    for path, several in images.items():
        assert [image == several[0] for image in several] == [True] * len(several), path
