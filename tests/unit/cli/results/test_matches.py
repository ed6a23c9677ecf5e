"""Arguments and output of `dicomstore search`: cli/commands/search.py, cli/results/matches.py."""

import io

import pytest
import typer
from dicomstore.v1 import search_service_pb2 as pb
from dicomstore.v1.resources_pb2 import Address
from rich.console import Console

from cli.commands.search import not_usable, parse_words, summary
from cli.output import HELD_ROWS, print_rows
from cli.results import matches
from cli.results.dicom_json import TAGS, cell, tag_of
from cli.results.matches import heading, shown_columns
from cli.results.search_keys import KEYS, Level, suggestion
from server.dicom.elements.keywords import path_of
from server.dicom.matching.attributes import RETURN_KEY_TAGS, SEARCH_KEYS


def text_of(level: Level, matches: list[dict[str, object]], *include: str) -> str:
    tags = shown_columns(level, matches, include)
    console = Console(file=io.StringIO(), width=300)
    print_rows(
        console, [heading(tag) for tag in tags], [[cell(match.get(tag)) for tag in tags] for match in matches], ()
    )
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_studies_are_searched_when_no_level_is_named() -> None:
    assert parse_words([]) == (Level.STUDIES, [])
    assert parse_words(["PatientID=1"])[0] is Level.STUDIES


@pytest.mark.parametrize("level", list(Level))
def test_the_level_is_the_first_word(level: Level) -> None:
    assert parse_words([level.value, "Modality=CT"]) == (level, [pb.Term(attribute="Modality", values=["CT"])])


def test_a_value_may_contain_equals_signs_and_be_empty() -> None:
    assert parse_words(["PatientName=A=B", "PatientID="])[1] == [
        pb.Term(attribute="PatientName", values=["A=B"]),
        pb.Term(attribute="PatientID", values=[""]),
    ]


def test_a_key_given_twice_matches_either_value() -> None:
    assert parse_words(["Modality=CT", "PatientID=1", "Modality=MR"])[1] == [
        pb.Term(attribute="Modality", values=["CT", "MR"]),
        pb.Term(attribute="PatientID", values=["1"]),
    ]


def test_a_key_may_be_a_path_to_an_attribute_in_a_sequence() -> None:
    path = "RequestAttributesSequence.ScheduledProcedureStepID"
    assert parse_words(["series", f"{path}=S1"]) == (Level.SERIES, [pb.Term(attribute=path, values=["S1"])])


def test_a_key_may_match_empty_or_a_value() -> None:
    assert parse_words(["StudyID=1"], ["AccessionNumber", "StudyID"])[1] == [
        pb.Term(attribute="StudyID", values=["1", '""']),
        pb.Term(attribute="AccessionNumber", values=['""']),
    ]


@pytest.mark.parametrize(
    ("count", "total", "token", "text"),
    [
        (1, None, "", "1 match"),
        (0, None, "", "0 matches"),
        (1200, None, "", "1,200 matches"),
        (1, 1, "", "1 of 1 match"),
        (1, 2000, "abc", "1 of 2,000 matches; there are more: raise --limit, or continue with --page-token abc"),
        (0, 0, "", "0 of 0 matches"),
    ],
)
def test_the_last_line_has_the_number_of_matches_and_the_total(
    count: int, total: int | None, token: str, text: str
) -> None:
    assert summary(count, total, token) == text


@pytest.mark.parametrize("words", [["patients"], ["PatientID"], ["=1"], ["PatientID=1", "studies"]])
def test_a_word_that_is_neither_level_nor_term_is_refused(words: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        parse_words(words)


@pytest.mark.parametrize(
    ("element", "text"),
    [
        (None, ""),
        ({"vr": "LO"}, ""),
        ({"vr": "CS", "Value": ["CT", "SR"]}, "CT\\SR"),
        ({"vr": "IS", "Value": [3]}, "3"),
        ({"vr": "LO", "Value": [None, "b"]}, "\\b"),
        ({"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]}, "Yamada^Tarou=山田^太郎"),
        ({"vr": "SQ", "Value": [{}, {}]}, "(2 items)"),
        ({"vr": "OB", "InlineBinary": "AAA="}, "(binary)"),
        ({"vr": "LT", "Value": ["two\r\nlines \x1b[2J"]}, "two  lines  [2J"),
    ],
)
def test_elements_are_shown_as_text(element: dict[str, object] | None, text: str) -> None:
    assert cell(element) == text


@pytest.mark.parametrize(
    ("attribute", "tag"),
    [("PatientID", "00100020"), ("0008103e", "0008103E"), ("(0010,0020)", "00100020"), ("NoSuchKeyword", None)],
)
def test_tags_are_recognised_by_keyword_and_in_any_spelling(attribute: str, tag: str | None) -> None:
    assert tag_of(attribute) == tag


def test_the_table_shows_patient_and_uid_of_a_study() -> None:
    match: dict[str, object] = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
        "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
    }
    assert "Doe^Jane" in text_of(Level.STUDIES, [match])
    assert "1.2.3" in text_of(Level.STUDIES, [match])


def test_an_included_attribute_has_its_own_column() -> None:
    match: dict[str, object] = {"00180050": {"vr": "DS", "Value": [2.5]}}
    assert "00180050" in text_of(Level.SERIES, [match], "00180050")
    assert "2.5" in text_of(Level.SERIES, [match], "00180050")


def test_an_included_attribute_of_unknown_keyword_is_shown_under_its_tag() -> None:
    match: dict[str, object] = {"00180050": {"vr": "DS", "Value": [2.5]}}
    assert "00180050" in text_of(Level.SERIES, [match], "SliceThickness")


def test_include_all_shows_all_attributes_of_a_match() -> None:
    match: dict[str, object] = {
        "00080050": {"vr": "SH", "Value": ["ACC9"]},
        "00180050": {"vr": "DS", "Value": [2.5]},
        "00100020": {"vr": "LO", "Value": ["P7"]},
    }
    text = text_of(Level.STUDIES, [match], "All")
    assert [text.count(value) for value in ("ACC9", "AccessionNumber", "2.5", "00180050", "P7")] == [1] * 5


def test_attributes_that_were_not_requested_are_not_shown() -> None:
    match: dict[str, object] = {"00180050": {"vr": "DS", "Value": [2.5]}}
    assert "2.5" not in text_of(Level.SERIES, [match])


def test_square_brackets_in_a_value_are_printed_literally() -> None:
    match: dict[str, object] = {"00100020": {"vr": "LO", "Value": ["[red]7"]}}
    assert "[red]7" in text_of(Level.STUDIES, [match])


def test_the_keys_are_those_of_the_core() -> None:
    levels = {keyword: ("studies", "series", "instances")[key.level.value - 1] for keyword, key in SEARCH_KEYS.items()}
    assert {keyword: level.value for keyword, level in KEYS.items()} == levels


def test_all_indexed_attributes_have_a_known_keyword() -> None:
    assert set().union(*RETURN_KEY_TAGS.values()) <= set(TAGS.values())
    assert {keyword: path_of(keyword) for keyword in TAGS} == {keyword: (tag,) for keyword, tag in TAGS.items()}


@pytest.mark.parametrize(
    ("attribute", "level", "text"),
    [
        ("Modality", Level.STUDIES, "use ModalitiesInStudy, or search series by it"),
        ("00080060", Level.STUDIES, "use ModalitiesInStudy, or search series by it"),
        ("SeriesDescription", Level.STUDIES, "search series by it"),
        ("SOPClassUID", Level.SERIES, "search instances by it"),
        ("PatientNmae", Level.STUDIES, "did you mean PatientName?"),
        ("patientid", Level.INSTANCES, "did you mean PatientID?"),
        ("Modallity", Level.SERIES, "did you mean Modality?"),
        ("StudyInstanceUID", Level.SERIES, "an option already sets StudyInstanceUID"),
        ("PatientSex", Level.STUDIES, "add an extended query tag for it first (see docs/api.md)"),
        ("00189004", Level.STUDIES, "add an extended query tag for it first (see docs/api.md)"),
    ],
)
def test_an_unsupported_key_has_a_suggestion(attribute: str, level: Level, text: str) -> None:
    assert suggestion(attribute, level, frozenset({"StudyInstanceUID"} if level is Level.SERIES else ())) == text


def test_the_failure_names_each_unsupported_key_and_field_but_no_value() -> None:
    failure = not_usable(["Modality", "Foo", "StudyDat"], {"Modality", "Foo"}, Level.STUDIES, frozenset())
    assert failure.exit_code == 2
    assert failure.message == (
        "Modality is not a search key for studies; Foo is not a search key for studies; StudyDat cannot be returned"
    )
    assert "Modality: use ModalitiesInStudy" in failure.hint
    assert "did you mean StudyDate?" in failure.hint


def test_a_long_table_is_printed_in_parts_with_one_heading(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Console(file=io.StringIO(), width=300)
    monkeypatch.setattr(matches, "data", out)
    output = matches.TableOutput(Level.STUDIES, [])
    for number in range(2 * HELD_ROWS + 1):
        output.add(pb.SearchMatch(dicom_json=b"{}", resource=Address(study_instance_uid=f"1.{number}")))
    output.end()
    assert isinstance(out.file, io.StringIO)
    lines = out.file.getvalue().splitlines()
    assert len(lines) == 2 * HELD_ROWS + 2
    assert [line.split()[0] for line in (lines[0], lines[1], lines[-1])] == ["PatientID", "1.0", "1.2000"]
    assert sum(line.startswith("PatientID") for line in lines) == 1
