"""Modality Worklist and Modality Performed Procedure Step (PS3.4 Annexes K and F)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import workitem_service_pb2 as pb
from dicomstore.v1 import workitem_service_pb2_grpc
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from tests.data import new_uid
from tests.integration.dimse.gateways import RunningGateway, running_core, running_gateway
from tests.integration.dimse.peers import PENDING, SUCCESS, associated, found, keys
from tests.worklist import data_set, tag, text, workitem

WORKLIST, MPPS = "1.2.840.10008.5.1.4.31", "1.2.840.10008.3.1.2.3.3"

_EMPTY = """
IssuerOfAccessionNumberSequence OrderPlacerIdentifierSequence OrderFillerIdentifierSequence
RequestedProcedureDescription RequestedProcedureCodeSequence
"""


class Workitems:
    """The workitems of an archive."""

    def __init__(self, core: str) -> None:
        self.channel = grpc.insecure_channel(core)
        self.stub = workitem_service_pb2_grpc.WorkitemServiceStub(self.channel)

    def schedule(self, number: str, station: str = "CT1", date_time: str = "20240501093000", **values: Any) -> str:
        """Create a workitem for a step; return its UID."""
        uid = new_uid()
        request = data_set(**dict.fromkeys(_EMPTY.split())) | data_set(
            StudyInstanceUID=f"2.25.{number}", AccessionNumber=f"A{number}", RequestedProcedureID=f"R{number}"
        )
        step = data_set(ScheduledStationAETitle=station, Modality="CT", ScheduledProcedureStepID=f"S{number}")
        made = workitem(
            **{
                "PatientName": "Müller^Jörg",
                "PatientID": f"P{number}",
                "ScheduledProcedureStepStartDateTime": date_time,
                "ReferencedRequestSequence": [request],
                "ScheduledProcedureStepSequence": [step],
            }
            | values
        )
        self.stub.CreateWorkitem(pb.CreateWorkitemRequest(workitem_uid=uid, dicom_json=text(made)))
        return uid

    def get(self, uid: str) -> dict[str, Any]:
        return dict(json.loads(self.stub.GetWorkitem(pb.GetWorkitemRequest(workitem_uid=uid)).dicom_json))

    def values(self, uid: str, *path: str) -> Any:
        """Return the values at a path of keywords."""
        content = self.get(uid)
        for keyword in path[:-1]:
            content = content[tag(keyword)]["Value"][0]
        return content[tag(path[-1])].get("Value")


@pytest.fixture(scope="module")
def archive(module_path: Path) -> Iterator[RunningGateway]:
    with running_core(module_path / "core") as core, running_gateway(core) as running:
        yield running


@pytest.fixture(scope="module")
def workitems(archive: RunningGateway) -> Iterator[Workitems]:
    made = Workitems(archive.core)
    yield made
    made.channel.close()


def worklist(association: Association, **values: Any) -> tuple[list[Dataset], list[int]]:
    of_step = {name: values.pop(name) for name in list(values) if name.startswith(("Scheduled", "Modality"))}
    step = {"ScheduledProcedureStepID": "", "ScheduledStationAETitle": "", **of_step}
    return found(
        association, WORKLIST, keys(ScheduledProcedureStepSequence=step, PatientID="", StudyInstanceUID="", **values)
    )


def test_scheduled_steps_are_found_by_station_time_and_patient(archive: RunningGateway, workitems: Workitems) -> None:
    workitems.schedule("11", station="MR1", date_time="20240601080000")
    workitems.schedule("12", station="MR1", date_time="20240602080000")
    workitems.schedule("13", station="MR2", date_time="20240601080000")
    with associated(archive.port, WORKLIST) as association:

        def found_by(**values: Any) -> list[str]:
            matches, statuses = worklist(association, **values)
            assert statuses == [PENDING] * len(matches) + [SUCCESS]
            return sorted(match.PatientID for match in matches)

        assert found_by(ScheduledStationAETitle="MR1") == ["P11", "P12"]
        assert found_by(ScheduledStationAETitle="MR*", ScheduledProcedureStepStartDate="20240601") == ["P11", "P13"]
        assert found_by(PatientName="müller*", AccessionNumber="A13") == ["P13"]
        assert found_by(ScheduledProcedureStepStartDate="20240602-20240630", Modality="CT") == ["P12"]
        assert found_by(ScheduledStationAETitle="MR9") == []
        [match], _ = worklist(
            association,
            SpecificCharacterSet="ISO_IR 100",
            AccessionNumber="A11",
            PatientName="",
            RequestedProcedureID="",
            ScheduledProcedureStepStartTime="",
        )
        step = {
            "ScheduledProcedureStepID": "S11",
            "ScheduledStationAETitle": "MR1",
            "ScheduledProcedureStepStartTime": "080000",
        }
        assert match == keys(
            SpecificCharacterSet="ISO_IR 100",
            AccessionNumber="A11",
            PatientName="Müller^Jörg",
            PatientID="P11",
            StudyInstanceUID="2.25.11",
            RequestedProcedureID="R11",
            ScheduledProcedureStepSequence=step,
        )
        [(status, _)] = association.send_c_find(
            keys(ScheduledProcedureStepSequence={"ScheduledProcedureStepStartDate": "2024"}), WORKLIST
        )
        assert status.Status == 0xA900


def new_step(number: str, **values: Any) -> Dataset:
    """Return the attributes of a new performed procedure step for a scheduled one."""
    scheduled = keys(
        StudyInstanceUID=f"2.25.{number}",
        AccessionNumber=f"A{number}",
        RequestedProcedureID=f"R{number}",
        ScheduledProcedureStepID=f"S{number}",
    )
    made = {
        "ScheduledStepAttributesSequence": [scheduled],
        "PatientName": "Müller^Jörg",
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientID": f"P{number}",
        "PerformedProcedureStepID": "PPS1",
        "PerformedStationAETitle": "CT1",
        "PerformedProcedureStepStartDate": "20240501",
        "PerformedProcedureStepStartTime": "093100",
        "PerformedProcedureStepStatus": "IN PROGRESS",
        "Modality": "CT",
        "PerformedSeriesSequence": [],
    }
    return keys(**{keyword: value for keyword, value in (made | values).items() if value is not None})


def final(status: str, **values: Any) -> Dataset:
    series = keys(
        SeriesInstanceUID="2.25.7", OperatorsName="Roe^Jane", RetrieveAETitle="DICOMSTORE", ReferencedImageSequence=[]
    )
    series.ReferencedImageSequence = [keys(ReferencedSOPClassUID="1.2.840.1", ReferencedSOPInstanceUID="2.25.8")]
    return keys(
        PerformedProcedureStepStatus=status,
        PerformedProcedureStepEndDate="20240501",
        PerformedProcedureStepEndTime="094500",
        PerformedSeriesSequence=[series],
        **values,
    )


def create(association: Association, step: Dataset, uid: str) -> int:
    status, _ = association.send_n_create(step, MPPS, uid)
    return int(status.Status)


def change(association: Association, step: Dataset, uid: str) -> int:
    status, _ = association.send_n_set(step, MPPS, uid)
    return int(status.Status)


PERFORMED = "UnifiedProcedureStepPerformedProcedureSequence"


def test_a_completed_step(archive: RunningGateway, workitems: Workitems) -> None:
    uid, step_uid = workitems.schedule("21"), new_uid()
    with associated(archive.port, WORKLIST, MPPS) as association:
        assert create(association, new_step("21"), step_uid) == SUCCESS
        assert workitems.values(uid, "ProcedureStepState") == ["IN PROGRESS"]
        assert workitems.values(uid, PERFORMED, "PerformedProcedureStepStartDateTime") == ["20240501093100"]
        assert worklist(association, AccessionNumber="A21")[0] == []
        assert create(association, new_step("21"), step_uid) == 0x0111
        assert change(association, keys(PerformedProcedureStepDescription="Head"), step_uid) == SUCCESS
        assert change(association, final("COMPLETED"), step_uid) == SUCCESS
        assert workitems.values(uid, "ProcedureStepState") == ["COMPLETED"]
        expected = {
            ("PerformedProcedureStepDescription",): ["Head"],
            ("PerformedStationNameCodeSequence", "CodeValue"): ["CT1"],
            ("PerformedProcedureStepEndDateTime",): ["20240501094500"],
            ("OutputInformationSequence", "StudyInstanceUID"): ["2.25.21"],
            ("OutputInformationSequence", "SeriesInstanceUID"): ["2.25.7"],
            ("OutputInformationSequence", "ReferencedSOPSequence", "ReferencedSOPInstanceUID"): ["2.25.8"],
            ("ActualHumanPerformersSequence", "HumanPerformerName"): [{"Alphabetic": "Roe^Jane"}],
        }
        assert {path: workitems.values(uid, PERFORMED, *path) for path in expected} == expected
        status, _ = association.send_n_set(final("COMPLETED"), MPPS, step_uid)
        assert (status.Status, status.ErrorID) == (0x0110, 0xA710)


def test_attributes_without_a_counterpart_are_kept(archive: RunningGateway, workitems: Workitems) -> None:
    """Dose, exposure and series are in the item of the performed procedure; those with invalid values are left out."""
    uid, step_uid = workitems.schedule("26"), new_uid()
    exposure = keys(RadiationMode="PULSED", KVP="120", XRayTubeCurrentInuA="5000")
    with associated(archive.port, MPPS) as association:
        assert create(association, new_step("26", ProcedureCodeSequence=[]), step_uid) == SUCCESS
        dose = keys(TotalNumberOfExposures=2, EntranceDose=7, ExposureDoseSequence=[exposure])
        with disable_value_validation():
            dose.PerformedProcedureTypeDescription = "too long " * 8
        assert change(association, dose, step_uid) == 0x0107
        dose = keys(TotalNumberOfExposures=3, CommentsOnRadiationDose="DAP meter", EntranceDose=None)
        assert change(association, dose, step_uid) == SUCCESS
        assert change(association, final("COMPLETED"), step_uid) == SUCCESS
    expected = {
        ("TotalNumberOfExposures",): [3],
        ("CommentsOnRadiationDose",): ["DAP meter"],
        ("ExposureDoseSequence", "KVP"): ["120"],
        ("PerformedProcedureStepID",): ["PPS1"],
        ("PerformedSeriesSequence", "OperatorsName"): [{"Alphabetic": "Roe^Jane"}],
    }
    assert {path: workitems.values(uid, PERFORMED, *path) for path in expected} == expected
    performed = workitems.values(uid, PERFORMED)[0]
    absent = ("EntranceDose", "PerformedProcedureTypeDescription", "ProcedureCodeSequence", "PatientName")
    assert performed.keys().isdisjoint(map(tag, absent))
    assert tag("ReferencedImageSequence") not in performed[tag("PerformedSeriesSequence")]["Value"][0]


def test_a_discontinued_step(archive: RunningGateway, workitems: Workitems) -> None:
    uid, step_uid = workitems.schedule("22"), new_uid()
    reason = keys(CodeValue="110501", CodingSchemeDesignator="DCM", CodeMeaning="Equipment failure")
    with associated(archive.port, MPPS) as association:
        assert create(association, new_step("22"), step_uid) == SUCCESS
        step = final("DISCONTINUED", PerformedProcedureStepDiscontinuationReasonCodeSequence=[reason])
        assert change(association, step, step_uid) == SUCCESS
    assert workitems.values(uid, "ProcedureStepState") == ["CANCELED"]
    path = ("ProcedureStepProgressInformationSequence", "ProcedureStepDiscontinuationReasonCodeSequence", "CodeValue")
    assert workitems.values(uid, *path) == ["110501"]


def test_a_step_that_was_not_scheduled_becomes_a_workitem(archive: RunningGateway, workitems: Workitems) -> None:
    step_uid = new_uid()
    unscheduled = keys(StudyInstanceUID="2.25.23", AccessionNumber="", ScheduledProcedureStepID="")
    with associated(archive.port, MPPS) as association:
        step = new_step("23", ScheduledStepAttributesSequence=[unscheduled])
        assert create(association, step, step_uid) == SUCCESS
        assert workitems.values(step_uid, "ProcedureStepState") == ["IN PROGRESS"]
        assert workitems.values(step_uid, "PatientName") == [{"Alphabetic": "Müller^Jörg"}]
        assert change(association, final("COMPLETED"), step_uid) == SUCCESS
    assert workitems.values(step_uid, "ProcedureStepState") == ["COMPLETED"]
    assert workitems.values(step_uid, "ReferencedRequestSequence", "StudyInstanceUID") == ["2.25.23"]


def test_a_step_of_another_performer_is_not_taken_over(archive: RunningGateway, workitems: Workitems) -> None:
    uid, first, second = workitems.schedule("24"), new_uid(), new_uid()
    with associated(archive.port, MPPS) as association:
        assert create(association, new_step("24"), first) == SUCCESS
        assert create(association, new_step("24", PerformedStationAETitle="CT2"), second) == SUCCESS
        assert workitems.values(uid, PERFORMED, "PerformedStationNameCodeSequence", "CodeValue") == ["CT1"]
        assert change(association, final("COMPLETED"), second) == SUCCESS
        assert workitems.values(uid, "ProcedureStepState") == ["IN PROGRESS"]
        assert change(association, final("COMPLETED"), first) == SUCCESS
    assert workitems.values(uid, "ProcedureStepState") == ["COMPLETED"]


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"PerformedProcedureStepStatus": "COMPLETED"}, 0x0106),
        ({"PerformedProcedureStepStatus": "WAITING"}, 0x0106),
        ({"PerformedProcedureStepStatus": None}, 0x0120),
        ({"PerformedStationAETitle": ""}, 0x0121),
        ({"ScheduledStepAttributesSequence": None}, 0x0120),
        ({"PerformedProcedureStepStartTime": "noon"}, 0x0106),
    ],
)
def test_invalid_new_steps_are_refused(archive: RunningGateway, values: dict[str, Any], status: int) -> None:
    with associated(archive.port, MPPS) as association:
        assert create(association, new_step("25", **values), new_uid()) == status


def test_an_unavailable_core_and_missing_permissions_are_statuses(module_path: Path) -> None:
    """0213H: the modality repeats the request; 0124H: it is not permitted."""
    with running_gateway("127.0.0.1:1") as gateway, associated(gateway.port, MPPS) as association:
        assert create(association, new_step("27"), new_uid()) == 0x0213
        assert change(association, final("COMPLETED"), new_uid()) == 0x0213
    with (
        running_core(module_path / "secured", auth_required=True) as core,
        running_gateway(core) as gateway,
        associated(gateway.port, MPPS) as association,
    ):
        assert create(association, new_step("27"), new_uid()) == 0x0124
        assert change(association, final("COMPLETED"), new_uid()) == 0x0124


def test_an_unknown_step_cannot_be_changed(archive: RunningGateway) -> None:
    with associated(archive.port, MPPS) as association:
        assert change(association, final("COMPLETED"), new_uid()) == 0x0112
