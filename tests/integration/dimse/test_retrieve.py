"""C-MOVE to remotes of the settings, and C-GET (PS3.4 sections C.4.2 and C.4.3)."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import evt
from pynetdicom.association import Association

from tests.data import EXPLICIT_LITTLE, IMPLICIT_LITTLE, RLE_LOSSLESS, SECONDARY_CAPTURE, part10
from tests.integration.dimse.gateways import RunningGateway, running_core, running_gateway
from tests.integration.dimse.peers import (
    CT,
    PATIENT_ROOT,
    STUDY_ROOT,
    SUCCESS,
    Destination,
    Outcome,
    associated,
    cancel,
    data_sets,
    keys,
    outcome_of,
    store,
)

MOVE, GET = STUDY_ROOT["move"], STUDY_ROOT["get"]
PIXELS = {
    "Rows": 2,
    "Columns": 4,
    "BitsAllocated": 8,
    "BitsStored": 8,
    "HighBit": 7,
    "PixelRepresentation": 0,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
}
# One RLE segment of eight equal pixels (PS3.5 section G.3)
RLE_FRAME = bytes([1, 0, 0, 0, 64, 0, 0, 0]) + bytes(56) + bytes([0xF9, 7])


def uids(number: str) -> dict[str, str]:
    study, series, _ = number.split(".")
    return {
        "StudyInstanceUID": f"2.25.{study}",
        "SeriesInstanceUID": f"2.25.{study}.{series}",
        "SOPInstanceUID": f"2.25.{number}",
    }


FILES = [
    part10(PatientID="P1", SOPClassUID=CT, frames=[bytes(8)], **PIXELS, **uids("1.1.1")),
    part10(PatientID="P1", SOPClassUID=CT, transfer_syntax=IMPLICIT_LITTLE, **uids("1.1.2")),
    part10(PatientID="P1", **uids("1.2.1")),
    part10(PatientID="P1", **uids("2.1.1")),
    part10(PatientID="p1", **uids("3.1.1")),
    # the same SOP Instance UID as in study 1
    part10(PatientID="P2", **(uids("4.1.1") | {"SOPInstanceUID": "2.25.1.1.1"})),
    part10(PatientID="P3", transfer_syntax=RLE_LOSSLESS, fragments=[[RLE_FRAME]], **PIXELS, **uids("5.1.1")),
    part10(PatientID="P4", SOPClassUID="1.2.3.4.5", **uids("6.1.1")),
    part10(PatientID="P5", TextValue="x" * (3 << 20), **uids("7.1.1")),
]


@pytest.fixture(scope="module")
def core(module_path: Path) -> Iterator[str]:
    with running_core(module_path / "core") as core:
        store(core, *FILES)
        yield core


@pytest.fixture(scope="module")
def destination() -> Iterator[Destination]:
    with Destination().running(SECONDARY_CAPTURE, CT) as running:
        yield running


@pytest.fixture(scope="module")
def module_archive(core: str, destination: Destination) -> Iterator[RunningGateway]:
    remotes = {
        "destination": {"ae_title": "DEST", "host": "127.0.0.1", "port": destination.port},
        "GONE": {"host": "127.0.0.1", "port": 1},
        "SILENT": {"addresses": ["127.0.0.1"]},
        "TESTER": {"addresses": ["127.0.0.1"]},
    }
    with running_gateway(core, remotes=remotes) as running:
        yield running


@pytest.fixture
def archive(module_archive: RunningGateway, destination: Destination) -> RunningGateway:
    """The gateway, with a destination that has received nothing."""
    destination.received.clear()
    destination.status_of = _succeed
    destination.aborts_after = -1
    return module_archive


def move(archive: RunningGateway, model: str = MOVE, to: str = "DEST", **values: Any) -> Outcome:
    with associated(archive.port, model) as association:
        return outcome_of(association.send_c_move(keys(**values), to, model, msg_id=77))


def move_study(archive: RunningGateway, number: str, to: str = "DEST") -> Outcome:
    return move(archive, to=to, QueryRetrieveLevel="STUDY", StudyInstanceUID=f"2.25.{number}")


@pytest.mark.parametrize(
    ("model", "values", "expected"),
    [
        (PATIENT_ROOT["move"], {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, "1.1.1 1.1.2 1.2.1 2.1.1"),
        (PATIENT_ROOT["move"], {"QueryRetrieveLevel": "PATIENT", "PatientID": "P?"}, ""),
        (MOVE, {"QueryRetrieveLevel": "PATIENT", "PatientID": "p1"}, "3.1.1"),
        (MOVE, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "2.25.1"}, "1.1.1 1.1.2 1.2.1"),
        (MOVE, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ["2.25.2", "2.25.3"]}, "2.1.1 3.1.1"),
        (
            MOVE,
            {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.1.1"},
            "1.1.1 1.1.2",
        ),
        (MOVE, {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "2.25.1.2"}, "1.2.1"),
        (
            MOVE,
            {
                "QueryRetrieveLevel": "IMAGE",
                "StudyInstanceUID": "2.25.1",
                "SeriesInstanceUID": "2.25.1.1",
                "SOPInstanceUID": ["2.25.1.1.1", "2.25.1.2.1"],
            },
            "1.1.1",
        ),
        (MOVE, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "2.25.99"}, ""),
    ],
)
def test_the_instances_are_sent(
    archive: RunningGateway, destination: Destination, model: str, values: dict[str, Any], expected: str
) -> None:
    numbers = expected.split()
    outcome = move(archive, model, **values)
    assert outcome == Outcome(SUCCESS, len(numbers), 0, 0, None, [], outcome.pending)
    assert sorted(destination.uids()) == [f"2.25.{number}" for number in numbers]
    sent = data_sets(FILES[:5])
    for one in destination.received:
        assert one.data_set == sent[one.data_set.SOPInstanceUID]
        assert (one.originator, one.originator_message) == ("TESTER", 77)


@pytest.mark.parametrize(
    ("values", "to", "status"),
    [
        ({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "2.25.1"}, "UNKNOWN", 0xA801),
        ({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "2.25.1"}, "SILENT", 0xA801),
        ({"QueryRetrieveLevel": "FRAME", "StudyInstanceUID": "2.25.1"}, "DEST", 0xA900),
        ({"QueryRetrieveLevel": "STUDY", "PatientID": "P1"}, "DEST", 0xA900),
        ({"StudyInstanceUID": "2.25.1"}, "DEST", 0xA900),
    ],
)
def test_refusals(archive: RunningGateway, values: dict[str, Any], to: str, status: int) -> None:
    assert move(archive, to=to, **values).status == status


def test_failed_instances_are_counted_and_listed(archive: RunningGateway, destination: Destination) -> None:
    by_uid = {"2.25.1.1.1": 0xA700, "2.25.1.1.2": 0xB007, "2.25.1.2.1": SUCCESS}
    destination.status_of = lambda one: by_uid[one.SOPInstanceUID]
    outcome = move_study(archive, "1")
    assert outcome == Outcome(0xB000, 1, 1, 1, None, ["2.25.1.1.1"], outcome.pending)


def test_if_all_fail_the_operation_fails(archive: RunningGateway, destination: Destination) -> None:
    destination.status_of = lambda _: 0xC123
    outcome = move_study(archive, "1")
    assert (outcome.status, outcome.completed, outcome.failed) == (0xA702, 0, 3)
    assert sorted(outcome.failed_uids) == ["2.25.1.1.1", "2.25.1.1.2", "2.25.1.2.1"]


@pytest.mark.parametrize(("number", "to"), [("2", "GONE"), ("6", "DEST")])
def test_a_destination_that_cannot_be_reached_or_does_not_accept_the_class(
    archive: RunningGateway, number: str, to: str
) -> None:
    outcome = move_study(archive, number, to)
    assert outcome == Outcome(0xA702, 0, 1, 0, None, [f"2.25.{number}.1.1"], 0)


def test_an_instance_that_does_not_fit_into_memory_is_sent(archive: RunningGateway, destination: Destination) -> None:
    assert move_study(archive, "7").status == SUCCESS
    assert len(destination.received[0].data_set.TextValue) == 3 << 20


@pytest.mark.parametrize(
    ("accepted", "expected"), [((RLE_LOSSLESS, EXPLICIT_LITTLE), RLE_LOSSLESS), ((IMPLICIT_LITTLE,), IMPLICIT_LITTLE)]
)
def test_instances_are_sent_as_stored_or_in_an_accepted_transfer_syntax(
    core: str, accepted: tuple[str, ...], expected: str
) -> None:
    with Destination(*accepted).running() as destination:
        remotes = {"DEST": {"host": "127.0.0.1", "port": destination.port}, "TESTER": {"addresses": ["127.0.0.1"]}}
        with running_gateway(core, remotes=remotes) as archive:
            assert move_study(archive, "5").status == SUCCESS
    [one] = destination.received
    assert one.transfer_syntax == expected
    if expected == IMPLICIT_LITTLE:
        assert one.data_set.PixelData == bytes([7] * 8)


def test_an_operation_can_be_cancelled(archive: RunningGateway, destination: Destination) -> None:
    """The response has the numbers of what was sent, and of what was not."""
    with associated(archive.port, MOVE) as association:
        destination.status_of = partial(_cancel, association, 9, MOVE)
        identifier = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID="2.25.1")
        outcome = outcome_of(association.send_c_move(identifier, "DEST", MOVE, msg_id=9))
        assert (outcome.status, outcome.completed, outcome.remaining) == (0xFE00, 1, 2)
        assert len(destination.received) == 1
        destination.status_of = _succeed
        # the same message id again
        assert outcome_of(association.send_c_move(identifier, "DEST", MOVE, msg_id=9)).status == SUCCESS


def _cancel(association: Association, message: int, model: str, _: Any) -> int:
    cancel(association, message, model)
    return SUCCESS


def _succeed(_: Any) -> int:
    return SUCCESS


def test_a_destination_that_aborts_loses_only_what_it_has_not_acknowledged(
    archive: RunningGateway, destination: Destination
) -> None:
    destination.aborts_after = 1
    outcome = move_study(archive, "1")
    assert (outcome.status, outcome.completed, outcome.failed) == (0xB000, 1, 2)
    assert sorted([*destination.uids(), *outcome.failed_uids]) == ["2.25.1.1.1", "2.25.1.1.2", "2.25.1.2.1"]


# C-GET

BOTH = {CT: [EXPLICIT_LITTLE], SECONDARY_CAPTURE: [EXPLICIT_LITTLE, RLE_LOSSLESS]}


class Receiver(Destination):
    """Receives instances on associations of its own."""

    def get(self, port: int, receives: dict[str, list[str]], model: str = GET, **values: Any) -> Outcome:
        handlers = [(evt.EVT_C_STORE, self.store)]
        with associated(port, model, receives=receives, handlers=handlers) as association:
            return outcome_of(association.send_c_get(keys(**values), model, msg_id=5))

    def get_study(self, port: int, number: str, receives: dict[str, list[str]] = BOTH) -> Outcome:
        return self.get(port, receives, QueryRetrieveLevel="STUDY", StudyInstanceUID=f"2.25.{number}")


def test_c_get_sends_the_instances_on_the_association_of_the_request(archive: RunningGateway) -> None:
    receiver = Receiver()
    assert receiver.get_study(archive.port, "1") == Outcome(SUCCESS, 3, 0, 0, None, [], 0)
    sent = data_sets(FILES[:3])
    assert {one.data_set.SOPInstanceUID: one.data_set for one in receiver.received} == sent
    assert {(one.originator, one.originator_message) for one in receiver.received} == {(None, None)}


def test_c_get_of_a_patient(archive: RunningGateway) -> None:
    receiver = Receiver()
    model = PATIENT_ROOT["get"]
    outcome = receiver.get(archive.port, BOTH, model, QueryRetrieveLevel="PATIENT", PatientID="p1")
    assert (outcome.status, receiver.uids()) == (SUCCESS, ["2.25.3.1.1"])


@pytest.mark.parametrize(("syntax", "pixels"), [(RLE_LOSSLESS, None), (EXPLICIT_LITTLE, bytes([7] * 8))])
def test_c_get_sends_what_the_peer_accepts(archive: RunningGateway, syntax: str, pixels: bytes | None) -> None:
    receiver = Receiver()
    assert receiver.get_study(archive.port, "5", {SECONDARY_CAPTURE: [syntax]}).status == SUCCESS
    assert receiver.received[0].transfer_syntax == syntax
    assert pixels in (None, receiver.received[0].data_set.PixelData)


def test_c_get_without_a_context_for_some_instances(archive: RunningGateway) -> None:
    outcome = Receiver().get_study(archive.port, "1", {SECONDARY_CAPTURE: [EXPLICIT_LITTLE]})
    assert (outcome.status, outcome.completed, outcome.failed) == (0xB000, 1, 2)
    assert sorted(outcome.failed_uids) == ["2.25.1.1.1", "2.25.1.1.2"]


def test_c_get_needs_the_role_of_the_receiver(archive: RunningGateway) -> None:
    """PS3.7 section D.3.3.4: without negotiation, the requestor is SCU only."""
    with associated(archive.port, GET, SECONDARY_CAPTURE) as association:
        identifier = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID="2.25.2")
        outcome = outcome_of(association.send_c_get(identifier, GET))
    assert (outcome.status, outcome.failed_uids) == (0xA702, ["2.25.2.1.1"])


def test_c_get_can_be_cancelled(archive: RunningGateway) -> None:
    receiver = Receiver()
    handlers = [(evt.EVT_C_STORE, receiver.store)]
    with associated(archive.port, GET, receives=BOTH, handlers=handlers) as association:
        receiver.status_of = partial(_cancel, association, 5, GET)
        identifier = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID="2.25.1")
        outcome = outcome_of(association.send_c_get(identifier, GET, msg_id=5))
    assert (outcome.status, outcome.completed, outcome.remaining) == (0xFE00, 1, 2)
