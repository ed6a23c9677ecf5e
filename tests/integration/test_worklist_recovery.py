"""Workitems survive a lost index, and an older one gets their last states (server/domain/upkeep/recovery.py)."""

import asyncio
import shutil
from collections.abc import Awaitable
from pathlib import Path

import grpc
import pytest
from dicomstore.v1 import partition_service_pb2 as partitions

from server.bootstrap.maintenance import recover
from tests.core import reason_of, settings_for
from tests.integration.conftest import a_core
from tests.integration.test_opening import remove_index
from tests.integration.worklist_client import COMPLETED, IN_PROGRESS, WorklistClient, label
from tests.worklist import OTHER_TRANSACTION, TRANSACTION, performed


def lose(data: Path, older: Path | None) -> None:
    remove_index(data)
    if older is not None:
        shutil.copy(older, data / "index.db")


async def refusal(call: Awaitable[object]) -> str:
    """Return the reason for which a call is refused; empty if it is not."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    return ""


@pytest.mark.parametrize("index", ["lost", "older"])
async def test_workitems_are_restored_with_their_last_states(tmp_path: Path, index: str) -> None:
    data, older = tmp_path / "data", tmp_path / "older"
    async with a_core(data) as core:
        worklist = WorklistClient(core.channel)
        for uid in ("1.1", "1.2", "1.3"):
            await worklist.create(uid, ProcedureStepLabel="first", PatientName="Doe^Jane=山田")
    shutil.copy(data / "index.db", older)
    async with a_core(data) as core:
        worklist = WorklistClient(core.channel)
        await worklist.create("1.4")
        for uid in ("1.2", "1.3"):
            await worklist.change(uid, IN_PROGRESS, TRANSACTION)
        await worklist.update("1.3", performed() | label("last"), TRANSACTION)
        await worklist.change("1.3", COMPLETED, TRANSACTION)
        refused = worklist.change("1.4", COMPLETED, TRANSACTION)  # in no journal
        assert await refusal(refused) == "WORKITEM_STATE_CONFLICT"
        expected = {uid: await worklist.get(uid) for uid in ("1.1", "1.2", "1.3", "1.4")}
    for _ in range(2):
        lose(data, older if index == "older" else None)
        assert (await recover(settings_for(data))).workitems == 4
        async with a_core(data) as core:
            worklist = WorklistClient(core.channel)
            assert {uid: await worklist.get(uid) for uid in expected} == expected
            assert await worklist.found(ProcedureStepState="SCHEDULED") == {"1.1", "1.4"}
            assert await worklist.found(ProcedureStepLabel="last") == {"1.3"}
    async with a_core(data) as core:
        worklist = WorklistClient(core.channel)
        assert await refusal(worklist.update("1.2", label("x"), OTHER_TRANSACTION)) == "WORKITEM_STATE_CONFLICT"
        await worklist.update("1.2", label("x"), TRANSACTION)


async def test_an_index_without_a_claim_is_recognised_as_older(tmp_path: Path) -> None:
    data, older = tmp_path / "data", tmp_path / "older"
    async with a_core(data) as core:
        await WorklistClient(core.channel).create("1.1")
    shutil.copy(data / "index.db", older)
    async with a_core(data) as core:
        await WorklistClient(core.channel).change("1.1", IN_PROGRESS, TRANSACTION)
    lose(data, older)
    async with a_core(data) as core:
        claim = WorklistClient(core.channel).change("1.1", IN_PROGRESS, OTHER_TRANSACTION)
        assert await refusal(claim) == "ARCHIVE_READ_ONLY"


@pytest.mark.parametrize("index", ["lost", "older"])
@pytest.mark.parametrize("again", [False, True])
async def test_workitems_of_a_deleted_partition_do_not_come_back(tmp_path: Path, index: str, again: bool) -> None:
    data, older = tmp_path / "data", tmp_path / "older"
    async with a_core(data, partitions=True) as core:
        await WorklistClient(core.channel, "ward").create("1.1")
        await WorklistClient(core.channel, "other").create("1.1")
    shutil.copy(data / "index.db", older)
    async with a_core(data, partitions=True) as core:
        await core.partition_stub.DeletePartition(partitions.DeletePartitionRequest(name="ward"))
        while again and await refusal(WorklistClient(core.channel, "ward").create("1.2")):  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # until the partition is deleted
    lose(data, older if index == "older" else None)
    await recover(settings_for(data))
    async with a_core(data, partitions=True) as core:
        assert await WorklistClient(core.channel, "other").found() == {"1.1"}
        names = (await core.partition_stub.ListPartitions(partitions.ListPartitionsRequest())).partitions
        assert ("ward" in {one.name for one in names}) == again
        if again:
            assert await WorklistClient(core.channel, "ward").found() == {"1.2"}
