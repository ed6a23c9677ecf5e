"""Combined ranges of date and time, and time zones (PS3.4 section C.2.2.2.5)."""

import pytest

from server.dicom.matching.attributes import SEARCH_KEYS
from server.dicom.matching.matching import conditions
from server.domain.search.request import SearchRequest, Term, parse
from server.model.errors import InvalidRequest, Reason
from server.model.search.date_time import in_utc
from server.model.search.query import Condition, Level
from tests.reference_matcher import all_hold


def meaning(level: Level = Level.STUDY, **values: str) -> tuple[Condition, ...]:
    terms = tuple(Term(name, (value,)) for name, value in values.items())
    return parse(SearchRequest(level, terms=terms)).query.conditions


def found(when: str, **values: str) -> bool:
    """Return whether a study of "YYYYMMDD [HHMMSS [+HHMM]]" is found."""
    names = ("StudyDate", "StudyTime", "TimezoneOffsetFromUTC")
    keys = dict(zip(names, when.split(), strict=False))
    if "StudyTime" in keys:
        keys["StudyTime"] += ".000000"
    return all_hold(meaning(**values), keys)


@pytest.mark.parametrize(
    ("when", "is_found"),
    [
        ("20240101 215959", False),
        ("20240101 220000", True),
        ("20240101 235959", True),
        ("20240102 000000", True),
        ("20240102 065959", True),
        ("20240102 070000", False),
        ("20240102", False),
        ("20240101", False),
    ],
)
def test_a_date_range_and_a_time_range_are_combined(when: str, is_found: bool) -> None:
    assert found(when, StudyDate="20240101-20240102", StudyTime="2200-06") is is_found


def test_a_date_without_time_matches_if_the_whole_day_is_in_the_range() -> None:
    assert found("20240102", StudyDate="20240101-20240103", StudyTime="2200-06")
    assert found("20240102", StudyDate="20240101-", StudyTime="2200-")
    assert not found("20240101", StudyDate="20240101-", StudyTime="2200-")


@pytest.mark.parametrize(
    ("date", "time", "when", "is_found"),
    [
        ("20240101-", "22-", "20240102 010000", True),
        ("20240101-", "22-", "20240101 210000", False),
        ("-20240102", "-06", "20240101 230000", True),
        ("-20240102", "-06", "20240102 070000", False),
        ("20240101-20240102", "22-", "20240102 010000", True),
        ("20240101-20240102", "-06", "20240101 010000", True),
    ],
)
def test_an_end_without_time_covers_the_whole_day(date: str, time: str, when: str, is_found: bool) -> None:
    assert found(when, StudyDate=date, StudyTime=time) is is_found


@pytest.mark.parametrize(
    ("date", "time"),
    [("20240101", "10-12"), ("20240101-20240103", "11"), ("20240101,20240102", "10-12"), ("-20240103", "10-12")],
)
def test_other_dates_and_times_are_compared_separately(date: str, time: str) -> None:
    assert found("20240101 110000", StudyDate=date, StudyTime=time)
    assert not found("20240101 130000", StudyDate=date, StudyTime=time)


def test_date_and_time_of_a_procedure_step_are_combined() -> None:
    found = meaning(
        Level.SERIES,
        PerformedProcedureStepStartDate="20240101-20240102",
        PerformedProcedureStepStartTime="2200-0600",
    )
    date, time = "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"

    assert all_hold(found, {date: "20240102", time: "010000.000000"})
    assert not all_hold(found, {date: "20240102", time: "080000.000000"})


@pytest.mark.parametrize(
    ("when", "is_found"),
    [
        ("20231231 150000 +0000", True),
        ("20231231 145959 +0000", False),
        ("20240101 145959 +0000", True),
        ("20240101 150000 +0000", False),
        ("20240101 235959 +0900", True),
        ("20231231 040000 -1130", True),
        ("20240101 120000", True),
        ("20231231 150000", False),
        ("20240101", True),
        ("20240101 120000 +1400", True),
    ],
)
def test_a_date_in_a_time_zone_is_compared_in_utc_with_values_of_known_offset(when: str, is_found: bool) -> None:
    assert found(when, StudyDate="20240101", TimezoneOffsetFromUTC="+0900") is is_found


def test_the_time_of_a_date_is_in_the_time_zone_too() -> None:
    assert found("20240101 013000 +0000", StudyDate="20240101", StudyTime="10-11", TimezoneOffsetFromUTC="0900")
    assert not found("20240101 103000 +0000", StudyDate="20240101", StudyTime="10-11", TimezoneOffsetFromUTC="0900")


def test_several_dates_and_times_match_in_all_combinations() -> None:
    values = {"StudyDate": "20240101,20240103", "StudyTime": "10,12", "TimezoneOffsetFromUTC": "+0100"}

    assert found("20240103 113000 +0000", **values)
    assert not found("20240102 113000 +0000", **values)


def test_without_a_time_zone_in_the_query_offsets_are_ignored() -> None:
    assert found("20240101 233000 -0500", StudyDate="20240101")
    assert not found("20240101 233000 -0500", StudyDate="20240102")


@pytest.mark.parametrize("value", ["+1500", "-1201", "0960", "UTC", "+01:00", "+0100\\+0200", "1"])
def test_an_invalid_offset_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        meaning(StudyDate="20240101", TimezoneOffsetFromUTC=value)
    assert caught.value.reason is Reason.INVALID_QUERY
    assert caught.value.metadata == {"attribute": "TimezoneOffsetFromUTC"}


def test_an_offset_without_dates_is_ignored() -> None:
    terms = (Term("00080201", ("+0100",)), Term("PatientID", ("A",)))
    parsed = parse(SearchRequest(Level.STUDY, terms=terms))

    assert parsed.ignored == ("00080201",)
    assert len(parsed.query.conditions) == 1


@pytest.mark.parametrize(
    ("values", "attribute"),
    [
        ({"StudyDate": "20240102-20240101", "StudyTime": "10-12"}, "StudyDate"),
        ({"StudyDate": "20240101-20240101", "StudyTime": "12-10"}, "StudyDate"),
        ({"StudyDate": "20240101-20240102", "StudyTime": "12-25"}, "StudyTime"),
        ({"StudyDate": "20240101", "StudyTime": "12-10"}, "StudyTime"),
        ({"StudyDate": "yesterday", "TimezoneOffsetFromUTC": "+0100"}, "StudyDate"),
    ],
)
def test_ranges_that_end_before_they_start_are_refused(values: dict[str, str], attribute: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        meaning(**values)
    assert caught.value.metadata == {"attribute": attribute}


@pytest.mark.parametrize(
    ("moment", "offset", "expected"),
    [
        ("20240101000000.000000", "+0100", "20231231230000.000000"),
        ("20241231233000.500000", "-0430", "20250101040000.500000"),
        ("20240229235960.999999", "+0000", "20240229235960.999999"),
        ("00010101000000.000000", "+0100", None),
        ("99991231235959.000000", "-0100", None),
    ],
)
def test_date_times_convert_to_utc(moment: str, offset: str, expected: str | None) -> None:
    assert in_utc(moment, offset) == expected


def test_a_condition_on_dates_precedes_the_combined_range() -> None:
    """So that the index on dates is used for date-time ranges."""
    guide, span = meaning(StudyDate="20240103", TimezoneOffsetFromUTC="+0100")

    assert guide == conditions(SEARCH_KEYS["StudyDate"], ["20240101-20240105"], fuzzy=False)[0]
    assert span.key == "StudyDate"
