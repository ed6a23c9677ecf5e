"""SearchService: patients, and relational queries."""

import json
from typing import Any

import grpc
import pytest
from dicomstore.v1 import search_service_pb2 as pb
from dicomstore.v1.resources_pb2 import Address

from tests.core import CoreClient, reason_of
from tests.data import part10

PATIENT, STUDY = pb.QUERY_LEVEL_PATIENT, pb.QUERY_LEVEL_STUDY
COUNTS = ("00201200", "00201202", "00201204")
STORED = (
    ("1.1", "CT", {"PatientID": "P1", "PatientName": "Doe^Jane"}),
    ("1.1", "MR", {"PatientID": "P1", "PatientName": "Doe^Jane"}),
    ("1.2", "US", {"PatientID": "p1", "PatientName": "Roe^Jane"}),
    ("1.3", "CT", {"PatientID": "P1", "PatientName": "Doe^John", "IssuerOfPatientID": "Elsewhere"}),
    ("1.4", "CT", {"PatientID": "P0", "PatientName": "山田^太郎", "SpecificCharacterSet": "ISO_IR 192"}),
    ("1.5", "CT", {"PatientID": "", "PatientName": "Unknown"}),
)


@pytest.fixture
async def core(core: CoreClient) -> CoreClient:
    for number, (study, modality, attributes) in enumerate(STORED):
        series = f"{study}.{number}"
        uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": f"{series}.1"}
        await core.stored(part10(**uids, Modality=modality, **attributes))
    return core


async def found(core: CoreClient, level: int = PATIENT, **request: Any) -> list[dict[str, Any]]:
    """Return the data sets of the matches on all pages."""
    terms = [pb.Term(attribute=name, values=[value]) for name, value in request.pop("terms", {}).items()]
    wanted = pb.SearchRequest(level=level, terms=terms, **request)
    data_sets: list[dict[str, Any]] = []
    while True:
        page = await core.search_stub.Search(wanted)
        assert not page.ignored_attributes
        data_sets += [json.loads(match.dicom_json) for match in page.matches]
        wanted.page_token = page.next_page_token
        if not wanted.page_token:
            return data_sets


def value(data_set: dict[str, Any], tag: str) -> Any:
    (only,) = data_set[tag]["Value"]
    return only


@pytest.mark.parametrize("page_size", [1, 2, 100])
async def test_patients_are_found_with_their_counts(core: CoreClient, page_size: int) -> None:
    attributes = ["PatientID", "PatientName", "IssuerOfPatientID", *COUNTS]
    matches = await found(core, include_attributes=attributes, page_size=page_size)
    names = [next(iter(value(match, "00100010").values())) for match in matches]
    assert names == ["山田^太郎", "Doe^John", "Roe^Jane", "Unknown"]  # by ID, and those without issuer behind others
    assert [[value(match, tag) for tag in COUNTS] for match in matches] == [[1, 1, 1], [1, 1, 1], [2, 3, 3], [1, 1, 1]]
    assert value(matches[1], "00100021") == "Elsewhere"
    assert "00100021" not in matches[0]


async def test_all_matching_rules_apply_to_patients(core: CoreClient) -> None:
    async def ids(fuzzy: bool = False, **terms: str) -> list[str]:
        matches = await found(core, terms=terms, include_attributes=["PatientID"], fuzzy_matching=fuzzy)
        return [value(match, "00100020") if "00100020" in match else "" for match in matches]

    assert await ids(PatientName="doe*") == ["P1", "P1"]
    assert await ids(PatientName="山田*") == ["P0"]
    assert await ids(PatientName="jan", fuzzy=True) == ["p1"]
    assert await ids(PatientID="P1\\P0") == ["P0", "P1", "p1"]
    assert await ids(IssuerOfPatientID="elsewhere") == ["P1"]
    assert await ids(StudyInstanceUID="1.1") == ["P1"]
    page = await core.search_stub.Search(pb.SearchRequest(level=PATIENT, total_count=True, page_size=1))
    assert page.total_count == 4


async def test_a_relational_query_has_terms_of_any_level(core: CoreClient) -> None:
    async def studies(level: int = STUDY, tag: str = "0020000D", **terms: str) -> list[str]:
        matches = await found(core, level, terms=terms, relational=True, include_attributes=[tag])
        assert not any("00080060" in match for match in matches)
        return [value(match, tag) for match in matches]

    assert await studies(Modality="MR") == ["1.1"]
    assert await studies(Modality="CT", PatientName="Doe^*") == ["1.3", "1.1"]
    assert await studies(SOPInstanceUID="1.2.2.1") == ["1.2"]
    assert await studies(PATIENT, "00100020", Modality="US", SOPInstanceUID="1.2.2.1") == ["p1"]
    assert await studies(pb.QUERY_LEVEL_SERIES, "0020000E", SOPInstanceUID="1.1.1.1", PatientID="P1") == ["1.1.1"]
    assert await studies(Modality="MR", SOPInstanceUID="1.2.2.1") == []
    plain = pb.SearchRequest(level=STUDY, terms=[pb.Term(attribute="Modality", values=["MR"])])
    assert list((await core.search_stub.Search(plain)).ignored_attributes) == ["Modality"]


@pytest.mark.parametrize(
    "request_",
    [
        pb.SearchRequest(level=PATIENT, scope=Address(study_instance_uid="1.1")),
        pb.SearchRequest(level=PATIENT, sort=[pb.SortKey(attribute="PatientName")]),
        pb.SearchRequest(level=PATIENT, page_token="x"),
    ],
)
async def test_what_is_not_possible_for_patients_is_refused(core: CoreClient, request_: pb.SearchRequest) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await core.search_stub.Search(request_)
    assert reason_of(refused.value) in ("INVALID_FIELD", "INVALID_QUERY", "INVALID_PAGE_TOKEN")
