"""Identifiers of C-FIND requests as searches, and matches as identifiers of responses."""

from typing import Any

import orjson
import pytest
from dicomstore.v1.search_service_pb2 import QUERY_LEVEL_INSTANCE, QUERY_LEVEL_PATIENT, SearchRequest

from dimse.data_sets.reading import read
from dimse.data_sets.writing import EXPLICIT_LITTLE, IMPLICIT_LITTLE, write
from dimse.queries.identifiers import Identifier, InvalidIdentifier, Level, parse
from dimse.queries.requests import Matching, search_request
from dimse.queries.responses import ResponseWriter, computed_values
from tests.worklist import data_set


def identifier(terms: tuple[str, ...] = (), **values: Any) -> Identifier:
    made = data_set(**values)
    if terms:
        made |= data_set(SpecificCharacterSet=list(terms))
    return parse(write(made, EXPLICIT_LITTLE, terms), EXPLICIT_LITTLE)


def request_for(found: Identifier, level: Level = Level.STUDY, **matching: bool) -> SearchRequest:
    return search_request(found, level, "ward", Matching(**matching), 10)


def terms_of(found: Identifier) -> dict[str, list[str]]:
    return {term.attribute: list(term.values) for term in request_for(found).terms}


def test_keys_with_values_are_terms_and_all_keys_are_returned() -> None:
    found = identifier(
        QueryRetrieveLevel="STUDY",
        RetrieveAETitle="SOMEWHERE",
        PatientName="Müller^*",
        StudyDate="20200101-",
        StudyInstanceUID=["1.2", "1.3"],
        AccessionNumber=None,
        terms=("ISO_IR 100",),
    )
    assert terms_of(found) == {"00080020": ["20200101-"], "00100010": ["Müller^*"], "0020000D": ["1.2", "1.3"]}
    assert list(request_for(found).include_attributes) == ["00080020", "00080050", "00100010", "0020000D"]
    assert request_for(found).scope.partition == "ward"


def test_keys_in_a_sequence_are_paths() -> None:
    code = data_set(CodeValue="C1")
    item = data_set(ScheduledProcedureStepID="S*", ScheduledProtocolCodeSequence=[code], RequestedProcedureID=None)
    assert terms_of(identifier(RequestAttributesSequence=[item])) == {
        "00400275.00400008.00080100": ["C1"],
        "00400275.00400009": ["S*"],
    }
    assert terms_of(identifier(RequestAttributesSequence=None)) == {}


def test_a_sequence_among_the_keys_has_one_item() -> None:
    with pytest.raises(InvalidIdentifier) as refused:
        terms_of(identifier(RequestAttributesSequence=[data_set(RequestedProcedureID="1")] * 2))
    assert refused.value.tag == "00400275"


def test_levels_are_those_of_the_information_model() -> None:
    assert identifier(QueryRetrieveLevel="PATIENT").level(frozenset(Level)) is Level.PATIENT
    assert request_for(identifier(), Level.PATIENT).level == QUERY_LEVEL_PATIENT
    assert request_for(identifier(), Level.IMAGE).level == QUERY_LEVEL_INSTANCE
    for wrong in ("PATIENT", "FRAME", None, ["STUDY", "SERIES"]):
        with pytest.raises(InvalidIdentifier) as refused:
            identifier(QueryRetrieveLevel=wrong).level(frozenset(Level) - {Level.PATIENT})
        assert refused.value.tag == "00080052"


def test_negotiated_extensions_of_matching_are_used() -> None:
    assert Matching.of_negotiation(b"") == Matching()
    assert Matching.of_negotiation(b"\1") == Matching(relational=True)
    assert Matching.of_negotiation(b"\0\1\1\1\0\1\0") == Matching(fuzzy=True, empty_values=True)
    request = request_for(identifier(), relational=True, fuzzy=True, empty_values=True)
    assert request.relational
    assert request.fuzzy_matching
    assert request.empty_value_matching


MATCH = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00080020": {"vr": "DA", "Value": ["20200102"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg"}]},
    "00201208": {"vr": "IS", "Value": [7]},
    "00400275": {
        "vr": "SQ",
        "Value": [{"00400009": {"vr": "SH", "Value": ["S1"]}, "00401001": {"vr": "SH", "Value": ["R1"]}}],
    },
}


def response(found: Identifier, syntax: str = IMPLICIT_LITTLE) -> dict[str, Any]:
    writer = ResponseWriter(found, syntax, computed_values(Level.STUDY, "ARCHIVE"))
    return read(writer.write(orjson.dumps(MATCH)), syntax)


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE])
def test_a_response_has_the_requested_attributes(syntax: str) -> None:
    found = identifier(
        QueryRetrieveLevel="STUDY",
        RetrieveAETitle=None,
        InstanceAvailability=None,
        StorageMediaFileSetID=None,
        StudyDate="2020*",
        StudyID=None,
        NumberOfStudyRelatedInstances=None,
        RequestAttributesSequence=[data_set(RequestedProcedureID=None)],
    )
    texts = {tag: element.get("Value") for tag, element in response(found, syntax).items()}
    assert texts == {
        "00080020": ["20200102"],
        "00080052": ["STUDY"],
        "00080054": ["ARCHIVE"],
        "00080056": ["ONLINE"],
        "00200010": None,
        "00201208": ["7"],
        "00400275": [{"00401001": {"vr": "SH", "Value": ["R1"]}}],
        "00880130": None,
    }


@pytest.mark.parametrize(
    ("terms", "expected"),
    [((), ["ISO_IR 192"]), (("ISO_IR 100",), ["ISO_IR 100"]), (("ISO_IR 144",), ["ISO_IR 192"])],
)
def test_a_response_has_the_character_set_of_the_request_or_utf_8(terms: tuple[str, ...], expected: list[str]) -> None:
    found = response(identifier(terms, PatientName=None))
    assert found["00080005"]["Value"] == expected
    assert found["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]


def test_a_response_of_ascii_text_needs_no_character_set() -> None:
    assert "00080005" not in response(identifier(StudyDate=None))
