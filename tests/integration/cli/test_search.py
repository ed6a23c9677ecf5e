"""`dicomstore search`, against a real core."""

import csv
import os
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.core import CoreClient
from tests.data import new_uid, part10


def uid_of(match: dict[str, Any], tag: str) -> str:
    return str(match[tag]["Value"][0])


async def test_studies_are_found_and_shown_with_patient_date_and_uid(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(
        part10(StudyInstanceUID="1.2.3", PatientName="Doe^Jane", PatientID="P7", StudyDate="20240229", Modality="CT")
    )
    ran = await dicomstore("search", "PatientName=doe*")
    assert ran.exit_code == 0
    for text in ("Doe^Jane", "P7", "20240229", "CT", "1.2.3"):
        assert text in ran.stdout
    assert "1 match" in ran.stderr


async def test_json_output_has_one_dicom_json_object_per_line(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(part10(StudyInstanceUID="1.1"))
    await archive.stored(part10(StudyInstanceUID="1.2"))
    ran = await dicomstore("search", "--json")
    assert [uid_of(match, "0020000D") for match in ran.lines] == ["1.2", "1.1"]
    assert ran.stderr == ""


async def test_series_and_instances_are_found_within_a_study_and_a_series(archive: CoreClient, dicomstore: Any) -> None:
    for study in ("1.1", "1.2"):
        await archive.stored(
            part10(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", SOPInstanceUID=f"{study}.1.1"),
            part10(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.2", SOPInstanceUID=f"{study}.2.1"),
        )
    series = await dicomstore("search", "series", "--study", "1.1", "--json")
    assert {uid_of(match, "0020000E") for match in series.lines} == {"1.1.1", "1.1.2"}
    instances = await dicomstore("search", "instances", "--study", "1.2", "--series", "1.2.1", "--json")
    assert [uid_of(match, "00080018") for match in instances.lines] == ["1.2.1.1"]


async def test_pages_are_followed_up_to_the_limit(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(*(part10() for _ in range(230)))
    ran = await dicomstore("search", "instances", "--limit", "220", "--json")
    assert len({uid_of(match, "00080018") for match in ran.lines}) == 220


@pytest.mark.parametrize(("limit", "note"), [(2, True), (3, False)])
async def test_more_matches_than_the_limit_are_reported(
    archive: CoreClient, dicomstore: Any, limit: int, note: bool
) -> None:
    await archive.stored(*(part10() for _ in range(3)))
    ran = await dicomstore("search", "instances", "--limit", limit)
    assert ("--limit" in ran.stderr) is note


async def test_a_key_given_twice_finds_either_value(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(
        *(part10(StudyInstanceUID=f"1.{number}", PatientID=f"P{number}") for number in range(3)),
    )
    ran = await dicomstore("search", "PatientID=P0", "PatientID=P2", "--json")
    assert {uid_of(match, "0020000D") for match in ran.lines} == {"1.0", "1.2"}


async def test_fuzzy_matches_prefixes_of_words(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(part10(PatientName="Doe^Jane"))
    assert (await dicomstore("search", "PatientName=ja", "--json")).lines == []
    assert len((await dicomstore("search", "PatientName=ja", "--fuzzy", "--json")).lines) == 1


async def test_an_included_attribute_is_returned_and_shown(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(part10(AccessionNumber="ACC9"))
    ran = await dicomstore("search", "--include", "AccessionNumber")
    assert "ACC9" in ran.stdout
    assert "AccessionNumber" in ran.stdout


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["Modality=CT"], "ModalitiesInStudy"),
        (["PatientNmae=Doe"], "did you mean PatientName?"),
        (["--include", "StudyDat"], "did you mean StudyDate?"),
        (["--empty", "Modality"], "ModalitiesInStudy"),
    ],
)
async def test_a_search_without_one_of_its_conditions_is_refused_with_a_suggestion(
    archive: CoreClient, dicomstore: Any, words: list[str], hint: str
) -> None:
    await archive.stored(part10())
    for output in ([], ["--json"], ["--csv"], ["--uids"]):
        ran = await dicomstore("search", *words, *output)
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert hint in ran.stderr


async def test_lenient_ignores_an_unsupported_key_with_a_note(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(part10())
    ran = await dicomstore("search", "NoSuchAttribute=1", "--json", "--lenient")
    assert (ran.exit_code, len(ran.lines)) == (0, 1)
    assert "NoSuchAttribute" in ran.stderr


async def test_csv_is_a_line_for_each_match_under_its_keywords(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(
        part10(StudyInstanceUID="1.2", PatientName='Doe^"J", Dr.', StudyDescription="a,b", AccessionNumber="A")
    )
    ran = await dicomstore("search", "--csv", "--include", "AccessionNumber")
    heading, match = csv.reader(ran.stdout.splitlines())
    found = dict(zip(heading, match, strict=True))
    assert (found["StudyInstanceUID"], found["PatientName"]) == ("1.2", 'Doe^"J", Dr.')
    assert (found["StudyDescription"], found["AccessionNumber"]) == ("a,b", "A")
    assert ran.stderr == ""


@pytest.mark.parametrize("options", [["--json", "--csv"], ["--csv", "--include", "all"], ["--csv", "--include", "Foo"]])
async def test_csv_needs_columns_that_are_known_beforehand(dicomstore: Any, options: list[str]) -> None:
    ran = await dicomstore("search", *options)
    assert (ran.exit_code, ran.stdout) == (2, "")


@pytest.mark.parametrize("columns", ["40", "300"])
async def test_a_uid_is_never_broken_on_a_terminal(archive: CoreClient, dicomstore: Any, columns: str) -> None:
    study = new_uid()
    await archive.stored(part10(StudyInstanceUID=study, StudyDescription="word " * 12))
    person, terminal = os.openpty()
    try:
        process = await dicomstore.start_with(terminal, "search", env={"COLUMNS": columns, "TERM": "dumb"})
        await process.communicate()
        shown = os.read(person, 65536).decode()
    finally:
        os.close(terminal)
        os.close(person)
    assert process.returncode == 0
    assert study in shown
    assert shown.startswith("PatientID")


async def test_a_malformed_value_is_refused_with_its_reason(dicomstore: Any) -> None:
    ran = await dicomstore("search", "StudyDate=2024x")
    assert ran.exit_code == 2
    assert "INVALID_QUERY" in ran.stderr


async def test_an_empty_result_is_not_a_failure(dicomstore: Any) -> None:
    ran = await dicomstore("search", "PatientID=nobody")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "0 matches" in ran.stderr


async def test_studies_without_a_value_are_found(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(
        part10(StudyInstanceUID="1.1", AccessionNumber="A1"),
        part10(StudyInstanceUID="1.2", AccessionNumber="A2"),
        part10(StudyInstanceUID="1.3", AccessionNumber=""),
    )
    ran = await dicomstore("search", "--empty", "AccessionNumber", "--json")
    assert [uid_of(match, "0020000D") for match in ran.lines] == ["1.3"]
    ran = await dicomstore("search", "AccessionNumber=A1", "--empty", "AccessionNumber", "--json")
    assert [uid_of(match, "0020000D") for match in ran.lines] == ["1.3", "1.1"]


async def test_attributes_in_a_sequence_are_found_by_their_path(archive: CoreClient, dicomstore: Any) -> None:
    request = Dataset()
    request.ScheduledProcedureStepID = "S7"
    await archive.stored(part10(SeriesInstanceUID="1.1", RequestAttributesSequence=[request]), part10())
    ran = await dicomstore("search", "series", "RequestAttributesSequence.ScheduledProcedureStepID=S7", "--json")
    assert [uid_of(match, "0020000E") for match in ran.lines] == ["1.1"]


async def test_include_all_returns_all_indexed_attributes(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(part10(AccessionNumber="ACC9", Modality="CT"))
    [match] = (await dicomstore("search", "series", "--include", "all", "--json")).lines
    assert match["00080050"]["Value"] == ["ACC9"]
    assert "ACC9" in (await dicomstore("search", "--include", "ALL")).stdout


@pytest.mark.parametrize("output", [(), ("--json",)])
async def test_the_total_is_printed_on_request(archive: CoreClient, dicomstore: Any, output: tuple[str, ...]) -> None:
    await archive.stored(*(part10(InstanceNumber=number) for number in range(5)))
    ran = await dicomstore("search", "instances", "InstanceNumber=1", "InstanceNumber=2", "--total", *output)
    assert ran.stderr == "2 of 2 matches\n"
    ran = await dicomstore("search", "instances", "--total", "--limit", 3, *output)
    assert ran.stderr.startswith("3 of 5 matches; there are more")
    assert (await dicomstore("search", "instances", "--total", "--quiet", "--json")).stderr == ""


async def test_a_page_token_continues_the_previous_search(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(*(part10() for _ in range(230)))
    search = ("search", "instances", "Modality=OT", "--json")
    first = await dicomstore(*search, "--limit", 215)
    token = first.stderr.split()[-1]
    await archive.stored(part10())
    rest = await dicomstore(*search, "--page-token", token)
    assert len(first.lines) == 215
    assert len({uid_of(match, "00080018") for match in first.lines + rest.lines}) == 230
    assert rest.stderr == ""
    other = await dicomstore("search", "instances", "--json", "--page-token", token)
    assert other.exit_code == 2
    assert "INVALID_PAGE_TOKEN" in other.stderr


async def test_an_ignored_attribute_is_reported_once(archive: CoreClient, dicomstore: Any) -> None:
    await archive.stored(*(part10() for _ in range(210)))
    ran = await dicomstore("search", "instances", "NoSuchAttribute=1", "--limit", 300, "--json", "--lenient")
    assert len(ran.lines) == 210
    assert ran.stderr.count("NoSuchAttribute") == 1
