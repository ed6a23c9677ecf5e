"""Requirements of attributes (PS3.4 Table CC.2.5-3): every row, when a workitem is created, updated and finished."""

from typing import Any

import pytest

from server.dicom.elements import dictionary
from server.dicom.worklist.data_set import MAX_BYTES, parse, serialise
from server.dicom.worklist.requirements import REQUIREMENTS, Requirement
from server.dicom.worklist.rules import check_new, check_update, missing_in_final_state
from server.model.errors import InvalidRequest, Reason
from server.model.worklist.workitem import WorkitemState
from tests.worklist import code, data_set, discontinued, element, performed, tag, text, workitem

CODE_MEANING = "ScheduledStationNameCodeSequence.CodeMeaning"
TOP = [one for one in REQUIREMENTS if one.depth == 0]
SERVER_SETS = {
    "SOPClassUID",
    "SOPInstanceUID",
    "ProcedureStepState",
    "WorklistLabel",
    "ScheduledProcedureStepModificationDateTime",
}


def refused(check: Any, content: dict[str, Any]) -> str | None:
    """Return the attribute because of which a data set is refused; None if it is accepted."""
    try:
        check(parse(text(content)))
    except InvalidRequest as error:
        return error.metadata.get("attribute", "")
    return None


def of_type(rows: list[Requirement], *kinds: str) -> list[Any]:
    return [pytest.param(one.attribute, id=one.attribute) for one in rows if one.create.split("/")[0] in kinds]


def test_a_minimal_workitem_is_valid() -> None:
    assert refused(check_new, workitem()) is None
    assert refused(check_new, workitem("WorklistLabel")) is None


@pytest.mark.parametrize("attribute", of_type(TOP, "1"))
def test_a_new_workitem_needs_a_value_of_type_1(attribute: str) -> None:
    expected = None if attribute in SERVER_SETS else attribute
    assert refused(check_new, workitem(attribute)) == expected
    assert refused(check_new, workitem(**{attribute: None})) == expected


@pytest.mark.parametrize(
    ("values", "attribute"),
    [
        ({"ProcedureStepLabel": ["x", "y"]}, "ProcedureStepLabel"),
        ({"ProcedureStepLabel": "a\\b"}, "ProcedureStepLabel"),
        ({"MedicalAlerts": ["x", "y"], "CommentsOnTheScheduledProcedureStep": "a\\b"}, None),
        ({"PregnancyStatus": [1, 2]}, "PregnancyStatus"),
        ({"PatientName": ["Doe^Jane", "Doe^John"]}, "PatientName"),
        ({"FrameIncrementPointer": ["00181063", "00181065"]}, None),
        ({"FrameIncrementPointer": "zz"}, "FrameIncrementPointer"),
        ({"SOPClassUID": ["1.2", "1.3"]}, None),  # the server replaces it
        ({"ScheduledWorkitemCodeSequence": [code(), code("CT2")]}, "ScheduledWorkitemCodeSequence"),
        ({"ScheduledStationNameCodeSequence": [code(), code("CT2")]}, None),
        ({"ScheduledStationNameCodeSequence": [code() | data_set(CodeMeaning=["x", "y"])]}, CODE_MEANING),
    ],
)
def test_the_number_of_values_and_items_is_that_of_the_dictionary_and_of_the_modules(
    values: dict[str, Any], attribute: str | None
) -> None:
    assert refused(check_new, workitem(**values)) == attribute


@pytest.mark.parametrize("number", [1, 2])
def test_an_update_has_one_item_of_progress_and_of_performed_procedures(number: int) -> None:
    for keyword, item in (
        ("ProcedureStepProgressInformationSequence", data_set(ProcedureStepProgress="50")),
        ("UnifiedProcedureStepPerformedProcedureSequence", data_set(OutputInformationSequence=None)),
    ):
        expected = keyword if number == 2 else None
        assert refused(check_update, data_set(**{keyword: [item] * number})) == expected


@pytest.mark.parametrize("attribute", of_type(TOP, "2"))
def test_a_new_workitem_needs_type_2_which_may_be_empty(attribute: str) -> None:
    expected = None if attribute in SERVER_SETS else attribute
    assert refused(check_new, workitem(attribute)) == expected
    assert refused(check_new, workitem(**{attribute: None})) is None


@pytest.mark.parametrize("one", [pytest.param(one, id=one.attribute) for one in TOP if one.create == "3/1"])
def test_optional_attributes_with_type_1_at_the_server_have_a_value(one: Requirement) -> None:
    assert refused(check_new, workitem(one.attribute)) is None
    assert refused(check_new, workitem(**{one.attribute: None})) == one.attribute


@pytest.mark.parametrize(
    "attribute",
    [
        *("SpecificCharacterSet", "PatientID", "StudyInstanceUID"),
        *("ScheduledHumanPerformersSequence", "ReplacedProcedureStepSequence"),
    ],
)
def test_conditions_are_not_enforced(attribute: str) -> None:
    assert refused(check_new, workitem(attribute)) is None
    assert refused(check_new, workitem(**{attribute: None})) is None


def test_the_transaction_uid_of_a_new_workitem_is_present_and_empty() -> None:
    assert refused(check_new, workitem("TransactionUID")) == "TransactionUID"
    assert refused(check_new, workitem(TransactionUID="1.2.3")) == "TransactionUID"


@pytest.mark.parametrize("content", [performed(), discontinued()], ids=["performed", "progress"])
def test_a_new_workitem_has_neither_progress_nor_results(content: dict[str, Any]) -> None:
    [attribute] = (dictionary.keyword(name) for name in content)
    assert str(refused(check_new, workitem() | content)).startswith(f"{attribute}.")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"ScheduledWorkitemCodeSequence": [{}]}, "ScheduledWorkitemCodeSequence.CodeMeaning"),
        (
            {"ScheduledProcessingParametersSequence": [data_set(ConceptNameCodeSequence=[code()])]},
            "ScheduledProcessingParametersSequence.ValueType",
        ),
        (
            {"ScheduledProcessingParametersSequence": [data_set(ValueType="TEXT")]},
            "ScheduledProcessingParametersSequence.ConceptNameCodeSequence",
        ),
        (
            {"InputInformationSequence": [data_set(TypeOfInstances="DICOM")]},
            "InputInformationSequence.ReferencedSOPSequence",
        ),
        (
            {"InputInformationSequence": [data_set(ReferencedSOPSequence=[data_set(ReferencedSOPClassUID="1.2")])]},
            "InputInformationSequence.TypeOfInstances",
        ),
        ({"ReferencedRequestSequence": [data_set(AccessionNumber="A1")]}, "ReferencedRequestSequence.StudyInstanceUID"),
        ({"ScheduledProcedureStepPriority": "SOON"}, "ScheduledProcedureStepPriority"),
        ({"InputReadinessState": "PERHAPS"}, "InputReadinessState"),
    ],
)
def test_items_of_sequences_have_their_required_attributes(values: dict[str, Any], expected: str) -> None:
    assert refused(check_new, workitem(**values)) == expected


@pytest.mark.parametrize("one", [pytest.param(one, id=one.attribute) for one in TOP])
def test_an_update_contains_only_what_n_set_allows(one: Requirement) -> None:
    empty = {tag(one.attribute): element(one.attribute, None)}
    if one.update == "-" or one.update == "3/1":
        assert refused(check_update, empty) == one.attribute
    else:
        assert refused(check_update, empty) is None


def test_an_update_is_not_empty() -> None:
    assert refused(check_update, {}) == ""


@pytest.mark.parametrize("one", [pytest.param(one, id=one.attribute) for one in REQUIREMENTS if one.final in "RPX"])
def test_a_final_state_needs_its_values(one: Requirement) -> None:
    state = WorkitemState.CANCELED if one.final == "X" else WorkitemState.COMPLETED
    times = data_set(ScheduledProcedureStepModificationDateTime="20240501093000+0000")
    uids = data_set(SOPClassUID="1.2", SOPInstanceUID="1.2.3", ProcedureStepState="IN PROGRESS")
    whole = workitem() | times | uids | performed() | discontinued()
    whole[tag("ProcedureStepProgressInformationSequence")]["Value"][0] |= data_set(
        ProcedureStepCancellationDateTime="20240501093000"
    )
    assert missing_in_final_state(whole, state) == []
    container = whole if one.depth == 0 else whole[one.path[0]]["Value"][0]
    container.pop(one.path[-1])
    assert one.attribute in missing_in_final_state(whole, state)


def test_the_output_of_a_completed_workitem_may_have_no_items() -> None:
    missing = missing_in_final_state(performed(), WorkitemState.COMPLETED)
    assert not [one for one in missing if one.startswith("UnifiedProcedureStepPerformedProcedureSequence")]


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"x": {}},
        {"00741204": "text"},
        {"00741204": {"vr": "SH", "Value": ["a"]}},
        {"00741204": {"vr": "LO", "Value": "a"}},
        {"00741204": {"vr": "LO", "Value": [1]}},
        {"00741204": {"vr": "LO", "Value": ["a"], "BulkDataURI": "http://x/"}},
        {"00741204": {"vr": "LO"}, "ProcedureStepLabel": {"vr": "LO"}},
        {"00404005": {"vr": "DT", "Value": ["2024-05-01"]}},
        {"00404005": {"vr": "DT", "Value": ["20240501-20240502"]}},
        {"00100010": {"vr": "PN", "Value": [{"Latin": "a"}]}},
        {"00100030": {"vr": "DA", "Value": ["20240230"]}},
        {"0020000D": {"vr": "UI", "Value": ["a"]}},
        {"00020010": {"vr": "UI", "Value": ["1.2"]}},
        {"00404018": {"vr": "SQ", "Value": ["a"]}},
        {"00404018": {"vr": "SQ", "Value": [{"00080104": {"vr": "LO", "Value": [2]}}]}},
        {"00090010": {"Value": [5]}},
        {"00091001": {"Value": ["a"]}},
        {"7FE00010": {"vr": "OW", "InlineBinary": "§"}},
        {"00280010": {"vr": "US", "Value": [-1]}},
    ],
    ids=str,
)
def test_a_malformed_data_set_is_refused(content: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(text(content))
    assert caught.value.reason is Reason.INVALID_WORKITEM


def test_a_data_set_is_neither_too_large_nor_nested_too_deeply() -> None:
    deep: dict[str, Any] = {}
    for _ in range(20):
        deep = data_set(ScheduledWorkitemCodeSequence=[deep])
    for body in (text(deep), b" " * (MAX_BYTES + 1), b"{"):
        with pytest.raises(InvalidRequest):
            parse(body)


def test_a_data_set_becomes_canonical() -> None:
    content = {
        "PatientName": {"vr": "PN", "Value": ["Doe^Jane=山田"]},
        "00080005": {"Value": ["ISO_IR 192"]},
        "00091001": {"vr": "UN", "InlineBinary": "AAAA"},
        "00280010": {"vr": "US", "Value": [3]},
        "00080018": {"vr": "UI", "Value": ["1.2 "]},
        "0040A30A": {"vr": "DS", "Value": [1.5]},
        "00741202": {"vr": "LO", "Value": [None]},
    }
    assert serialise(parse(text(content))) == (
        '{"00080005":{"vr":"CS","Value":["ISO_IR 192"]},"00080018":{"vr":"UI","Value":["1.2"]},'
        '"00091001":{"vr":"UN","InlineBinary":"AAAA"},'
        '"00100010":{"vr":"PN","Value":[{"Alphabetic":"Doe^Jane","Ideographic":"山田"}]},'
        '"00280010":{"vr":"US","Value":[3]},"0040A30A":{"vr":"DS","Value":["1.5"]},"00741202":{"vr":"LO"}}'
    )


def test_error_messages_contain_no_values() -> None:
    content = workitem(PatientName="Secret^Name") | {"00100030": {"vr": "DA", "Value": ["secret"]}}
    with pytest.raises(InvalidRequest) as caught:
        parse(text(content))
    assert "ecret" not in caught.value.message
