"""Workitems as worklist items, and queries for them."""

from typing import Any

import pytest

from dimse.data_sets.reading import DataSet
from dimse.queries.identifiers import Identifier, InvalidIdentifier
from dimse.queries.requests import Matching
from dimse.worklist.elements import items, value
from dimse.worklist.matching import WorklistQuery
from dimse.worklist.scheduled_steps import step_of
from tests.worklist import code, data_set, workitem

REQUEST = data_set(
    StudyInstanceUID="1.2.3",
    AccessionNumber="A1",
    RequestedProcedureID="R1",
    RequestedProcedureDescription="CT of the head",
    RequestingPhysician="Doe^John",
)
STEP = data_set(
    ScheduledStationAETitle="CT1",
    Modality="CT",
    ScheduledProcedureStepID="S1",
    ScheduledProcedureStepStartDate="19990101",
)


def scheduled(**values: Any) -> DataSet:
    made = {
        "SOPInstanceUID": "1.2.840.99",
        "PatientName": "Müller^Jörg",
        "PatientID": "P1",
        "ReferencedRequestSequence": [REQUEST],
        "ScheduledProcedureStepSequence": [STEP],
    }
    return workitem(**(made | values))


def step(found: DataSet | None) -> DataSet:
    assert found is not None
    return items(found, "ScheduledProcedureStepSequence")[0]


def test_the_item_has_patient_request_and_step() -> None:
    found = step_of(scheduled(PatientWeight=71.5, MedicalAlerts="Nickel"))
    assert found is not None
    expected = {
        "PatientName": {"Alphabetic": "Müller^Jörg"},
        "PatientWeight": 71.5,
        "MedicalAlerts": "Nickel",
        "StudyInstanceUID": "1.2.3",
        "AccessionNumber": "A1",
        "RequestedProcedureID": "R1",
        "RequestedProcedurePriority": "MEDIUM",
        "RequestingPhysician": {"Alphabetic": "Doe^John"},
    }
    assert {keyword: value(found, keyword) for keyword in expected} == expected
    expected = {
        "ScheduledStationAETitle": "CT1",
        "Modality": "CT",
        "ScheduledProcedureStepID": "S1",
        "ScheduledProcedureStepStartDate": "20240501",
        "ScheduledProcedureStepStartTime": "093000",
        "ScheduledProcedureStepDescription": "Detect nodules",
        "ScheduledProcedureStepStatus": "SCHEDULED",
    }
    assert {keyword: value(step(found), keyword) for keyword in expected} == expected


def test_a_step_follows_from_attributes_of_workitems_alone() -> None:
    performer = data_set(HumanPerformerName="Roe^Jane")
    found = step_of(
        scheduled(
            ScheduledProcedureStepSequence=None,
            ReferencedRequestSequence=None,
            StudyInstanceUID="1.2.3",
            ScheduledStationNameCodeSequence=[code("CT1", meaning="First CT")],
            ScheduledStationClassCodeSequence=[code("CT", "DCM")],
            ScheduledStationGeographicLocationCodeSequence=[code("R1", meaning="Room 1")],
            ScheduledHumanPerformersSequence=[performer],
            ScheduledWorkitemCodeSequence=[code("HEAD")],
        )
    )
    assert value(step(found), "ScheduledStationAETitle") == "CT1"
    assert value(step(found), "ScheduledStationName") == "First CT"
    assert value(step(found), "Modality") == "CT"
    assert value(step(found), "ScheduledProcedureStepLocation") == "Room 1"
    assert value(step(found), "ScheduledPerformingPhysicianName") == {"Alphabetic": "Roe^Jane"}
    assert value(step(found), "ScheduledProtocolCodeSequence", "CodeValue") == "HEAD"
    step_id = value(step(found), "ScheduledProcedureStepID")
    assert len(step_id) == 16
    assert value(found or {}, "RequestedProcedureID") == step_id
    assert step_id != value(
        step(
            step_of(
                scheduled(
                    SOPInstanceUID="1.2.840.98",
                    ScheduledProcedureStepSequence=[data_set(ScheduledStationAETitle="CT1", Modality="CT")],
                )
            )
        ),
        "ScheduledProcedureStepID",
    )


@pytest.mark.parametrize(
    "values",
    [
        {"ScheduledProcedureStepSequence": [data_set(Modality="CT")]},
        {"ScheduledProcedureStepSequence": [data_set(ScheduledStationAETitle="CT1")]},
        {"ReferencedRequestSequence": None},
        {"ScheduledProcedureStepStartDateTime": "2024"},
    ],
)
def test_a_workitem_without_station_modality_study_or_day_is_no_scheduled_step(values: dict[str, Any]) -> None:
    assert step_of(scheduled(**values)) is None


def query(terms: tuple[str, ...] = (), /, **values: Any) -> WorklistQuery:
    of_step = {name: values.pop(name) for name in list(values) if name.startswith(("Scheduled", "Modality"))}
    sequence = {"ScheduledProcedureStepSequence": [data_set(**of_step)]} if of_step else {}
    return WorklistQuery(Identifier(data_set(**values, **sequence), terms))


@pytest.mark.parametrize(
    ("values", "matches"),
    [
        ({}, True),
        ({"ScheduledStationAETitle": "CT1"}, True),
        ({"ScheduledStationAETitle": "CT2"}, False),
        ({"ScheduledStationAETitle": ["CT2", "CT1"]}, True),
        ({"Modality": "*"}, True),
        ({"Modality": "MR"}, False),
        ({"RequestedProcedureDescription": "ct*head"}, True),
        ({"RequestedProcedureDescription": "ct?head"}, False),
        ({"StudyInstanceUID": "1.2.3"}, True),
        ({"StudyInstanceUID": "1.2.4"}, False),
        ({"ScheduledProcedureStepStatus": "SCHEDULED"}, True),
        ({"ScheduledPerformingPhysicianName": "Roe*"}, False),
        ({"ScheduledPerformingPhysicianName": "*"}, True),
        ({"ScheduledProcedureStepStartDate": "20240501"}, True),
        ({"ScheduledProcedureStepStartDate": "20240502"}, False),
        ({"ScheduledProcedureStepStartDate": "-20240501"}, True),
        ({"ScheduledProcedureStepStartTime": "09"}, True),
        ({"ScheduledProcedureStepStartTime": "10-11"}, False),
        ({"ScheduledProcedureStepStartTime": "-0930"}, True),
        # dates and times together are one period
        ({"ScheduledProcedureStepStartDate": "20240430-20240502", "ScheduledProcedureStepStartTime": "10-08"}, True),
        ({"ScheduledProcedureStepStartDate": "20240501-", "ScheduledProcedureStepStartTime": "10-"}, False),
        ({"ScheduledProcedureStepStartDate": "20240501-", "ScheduledProcedureStepStartTime": "-08"}, True),
        ({"ScheduledProcedureStepStartDate": "20240501", "ScheduledProcedureStepStartTime": "08-0930"}, True),
        ({"ScheduledProcedureStepStartDate": "20240501", "ScheduledProcedureStepStartTime": "08-0929"}, False),
    ],
)
def test_matching(values: dict[str, Any], matches: bool) -> None:
    found = step_of(scheduled())
    assert found is not None
    assert query(**values).matches(found) is matches


def test_the_core_narrows_the_candidates() -> None:
    wanted = query(
        PatientName="Doe*", AccessionNumber="A1", ScheduledProcedureStepStartDate="20240501", Modality="CT"
    ).request("ward", Matching(fuzzy=True), 50)
    assert {term.attribute: list(term.values) for term in wanted.terms} == {
        "PatientName": ["Doe*"],
        "ReferencedRequestSequence.AccessionNumber": ["A1"],
        "ProcedureStepState": ["SCHEDULED"],
        "ScheduledProcedureStepStartDateTime": ["20240430-20240502"],
    }
    assert wanted.fuzzy_matching
    assert wanted.partition == "ward"
    with_status = query(ScheduledProcedureStepStatus="STARTED").request("", Matching(), 50)
    assert not with_status.terms


@pytest.mark.parametrize("date", ["2024", "20240501-2024", "20241332", "-", ["20240501", "20240502"]])
def test_an_invalid_date_does_not_match_the_sop_class(date: Any) -> None:
    with pytest.raises(InvalidIdentifier):
        query(ScheduledProcedureStepStartDate=date).request("", Matching(), 50)
