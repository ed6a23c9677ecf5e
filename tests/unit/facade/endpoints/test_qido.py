"""Parsing of search requests (PS3.18 section 8.3.4; docs/api.md, Searching)."""

import pytest
from starlette.requests import Request

from facade.endpoints.qido import (
    _ALL_SERIES,
    _ALL_STUDIES,
    _INSTANCES_OF_SERIES,
    returned_attributes,
)
from facade.errors import Refusal
from facade.request.query import parameters_of, prefers_strict
from facade.request.search_query import MAX_ROWS, Search, parse_search
from facade.versions import ALL_ATTRIBUTES, INSTANCE, SERIES, STUDY, VERSIONS

V1, V2 = VERSIONS["v1"], VERSIONS["v2"]


def parse(query: str, *, strict: bool = False) -> Search:
    request = Request({"type": "http", "query_string": query.encode(), "headers": []})
    return parse_search(parameters_of(request), strict=strict)


def test_the_study_list_request_of_a_viewer_is_parsed() -> None:
    query = parse(
        "PatientName=*x*&00100020=*y*&ModalitiesInStudy=CT&limit=101&offset=0&fuzzymatching=false"
        "&includefield=00081030%2C00080060%2C00080090&StudyDate=20200101-20201231"
    )

    assert query.terms == {
        "PatientName": ["*x*"],
        "00100020": ["*y*"],
        "ModalitiesInStudy": ["CT"],
        "StudyDate": ["20200101-20201231"],
    }
    assert query.include == ["00081030", "00080060", "00080090"]
    assert (query.limit, query.offset, query.fuzzy) == (101, 0, False)


def test_repeated_attributes_are_alternatives() -> None:
    assert parse("0020000E=1.2&0020000E=1.3&SOPClassUID=1").terms == {"0020000E": ["1.2", "1.3"], "SOPClassUID": ["1"]}


def test_include_fields_add_up() -> None:
    assert parse("includefield=StudyID&IncludeField=StudyTime,%20Rows").include == ["StudyID", "StudyTime", "Rows"]


def test_the_names_of_attributes_are_case_sensitive_and_others_are_not() -> None:
    query = parse("patientname=x&LIMIT=3&OffSet=4&FuzzyMatching=true")

    assert query.terms == {"patientname": ["x"]}
    assert (query.limit, query.offset, query.fuzzy) == (3, 4, True)


def test_an_empty_value_is_passed_on() -> None:
    assert parse("PatientName=").terms == {"PatientName": [""]}


def test_parameters_of_the_protocol_are_not_attributes() -> None:
    assert parse("accept=*/*&charset=utf-8").terms == {}


def test_matching_options_of_the_standard_are_not_attributes() -> None:
    query = parse("emptyvaluematching=true&multiplevaluematching=true&totalcount=true&pagetoken=abc")

    assert query.terms == {}
    assert (query.matches_empty, query.wants_total, query.page_token) == (True, True, "abc")


def test_a_strict_client_may_repeat_attributes_with_multiplevaluematching() -> None:
    query = parse("StudyID=1&StudyID=2&multiplevaluematching=true", strict=True)

    assert query.terms == {"StudyID": ["1", "2"]}


def test_defaults() -> None:
    assert parse("") == Search(limit=100, offset=0)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=1e6",
        "limit=",
        "offset=-1",
        "offset=x",
        "fuzzymatching=1",
        "emptyvaluematching=",
        "multiplevaluematching=2",
        "totalcount=maybe",
    ],
)
def test_invalid_options_are_refused(query: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse(query)

    assert refusal.value.status == 400


@pytest.mark.parametrize(
    "query", ["StudyID=1&StudyID=2", "StudyID=", "StudyID=%20", "includefield=all,StudyID", "limit=201"]
)
def test_a_strict_client_gets_errors_for_lenient_queries(query: str) -> None:
    parse(query)
    with pytest.raises(Refusal) as refusal:
        parse(query, strict=True)

    assert refusal.value.status == 400


def test_a_match_has_the_defaults_of_the_levels_in_scope() -> None:
    assert returned_attributes(Search(), _ALL_STUDIES, V2) == list(V2.returned_attributes[STUDY])
    assert returned_attributes(Search(), _ALL_SERIES, V2) == list(
        dict.fromkeys([*V2.returned_attributes[STUDY], *V2.returned_attributes[SERIES]])
    )
    assert returned_attributes(Search(), _INSTANCES_OF_SERIES, V2) == list(V2.returned_attributes[INSTANCE])


def test_include_fields_are_added_once() -> None:
    query = parse("includefield=StudyDate&includefield=PatientAge")

    assert returned_attributes(query, _ALL_STUDIES, V2) == [*V2.returned_attributes[STUDY], "PatientAge"]


def test_the_default_attributes_are_sufficient_for_the_study_list_of_a_viewer() -> None:
    """OHIF requests some attributes and also displays these."""
    shown = {"ModalitiesInStudy", "NumberOfStudyRelatedInstances", "StudyTime", "StudyDate", "PatientName", "PatientID"}

    assert shown <= {*returned_attributes(Search(), _ALL_STUDIES, V2)}
    assert shown <= {*returned_attributes(Search(), _ALL_STUDIES, V1)}


def test_include_all_adds_the_same_in_both_versions() -> None:
    query = parse("includefield=ALL")

    for version in (V1, V2):
        assert {*returned_attributes(query, _ALL_STUDIES, version)} == {
            *version.returned_attributes[STUDY],
            *ALL_ATTRIBUTES[STUDY],
        }


@pytest.mark.parametrize(
    ("prefer", "strict"),
    [("handling=strict", True), ('respond-async, Handling="strict"', True), ("handling=lenient", False), ("", False)],
)
def test_strict_handling_is_recognised(prefer: str, strict: bool) -> None:
    request = Request({"type": "http", "query_string": b"", "headers": [(b"prefer", prefer.encode())]})

    assert prefers_strict(request) is strict


@pytest.mark.parametrize(
    ("limit", "rows"), [("200", 200), ("201", 201), ("1000001", MAX_ROWS), ("2147483647", MAX_ROWS)]
)
def test_a_limit_above_the_maximum_is_reduced_to_it(limit: str, rows: int) -> None:
    assert parse(f"limit={limit}").limit == rows


RECORD_KEY = bytes.fromhex("7ffffffffffffffefbefbeff")  # in base64 it has "+" and "/"


@pytest.mark.parametrize(
    "query",
    [
        "PriorRecordKey=f%2F%2F%2F%2F%2F%2F%2F%2F%2F77777%2F",
        "PriorRecordKey=f///////%2F%2F77777/",
        "priorrecordkey=f_________77777_",
        "0008041C=f_________77777_&0008041c=f_________77777_",
        "PriorRecordKey=f_________77777_%3D%3D&includefield=RecordKey",
    ],
)
def test_a_prior_record_key_is_accepted_in_all_base64_variants(query: str) -> None:
    assert parse(query).prior_record_key == RECORD_KEY
    assert parse(query).terms == {}
    assert "RecordKey" in parse(query).include


@pytest.mark.parametrize("value", ["++++", "%2B%2B%2B%2B", "----", "%2D%2D%2D%2D"])
def test_a_plus_in_a_prior_record_key_need_not_be_encoded(value: str) -> None:
    assert parse(f"PriorRecordKey={value}").prior_record_key == bytes.fromhex("fbefbe")


def test_an_empty_prior_record_key_is_the_start() -> None:
    query = parse("PriorRecordKey=")

    assert query.prior_record_key == b""
    assert query.include == ["RecordKey"]


@pytest.mark.parametrize("query", ["PriorRecordKey=a", "PriorRecordKey=!!!!", "PriorRecordKey=AAAA&0008041C=BBBB"])
def test_an_invalid_prior_record_key_is_refused_by_name(query: str) -> None:
    with pytest.raises(Refusal, match="'PriorRecordKey' is invalid") as refusal:
        parse(query)

    assert refusal.value.status == 400
