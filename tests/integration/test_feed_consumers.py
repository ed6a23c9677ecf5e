"""Consumers of the change feed that are killed while many programs change the archive."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from pathlib import Path

import grpc
import pytest
from dicomstore.v1 import change_feed_service_pb2 as pb
from dicomstore.v1.change_feed_service_pb2_grpc import ChangeFeedServiceStub
from dicomstore.v1.lifecycle_service_pb2 import UndeleteInstancesRequest
from dicomstore.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from dicomstore.v1.resources_pb2 import DUPLICATE_POLICY_NEW_VERSION

from tests.conftest import PostgresDatabases
from tests.core import CoreClient, Ref
from tests.data import part10
from tests.integration.archive_process import die_after, in_a_process
from tests.integration.conftest import a_core

WRITERS = 8
CHANGES = int(os.environ.get("DICOMSTORE_FEED_CHANGES", "20"))
"""Of each writer; a multiple of five."""

NO_END = -1
"""No entry has this sequence; a consumer that is to end at 0 may end before the first entry."""

LEAST_KILLS = 4
"""Of each consumer."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def core_on_each_database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CoreClient]:
    database: dict[str, str] = {}
    if request.param == "postgres":
        databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
        database["database"] = databases.url(databases.create_migrated())
    async with a_core(tmp_path, **database) as core:
        yield core


async def write(core: CoreClient, number: int) -> None:
    """Store two instances in each of many studies, replace one, and delete and restore the study."""
    restore = LifecycleServiceStub(core.channel).UndeleteInstances
    for change in range(0, CHANGES, 5):
        study = Ref(study_instance_uid=f"1.2.{number}.{change}")
        uids = {"StudyInstanceUID": study.study_instance_uid, "SOPInstanceUID": f"1.3.{number}.{change}"}
        await core.stored(part10(**uids))
        await core.stored(part10(StudyInstanceUID=study.study_instance_uid))
        await core.stored(part10(**uids, PatientName="Other"), duplicates=DUPLICATE_POLICY_NEW_VERSION)
        assert await core.delete(study) == 2
        await restore(UndeleteInstancesRequest(resource=study))


def consume(
    events: Connection, address: str, name: str, processed: Path, last: int, kill_after_s: float | None
) -> None:
    """Process the feed up to a sequence, or be killed some time after its position has been read."""
    asyncio.run(_consume(address, name, processed, last, kill_after_s))
    events.send(("completed", last))


async def _consume(address: str, name: str, processed: Path, last: int, kill_after_s: float | None) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = ChangeFeedServiceStub(channel)
        position = await _position(stub, name)
        die_after(kill_after_s)
        done = max(sequences(processed), default=0)
        with processed.open("ab", buffering=0) as file:
            async for message in stub.WatchChanges(pb.WatchChangesRequest(consumer=name)):
                for entry in message.entries:
                    assert entry.sequence > position
                    if entry.sequence > done:  # it was killed before it could set its position
                        file.write(entry.sequence.to_bytes(8))
                        done = entry.sequence
                if message.entries:
                    position = await _move(stub, name, done)
                if position == last:
                    return


async def _move(stub: ChangeFeedServiceStub, name: str, sequence: int) -> int:
    while (position := await _position(stub, name)) < sequence:
        request = pb.SetConsumerPositionRequest(name=name, sequence=sequence, expected_sequence=position)
        try:
            await stub.SetConsumerPosition(request)
        except grpc.aio.AioRpcError as error:  # moved in the meantime by a request of the killed process
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
    return position


async def _position(stub: ChangeFeedServiceStub, name: str) -> int:
    listed = await stub.ListConsumers(pb.ListConsumersRequest())
    return next((one.sequence for one in listed.consumers if one.name == name), 0)


def sequences(processed: Path) -> list[int]:
    """Return the sequences that a consumer has processed."""
    content = processed.read_bytes() if processed.exists() else b""
    assert len(content) % 8 == 0
    return [int.from_bytes(content[start : start + 8]) for start in range(0, len(content), 8)]


@pytest.mark.timeout(1200)
async def test_killed_consumers_process_each_change_once_and_in_order(
    core_on_each_database: CoreClient, tmp_path: Path
) -> None:
    """Each consumer is a process that resumes at the position stored in the archive.

    It recognises by the sequence what it has processed before it could store its position.
    """
    core = core_on_each_database
    ended = asyncio.Event()

    async def kill_repeatedly(name: str) -> int:
        chance, kills = random.Random(name), 0
        while not ended.is_set() or kills < LEAST_KILLS:
            delay = chance.uniform(0, max(0.3, CHANGES / 500))
            events = await asyncio.to_thread(in_a_process, consume, core.address, name, tmp_path / name, NO_END, delay)
            assert events == []  # it was killed
            kills += 1
        return kills

    async with asyncio.TaskGroup() as group:
        consuming = {name: group.create_task(kill_repeatedly(name)) for name in ("router", "billing")}
        await asyncio.gather(*(write(core, number) for number in range(WRITERS)))
        ended.set()
    expected: list[int] = []
    while page := await core.changes(after_sequence=expected[-1] if expected else 0, page_size=200):
        expected += [entry.sequence for entry in page]
    assert len(expected) == WRITERS * CHANGES // 5 * 7
    for name, kills in consuming.items():
        print(f"{name}: killed {kills.result()} times, {len(sequences(tmp_path / name))} of {len(expected)} before")
        arguments = (core.address, name, tmp_path / name, expected[-1], None)
        assert await asyncio.to_thread(in_a_process, consume, *arguments) == [("completed", expected[-1])]
        assert sequences(tmp_path / name) == expected


async def test_a_second_program_of_a_consumer_cannot_move_it(core_on_each_database: CoreClient) -> None:
    stub = core_on_each_database.change_feed_stub
    requests = [
        pb.SetConsumerPositionRequest(name="router", sequence=number, expected_sequence=0) for number in range(1, 9)
    ]
    outcomes = await asyncio.gather(*map(stub.SetConsumerPosition, requests), return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    [moved] = [outcome for outcome in outcomes if not isinstance(outcome, grpc.aio.AioRpcError)]
    assert {error.code() for error in failed} == {grpc.StatusCode.FAILED_PRECONDITION}
    assert (await stub.GetConsumer(pb.GetConsumerRequest(name="router"))).consumer == moved.consumer
