"""QIDO-RS, row by row of the tables of PS3.18 section 10.6 and PS3.4 section C.2.2.2."""

from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydicom.dataset import Dataset

from server.dicom.elements.keywords import path_of
from tests.data import dataset, file_of, part10
from tests.integration.facade.serving import JSON, stored

pytestmark = pytest.mark.asyncio(loop_scope="module")


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


REQUESTS = [
    item(ScheduledProcedureStepID="S1", RequestedProcedureID="R1"),
    item(
        ScheduledProcedureStepID="S2",
        RequestedProcedureID="R2",
        AccessionNumber="A7",
        RequestedProcedureDescription="Knee left",
        ScheduledProtocolCodeSequence=[item(CodeValue="C1"), item(CodeValue="C2")],
    ),
]
STUDY_1 = {
    "StudyInstanceUID": "1.3.1",
    "StudyDate": "20240101",
    "StudyTime": "221500",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "House^Gregory",
    "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "SpecificCharacterSet": "ISO_IR 192",
    "PatientID": "P1",
    "PatientBirthDate": "19700102",
    "PatientSex": "M",
    "StudyID": "11",
    "TimezoneOffsetFromUTC": "+0900",
    "StudyDescription": "Knee",
}
SERIES_1 = {
    "SeriesInstanceUID": "1.3.1.1",
    "Modality": "CT",
    "SeriesNumber": "3",
    "SeriesDescription": "Thin",
    "PerformedProcedureStepStartDate": "20240101",
    "PerformedProcedureStepStartTime": "221600",
    "RequestAttributesSequence": REQUESTS,
}
INSTANCE_1 = {
    "SOPInstanceUID": "1.3.1.1.1",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "InstanceNumber": "7",
    "Rows": 2,
    "Columns": 2,
    "BitsAllocated": 16,
    "NumberOfFrames": "1",
}
OTHER = {
    "StudyInstanceUID": "1.3.2",
    "SeriesInstanceUID": "1.3.2.1",
    "SOPInstanceUID": "1.3.2.1.1",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4",
    "Modality": "MR",
    "PatientID": "P2",
    "PatientName": "Roe^Jane",
    "StudyDate": "20240102",
    "StudyTime": "053000",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def archive(shared_web: httpx.AsyncClient) -> httpx.AsyncClient:
    first = dataset(**STUDY_1, **SERIES_1, **INSTANCE_1, EthnicGroup="none")
    first.private_block(0x0009, "ACME 1.1", create=True).add_new(0x01, "LO", "theirs")
    await stored(shared_web, file_of(first), part10(**OTHER))
    return shared_web


async def found(web: httpx.AsyncClient, resource: str, query: str) -> list[str]:
    response = await web.get(f"/v2/{resource}?{query}", headers=JSON)
    assert response.status_code in (200, 204), response.text
    assert "warning" not in response.headers
    tag = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}[resource]
    return [match[tag]["Value"][0] for match in response.json()] if response.content else []


# --- PS3.18 Table 10.6.1-5, required matching attributes


@pytest.mark.parametrize(
    ("resource", "keyword", "value"),
    [
        ("studies", "StudyDate", "20240101"),
        ("studies", "StudyTime", "221500"),
        ("studies", "AccessionNumber", "A1"),
        ("studies", "ModalitiesInStudy", "CT"),
        ("studies", "ReferringPhysicianName", "House^Gregory"),
        ("studies", "PatientName", "Yamada^Tarou"),
        ("studies", "PatientID", "P1"),
        ("studies", "StudyInstanceUID", "1.3.1"),
        ("studies", "StudyID", "11"),
        ("series", "Modality", "CT"),
        ("series", "SeriesInstanceUID", "1.3.1.1"),
        ("series", "SeriesNumber", "3"),
        ("series", "PerformedProcedureStepStartDate", "20240101"),
        ("series", "PerformedProcedureStepStartTime", "221600"),
        ("series", "RequestAttributesSequence.ScheduledProcedureStepID", "S2"),
        ("series", "RequestAttributesSequence.RequestedProcedureID", "R1"),
        ("instances", "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
        ("instances", "SOPInstanceUID", "1.3.1.1.1"),
        ("instances", "InstanceNumber", "7"),
    ],
)
async def test_table_10_6_1_5_matching_attribute(
    archive: httpx.AsyncClient, resource: str, keyword: str, value: str
) -> None:
    uid = {"studies": "1.3.1", "series": "1.3.1.1", "instances": "1.3.1.1.1"}[resource]
    for name in (keyword, ".".join(path_of(keyword) or ())):
        assert await found(archive, resource, f"{name}={value}") == [uid], name


# --- PS3.18 Tables 10.6.3-3, 10.6.3-4 and 10.6.3-5, returned attributes


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "/studies?StudyInstanceUID=1.3.1",
            {
                "SpecificCharacterSet": ["ISO_IR 192"],
                "StudyDate": ["20240101"],
                "StudyTime": ["221500"],
                "AccessionNumber": ["A1"],
                "InstanceAvailability": ["ONLINE"],
                "ModalitiesInStudy": ["CT"],
                "ReferringPhysicianName": [{"Alphabetic": "House^Gregory"}],
                "TimezoneOffsetFromUTC": ["+0900"],
                "RetrieveURL": ["{base}/studies/1.3.1"],
                "PatientName": [
                    {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
                ],
                "PatientID": ["P1"],
                "PatientBirthDate": ["19700102"],
                "PatientSex": ["M"],
                "StudyInstanceUID": ["1.3.1"],
                "StudyID": ["11"],
                "NumberOfStudyRelatedSeries": [1],
                "NumberOfStudyRelatedInstances": [1],
            },
        ),
        (
            "/studies/1.3.1/series",
            {
                "SpecificCharacterSet": ["ISO_IR 192"],
                "Modality": ["CT"],
                "TimezoneOffsetFromUTC": ["+0900"],
                "SeriesDescription": ["Thin"],
                "RetrieveURL": ["{base}/studies/1.3.1/series/1.3.1.1"],
                "StudyInstanceUID": ["1.3.1"],
                "SeriesInstanceUID": ["1.3.1.1"],
                "SeriesNumber": [3],
                "NumberOfSeriesRelatedInstances": [1],
                "PerformedProcedureStepStartDate": ["20240101"],
                "PerformedProcedureStepStartTime": ["221600"],
            },
        ),
        (
            "/studies/1.3.1/series/1.3.1.1/instances",
            {
                "SpecificCharacterSet": ["ISO_IR 192"],
                "SOPClassUID": ["1.2.840.10008.5.1.4.1.1.2"],
                "SOPInstanceUID": ["1.3.1.1.1"],
                "InstanceAvailability": ["ONLINE"],
                "TimezoneOffsetFromUTC": ["+0900"],
                "RetrieveURL": ["{base}/studies/1.3.1/series/1.3.1.1/instances/1.3.1.1.1"],
                "InstanceNumber": [7],
                "Rows": [2],
                "Columns": [2],
                "BitsAllocated": [16],
                "NumberOfFrames": [1],
            },
        ),
    ],
)
async def test_tables_10_6_3_3_to_5_returned_attributes(
    archive: httpx.AsyncClient, version: str, path: str, expected: dict[str, list[Any]]
) -> None:
    (match,) = (await archive.get(f"/{version}{path}", headers=JSON)).json()

    base = f"{archive.base_url}/{version}"
    for keyword, values in expected.items():
        values = [value.format(base=base) if isinstance(value, str) else value for value in values]
        (tag,) = path_of(keyword) or ()
        assert match[tag].get("Value") == values, keyword
    assert list(match) == sorted(match)


async def test_table_10_6_3_4_request_attributes_are_returned_whole(archive: httpx.AsyncClient) -> None:
    (match,) = (await archive.get("/v2/studies/1.3.1/series", headers=JSON)).json()

    steps = [found["00400009"]["Value"][0] for found in match["00400275"]["Value"]]
    assert steps == ["S1", "S2"]


# --- PS3.4 section C.2.2.2


@pytest.mark.parametrize(
    ("rule", "resource", "query", "expected"),
    [
        ("C.2.2.2.1 single value", "studies", "PatientID=P1", ["1.3.1"]),
        ("C.2.2.2.1.1 person name, a group", "studies", "PatientName=山田%5E太郎", ["1.3.1"]),
        ("C.2.2.2.2 list of UID", "studies", "StudyInstanceUID=1.3.1,1.3.9,1.3.2", ["1.3.2", "1.3.1"]),
        ("C.2.2.2.3 universal", "studies", "StudyID=", ["1.3.2", "1.3.1"]),
        ("C.2.2.2.4 wild card", "studies", "PatientName=?oe%5E*", ["1.3.2"]),
        ("C.2.2.2.5.1 date range", "studies", "StudyDate=20240102-", ["1.3.2"]),
        ("C.2.2.2.5.2 time range", "studies", "StudyTime=-06", ["1.3.2"]),
        ("C.2.2.2.5 combined", "studies", "StudyDate=20240101-20240102&StudyTime=2200-0600", ["1.3.2", "1.3.1"]),
        ("C.2.2.2.5 combined, ends", "studies", "StudyDate=20240101-20240102&StudyTime=2230-0500", []),
        ("C.2.2.2.5 time zone", "studies", "StudyDate=20240101&TimezoneOffsetFromUTC=%2B0000", ["1.3.1"]),
        ("C.2.2.2.5 time zone, + as a space", "studies", "StudyDate=20240102&00080201=+1200", ["1.3.2", "1.3.1"]),
        ("C.2.2.2.6 sequence", "series", "RequestAttributesSequence.AccessionNumber=A7", ["1.3.1.1"]),
        ("C.2.2.2.6 sequence, by tags", "series", "00400275.00321060=knee*", ["1.3.1.1"]),
        (
            "C.2.2.2.6 sequence in a sequence",
            "series",
            "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue=C2",
            ["1.3.1.1"],
        ),
        (
            "C.2.2.2.6 sequence, keys of one item",
            "series",
            "00400275.00400009=S2&00400275.00401001=R2",
            ["1.3.1.1"],
        ),
        ("C.2.2.2.6 sequence, keys of two items", "series", "00400275.00400009=S1&00400275.00401001=R2", []),
        ("C.2.2.2.7 empty value", "studies", 'AccessionNumber=%22%22&emptyvaluematching=true', ["1.3.2"]),
        ("C.2.2.2.7 empty value of a name", "studies", 'ReferringPhysicianName=""&emptyvaluematching=true', ["1.3.2"]),
        ("C.2.2.2.7 empty value, not asked for", "studies", 'AccessionNumber=%22%22', []),
        (
            "C.2.2.2.7 empty value in a sequence",
            "series",
            'RequestAttributesSequence.RequestedProcedureID=""&emptyvaluematching=true',
            ["1.3.2.1"],
        ),
        ("C.2.2.2.8 multiple value", "studies", "PatientID=P1%5CP2&multiplevaluematching=true", ["1.3.2", "1.3.1"]),
        ("C.2.2.2.8 multiple value, comma", "studies", "ModalitiesInStudy=CT,MR", ["1.3.2", "1.3.1"]),
    ],
)  # fmt: skip
async def test_matching_of_ps3_4(
    archive: httpx.AsyncClient, rule: str, resource: str, query: str, expected: list[str]
) -> None:
    assert await found(archive, resource, query) == expected, rule


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("StudyDate=20241301", "StudyDate"),
        ("StudyTime=25", "StudyTime"),
        ("StudyInstanceUID=abc", "StudyInstanceUID"),
        ("StudyDate=20240101&TimezoneOffsetFromUTC=Tokyo", "TimezoneOffsetFromUTC"),
        ("emptyvaluematching=maybe", "Emptyvaluematching"),
        ("totalcount=1", "Totalcount"),
    ],
)
async def test_an_invalid_parameter_is_refused_by_name(archive: httpx.AsyncClient, query: str, named: str) -> None:
    response = await archive.get(f"/v2/studies?{query}", headers=JSON)

    assert response.status_code == 400
    assert named in response.text


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("bogus=1", "bogus"),
        ("(0010,0020)=1", "(0010,0020)"),
        ("Modality=CT", "Modality"),
        ("PatientID=1&00100020=1", "00100020"),
        ("PatientID=1&PatientID=2", "PatientID"),
        ("includefield=bogus", "bogus"),
        ("StudyDate=*", "StudyDate"),
        ("limit=201", "Limit"),
    ],
)
async def test_a_strict_client_gets_the_reason(archive: httpx.AsyncClient, query: str, named: str) -> None:
    response = await archive.get(f"/v2/studies?{query}", headers=JSON | {"Prefer": "handling=strict"})

    assert response.status_code == 400
    assert named in response.text
    assert (await archive.get(f"/v2/studies?{query}", headers=JSON)).status_code in (200, 204)


# --- PS3.18 section 8.3.4.3, includefield


@pytest.mark.parametrize(
    ("resource", "fields", "tags"),
    [
        ("studies", "includefield=EthnicGroup", ["00102160"]),
        ("studies", "includefield=00102160&includefield=PatientSex", ["00102160", "00100040"]),
        ("studies", "includefield=00102160%2CModality", ["00102160", "00080060"]),
        ("studies", "includefield=all", ["00081030"]),
        ("series", "includefield=RequestAttributesSequence.ScheduledProcedureStepID", ["00400275"]),
        ("instances", "includefield=AvailableTransferSyntaxUID", ["00083002"]),
        ("instances", "includefield=00091001", ["00091001", "00090010"]),  # with its creator
    ],
)
async def test_include_fields_are_returned(
    archive: httpx.AsyncClient, resource: str, fields: str, tags: list[str]
) -> None:
    response = await archive.get(f"/v2/{resource}?StudyInstanceUID=1.3.1&{fields}", headers=JSON)

    assert "warning" not in response.headers
    assert set(tags) <= set(response.json()[0])
