"""Consumers of the change feed that are interrupted while many programs change the archive."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from dicomstore.v1 import change_feed_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from tests.conftest import PostgresDatabases
from tests.core import CoreClient, Ref
from tests.data import part10
from tests.integration.conftest import a_core

WRITERS = 8
CHANGES = 20
"""Of each writer."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def core_on_each_database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CoreClient]:
    database: dict[str, str] = {}
    if request.param == "postgres":
        databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
        database["database"] = databases.url(databases.create())
    async with a_core(tmp_path, **database) as core:
        yield core


async def write(core: CoreClient, number: int) -> None:
    """Store, delete and store again."""
    for change in range(CHANGES):
        study = f"1.2.{number}.{change % 3}"
        if change % 4 == 3:
            await core.delete(Ref(study_instance_uid=study))
            await core.stored(part10(StudyInstanceUID=study))
        else:
            await core.stored(part10(StudyInstanceUID=study))


async def consume(core: CoreClient, name: str, chance: random.Random, ended: asyncio.Event) -> tuple[list[int], int]:
    """Process the feed as a program that is killed at any time, also before it has set its position.

    It recognises by the sequence what it has processed before. Returns the processed sequences, and the number of
    interruptions.
    """
    processed: list[int] = []
    position, interruptions = 0, 0
    while True:
        was_ended = ended.is_set()
        call = core.change_feed_stub.WatchChanges(
            pb.WatchChangesRequest(consumer=name, checkpoint_interval=Duration(seconds=1))
        )
        for _ in range(chance.randint(1, 4)):
            entries = (await call.read()).entries
            if not entries and was_ended:
                break
            if not entries:
                continue
            last = processed[-1] if processed else 0
            processed += [entry.sequence for entry in entries if entry.sequence > last]
            if chance.random() < 0.3:
                break
            last = entries[-1].sequence
            await core.change_feed_stub.SetConsumerPosition(
                pb.SetConsumerPositionRequest(name=name, sequence=last, expected_sequence=position)
            )
            position = last
        call.cancel()
        interruptions += 1
        latest = await core.changes(after_sequence=position, page_size=1)
        if was_ended and not latest:
            return processed, interruptions


async def test_interrupted_consumers_process_each_change_once_and_in_order(core_on_each_database: CoreClient) -> None:
    core = core_on_each_database
    ended = asyncio.Event()
    consuming = [asyncio.create_task(consume(core, name, random.Random(name), ended)) for name in ("router", "billing")]
    await asyncio.gather(*(write(core, number) for number in range(WRITERS)))
    ended.set()
    expected: list[int] = []
    while page := await core.changes(after_sequence=expected[-1] if expected else 0, page_size=200):
        expected += [entry.sequence for entry in page]
    assert len(expected) > WRITERS * CHANGES
    for processed, interruptions in await asyncio.gather(*consuming):
        assert processed == expected
        assert interruptions > 3


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
