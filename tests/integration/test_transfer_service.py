"""TransferService as specified in the contract."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import transfer_service_pb2 as pb
from dicomstore.v1 import transfer_service_pb2_grpc

from server.bootstrap.serving import running
from tests.audit import audit_records, audited
from tests.core import CoreClient, Ref, reason_of, settings_for
from tests.data import part10
from tests.integration.conftest import a_core

STUDY = Ref(study_instance_uid="1.2")
SEND = pb.Send(resources=[STUDY])


def stub_of(core: CoreClient) -> Any:
    return transfer_service_pb2_grpc.TransferServiceStub(core.channel)


async def created(core: CoreClient, **fields: Any) -> pb.Transfer:
    request = pb.CreateTransferRequest(**{"remote": "PACS", "send": SEND} | fields)
    transfer: pb.Transfer = (await stub_of(core).CreateTransfer(request)).transfer
    return transfer


async def claimed(core: CoreClient) -> pb.ClaimedTransfer:
    [one] = (await stub_of(core).ClaimTransfers(pb.ClaimTransfersRequest(max_transfers=10))).transfers
    assert isinstance(one, pb.ClaimedTransfer)
    return one


async def state_of(core: CoreClient, transfer: pb.Transfer) -> pb.Transfer:
    found: pb.Transfer = (await stub_of(core).GetTransfer(pb.GetTransferRequest(id=transfer.id))).transfer
    return found


async def refused(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


async def test_a_gateway_processes_a_transfer(core: CoreClient) -> None:
    stub = stub_of(core)
    transfer = await created(core, request_id="r1", rule="ct")
    assert (transfer.state, transfer.rule, transfer.attempts) == (pb.TRANSFER_STATE_WAITING, "ct", 0)
    assert transfer.send.resources[0].study_instance_uid == "1.2"
    assert await created(core, request_id="r1") == transfer
    work = await claimed(core)
    assert (work.transfer.id, work.transfer.state, work.cursor) == (transfer.id, pb.TRANSFER_STATE_RUNNING, "")
    assert not (await stub.ClaimTransfers(pb.ClaimTransfersRequest(max_transfers=10))).transfers
    progress = pb.TransferProgress(total=4, completed=2, failed=1, warnings=1)
    report = pb.ReportTransferRequest(id=transfer.id, lease=work.lease, progress=progress, cursor="1/2")
    assert (await stub.ReportTransfer(report)).leased
    assert (await state_of(core, transfer)).progress == progress
    failure = pb.TransferOutcome(problem="STATUS_A700")
    assert (
        await stub.ReportTransfer(pb.ReportTransferRequest(id=transfer.id, lease=work.lease, outcome=failure))
    ).leased
    failed = await state_of(core, transfer)
    assert (failed.state, failed.problem, failed.attempts) == (pb.TRANSFER_STATE_WAITING, "STATUS_A700", 1)
    assert failed.next_attempt_time.seconds > failed.update_time.seconds
    assert not (await stub.ReportTransfer(report)).leased
    await stub.RetryTransfer(pb.RetryTransferRequest(id=transfer.id))
    again = await claimed(core)
    assert (again.cursor, again.lease != work.lease) == ("1/2", True)
    done = pb.ReportTransferRequest(id=transfer.id, lease=again.lease, outcome=pb.TransferOutcome())
    assert (await stub.ReportTransfer(done)).leased
    assert (await state_of(core, transfer)).state == pb.TRANSFER_STATE_SUCCEEDED
    assert await refused(stub.RetryTransfer(pb.RetryTransferRequest(id=transfer.id))) == "TRANSFER_NOT_FAILED"
    cancelled = await stub.CancelTransfer(pb.CancelTransferRequest(id=transfer.id))
    assert cancelled.transfer.state == pb.TRANSFER_STATE_SUCCEEDED


async def test_a_gateway_claims_a_report_of_storage_commitment_that_it_creates(core: CoreClient) -> None:
    stub = stub_of(core)
    report = pb.CommitmentReport(transaction_uid="1.2.3", ae_title="ARCHIVE 2")
    request = pb.CreateTransferRequest(remote="PACS", commitment_report=report, request_id="r", claim=True)
    answer = await stub.CreateTransfer(request)
    assert (answer.transfer.state, answer.lease_duration.seconds) == (pb.TRANSFER_STATE_RUNNING, 60)
    assert (await stub.CreateTransfer(request)).lease == ""
    assert not (await stub.ClaimTransfers(pb.ClaimTransfersRequest(max_transfers=10))).transfers
    failure = pb.TransferOutcome(problem="TIMEOUT")
    report_request = pb.ReportTransferRequest(id=answer.transfer.id, lease=answer.lease, outcome=failure)
    assert (await stub.ReportTransfer(report_request)).leased
    await stub.RetryTransfer(pb.RetryTransferRequest(id=answer.transfer.id))
    assert (await claimed(core)).transfer.commitment_report == report
    [record, _] = await audited(core.data, kind="executed", rpc="TransferService/CreateTransfer")
    assert (record["work"], record["transaction"]) == ("commitmentreport", "1.2.3")


async def test_a_cancelled_transfer_takes_the_lease_from_its_gateway(core: CoreClient) -> None:
    stub = stub_of(core)
    transfer = await created(core, pull=pb.Pull(keys=[{"attribute": "PatientName", "values": ["Doe*"]}]))
    work = await claimed(core)
    await stub.CancelTransfer(pb.CancelTransferRequest(id=transfer.id))
    assert not (await stub.ReportTransfer(pb.ReportTransferRequest(id=transfer.id, lease=work.lease))).leased
    assert (await state_of(core, transfer)).state == pb.TRANSFER_STATE_CANCELED
    [record] = await audited(core.data, kind="executed", rpc="TransferService/CreateTransfer")
    assert (record["remote"], record["work"], record["keys"]) == ("PACS", "pull", ["PatientName"])
    assert not any("Doe" in str(record) or "ReportTransfer" in str(record) for record in audit_records(core.data))


async def test_a_permanent_failure_is_a_dead_letter_until_it_is_retried(core: CoreClient) -> None:
    stub = stub_of(core)
    transfer = await created(core, notification=pb.Notification(study=STUDY))
    work = await claimed(core)
    failure = pb.TransferOutcome(problem="UNKNOWN_REMOTE", permanent=True)
    await stub.ReportTransfer(pb.ReportTransferRequest(id=transfer.id, lease=work.lease, outcome=failure))
    request = pb.ListTransfersRequest(states=[pb.TRANSFER_STATE_FAILED], remote="PACS")
    [dead] = (await stub.ListTransfers(request)).transfers
    assert (dead.id, dead.problem) == (transfer.id, "UNKNOWN_REMOTE")
    await stub.RetryTransfer(pb.RetryTransferRequest(id=transfer.id))
    assert (await claimed(core)).transfer.id == transfer.id


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"send": None}, "INVALID_FIELD"),
        ({"send": pb.Send()}, "INVALID_FIELD"),
        ({"send": pb.Send(resources=[Ref()])}, "INVALID_FIELD"),
        ({"send": pb.Send(resources=[Ref(study_instance_uid="x")])}, "INVALID_UID"),
        ({"send": pb.Send(resources=[STUDY] * 1001)}, "INVALID_FIELD"),
        ({"pull": pb.Pull()}, "INVALID_FIELD"),
        ({"pull": pb.Pull(resources=[STUDY], keys=[{"attribute": "PatientID", "values": ["1"]}])}, "INVALID_FIELD"),
        ({"pull": pb.Pull(keys=[{"attribute": "PatientID", "values": ["1", "2"]}])}, "INVALID_FIELD"),
        ({"pull": pb.Pull(keys=[{"attribute": "a b", "values": ["1"]}])}, "INVALID_FIELD"),
        ({"pull": pb.Pull(keys=[{"attribute": "PatientID", "values": ["1" * 10_000]}])}, "INVALID_FIELD"),
        ({"pull": pb.Pull(resources=[STUDY], method=9)}, "INVALID_FIELD"),
        ({"notification": pb.Notification()}, "INVALID_FIELD"),
        ({"commitment_report": pb.CommitmentReport()}, "INVALID_UID"),
        ({"commitment_report": pb.CommitmentReport(transaction_uid="1", ae_title="a\\b")}, "INVALID_FIELD"),
        ({"remote": ""}, "INVALID_FIELD"),
        ({"remote": "a b"}, "INVALID_FIELD"),
        ({"rule": "a b"}, "INVALID_FIELD"),
        ({"request_id": "x" * 129}, "INVALID_FIELD"),
        ({"partition": "ward"}, "PARTITIONS_DISABLED"),
    ],
)
async def test_invalid_transfers_are_refused(shared_core: CoreClient, fields: dict[str, Any], reason: str) -> None:
    assert await refused(created(shared_core, **fields)) == reason


async def test_unknown_transfers_and_invalid_reports_are_refused(core: CoreClient) -> None:
    stub = stub_of(core)
    for unknown in (
        stub.GetTransfer(pb.GetTransferRequest(id="0" * 32)),
        stub.CancelTransfer(pb.CancelTransferRequest(id="../x")),
        stub.RetryTransfer(pb.RetryTransferRequest(id="0" * 32)),
    ):
        assert await refused(unknown) == "TRANSFER_NOT_FOUND"
    assert not (await stub.ReportTransfer(pb.ReportTransferRequest(id="0" * 32, lease="x"))).leased
    for invalid in (
        stub.ClaimTransfers(pb.ClaimTransfersRequest()),
        stub.ClaimTransfers(pb.ClaimTransfersRequest(max_transfers=1, wait_seconds=-1)),
        stub.ClaimTransfers(pb.ClaimTransfersRequest(max_transfers=1, wait_seconds=61)),
        stub.ReportTransfer(pb.ReportTransferRequest(id="0" * 32, cursor="x" * 257)),
        stub.ReportTransfer(pb.ReportTransferRequest(id="0" * 32, outcome=pb.TransferOutcome(problem="Doe"))),
        stub.ListTransfers(pb.ListTransfersRequest(page_size=1000)),
        stub.ListTransfers(pb.ListTransfersRequest(states=[9])),
    ):
        assert await refused(invalid) == "INVALID_FIELD"


async def test_a_claim_waits_until_a_transfer_is_created_or_retried(core: CoreClient) -> None:
    stub = stub_of(core)
    request = pb.ClaimTransfersRequest(max_transfers=10, wait_seconds=60)
    waiting = asyncio.ensure_future(stub.ClaimTransfers(request))
    transfer = await created(core)
    async with asyncio.timeout(30):
        [first] = (await waiting).transfers
    assert first.transfer.id == transfer.id
    await stub.CancelTransfer(pb.CancelTransferRequest(id=transfer.id))
    waiting = asyncio.ensure_future(stub.ClaimTransfers(request))
    await stub.RetryTransfer(pb.RetryTransferRequest(id=transfer.id))
    async with asyncio.timeout(30):
        [again] = (await waiting).transfers
    assert (again.transfer.id, again.lease != first.lease) == (transfer.id, True)


@pytest.mark.parametrize(("seconds", "deadline"), [(1, None), (60, 2.5)])
async def test_a_claim_without_transfers_returns_at_its_time_limit_and_before_its_deadline(
    core: CoreClient, seconds: int, deadline: float | None
) -> None:
    request = pb.ClaimTransfersRequest(max_transfers=10, wait_seconds=seconds)
    async with asyncio.timeout(30):
        assert not (await stub_of(core).ClaimTransfers(request, timeout=deadline)).transfers


async def test_a_waiting_claim_returns_when_the_core_stops(tmp_path: Path) -> None:
    request = pb.ClaimTransfersRequest(max_transfers=10, wait_seconds=60)
    async with AsyncExitStack() as stack:
        async with running(settings_for(tmp_path)) as started:
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(started.address))
            stub = transfer_service_pb2_grpc.TransferServiceStub(channel)
            waiting = asyncio.ensure_future(stub.ClaimTransfers(request))
            await stub.ListTransfers(pb.ListTransfersRequest())
        assert not (await waiting).transfers


async def test_transfers_of_other_partitions_are_not_found(tmp_path: Path) -> None:
    async with a_core(tmp_path, partitions=True) as core:
        stub = stub_of(core)
        assert await refused(created(core, partition="")) == "PARTITION_REQUIRED"
        assert await refused(created(core, partition="ward")) == "PARTITION_NOT_FOUND"
        await core.stored(part10(), address=Ref(partition="ward"), create_partition=True)
        transfer = await created(core, partition="ward")
        assert transfer.partition == "ward"
        assert transfer.send.resources[0].partition == "ward"
        await core.stored(part10(), address=Ref(partition="other"), create_partition=True)
        for partition, count in (("", 1), ("ward", 1), ("other", 0)):
            request = pb.ListTransfersRequest(page_size=1, partition=partition)
            assert len((await stub.ListTransfers(request)).transfers) == count
