"""Matching of search values with stored values (PS3.4 section C.2.2.2)."""

from datetime import date, time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.dicom.matching import normalise
from server.dicom.matching.attributes import SEARCH_KEYS, SearchKey, attributes_of
from server.dicom.matching.matching import MAX_EXACT_VALUES, MAX_PATTERNS, conditions
from server.model.errors import InvalidRequest, Reason
from server.model.search.query import Condition, Empty, Equals, Level
from tests.reference_matcher import all_hold, holds

FULL_WIDTH_STAR = "＊"


def found(keyword: str, stored: str, *values: str, fuzzy: bool = False) -> bool:
    """Return whether an instance that stores one value is found by a term with `values`."""
    key = SEARCH_KEYS[keyword]
    value: Any = stored
    if key.vr == "PN":
        groups = zip(("Alphabetic", "Ideographic", "Phonetic"), stored.split("="), strict=False)
        value = {group: text for group, text in groups if text}
    keys = attributes_of(key.level, {key.path[0]: {"vr": key.vr, "Value": [value]}}).keys
    return all(holds(condition, keys) for condition in conditions(key, values, fuzzy=fuzzy))


def refused(keyword: str, *values: str, fuzzy: bool = False) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        conditions(SEARCH_KEYS[keyword], values, fuzzy=fuzzy)
    assert caught.value.reason is Reason.INVALID_QUERY
    assert caught.value.metadata == {"attribute": keyword}
    return caught.value


# --- String: whole value equality, case-insensitive; PN also accent-insensitive, others accent-sensitive


@pytest.mark.parametrize(
    ("keyword", "stored", "value", "is_found"),
    [
        ("PatientID", "AbC 1", "abc 1", True),
        ("PatientID", "AbC 1", "AbC", False),
        ("PatientID", "A1  ", " A1", True),
        ("PatientID", "A1", "A1\0", True),
        ("StudyDescription", "Échographie", "échographie", True),
        ("StudyDescription", "Échographie", "echographie", False),
        ("Modality", "CT", "ct", True),
        ("AccessionNumber", "0001", "1", False),
        ("PatientName", "Buc^Jérôme", "BUC^JEROME", True),
        ("PatientName", "Buc^Jerome", "Buc^Jérôme", True),
        ("PatientName", "Buc^Jérôme^^", "Buc^Jérôme", True),
        ("PatientName", "Buc^Jérôme", "Buc^Jérôme^^^", True),
        ("PatientName", "Buc^Jérôme", "Buc", False),
        ("PatientName", "Buc^Jérôme", "Jérôme", False),
    ],
)
def test_a_single_value_must_be_the_whole_value(keyword: str, stored: str, value: str, is_found: bool) -> None:
    assert found(keyword, stored, value) is is_found


@pytest.mark.parametrize(
    ("value", "is_found"),
    [
        ("Yamada^Tarou", True),
        ("山田^太郎", True),
        ("やまだ^たろう", True),
        ("やまた^たろう", False),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ", False),
        ("ＹＡＭＡＤＡ＾ＴＡＲＯＵ", True),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("Yamada^Tarou=山田^太郎", True),
        ("=山田^太郎", True),
        ("Yamada^Tarou=", True),
        ("Yamada^Tarou=山田^花子", False),
        ("Yamada^*=*^太郎", True),
        ("Yamada^*=*^花子", False),
        ("*=山田*", True),
    ],
)
def test_a_name_is_compared_group_by_group(value: str, is_found: bool) -> None:
    assert found("PatientName", "Yamada^Tarou=山田^太郎=やまだ^たろう", value) is is_found


# --- Integer VRs: numeric


@pytest.mark.parametrize(("value", "is_found"), [("3", True), ("0003", True), ("+3", True), ("30", False)])
def test_integers_are_compared_as_numbers(value: str, is_found: bool) -> None:
    assert found("SeriesNumber", "03", value) is is_found


@pytest.mark.parametrize("value", ["three", "3.5", "*", "3-4", "1" * 13])
def test_an_invalid_integer_is_refused(value: str) -> None:
    refused("InstanceNumber", value)


# --- UIDs: exact, and lists (PS3.4 section C.2.2.2.2)


@pytest.mark.parametrize(
    "values",
    [
        ("1.2.3",),
        ("1.2.3 ",),
        ("1.2.9,1.2.3",),
        ("1.2.9\\1.2.3",),
        ("1.2.9", "1.2.3"),
        ("1.2.9\\1.2.8,1.2.3\\",),
    ],
)
def test_any_uid_of_a_list_matches(values: tuple[str, ...]) -> None:
    assert found("StudyInstanceUID", "1.2.3", *values)


def test_a_uid_that_is_not_in_the_list_does_not_match() -> None:
    assert not found("StudyInstanceUID", "1.2.3", "1.2", "1.2.33\\1.2.3.1")


@pytest.mark.parametrize("value", ["1.2.*", "abc", "1.2,DOE", "1." * 33 + "1", "1.2.", "1.2 1.3"])
def test_an_invalid_uid_is_refused(value: str) -> None:
    refused("SOPClassUID", value)


# --- Lists (PS3.4 section C.2.2.2.8)


def test_any_value_of_a_list_matches() -> None:
    assert found("AccessionNumber", "A2", "A1\\A2")
    assert found("AccessionNumber", "A2", "A1", "A2")
    assert found("StudyDate", "20240102", "20230101", "20240101-20240131")
    assert found("PatientName", "Doe^Jane", "Roe^*\\Doe^*")
    assert not found("AccessionNumber", "A2", "A1\\A3")


@pytest.mark.parametrize(
    ("keyword", "stored", "values"),
    [
        ("Modality", "MR", "CT,MR"),
        ("Modality", "MR", "CT, M*"),
        ("SeriesNumber", "3", "2,3"),
        ("StudyDate", "20240102", "20230101,20240101-20240131"),
        ("StudyTime", "101500", "09,10"),
    ],
)
def test_a_comma_separates_values_of_vrs_without_commas(keyword: str, stored: str, values: str) -> None:
    assert found(keyword, stored, values)


def test_a_comma_is_an_ordinary_character_of_text_vrs() -> None:
    assert found("PatientID", "1,2", "1,2")
    assert not found("PatientID", "1", "1,2")


def test_blank_values_are_ignored_beside_others() -> None:
    assert not found("PatientID", "A", "", "B")
    assert not found("PatientID", "A", "B\\ \\")


def test_names_with_several_groups_can_be_listed() -> None:
    values = ("Roe^Jane=花子", "Yamada^Tarou=山田^太郎")

    assert found("PatientName", "Yamada^Tarou=山田^太郎", *values)
    assert found("PatientName", "Roe^Jane=花子", *values)
    assert not found("PatientName", "Yamada^Tarou=花子", *values)


def test_lists_over_the_limit_are_refused() -> None:
    refused("PatientID", *(f"P{number}" for number in range(MAX_EXACT_VALUES + 1)))
    refused("PatientID", *(f"P{number}*" for number in range(MAX_PATTERNS + 1)))
    refused("StudyDate", *(f"{1900 + number}0101-" for number in range(MAX_PATTERNS + 1)))
    refused("PatientName", *(f"A{number}=B=C" for number in range(5)))


def test_exact_values_of_a_list_become_one_matcher_without_duplicates() -> None:
    (condition,) = conditions(SEARCH_KEYS["PatientID"], ["a", "B\\b", "A "], fuzzy=False)

    assert condition.matchers == (Equals(("a", "b")),)


# --- Wildcards (PS3.4 section C.2.2.2.4)


@pytest.mark.parametrize(
    ("keyword", "stored", "value", "is_found"),
    [
        ("PatientName", "Doe^John", "*doe*", True),
        ("PatientName", "Doe^John", "*ohn", True),
        ("PatientName", "Doe^John", "d*n", True),
        ("PatientName", "Doe^John", "D?e^J???", True),
        ("PatientName", "Doe^John", "D?e", False),
        ("PatientName", "Doe^John", "ohn*", False),
        ("PatientName", "Doe^John", f"doe{FULL_WIDTH_STAR}", True),
        ("PatientName", "Doe", "Doe^*", True),
        ("PatientName", "Doe^John", "Doe^*^^", True),
        ("PatientName", "Doering^John", "Doe^*", False),
        ("PatientName", "홍^길동", "홍^길?", True),
        ("PatientName", "Buc^Jérôme", "*jero*", True),
        ("PatientID", "MRN-123-A", "*123*", True),
        ("PatientID", "MRN-123-A", "mrn-***-?", True),
        ("PatientID", "MRN-123-A", "*124*", False),
        ("PatientID", "100%", "100%", True),
        ("PatientID", "100x", "100%*", False),
        ("PatientID", "a_b", "a_b*", True),
        ("PatientID", "axb", "a_b*", False),
        ("PatientID", "a[b]c", "a[b]*", True),
        ("AccessionNumber", "AC12", "ac*", True),
        ("StudyDescription", "CT Abdomen", "*abd*", True),
        ("Modality", "CT", "c?", True),
    ],
)
def test_wildcards_match_any_characters(keyword: str, stored: str, value: str, is_found: bool) -> None:
    assert found(keyword, stored, value) is is_found


@pytest.mark.parametrize("keyword", ["StudyDate", "StudyTime", "SeriesNumber", "SOPInstanceUID"])
def test_wildcards_are_refused_for_vrs_without_wildcard_matching(keyword: str) -> None:
    refused(keyword, "2*")


# --- Universal matching (PS3.4 section C.2.2.2.3)


@pytest.mark.parametrize("keyword", sorted(SEARCH_KEYS))
def test_an_empty_value_matches_everything(keyword: str) -> None:
    for values in ([""], ["", "\\"], []):
        assert conditions(SEARCH_KEYS[keyword], values, fuzzy=False) == ()


@pytest.mark.parametrize("keyword", sorted(SEARCH_KEYS))
@pytest.mark.parametrize("blank", [" ", "\0", " \0 ", "\0\\", " \\ "])
def test_a_value_of_blanks_or_nul_only_is_refused(keyword: str, blank: str) -> None:
    for values in ([blank], [blank, "1"], ["", blank]):
        with pytest.raises(InvalidRequest) as refused:
            conditions(SEARCH_KEYS[keyword], values, fuzzy=False)
        assert refused.value.reason is Reason.INVALID_QUERY


def test_a_blank_is_ignored_beside_other_values_of_a_list() -> None:
    for value in ("A\\ ", "\0\\A", "A\\"):
        assert conditions(SEARCH_KEYS["StudyID"], [value], fuzzy=False) == (Condition("StudyID", (Equals(("a",)),)),)


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "Modality", "ModalitiesInStudy"])
@pytest.mark.parametrize("fuzzy", [False, True])
def test_a_lone_asterisk_matches_everything(keyword: str, fuzzy: bool) -> None:
    for values in (["*"], ["**"], ["X", "*"]):
        assert conditions(SEARCH_KEYS[keyword], values, fuzzy=fuzzy) == ()


def test_a_name_of_delimiters_only_matches_everything() -> None:
    for value in ("^", "=", "*^*", "*=*"):
        assert conditions(SEARCH_KEYS["PatientName"], [value], fuzzy=False) == ()


# --- DA: exact and range; TM: exact and range (PS3.4 section C.2.2.2.5)


@pytest.mark.parametrize(
    ("value", "is_found"),
    [
        ("20240229", True),
        ("20240228", False),
        ("20240101-20241231", True),
        ("20240229-20240229", True),
        (" 20240101 - 20241231 ", True),
        ("20240229-", True),
        ("-20240229", True),
        ("20240301-", False),
        ("-20240228", False),
    ],
)
def test_dates_match_alone_and_in_inclusive_ranges(value: str, is_found: bool) -> None:
    assert found("StudyDate", "20240229", value) is is_found


@pytest.mark.parametrize(
    "value",
    ["-", " - ", "20241231-20240101", "20230229", "2024", "2024-2025", "2024-01-01", "20240101-20240102-", "today"],
)
def test_an_invalid_date_is_refused(value: str) -> None:
    for keyword in ("StudyDate", "PatientBirthDate", "PerformedProcedureStepStartDate"):
        refused(keyword, value)


@pytest.mark.parametrize(
    ("stored", "value", "is_found"),
    [
        ("101530.25", "101530.25", True),
        ("101530.25", "101530", True),
        ("101530.25", "1015", True),
        ("101530.25", "10", True),
        ("101530.25", "101530.2", True),
        ("101530.25", "101530.3", False),
        ("101530.25", "09-11", True),
        ("101530.25", "09-10", True),
        ("101530.25", "-1015", True),
        ("101530.25", "101530-", True),
        ("101530.25", "101531-", False),
        ("235959.5", "000000-235959", True),
        ("10", "100000", True),
        ("10", "1030", False),
    ],
)
def test_a_partial_time_matches_all_its_completions(stored: str, value: str, is_found: bool) -> None:
    assert found("StudyTime", stored, value) is is_found


@pytest.mark.parametrize("value", ["-", "11-10", "24", "1060", "10:15", "noon", "101530.1234567"])
def test_an_invalid_time_is_refused(value: str) -> None:
    for keyword in ("StudyTime", "PerformedProcedureStepStartTime"):
        refused(keyword, value)


# --- Fuzzy (names only)


@pytest.mark.parametrize(
    ("stored", "value", "is_found"),
    [
        ("John^Doe", "Joh", True),
        ("John^Doe", "do", True),
        ("John^Doe", "jo do", True),
        ("John^Doe", "John Doe", True),
        ("John^Doe", "ohn", False),
        ("John^Doe", "Doe John", False),
        ("John^Doe", "John^Doe", True),
        ("Jon^Word^StoneHall", "word", True),
        ("Jonathan^Word^Stone Hall^^", "word", True),
        ("Jonathan^Word^Stone Hall^^", "jonathan stone", False),
        ("Jonathan^Word^Stone Hall^^", "wo sto ha", True),
        ("Buc^Jérôme", "jero", True),
        ("Buc^Jerome", "JÉRÔ", True),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "太", True),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada=山田", True),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada=花子", False),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Tarou 山田", False),
        ("John^Doe", "*oe", True),
        ("John^Doe", "do*", True),
        ("John^Doe", "jo* do*", True),
        ("John^Doe", "x*", False),
        ("John^Doe", "J?hn^Doe", True),
    ],
)
def test_fuzzy_words_are_prefixes_of_adjacent_words_in_order(stored: str, value: str, is_found: bool) -> None:
    assert found("PatientName", stored, value, fuzzy=True) is is_found


def test_fuzzy_matching_leaves_other_attributes_exact() -> None:
    assert not found("PatientID", "John", "Jo", fuzzy=True)


@pytest.mark.parametrize("keyword", ["PatientName", "ReferringPhysicianName"])
def test_a_quotation_mark_is_refused_with_fuzzy_matching(keyword: str) -> None:
    refused(keyword, 'john" or "x', fuzzy=True)
    assert found(keyword, 'The "King"', 'the "king"')


# --- Rejected values


def test_a_refusal_never_repeats_the_value() -> None:
    for keyword, value in [("StudyDate", "SECRET"), ("StudyInstanceUID", "SECRET"), ("SeriesNumber", "SECRET")]:
        assert "SECRET" not in refused(keyword, value).message


def test_an_attribute_in_a_sequence_matches_any_item() -> None:
    key = SEARCH_KEYS["RequestAttributesSequence.ScheduledProcedureStepID"]
    (condition,) = conditions(key, ["s2"], fuzzy=False)

    assert holds(condition, {key.keyword: "s1\\s2"})
    assert not holds(condition, {key.keyword: "s1\\s22"})


# --- Properties

LETTERS = "abzéñÅßøΔδЖжזاあガ山田홍길1-'. "
GROUPS = st.lists(st.text(LETTERS, max_size=8), min_size=1, max_size=5).map("^".join)
NAMES = st.lists(GROUPS, min_size=1, max_size=3).map("=".join)
TEXTS = st.text(LETTERS + "[]%_,^=", min_size=1, max_size=20).map(str.strip)


@settings(deadline=None)
@given(NAMES, st.booleans())
def test_every_name_matches_itself_in_any_case(name: str, fuzzy: bool) -> None:
    assert found("PatientName", name, name, fuzzy=fuzzy)
    assert found("PatientName", name, name.upper(), fuzzy=fuzzy)


@settings(deadline=None)
@given(NAMES)
def test_every_name_matches_each_of_its_groups(name: str) -> None:
    for group in name.split("="):
        assert found("PatientName", name, group)


@settings(deadline=None)
@given(TEXTS, st.data())
def test_every_text_matches_with_any_run_replaced_by_an_asterisk(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))

    assert found("StudyDescription", text, text[:start] + "*" + text[end:])


@settings(deadline=None)
@given(GROUPS, st.data())
def test_every_name_matches_prefixes_of_adjacent_words(name: str, data: st.DataObject) -> None:
    words = name.replace("^", " ").split()
    start = data.draw(st.integers(0, len(words)))
    end = data.draw(st.integers(start, len(words)))
    frame_starts = [word[: data.draw(st.integers(1, len(word)))] for word in words[start:end]]

    assert found("PatientName", name, " ".join(frame_starts), fuzzy=True)


@settings(deadline=None)
@given(NAMES, st.text(LETTERS + "^*?", min_size=1, max_size=8).filter(str.strip))
def test_fuzzy_matching_finds_all_that_literal_matching_finds(name: str, value: str) -> None:
    if found("PatientName", name, value):
        assert found("PatientName", name, value, fuzzy=True)


@settings(deadline=None)
@given(st.dates(), st.dates(), st.dates())
def test_date_ranges_are_inclusive(day: date, one: date, other: date) -> None:
    low, high = sorted((one, other))
    written = [f"{value:%Y%m%d}".rjust(8, "0") for value in (day, low, high)]

    assert found("StudyDate", written[0], f"{written[1]}-{written[2]}") is (low <= day <= high)


@settings(deadline=None)
@given(st.times(), st.times(), st.times())
def test_time_ranges_are_inclusive(moment: time, one: time, other: time) -> None:
    low, high = sorted((one, other))
    written = [f"{value:%H%M%S.%f}" for value in (moment, low, high)]

    assert found("StudyTime", written[0], f"{written[1]}-{written[2]}") is (low <= moment <= high)


# --- Empty value (PS3.4 section C.2.2.2.7)


@pytest.mark.parametrize("keyword", sorted(SEARCH_KEYS))
def test_two_quotation_marks_match_entities_without_a_value(keyword: str) -> None:
    (condition,) = conditions(SEARCH_KEYS[keyword], ['""'], fuzzy=False, empty=True)

    assert condition == Condition(keyword, (Empty(),))
    assert holds(condition, {})


def test_an_empty_value_in_a_list_is_one_of_several() -> None:
    for values in (['""', "A"], ['A\\""']):
        (condition,) = conditions(SEARCH_KEYS["PatientID"], values, fuzzy=False, empty=True)
        assert [holds(condition, keys) for keys in ({}, {"PatientID": "a"}, {"PatientID": "b"})] == [True, True, False]


def test_names_of_several_groups_may_be_listed_with_an_empty_value() -> None:
    found = conditions(SEARCH_KEYS["PatientName"], ["Doe=山", '""'], fuzzy=False, empty=True)

    assert [all_hold(found, keys) for keys in ({}, {"PatientName": "doe=山"}, {"PatientName": "doe"})] == [
        True,
        True,
        False,
    ]


def test_two_quotation_marks_are_text_by_default() -> None:
    assert found("PatientID", '""', '""')
    refused("StudyDate", '""')
    refused("PatientName", '""', fuzzy=True)


# --- DT: exact and range (PS3.4 section C.2.2.2.5, PS3.5 section 6.2)

DATE_TIME = SearchKey("FrameAcquisitionDateTime", ("00189074",), "DT", Level.INSTANCE)


@pytest.mark.parametrize(
    ("stored", "value", "is_found"),
    [
        ("20240229101530.25", "20240229101530.25", True),
        ("20240229101530.25", "2024022910", True),
        ("20240229101530", "2024", True),
        ("20240229101530", "202402", True),
        ("20240229101530", "202403", False),
        ("20240229101530", "202401-202402", True),
        ("20240229101530", "20240229-20240301", True),
        ("20240229101530", "20240229101531-", False),
        ("20240229101530", "-2024022910", True),
        ("20240229101530+0900", "20240229011530+0000", True),
        ("20240229101530+0900", "2024022901-0000", True),
        ("20240229233000-0500", "20240301", True),
        ("20240229101530+0900", "20240229010000+0000-20240229020000+0000", True),
        ("20240229101530+0900", "20240229101530-", False),
        ("20240229101530", "19970701-0500", False),
    ],
)
def test_date_times_match_by_precision_and_offset(stored: str, value: str, is_found: bool) -> None:
    (condition,) = conditions(DATE_TIME, [value], fuzzy=False)

    assert holds(condition, {DATE_TIME.keyword: normalise.first_instant(stored) or ""}) is is_found


@pytest.mark.parametrize(
    "value", ["20241301", "20240230", "2024022925", "-", "now", "2024+1500", "2025-2024", "2024-1300-"]
)
def test_an_invalid_date_time_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        conditions(DATE_TIME, [value], fuzzy=False)
    assert caught.value.metadata == {"attribute": DATE_TIME.keyword}
