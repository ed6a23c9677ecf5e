"""The tables of STOW-RS: required attributes, UIDs, values by their VR, statuses (docs/api.md, Storing)."""

import asyncio
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.data import IMPLICIT_LITTLE, dataset, part10
from tests.integration.facade.serving import JSON, stored, stow

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length"),
]

STUDY = "1.2.826.0.1.3680043.10.1.1"


@pytest_asyncio.fixture(loop_scope="module")
async def web(emptied_web: httpx.AsyncClient) -> httpx.AsyncClient:
    return emptied_web


def values(items: Any, tag: str) -> list[Any]:
    return [value for item in items for value in item.get(tag, {}).get("Value", [])]


def comments(items: Any) -> list[str]:
    return values(values(items, "00741048"), "00000902")


async def outcome(web: httpx.AsyncClient, file: bytes, version: str) -> tuple[int, list[int], list[int], list[str]]:
    """Return the status, failure reasons, warning reasons, and the tags in the comments."""
    response = await stow(web, file, path=f"/{version}/studies")
    answer = response.json()
    failed, done = (answer.get(tag, {}).get("Value", []) for tag in ("00081198", "00081199"))
    tags = [comment.removeprefix("DICOM100: (").partition(")")[0] for comment in comments([*failed, *done])]
    return response.status_code, values(failed, "00081197"), values(done, "00081196"), tags


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("value", [None, "", "1.2.x", "1.2.", "1" * 65, ["1.2", "1.3"], "abc"])
@pytest.mark.parametrize(
    ("keyword", "tag"),
    [("StudyInstanceUID", "0020,000d"), ("SeriesInstanceUID", "0020,000e"), ("SOPInstanceUID", "0008,0018")],
)
async def test_study_series_and_instance_need_one_valid_uid_each(
    web: httpx.AsyncClient, version: str, keyword: str, tag: str, value: Any
) -> None:
    found = await outcome(web, part10(**{keyword: value}), version)

    assert found[:3] == (409, [43264], [])
    assert found[3][0] == tag


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("value", [None, "", ["1.2", "1.3"]])
async def test_an_instance_needs_one_sop_class(web: httpx.AsyncClient, version: str, value: Any) -> None:
    assert (await outcome(web, part10(SOPClassUID=value), version))[:2] == (409, [43264])


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("uid", ["1.02.3", "1..2", "0", "1" * 64, "1.2.3 ", "1.2.3\0"])
async def test_uids_may_have_leading_zeros_empty_components_64_characters_and_padding(
    web: httpx.AsyncClient, version: str, uid: str
) -> None:
    file = part10(SOPInstanceUID=uid)
    status, failures, _, _ = await outcome(web, file, version)
    assert (status, failures) == (200, [])
    path = f"/{version}/studies/{STUDY}/series/{STUDY}.1/instances/{uid.rstrip(chr(0) + ' ')}"
    answer = await web.get(path, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert answer.content == file


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_study_series_and_instance_may_have_the_same_uid(web: httpx.AsyncClient, version: str) -> None:
    file = part10(StudyInstanceUID="1.2.5", SeriesInstanceUID="1.2.5", SOPInstanceUID="1.2.5")

    assert (await outcome(web, file, version))[0] == 200


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_uid_with_more_padding_is_the_same(web: httpx.AsyncClient, version: str) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3"))

    assert (await outcome(web, part10(SOPInstanceUID="1.2.3   ", PatientName="B"), version))[:2] == (409, [45070])


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    "uids",
    [
        {"StudyInstanceUID": "1.2.77"},
        {"SeriesInstanceUID": "1.2.77"},
        {"StudyInstanceUID": "1.2.77", "SeriesInstanceUID": "1.2.77"},
    ],
)
async def test_the_same_sop_instance_in_another_series_is_another_instance(
    web: httpx.AsyncClient, version: str, uids: dict[str, str]
) -> None:
    await stored(web, part10(SOPInstanceUID="1.2.3"))

    assert (await outcome(web, part10(SOPInstanceUID="1.2.3", **uids), version))[0] == 200
    assert len((await web.get("/v2/instances", headers=JSON)).json()) == 2


@pytest.mark.parametrize(
    ("value", "v1", "v2"),
    [("123\0", (409, []), (200, [])), ("\x000123\0", (409, []), (409, [])), ("", (409, []), (202, [1]))],
)
async def test_the_patient_id_may_end_with_nul_and_be_empty_in_v2(
    web: httpx.AsyncClient, value: str, v1: Any, v2: Any
) -> None:
    file = part10(PatientID=value)
    for version, expected in (("v1", v1), ("v2", v2)):
        status, failures, warnings, tags = await outcome(web, file, version)
        assert (status, warnings) == expected
        assert failures == ([43264] if status == 409 else [])
        assert set(tags) <= {"0010,0020"}


@pytest.mark.parametrize(
    ("attribute", "tag"),
    [
        ({"AccessionNumber": "A" * 17}, "0008,0050"),
        ({"Modality": "M" * 17}, "0008,0060"),
        ({"Modality": "X\0X"}, "0008,0060"),
        ({"PatientBirthDate": "20261301"}, "0010,0030"),
        ({"PatientName": "A^B^C^D^E^F"}, "0010,0010"),
        ({"PatientName": "N" * 65}, "0010,0010"),
        ({"ReferringPhysicianName": "A\x07"}, "0008,0090"),
        ({"StudyDescription": "D" * 65}, "0008,1030"),
        ({"StudyDate": "2026-01-01"}, "0008,0020"),
        ({"PerformedProcedureStepStartDate": "20260230"}, "0040,0244"),
    ],
)
async def test_an_invalid_indexed_value_fails_in_v1_and_is_a_warning_in_v2(
    web: httpx.AsyncClient, attribute: dict[str, str], tag: str
) -> None:
    file = part10(**attribute)

    assert await outcome(web, file, "v1") == (409, [43264], [], [tag])
    assert await outcome(web, file, "v2") == (202, [], [1], [tag])


async def test_an_invalid_value_that_is_not_indexed_is_a_warning_in_v2_only(web: httpx.AsyncClient) -> None:
    assert (await outcome(web, part10(PatientAge="40"), "v1"))[:3] == (200, [], [])
    assert await outcome(web, part10(PatientAge="40"), "v2") == (202, [], [1], ["0010,1010"])


async def test_implicit_vr_takes_precedence_over_other_warnings_which_keep_their_comments(
    web: httpx.AsyncClient,
) -> None:
    file = part10(transfer_syntax=IMPLICIT_LITTLE, StudyDate="NotADate")

    assert await outcome(web, file, "v2") == (202, [], [45063], ["0008,0020"])


async def test_invalid_values_of_an_attribute_have_one_comment_for_all_items(web: httpx.AsyncClient) -> None:
    """The first invalid value of each attribute; within a sequence it is another attribute, named with its sequence."""
    items = [dataset(StudyDate=value, StudyTime="25") for value in ("NotADate", "20049999", "2004.01.19")]

    response = await stow(web, part10(StudyDate="NoDate", ReferencedStudySequence=items))

    assert [comment.partition(" - ")[0] for comment in comments(response.json()["00081199"]["Value"])] == [
        "DICOM100: (0008,0020)",
        "DICOM100: (0008,1110)[1].(0008,0020)",
        "DICOM100: (0008,1110)[1].(0008,0030)",
    ]


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_of_different_instances_with_the_same_uids_at_once_one_is_stored(
    web: httpx.AsyncClient, version: str
) -> None:
    """No instance is visible before it is stored, so code 45071 (being created) does not occur."""
    files = [part10(SOPInstanceUID="1.2.3", PatientComments=str(number)) for number in range(8)]

    found = sorted(await asyncio.gather(*(outcome(web, file, version) for file in files)))

    assert found == [(200, [], [], [])] + [(409, [45070], [], [])] * 7


@pytest.mark.parametrize(("version", "has_findings"), [("v1", False), ("v2", True)])
async def test_a_clean_instance_has_an_empty_list_of_findings_in_v2(
    web: httpx.AsyncClient, version: str, has_findings: bool
) -> None:
    (item,) = (await stow(web, part10(), path=f"/{version}/studies")).json()["00081199"]["Value"]

    assert ("00741048" in item, item.get("00741048", {}).get("Value", [])) == (has_findings, [])
    assert "00081196" not in item


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_study_in_the_path_is_referenced_if_an_instance_was_stored(
    web: httpx.AsyncClient, version: str
) -> None:
    path = f"/{version}/studies/{STUDY}"
    some = await stow(web, part10(), part10(StudyInstanceUID="1.2.9"), path=path)
    none = await stow(web, part10(StudyInstanceUID="1.2.9"), path=path)

    assert (some.status_code, none.status_code) == (202, 409)
    assert some.json()["00081190"]["Value"] == [f"{web.base_url}{path}"]
    assert "00081190" not in none.json()
    assert (some.headers.get("location"), some.headers["content-type"]) == (None, "application/dicom+json")


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_last_stored_values_describe_study_and_series_except_empty_ones(
    web: httpx.AsyncClient, version: str
) -> None:
    for attributes in ({"StudyDescription": ""}, {"StudyDescription": "A"}, {"StudyDescription": ""}, {}):
        await stored(web, part10(**attributes), base=f"/{version}")
    (study,) = (await web.get(f"/{version}/studies?includefield=StudyDescription", headers=JSON)).json()
    assert study["00081030"]["Value"] == ["A"]
    await stored(web, part10(StudyDescription="B", Modality="CT", SeriesDescription="S"), base=f"/{version}")
    (study,) = (await web.get(f"/{version}/studies?StudyDescription=B", headers=JSON)).json()
    assert study["00081030"]["Value"] == ["B"]
    (series,) = (await web.get(f"/{version}/series?Modality=CT", headers=JSON)).json()
    assert series["00080060"]["Value"] == ["CT"]
    assert (await web.get(f"/{version}/studies?StudyDescription=A", headers=JSON)).status_code == 204


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_value_with_trailing_nul_is_found_without_it(web: httpx.AsyncClient, version: str) -> None:
    await stored(web, part10(PatientID="123\0"))

    assert len((await web.get(f"/{version}/studies?PatientID=123", headers=JSON)).json()) == 1


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_an_unreadable_instance_has_only_a_failure_reason(web: httpx.AsyncClient, version: str) -> None:
    response = await stow(web, b"no DICOM", b"", part10(), path=f"/{version}/studies")

    assert response.status_code == 202
    items = response.json()["00081198"]["Value"]
    assert items == [{"00081197": {"vr": "US", "Value": [43264]}}] * 2
