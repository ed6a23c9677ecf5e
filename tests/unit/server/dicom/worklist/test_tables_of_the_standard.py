"""The attributes that PS3.4 Table CC.2.5-3 and Azure's service name, written independently of the data of requirements,
and all requirements of attributes in sequences."""

from typing import Any

import pytest

from server.dicom.elements import dictionary
from server.dicom.worklist.requirements import REQUIREMENTS, RETURN_KEYS, Requirement
from server.dicom.worklist.rules import check_new, check_update, missing_in_final_state
from server.dicom.worklist.search_keys import SEARCH_KEYS, search_key, search_values
from server.model.worklist.workitem import WorkitemState
from tests.unit.server.dicom.worklist.test_rules import refused
from tests.worklist import data_set, discontinued, performed, tag, workitem

WITH_VALUE = "ScheduledProcedureStepPriority ProcedureStepLabel ScheduledProcedureStepStartDateTime InputReadinessState"
PRESENT = """
ScheduledProcessingParametersSequence ScheduledStationNameCodeSequence ScheduledStationClassCodeSequence
ScheduledStationGeographicLocationCodeSequence ScheduledWorkitemCodeSequence CommentsOnTheScheduledProcedureStep
InputInformationSequence PatientName IssuerOfPatientID IssuerOfPatientIDQualifiersSequence OtherPatientIDsSequence
PatientBirthDate PatientSex AdmissionID IssuerOfAdmissionIDSequence AdmittingDiagnosesDescription
AdmittingDiagnosesCodeSequence ReferencedRequestSequence ProcedureStepProgressInformationSequence
UnifiedProcedureStepPerformedProcedureSequence TransactionUID
"""
SET_BY_THE_SERVER = (
    "SOPClassUID SOPInstanceUID WorklistLabel ScheduledProcedureStepModificationDateTime ProcedureStepState"
)
NOT_UPDATED = """
SOPClassUID SOPInstanceUID PatientName PatientID IssuerOfPatientID IssuerOfPatientIDQualifiersSequence
OtherPatientIDsSequence PatientBirthDate PatientSex AdmissionID IssuerOfAdmissionIDSequence
AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence ReferencedRequestSequence ReplacedProcedureStepSequence
ProcedureStepState TransactionUID
"""
IN_BOTH_FINAL_STATES = """
SOPClassUID SOPInstanceUID ScheduledProcedureStepPriority ScheduledProcedureStepModificationDateTime
ScheduledProcedureStepStartDateTime InputReadinessState ProcedureStepState
"""
_CANCELED, _COMPLETED = "ProcedureStepProgressInformationSequence", "UnifiedProcedureStepPerformedProcedureSequence"
IN_FINAL_STATE = {
    WorkitemState.CANCELED: (
        _CANCELED,
        "ProcedureStepCancellationDateTime ProcedureStepDiscontinuationReasonCodeSequence",
    ),
    WorkitemState.COMPLETED: (
        _COMPLETED,
        "PerformedStationNameCodeSequence PerformedProcedureStepStartDateTime PerformedWorkitemCodeSequence "
        "PerformedProcedureStepEndDateTime OutputInformationSequence",
    ),
}
SEARCHABLE = """
PatientName PatientID ReferencedRequestSequence.AccessionNumber ReferencedRequestSequence.RequestedProcedureID
ScheduledProcedureStepStartDateTime ScheduledStationNameCodeSequence.CodeValue
ScheduledStationClassCodeSequence.CodeValue ScheduledStationGeographicLocationCodeSequence.CodeValue ProcedureStepState
StudyInstanceUID
"""
RETURNED = """
SpecificCharacterSet SOPClassUID SOPInstanceUID ScheduledProcedureStepPriority ProcedureStepLabel WorklistLabel
ScheduledProcessingParametersSequence ScheduledStationNameCodeSequence ScheduledStationClassCodeSequence
ScheduledStationGeographicLocationCodeSequence ScheduledHumanPerformersSequence ScheduledProcedureStepStartDateTime
ScheduledWorkitemCodeSequence InputReadinessState InputInformationSequence StudyInstanceUID PatientName PatientID
IssuerOfPatientID IssuerOfPatientIDQualifiersSequence OtherPatientIDsSequence PatientBirthDate PatientSex AdmissionID
IssuerOfAdmissionIDSequence AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence ReferencedRequestSequence
MedicalAlerts PregnancyStatus SpecialNeeds ProcedureStepState ProcedureStepProgressInformationSequence
"""
BY_ATTRIBUTE = {one.attribute: one for one in REQUIREMENTS}


@pytest.mark.parametrize("attribute", WITH_VALUE.split())
def test_these_need_a_value_in_a_new_workitem(attribute: str) -> None:
    assert refused(check_new, workitem(attribute)) == attribute
    assert refused(check_new, workitem(**{attribute: None})) == attribute


@pytest.mark.parametrize("attribute", PRESENT.split())
def test_these_must_be_present_and_may_be_empty_in_a_new_workitem(attribute: str) -> None:
    assert refused(check_new, workitem(attribute)) == attribute
    assert refused(check_new, workitem(**{attribute: None})) is None


@pytest.mark.parametrize("attribute", SET_BY_THE_SERVER.split())
def test_these_may_be_absent_because_the_server_sets_them(attribute: str) -> None:
    assert refused(check_new, workitem(attribute)) is None


@pytest.mark.parametrize("attribute", NOT_UPDATED.split())
def test_these_must_not_be_in_an_update(attribute: str) -> None:
    assert refused(check_update, data_set(ProcedureStepLabel="a", **{attribute: None})) == attribute


def finished() -> dict[str, Any]:
    """Return a data set that both final states accept."""
    whole = workitem() | performed() | discontinued()
    whole |= data_set(
        **dict.fromkeys(("SOPClassUID", "SOPInstanceUID"), "1.2"),
        ScheduledProcedureStepModificationDateTime="20240501093000",
        ProcedureStepState="IN PROGRESS",
    )
    progress = whole[tag(_CANCELED)]["Value"][0]
    progress |= data_set(ProcedureStepCancellationDateTime="20240501093000")
    return whole


@pytest.mark.parametrize("state", IN_FINAL_STATE)
def test_these_and_no_others_are_needed_in_a_final_state(state: WorkitemState) -> None:
    sequence, members = IN_FINAL_STATE[state]
    assert missing_in_final_state(finished(), state) == []
    for attribute in IN_BOTH_FINAL_STATES.split():
        whole = finished()
        del whole[tag(attribute)]
        assert missing_in_final_state(whole, state) == [attribute]
    for member in members.split():
        whole = finished()
        del whole[tag(sequence)]["Value"][0][tag(member)]
        assert missing_in_final_state(whole, state) == [f"{sequence}.{member}"]
    needed = {tag(attribute) for attribute in (*IN_BOTH_FINAL_STATES.split(), sequence)}
    assert missing_in_final_state({name: one for name, one in finished().items() if name in needed}, state) == []


def test_these_are_searchable_by_keyword_and_by_tag() -> None:
    for attribute in SEARCHABLE.split():
        by_tag = ".".join(map(tag, attribute.split(".")))
        assert search_key(attribute) == search_key(by_tag) == SEARCH_KEYS[attribute]


def test_workitems_are_found_by_the_performed_procedure_step_of_a_modality() -> None:
    """PS3.4 section F.7.2.2: an N-SET has the UID of the performed procedure step only."""
    attribute = "ReferencedPerformedProcedureStepSequence.ReferencedSOPInstanceUID"
    reference = data_set(ReferencedSOPInstanceUID="1.2.3")
    [value] = search_values(data_set(ReferencedPerformedProcedureStepSequence=[reference]))
    assert (value.keyword, value.value) == (attribute, "1.2.3")
    assert search_key(attribute) == SEARCH_KEYS[attribute]


def test_these_are_returned_by_default() -> None:
    assert set(RETURN_KEYS.split()) == set(RETURNED.split())


# Attributes in sequences


FILLER = {"00090010": {"vr": "LO", "Value": ["a"]}}
"""An attribute without requirements, so that an item is not empty."""


def value_of(attribute: str, operation: str = "create") -> dict[str, Any]:
    """Return an element with a valid value, in a sequence with one valid item."""
    one = BY_ATTRIBUTE[attribute]
    vr = dictionary.public_vr(int(one.path[-1], 16))
    if vr == "SQ":
        return {"vr": "SQ", "Value": [item_of(attribute, operation)]}
    values = {"UI": "1.2", "DT": "20240501", "DA": "20240501", "TM": "10", "PN": {"Alphabetic": "A"}}
    return {"vr": vr, "Value": [values.get(str(vr), "A")]}


def item_of(sequence: str, operation: str = "create") -> dict[str, Any]:
    """Return an item with the attributes that are required in it."""
    needed = (one for one in members_of(sequence) if getattr(one, operation).startswith(("1/", "2/")))
    return {
        one.path[-1]: value_of(one.attribute, operation)
        if getattr(one, operation).startswith("1")
        else {"vr": dictionary.public_vr(int(one.path[-1], 16))}
        for one in needed
    }


def members_of(sequence: str) -> list[Requirement]:
    depth = BY_ATTRIBUTE[sequence].depth + 1
    return [one for one in REQUIREMENTS if one.depth == depth and one.attribute.startswith(f"{sequence}.")]


def in_sequences(attribute: str, item: dict[str, Any], operation: str = "create") -> dict[str, Any]:
    """Return a data set in which the sequence of an attribute has one item; enclosing items are valid."""
    *enclosing, _ = attribute.split(".")
    found = item
    for depth in range(len(enclosing), 0, -1):
        element = {tag(enclosing[depth - 1]): {"vr": "SQ", "Value": [found | FILLER]}}
        found = element if depth == 1 else item_of(".".join(enclosing[: depth - 1]), operation) | element
    return found


NOT_WHEN_CREATED = (_CANCELED, _COMPLETED)
NESTED = [one for one in REQUIREMENTS if one.depth > 0]


def of_kind(operation: str, kind: str) -> list[Any]:
    return [
        pytest.param(one.attribute, id=one.attribute)
        for one in NESTED
        if getattr(one, operation).startswith(kind)
        and not (operation == "update" and BY_ATTRIBUTE[one.attribute.split(".")[0]].update == "-")
        and not (operation == "create" and one.attribute.startswith(NOT_WHEN_CREATED))
    ]


@pytest.mark.parametrize("attribute", of_kind("create", "1/"))
def test_a_required_attribute_of_a_new_item_has_a_value(attribute: str) -> None:
    sequence, name = attribute.rpartition(".")[0], BY_ATTRIBUTE[attribute].path[-1]
    item = item_of(sequence)
    assert refused(check_new, workitem() | in_sequences(attribute, item)) is None
    absent = {one: element for one, element in item.items() if one != name}
    assert refused(check_new, workitem() | in_sequences(attribute, absent)) == attribute
    empty = item | {name: {"vr": item[name]["vr"]}}
    assert refused(check_new, workitem() | in_sequences(attribute, empty)) == attribute


@pytest.mark.parametrize("attribute", of_kind("create", "2/"))
def test_an_attribute_of_type_2_is_in_a_new_item_and_may_be_empty(attribute: str) -> None:
    sequence, name = attribute.rpartition(".")[0], BY_ATTRIBUTE[attribute].path[-1]
    item = item_of(sequence)
    assert refused(check_new, workitem() | in_sequences(attribute, item)) is None
    absent = {one: element for one, element in item.items() if one != name}
    assert refused(check_new, workitem() | in_sequences(attribute, absent)) == attribute


@pytest.mark.parametrize("attribute", of_kind("update", "1/"))
def test_a_required_attribute_of_an_updated_item_has_a_value(attribute: str) -> None:
    sequence, name = attribute.rpartition(".")[0], BY_ATTRIBUTE[attribute].path[-1]
    item = item_of(sequence, "update")
    assert refused(check_update, in_sequences(attribute, item, "update")) is None
    absent = {one: element for one, element in item.items() if one != name}
    assert refused(check_update, in_sequences(attribute, absent, "update")) == attribute


@pytest.mark.parametrize("attribute", of_kind("update", "3/1"))
def test_an_optional_attribute_of_an_updated_item_is_not_empty(attribute: str) -> None:
    sequence, name = attribute.rpartition(".")[0], BY_ATTRIBUTE[attribute].path[-1]
    item = item_of(sequence, "update") | {name: {"vr": value_of(attribute)["vr"]}}
    assert refused(check_update, in_sequences(attribute, item, "update")) == attribute
