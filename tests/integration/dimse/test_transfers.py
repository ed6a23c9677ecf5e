"""Transfers with remotes: sending, retrieving and notifying (docs/dimse.md)."""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dicomstore.v1 import transfer_service_pb2 as pb
from pydicom.uid import ImplicitVRLittleEndian

from server.domain.lifecycle import transfers as domain_transfers
from server.rpc.lifecycle import transfers as rpc_transfers
from tests.core import Ref
from tests.data import EXPLICIT_BIG, part10
from tests.integration.dimse.archive import Archive, archive_at, eventually
from tests.integration.dimse.gateways import gateway_process, running_core, running_gateway
from tests.integration.dimse.remotes import Remote, running_remote
from tests.ports import free_port
from tests.programs import run

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"


def files_of(study: str, count: int, series: int = 1, **attributes: Any) -> list[bytes]:
    """Return instances of a study."""
    return [
        part10(
            **{
                "StudyInstanceUID": study,
                "SeriesInstanceUID": f"{study}.{s}",
                "SOPInstanceUID": f"{study}.{s}.{i}",
                "SOPClassUID": CT if s % 2 else MR,
                **attributes,
            }
        )
        for s in range(1, series + 1)
        for i in range(1, count + 1)
    ]


@pytest.fixture(scope="module")
def core(module_path: Path) -> Iterator[str]:
    with running_core(module_path / "core", study_quiet_seconds=1) as address:
        yield address


@pytest.fixture
def archive(core: str) -> Iterator[Archive]:
    with archive_at(core) as found:
        yield found


@contextmanager
def connected(core: str, remote: Remote, **settings: Any) -> Iterator[None]:
    """Run a gateway that knows a remote as PACS."""
    of_remote = settings.pop("of_remote", {})
    remotes = {"PACS": remote.settings(**of_remote)}
    with running_gateway(core, **{"remotes": remotes, "dimse_seconds": 5, **settings}) as gateway:
        remote.archive_port = gateway.port
        yield


def attempted(core: str, archive: Archive, transfer: pb.Transfer, remote: Remote, **settings: Any) -> pb.Transfer:
    """Return a transfer after an attempt of a gateway."""
    with connected(core, remote, **settings):
        return archive.after_attempt(transfer)


def test_a_study_is_sent(core: str, archive: Archive) -> None:
    archive.stores(*files_of("1.9.1", 3, series=2))
    with running_remote() as remote:
        transfer = attempted(core, archive, archive.sends("1.9.1"), remote)
    assert transfer.state == pb.TRANSFER_STATE_SUCCEEDED, transfer
    assert transfer.progress == pb.TransferProgress(total=6, completed=6)
    assert sorted(remote.uids) == sorted(archive.uids("1.9.1"))


def test_a_gateway_that_waits_for_transfers_stops_at_once(core: str, archive: Archive) -> None:
    archive.stores(*files_of("1.9.2", 1))
    with running_remote() as remote:
        with connected(core, remote, dimse_shutdown_seconds=60):
            transfer = archive.after_attempt(archive.sends("1.9.2"))
            began = time.monotonic()
        assert time.monotonic() - began < 30
    assert transfer.state == pb.TRANSFER_STATE_SUCCEEDED, transfer


def test_series_and_instances_are_sent_once(core: str, archive: Archive) -> None:
    study = "1.9.3"
    archive.stores(*files_of(study, 2, series=3))
    series = Ref(study_instance_uid=study, series_instance_uid=f"{study}.1")
    instance = Ref(study_instance_uid=study, series_instance_uid=f"{study}.2", sop_instance_uid=f"{study}.2.1")
    first = Ref(study_instance_uid=study, series_instance_uid=f"{study}.1", sop_instance_uid=f"{study}.1.1")
    request = pb.CreateTransferRequest(remote="PACS", send=pb.Send(resources=[instance, series, first, series]))
    with running_remote() as remote:
        transfer = attempted(core, archive, archive.transfers.CreateTransfer(request).transfer, remote)
    assert transfer.state == pb.TRANSFER_STATE_SUCCEEDED, transfer
    assert remote.uids == [f"{study}.1.1", f"{study}.1.2", f"{study}.2.1"]


def test_instances_are_re_encoded_for_a_remote_that_does_not_accept_the_stored_form(
    core: str, archive: Archive
) -> None:
    archive.stores(*files_of("1.9.4", 2, PatientComments="as stored", transfer_syntax=EXPLICIT_BIG))
    with running_remote(syntaxes=[ImplicitVRLittleEndian]) as remote:
        transfer = attempted(core, archive, archive.sends("1.9.4"), remote)
    assert transfer.state == pb.TRANSFER_STATE_SUCCEEDED, transfer
    assert {syntax for syntax, _ in remote.received} == {ImplicitVRLittleEndian}
    assert {data_set.PatientComments for _, data_set in remote.received} == {"as stored"}


@pytest.mark.parametrize("method", [pb.RETRIEVE_METHOD_MOVE, pb.RETRIEVE_METHOD_GET])
def test_a_study_is_retrieved(core: str, archive: Archive, method: int) -> None:
    study = f"1.9.2.{method}"
    with running_remote() as remote:
        remote.has(*files_of(study, 3, series=2), *files_of("1.9.99", 1))
        transfer = attempted(core, archive, archive.pulls(study, method=method), remote)
    assert transfer.state == pb.TRANSFER_STATE_SUCCEEDED, transfer
    assert transfer.progress == pb.TransferProgress(total=6, completed=6)
    assert archive.uids(study) == {uid for uid in remote.files if uid.startswith(study)}
    assert archive.uids("1.9.99") == set()


def test_the_studies_that_match_a_query_are_retrieved(core: str, archive: Archive) -> None:
    keys = [{"attribute": "PatientID", "values": ["M\u00fcller"]}]
    wanted, other = "1.9.5.1", "1.9.5.2"
    with running_remote() as remote:
        remote.has(
            *files_of(wanted, 2, PatientID="M\u00fcller", SpecificCharacterSet="ISO_IR 192"),
            *files_of(other, 1, PatientID="Meier"),
        )
        transfer = archive.pulls(keys=keys)
        found = attempted(core, archive, transfer, remote, of_remote={"retrieve": "get"})
    assert found.state == pb.TRANSFER_STATE_SUCCEEDED, found
    assert (len(archive.uids(wanted)), archive.uids(other)) == (2, set())


def test_what_was_stored_by_an_interrupted_retrieval_is_skipped_as_identical(core: str, archive: Archive) -> None:
    files = files_of("1.9.6", 3)
    with running_remote() as remote, connected(core, remote):
        remote.has(*files[:2])
        archive.after_attempt(archive.pulls("1.9.6"))
        remote.has(*files)
        transfer = archive.after_attempt(archive.pulls("1.9.6"))
    assert transfer.state == pb.TRANSFER_STATE_SUCCEEDED
    assert transfer.progress == pb.TransferProgress(total=3, completed=3)
    assert len(archive.uids("1.9.6")) == 3


def abort(event: Any) -> int:
    event.assoc.abort()
    return 0xC000


def test_after_an_abort_the_next_attempt_sends_the_rest(core: str, archive: Archive) -> None:
    archive.stores(*files_of("1.9.7", 2, series=3))
    with running_remote() as remote:
        remote.store = lambda event: abort(event) if len(remote.received) == 3 else 0
        with connected(core, remote):
            failed = archive.after_attempt(archive.sends("1.9.7"))
            remote.store = lambda event: 0
            transfer = archive.retried(failed)
    assert (failed.state, failed.problem) == (pb.TRANSFER_STATE_WAITING, "ASSOCIATION_LOST")
    assert transfer.state == pb.TRANSFER_STATE_SUCCEEDED, transfer
    assert transfer.progress == pb.TransferProgress(total=6, completed=6)
    assert remote.uids[:3] == ["1.9.7.1.1", "1.9.7.1.2", "1.9.7.2.1"]
    assert remote.uids[3:] == ["1.9.7.2.1", "1.9.7.2.2", "1.9.7.3.1", "1.9.7.3.2"]  # the first series is done


def test_a_refused_instance_does_not_prevent_others_and_is_sent_again(core: str, archive: Archive) -> None:
    archive.stores(*files_of("1.9.8", 3))
    refused = "1.9.8.1.2"
    with running_remote() as remote, connected(core, remote):
        remote.store = lambda event: 0xA700 if event.request.AffectedSOPInstanceUID == refused else 0xB000
        failed = archive.after_attempt(archive.sends("1.9.8"))
        assert refused not in remote.uids
        remote.store = lambda event: 0
        transfer = archive.retried(failed)
    assert (failed.state, failed.problem) == (pb.TRANSFER_STATE_WAITING, "STATUS_A700")
    assert failed.progress == pb.TransferProgress(total=3, completed=2, failed=1, warnings=2)
    assert transfer.state == pb.TRANSFER_STATE_SUCCEEDED, transfer
    assert refused in remote.uids


def test_a_remote_that_never_answers_costs_one_attempt(core: str, archive: Archive) -> None:
    archive.stores(*files_of("1.9.10", 1))
    gone = threading.Event()
    with running_remote() as remote:
        remote.store = lambda event: 0xC000 if gone.wait(20) else 0
        failed = attempted(core, archive, archive.sends("1.9.10"), remote, dimse_seconds=0.5)
        gone.set()
    assert (failed.state, failed.problem) == (pb.TRANSFER_STATE_WAITING, "TIMEOUT")


@pytest.mark.parametrize(
    ("of_remote", "problem"),
    [
        ({"port": 1}, "CONNECTION_REFUSED"),
        ({"host": "unknown.invalid"}, "UNKNOWN_HOST"),
        ({"ae_title": "OTHER"}, "CALLED_AE_REJECTED"),
        ({"tls": True}, "TLS_FAILED"),
        ({"host": "", "addresses": ["127.0.0.1"]}, "NO_HOST"),
    ],
)
def test_why_there_is_no_association(core: str, archive: Archive, of_remote: dict[str, Any], problem: str) -> None:
    archive.stores(*files_of("1.9.11", 1))
    with running_remote() as remote:
        failed = attempted(core, archive, archive.sends("1.9.11"), remote, of_remote=of_remote, association_seconds=2)
    assert (failed.state, failed.problem) == (pb.TRANSFER_STATE_WAITING, problem)
    archive.transfers.CancelTransfer(pb.CancelTransferRequest(id=failed.id))


def test_what_no_attempt_can_do_is_a_dead_letter_at_once(core: str, archive: Archive) -> None:
    transfers = [
        archive.sends("1.9.12", remote="NONE"),
        archive.sends("1.9.12"),
        archive.pulls("1.9.12", method=pb.RETRIEVE_METHOD_MOVE),
        archive.pulls(keys=[{"attribute": "NoKeyword", "values": ["1"]}]),
    ]
    with running_remote() as remote, connected(core, remote):
        found = [archive.after_attempt(transfer) for transfer in transfers]
    assert {one.state for one in found} == {pb.TRANSFER_STATE_FAILED}
    assert [one.problem for one in found] == ["UNKNOWN_REMOTE", "NOTHING_FOUND", "NOTHING_FOUND", "INVALID_KEYS"]


def test_a_cancelled_transfer_stops_and_others_continue(
    core: str, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dimse")
    archive.stores(*files_of("1.9.13", 3), *files_of("1.9.14", 1))
    began, end = threading.Event(), threading.Event()

    def wait(event: Any) -> int:
        if event.request.AffectedSOPInstanceUID == "1.9.13.1.2":
            began.set()
            end.wait(20)
        return 0

    with running_remote(store=wait) as remote, connected(core, remote, dimse_seconds=20):
        transfer = archive.sends("1.9.13")
        assert began.wait(20)
        archive.transfers.CancelTransfer(pb.CancelTransferRequest(id=transfer.id))
        other = archive.after_attempt(archive.sends("1.9.14"))
        eventually(lambda: f"transfer={transfer.id} remote=PACS work=send event=stopped" in caplog.text)
        end.set()
    assert other.state == pb.TRANSFER_STATE_SUCCEEDED
    assert archive.now(transfer).state == pb.TRANSFER_STATE_CANCELED
    assert "1.9.13.1.3" not in remote.uids


def test_of_two_gateways_one_performs_each_transfer(core: str, archive: Archive) -> None:
    studies = [f"1.9.15.{number}" for number in range(1, 13)]
    archive.stores(*(file for study in studies for file in files_of(study, 1)))
    transfers = [archive.sends(study) for study in studies]
    with running_remote() as remote, connected(core, remote), connected(core, remote):
        found = [archive.after_attempt(transfer) for transfer in transfers]
    assert {one.state for one in found} == {pb.TRANSFER_STATE_SUCCEEDED}
    assert sorted(remote.uids) == sorted(f"{study}.1.1" for study in studies)
    assert {one.attempts for one in found} == {1}


def test_another_gateway_continues_when_one_is_killed(
    core: str, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.stores(*files_of("1.9.16", 2, series=2))
    for module in (domain_transfers, rpc_transfers):
        monkeypatch.setattr(module, "LEASE", timedelta(seconds=2))
    began, end = threading.Event(), threading.Event()

    def wait(event: Any) -> int:
        if event.request.AffectedSOPInstanceUID == "1.9.16.2.1" and not began.is_set():
            began.set()
            end.wait(20)
        return 0

    with running_remote(store=wait) as remote:
        variables = {
            "DICOMSTORE_CORE": core,
            "DICOMSTORE_DIMSE": "127.0.0.1:0",
            "DICOMSTORE_REMOTES": json.dumps({"PACS": remote.settings()}),
        }
        transfer = archive.sends("1.9.16")
        process = gateway_process(tmp_path, variables)
        try:
            assert began.wait(20)
            eventually(lambda: archive.now(transfer).progress.completed == 2)
        finally:
            process.kill()
            process.wait()
        end.set()
        found = attempted(core, archive, transfer, remote)
    assert found.state == pb.TRANSFER_STATE_SUCCEEDED, found
    assert set(remote.uids) == archive.uids("1.9.16")
    assert remote.uids.count("1.9.16.1.1") == 1


def test_a_restart_of_the_core_costs_one_attempt(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    began, end = threading.Event(), threading.Event()

    def wait(event: Any) -> int:
        began.set()
        end.wait(20)
        return 0

    with running_remote(store=wait) as remote, connected(address, remote, dimse_seconds=20):
        with running_core(tmp_path, grpc=address), archive_at(address) as archive:
            archive.stores(*files_of("1.9.19", 2, series=2))
            transfer = archive.sends("1.9.19")
            assert began.wait(20)
        end.set()
        with running_core(tmp_path, grpc=address), archive_at(address) as archive:
            failed = archive.after_attempt(transfer)
            found = archive.retried(failed)
            assert set(remote.uids) == archive.uids("1.9.19")
    assert failed.problem in ("INSTANCES_FAILED", "CORE_UNAVAILABLE")
    assert (found.state, found.progress.completed) == (pb.TRANSFER_STATE_SUCCEEDED, 4), found


def test_stable_studies_that_match_are_forwarded_also_after_a_restart(core: str, archive: Archive) -> None:
    rules = {"ct": {"remote": "PACS", "query": "ModalitiesInStudy=CT&PatientName=doe&fuzzymatching=true"}}
    names = {"PatientName": "Doe^Jane"}

    def forwarded() -> set[str]:
        sends = [one.send.resources[0].study_instance_uid for one in archive.of_rule("ct")]
        assert len(sends) == len(set(sends))
        return set(sends)

    with running_remote() as remote:
        archive.stores(*files_of("1.9.17.1", 1, Modality="CT", **names))
        with connected(core, remote, forward=rules):
            eventually(lambda: archive.has_consumer("dimse-forward.ct"))
        archive.stores(
            *files_of("1.9.17.2", 1, Modality="CT", **names),
            *files_of("1.9.17.3", 1, Modality="MR", **names),
            *files_of("1.9.17.4", 1, Modality="CT", PatientName="Roe"),
        )
        with connected(core, remote, forward=rules), connected(core, remote, forward=rules):
            archive.stores(*files_of("1.9.17.5", 1, Modality="CT", **names))
            eventually(lambda: forwarded() >= {"1.9.17.2", "1.9.17.5"})
            for transfer in archive.of_rule("ct"):
                assert archive.after_attempt(transfer).state == pb.TRANSFER_STATE_SUCCEEDED
    assert {"1.9.17.3", "1.9.17.4"} & forwarded() == set()
    assert set(remote.uids) >= {"1.9.17.2.1.1", "1.9.17.5.1.1"}
    assert len(remote.uids) == len(set(remote.uids))


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("Modality=CT&NoKeyword=1", "NoKeyword is neither a keyword nor a tag"),
        ("fuzzymatching=yes", "fuzzymatching must be true or false"),
        ("Modality", "bad query field"),
        ("StudyDate=noon", "StudyDate"),
        ("PixelData=1", "PixelData"),
    ],
)
def test_a_gateway_with_an_invalid_rule_does_not_start(core: str, query: str, problem: str, tmp_path: Path) -> None:
    variables = {
        "DICOMSTORE_CORE": core,
        "DICOMSTORE_DIMSE": "127.0.0.1:0",
        "DICOMSTORE_REMOTES": json.dumps({"PACS": {"host": "127.0.0.1"}}),
        "DICOMSTORE_FORWARD": json.dumps({"ct": {"remote": "PACS", "query": query}}),
    }
    ran = run("dimse", environment=os.environ | variables, folder=tmp_path, timeout=60)
    assert ran.returncode == 2
    assert "forward.ct.query: " in ran.stderr.decode()
    assert problem in ran.stderr.decode()


def test_a_remote_is_notified_of_available_instances(core: str, archive: Archive) -> None:
    with running_remote() as remote, connected(core, remote, of_remote={"notify_availability": True}):
        eventually(lambda: archive.has_consumer("dimse-forward.notify.PACS"))
        archive.stores(*files_of("1.9.18", 2, series=2))
        eventually(lambda: any(one.StudyInstanceUID == "1.9.18" for one in remote.notifications))
    [notified] = [one for one in remote.notifications if one.StudyInstanceUID == "1.9.18"]
    references = {
        (series.SeriesInstanceUID, one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID)
        for series in notified.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert references == {
        (f"1.9.18.{series}", CT if series % 2 else MR, f"1.9.18.{series}.{number}")
        for series in (1, 2)
        for number in (1, 2)
    }
    first = notified.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert (first.InstanceAvailability, first.RetrieveAETitle) == ("ONLINE", "DICOMSTORE")
