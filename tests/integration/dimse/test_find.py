"""C-FIND for patients, studies, series and instances (PS3.4 section C.4.1)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from tests.data import SECONDARY_CAPTURE, part10
from tests.integration.dimse.gateways import RunningGateway, running_core, running_gateway
from tests.integration.dimse.peers import (
    CT,
    PATIENT_ROOT,
    PENDING,
    PENDING_WITH_WARNING,
    STUDY_ROOT,
    SUCCESS,
    associated,
    found,
    keys,
    store,
)

STUDY, PATIENT = STUDY_ROOT["find"], PATIENT_ROOT["find"]


def instance(number: str, **attributes: Any) -> bytes:
    """Return an instance; "1.2.3" is instance 3 of series 2 of study 1."""
    study, series, _ = number.split(".")
    uids = {
        "StudyInstanceUID": f"2.25.{study}",
        "SeriesInstanceUID": f"2.25.{study}.{series}",
        "SOPInstanceUID": f"2.25.{number}",
    }
    return part10(**(uids | attributes))


FILES = [
    instance("1.1.1", PatientName="Doe^Jane", PatientID="P1", StudyDate="20240101", Modality="CT", SOPClassUID=CT),
    instance("1.1.2", PatientName="Doe^Jane", PatientID="P1", StudyDate="20240101", Modality="CT", InstanceNumber="2"),
    instance("1.2.1", PatientName="Doe^Jane", PatientID="P1", StudyDate="20240101", Modality="SR"),
    instance("2.1.1", PatientName="Doe^Jane", PatientID="P1", StudyDate="20240202", Modality="MR"),
    instance(
        "3.1.1",
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        PatientID="P2",
        StudyDate="20240303",
        Modality="CT",
        RequestAttributesSequence=[keys(RequestedProcedureID="R1", ScheduledProcedureStepID="S1")],
    ),
    instance("4.1.1", SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg", PatientID="P3", StudyDate=""),
]


@pytest.fixture(scope="module")
def archive(module_path: Path) -> Iterator[RunningGateway]:
    """A gateway in front of an archive with four studies of three patients."""
    with running_core(module_path / "core") as core, running_gateway(core, max_matches=5) as running:
        store(core, *FILES)
        yield running


def query(archive: RunningGateway, model: str, **values: Any) -> tuple[list[Dataset], list[int]]:
    with associated(archive.port, model) as association:
        return found(association, model, keys(**values))


@pytest.mark.parametrize(
    ("model", "values", "expected"),
    [
        (STUDY, {"QueryRetrieveLevel": "STUDY", "PatientName": "doe*", "StudyInstanceUID": ""}, {"2.25.1", "2.25.2"}),
        (
            STUDY,
            {"QueryRetrieveLevel": "STUDY", "StudyDate": "20240102-", "StudyInstanceUID": ""},
            {"2.25.2", "2.25.3"},
        ),
        (STUDY, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ["2.25.1", "2.25.3"]}, {"2.25.1", "2.25.3"}),
        (STUDY, {"QueryRetrieveLevel": "STUDY", "ModalitiesInStudy": "SR", "StudyInstanceUID": ""}, {"2.25.1"}),
        (
            STUDY,
            {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "2.25.1", "SeriesInstanceUID": ""},
            {"2.25.1.1", "2.25.1.2"},
        ),
        # without the unique keys above, as a relational query
        (STUDY, {"QueryRetrieveLevel": "SERIES", "Modality": "MR", "SeriesInstanceUID": ""}, {"2.25.2.1"}),
        (
            STUDY,
            {
                "QueryRetrieveLevel": "SERIES",
                "RequestAttributesSequence": {"RequestedProcedureID": "R1", "ScheduledProcedureStepID": "S*"},
                "SeriesInstanceUID": "",
            },
            {"2.25.3.1"},
        ),
        (
            STUDY,
            {
                "QueryRetrieveLevel": "IMAGE",
                "StudyInstanceUID": "2.25.1",
                "SeriesInstanceUID": "2.25.1.1",
                "SOPInstanceUID": "",
            },
            {"2.25.1.1.1", "2.25.1.1.2"},
        ),
        (STUDY, {"QueryRetrieveLevel": "IMAGE", "SOPClassUID": CT, "SOPInstanceUID": ""}, {"2.25.1.1.1"}),
        (PATIENT, {"QueryRetrieveLevel": "STUDY", "PatientID": "P1", "StudyInstanceUID": ""}, {"2.25.1", "2.25.2"}),
        (STUDY, {"QueryRetrieveLevel": "STUDY", "PatientID": "nobody", "StudyInstanceUID": ""}, set()),
    ],
)
def test_matches(archive: RunningGateway, model: str, values: dict[str, Any], expected: set[str]) -> None:
    level = values["QueryRetrieveLevel"]
    keyword = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}[level]
    matches, statuses = query(archive, model, **values)
    assert {match[keyword].value for match in matches} == expected
    assert {match.QueryRetrieveLevel for match in matches} <= {level}
    assert statuses == [PENDING] * len(expected) + [SUCCESS]


def test_patients(archive: RunningGateway) -> None:
    matches, statuses = query(
        archive,
        PATIENT,
        QueryRetrieveLevel="PATIENT",
        PatientID="",
        PatientName="",
        NumberOfPatientRelatedStudies="",
        NumberOfPatientRelatedSeries="",
        NumberOfPatientRelatedInstances="",
    )
    assert statuses == [PENDING] * 3 + [SUCCESS]
    counts = {
        match.PatientID: (
            match.NumberOfPatientRelatedStudies,
            match.NumberOfPatientRelatedSeries,
            match.NumberOfPatientRelatedInstances,
        )
        for match in matches
    }
    assert counts == {"P1": (2, 3, 4), "P2": (1, 1, 1), "P3": (1, 1, 1)}


def test_a_response_has_the_requested_attributes_and_no_others(archive: RunningGateway) -> None:
    [match], _ = query(
        archive,
        STUDY,
        QueryRetrieveLevel="STUDY",
        StudyInstanceUID="2.25.1",
        PatientName="",
        AccessionNumber="",
        RetrieveAETitle="",
        InstanceAvailability="",
        ModalitiesInStudy="",
        NumberOfStudyRelatedSeries="",
        NumberOfStudyRelatedInstances="",
    )
    assert match == keys(
        QueryRetrieveLevel="STUDY",
        RetrieveAETitle="DICOMSTORE",
        InstanceAvailability="ONLINE",
        StudyInstanceUID="2.25.1",
        PatientName="Doe^Jane",
        AccessionNumber="",
        ModalitiesInStudy=["CT", "SR"],
        NumberOfStudyRelatedSeries="2",
        NumberOfStudyRelatedInstances="3",
    )


@pytest.mark.parametrize(
    ("charset", "name", "returned"),
    [
        ("ISO_IR 100", "müller*", "ISO_IR 100"),
        ("ISO_IR 192", "Müller^Jörg", "ISO_IR 192"),
        (None, "M?ller*", "ISO_IR 192"),
        ("ISO_IR 192", "=山田*", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "=山田*", ["", "ISO 2022 IR 87"]),
    ],
)
def test_character_sets_of_requests_and_responses(
    archive: RunningGateway, charset: Any, name: str, returned: Any
) -> None:
    values = {"SpecificCharacterSet": charset} if charset else {}
    [match], _ = query(archive, STUDY, QueryRetrieveLevel="STUDY", PatientName=name, **values)
    assert match.SpecificCharacterSet == returned
    expected = "Yamada^Tarou=山田^太郎=やまだ^たろう" if "山" in name else "Müller^Jörg"
    assert match.PatientName == expected


@pytest.mark.parametrize(
    ("model", "values", "offending"),
    [
        (STUDY, {"PatientID": "P1"}, 0x00080052),
        (STUDY, {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, 0x00080052),
        (PATIENT, {"QueryRetrieveLevel": "FRAME"}, 0x00080052),
        (STUDY, {"QueryRetrieveLevel": "STUDY", "StudyDate": "20240301-20240201"}, None),
    ],
)
def test_an_identifier_that_does_not_match_the_sop_class(
    archive: RunningGateway, model: str, values: dict[str, Any], offending: int | None
) -> None:
    with associated(archive.port, model) as association:
        [(status, match)] = association.send_c_find(keys(**values), model)
        assert status.Status == 0xA900
        assert match is None
        assert status.get("OffendingElement") == offending
        assert association.is_established


def test_keys_that_are_not_supported_are_reported(archive: RunningGateway) -> None:
    values = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "2.25.1", "SeriesDescription": "Thin"}
    matches, statuses = query(archive, STUDY, **values)
    assert len(matches) == 1
    assert statuses == [PENDING_WITH_WARNING, SUCCESS]


@pytest.mark.parametrize(("information", "accepted"), [(b"\1", b"\1"), (b"\1\1\1\1\1\1\1\1", b"\1\1\1\1\0\1\1")])
def test_relational_queries_are_negotiated(archive: RunningGateway, information: bytes, accepted: bytes) -> None:
    """A key of a lower level than that of the matches is then compared."""
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = STUDY
    item.service_class_application_information = information
    identifier = keys(QueryRetrieveLevel="STUDY", Modality="SR", StudyInstanceUID="")
    with associated(archive.port, STUDY, extended=[item]) as association:
        assert association.acceptor.sop_class_extended == {STUDY: accepted}
        matches, statuses = found(association, STUDY, identifier)
    assert [match.StudyInstanceUID for match in matches] == ["2.25.1"]
    assert statuses == [PENDING, SUCCESS]


def test_a_query_with_too_many_matches_fails(archive: RunningGateway) -> None:
    matches, statuses = query(archive, STUDY, QueryRetrieveLevel="IMAGE", SOPInstanceUID="")
    assert len(matches) == 5
    assert statuses == [PENDING] * 5 + [0xA700]


def test_a_query_can_be_cancelled(archive: RunningGateway) -> None:
    with associated(archive.port, STUDY) as association:
        responses = association.send_c_find(keys(QueryRetrieveLevel="IMAGE", SOPInstanceUID=""), STUDY, msg_id=7)
        statuses = []
        for status, _ in responses:
            statuses.append(status.Status)
            association.send_c_cancel(7, query_model=STUDY)
        # it may have been answered completely before the cancellation arrives
        assert statuses[-1] in (0xFE00, 0xA700)
        assert found(association, STUDY, keys(QueryRetrieveLevel="STUDY", StudyInstanceUID="2.25.3"))[1] == [
            PENDING,
            SUCCESS,
        ]


def test_secondary_capture_is_not_ct(archive: RunningGateway) -> None:
    matches, _ = query(archive, STUDY, QueryRetrieveLevel="IMAGE", SOPClassUID=SECONDARY_CAPTURE, SOPInstanceUID="")
    assert len(matches) == 5
