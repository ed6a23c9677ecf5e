"""Storage commitment over DIMSE (PS3.4 Annex J), with pynetdicom as the modality."""

import json
import queue
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dicomstore.v1 import transfer_service_pb2 as pb
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from dimse.associations.commands import Command, CommandField
from server.domain.lifecycle import transfers as domain_transfers
from server.rpc.lifecycle import transfers as rpc_transfers
from tests.data import EXPLICIT_LITTLE, SECONDARY_CAPTURE, new_uid, part10
from tests.integration.dimse import clients
from tests.integration.dimse.archive import Archive, archive_at, eventually
from tests.integration.dimse.clients import store
from tests.integration.dimse.gateways import RunningGateway, gateway_process, running_core, running_gateway
from tests.ports import free_port

PUSH = str(StorageCommitmentPushModel)
WELL_KNOWN = "1.2.840.10008.1.20.1.1"
MODALITY_PORT = free_port()


REMOTES = {"MODALITY": {"host": "127.0.0.1", "port": MODALITY_PORT}}


@pytest.fixture(scope="module")
def gateway(module_path: Path) -> Iterator[RunningGateway]:
    """An archive that knows the modality MODALITY."""
    with running_core(module_path / "core") as core, running_gateway(core, remotes=REMOTES) as running:
        yield running


@pytest.fixture
def archive(gateway: RunningGateway) -> Iterator[Archive]:
    with archive_at(gateway.core) as found:
        yield found


def reports(archive: Archive) -> list[pb.Transfer]:
    """Return the reports that the core has recorded, newest first."""
    found = archive.transfers.ListTransfers(pb.ListTransfersRequest(remote="MODALITY")).transfers
    return [one for one in found if one.WhichOneof("work") == "commitment_report"]


class Modality:
    """A modality that requests storage commitment, and receives the results."""

    def __init__(self, ae_title: str) -> None:
        self.results: queue.Queue[tuple[int, Dataset]] = queue.Queue()
        self._ae = AE(ae_title)
        self._ae.add_requested_context(StorageCommitmentPushModel)
        self._ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        self.handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._on_report)]

    def _on_report(self, event: Any) -> tuple[int, None]:
        self.results.put((event.event_type, event.event_information))
        return 0, None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Accept associations of the archive."""
        server = self._ae.start_server(("127.0.0.1", MODALITY_PORT), block=False, evt_handlers=self.handlers)
        try:
            yield
        finally:
            server.shutdown()

    @contextmanager
    def associated(self, port: int) -> Iterator[Any]:
        """Associate with the archive."""
        association = self._ae.associate("127.0.0.1", port, ae_title="DICOMSTORE", evt_handlers=self.handlers)
        assert association.is_established
        try:
            yield association
        finally:
            association.release()


def action(*instances: str, transaction: str | None = None) -> Dataset:
    """Return the information of a request for instances of Secondary Capture."""
    made = Dataset()
    made.TransactionUID = transaction or new_uid()
    made.ReferencedSOPSequence = []
    for uid in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = SECONDARY_CAPTURE, uid
        made.ReferencedSOPSequence.append(item)
    return made


def requested(association: Any, information: Dataset, instance: str = WELL_KNOWN, type_: int = 1) -> int:
    status, _ = association.send_n_action(information, type_, StorageCommitmentPushModel, instance)
    return int(status.Status)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def stored(gateway: RunningGateway) -> str:
    """Store an instance; return its UID."""
    uid = new_uid()
    assert store(gateway.port, part10(SOPInstanceUID=uid), SECONDARY_CAPTURE, uid, calling="OTHER").status == 0
    return uid


def test_a_peer_that_keeps_the_association_gets_the_result_there(gateway: RunningGateway) -> None:
    kept, missing = stored(gateway), new_uid()
    modality, information = Modality("UNKNOWN"), action(kept, missing)
    with modality.associated(gateway.port) as association:
        assert requested(association, information) == 0
        event_type, result = modality.results.get(timeout=20)
    assert event_type == 2
    assert result.TransactionUID == information.TransactionUID
    assert [item.ReferencedSOPInstanceUID for item in result.ReferencedSOPSequence] == [kept]
    [failed] = result.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (missing, 0x0112)


def test_a_peer_that_releases_the_association_gets_the_result_on_a_new_one(gateway: RunningGateway) -> None:
    kept = stored(gateway)
    modality = Modality("MODALITY")
    with modality.listening():
        with modality.associated(gateway.port) as association:
            assert requested(association, action(kept)) == 0
        event_type, result = modality.results.get(timeout=20)
    assert event_type == 1
    assert [item.ReferencedSOPInstanceUID for item in result.ReferencedSOPSequence] == [kept]
    assert "FailedSOPSequence" not in result
    assert result.RetrieveAETitle == "DICOMSTORE"


def test_a_configured_peer_that_waits_gets_the_result_on_its_association(
    gateway: RunningGateway, archive: Archive
) -> None:
    modality = Modality("MODALITY")
    with modality.associated(gateway.port) as association:
        assert requested(association, action(stored(gateway))) == 0
        assert modality.results.get(timeout=20)[0] == 1
    eventually(lambda: reports(archive)[0].state == pb.TRANSFER_STATE_SUCCEEDED)


def test_a_result_that_cannot_be_reported_is_reported_after_gateways_were_killed(
    gateway: RunningGateway, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is killed when it has acknowledged the request; then the modality is switched off."""
    for module in (domain_transfers, rpc_transfers):
        monkeypatch.setattr(module, "LEASE", timedelta(seconds=2))
    information, modality, port = action(stored(gateway)), Modality("MODALITY"), free_port()
    variables = {
        "DICOMSTORE_CORE": gateway.core,
        "DICOMSTORE_DIMSE": f"127.0.0.1:{port}",
        "DICOMSTORE_REMOTES": json.dumps(REMOTES),
        "DICOMSTORE_TRANSFERS": "0",
    }
    process = gateway_process(tmp_path, variables)
    try:
        eventually(lambda: listens(port))
        with clients.associated(port, (PUSH, EXPLICIT_LITTLE), calling="MODALITY") as association:
            [context] = association.contexts.values()
            command = Command(
                CommandField.N_ACTION,
                requested_sop_class_uid=PUSH,
                requested_sop_instance_uid=WELL_KNOWN,
                action_type_id=1,
            )
            data_set = encode(information, is_implicit_vr=False, is_little_endian=True)
            assert association.perform(context, command, [data_set or b""]).status == 0
            process.kill()
            process.wait()
    finally:
        process.kill()
        process.wait()
    [report] = [one for one in reports(archive) if one.commitment_report.transaction_uid == information.TransactionUID]
    failed = archive.after_attempt(report)
    assert (failed.state, failed.problem) == (pb.TRANSFER_STATE_WAITING, "CONNECTION_REFUSED")
    with modality.listening():
        assert archive.retried(report).state == pb.TRANSFER_STATE_SUCCEEDED
        event_type, result = modality.results.get(timeout=20)
    assert (event_type, result.TransactionUID) == (1, information.TransactionUID)


def test_a_large_request_is_verified_after_the_response(gateway: RunningGateway) -> None:
    kept = stored(gateway)
    modality = Modality("UNKNOWN")
    with modality.associated(gateway.port) as association:
        assert requested(association, action(kept, *(new_uid() for _ in range(250)))) == 0
        event_type, result = modality.results.get(timeout=30)
    assert (event_type, len(result.ReferencedSOPSequence), len(result.FailedSOPSequence)) == (2, 1, 250)


def test_a_repeated_request_is_answered_again_and_another_with_its_uid_refused(gateway: RunningGateway) -> None:
    kept, transaction = stored(gateway), new_uid()
    modality = Modality("UNKNOWN")
    with modality.associated(gateway.port) as association:
        for _ in range(2):
            assert requested(association, action(kept, transaction=transaction)) == 0
            assert modality.results.get(timeout=20)[0] == 1
        assert requested(association, action(new_uid(), transaction=transaction)) == 0x0131


def test_failures_of_the_core_are_statuses(module_path: Path) -> None:
    """0213H: the modality repeats the request; 0124H: it is not permitted; 0110H: it fails."""
    modality = Modality("UNKNOWN")
    with running_gateway("127.0.0.1:1") as gateway, modality.associated(gateway.port) as association:
        assert requested(association, action(new_uid())) == 0x0213
    with (
        running_core(module_path / "secured", auth_required=True) as core,
        running_gateway(core) as gateway,
        modality.associated(gateway.port) as association,
    ):
        assert requested(association, action(new_uid())) == 0x0124
    with (
        running_core(module_path / "parts", partitions=True) as core,
        running_gateway(core, dimse_partition="none") as gateway,
        modality.associated(gateway.port) as association,
    ):
        assert requested(association, action(new_uid())) == 0x0110


def test_an_invalid_request_is_refused(gateway: RunningGateway) -> None:
    modality = Modality("UNKNOWN")
    with modality.associated(gateway.port) as association:
        assert requested(association, action()) == 0x0115
        assert requested(association, action(new_uid()), instance="1.2.3") == 0x0112
        assert requested(association, action(new_uid()), type_=2) == 0x0123
        with disable_value_validation():
            assert requested(association, action("not a uid")) == 0x0115
