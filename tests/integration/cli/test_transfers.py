"""`dicomstore dimse pull`, `send` and `transfers`, against a real core."""

import json
from typing import Any

import grpc
import pytest
from dicomstore.v1 import transfer_service_pb2 as pb
from dicomstore.v1 import transfer_service_pb2_grpc


async def listed(dicomstore: Any, *arguments: str) -> list[dict[str, Any]]:
    result = await dicomstore("dimse", "transfers", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)["transfers"]
    return found


async def test_transfers_are_created_listed_cancelled_retried_and_followed(dicomstore: Any) -> None:
    sent = await dicomstore("dimse", "send", "PACS", "1.2", "1.2/1.3")
    assert sent.exit_code == 0, sent.stderr
    pulled = await dicomstore("dimse", "pull", "PACS", "PatientID=1", "StudyDate=20260101-", "--method", "get")
    send, pull = sent.stdout.strip(), pulled.stdout.strip()
    shown = await listed(dicomstore)
    assert [one["id"] for one in shown] == [pull, send]
    assert [one["attribute"] for one in shown[0]["pull"]["keys"]] == ["PatientID", "StudyDate"]
    assert shown[0]["pull"]["method"] == "RETRIEVE_METHOD_GET"
    assert shown[1]["send"]["resources"][1]["series_instance_uid"] == "1.3"
    table = await dicomstore("dimse", "transfers")
    assert "waiting" in table.stdout
    assert (await dicomstore("dimse", "transfers", send, "--cancel")).exit_code == 0
    assert [one["id"] for one in await listed(dicomstore, "--state", "canceled")] == [send]
    assert await listed(dicomstore, "--remote", "OTHER") == []
    assert (await dicomstore("dimse", "transfers", send, "--follow")).exit_code == 1
    assert (await dicomstore("dimse", "transfers", send, "--retry")).exit_code == 0
    async with grpc.aio.insecure_channel(dicomstore.core) as channel:
        stub: Any = transfer_service_pb2_grpc.TransferServiceStub(channel)
        for claimed in (await stub.ClaimTransfers(pb.ClaimTransfersRequest(max_transfers=9))).transfers:
            done = pb.ReportTransferRequest(id=claimed.transfer.id, lease=claimed.lease, outcome=pb.TransferOutcome())
            await stub.ReportTransfer(done)
    followed = await dicomstore("dimse", "transfers", send, "--follow")
    assert (followed.exit_code, "succeeded" in followed.stdout) == (0, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("pull", "PACS", "1.2", "PatientID=1"),
        ("send", "PACS", "1/2/3/4"),
        ("transfers", "--retry"),
        ("transfers", "x", "--retry", "--cancel"),
    ],
)
async def test_contradictory_arguments_are_refused(dicomstore: Any, arguments: tuple[str, ...]) -> None:
    assert (await dicomstore("dimse", *arguments)).exit_code == 2
