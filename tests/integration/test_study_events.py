"""StudyEventService, and the events of studies in a running core (docs/events.md)."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from dicomstore.v1 import study_event_service_pb2 as pb
from dicomstore.v1 import study_event_service_pb2_grpc
from google.protobuf.duration_pb2 import Duration

from server.adapters.sql.engine import migrate, open_database
from server.domain.events.study_events import StudyEventSource
from server.domain.events.study_states import StudyStates
from server.domain.read_only import ReadOnlyState
from server.domain.sequencer import Sequencer
from server.model.change import ChangeWindow
from server.model.events.study_event import Progress, StudyEntry, Unprocessed
from tests.conftest import PostgresDatabases
from tests.contract.index.samples import identity, sample
from tests.core import CoreClient, Ref, ref_of, stream_reason
from tests.data import new_uid, part10
from tests.databases import migrated
from tests.integration.archive_process import die_after, in_a_process
from tests.integration.conftest import a_core

QUIET = timedelta(seconds=1)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return migrated(tmp_path / "index.db")
    databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
    return databases.url(databases.create_migrated())


def stub_of(core: CoreClient) -> Any:
    return study_event_service_pb2_grpc.StudyEventServiceStub(core.channel)


async def watched(stub: Any, after: int = 0) -> AsyncIterator[Any]:
    call = stub.WatchStudyEvents(pb.WatchStudyEventsRequest(after_number=after))
    while True:
        for event in (await call.read()).events:
            yield event


async def test_events_are_watched_and_listed(tmp_path: Path, database_url: str) -> None:
    async with a_core(tmp_path, database=database_url, study_quiet_seconds=1) as core:
        events = watched(stub_of(core))
        study = new_uid()
        stored = await core.stored(*(part10(StudyInstanceUID=study) for _ in range(3)))
        stable = await anext(events)
        assert (stable.kind, stable.study.study_instance_uid, stable.study.partition) == (
            pb.STUDY_EVENT_KIND_STABLE,
            study,
            stored[0].id.partition,
        )
        assert (stable.number, stable.instances, stable.created, stable.id) == (
            1,
            3,
            3,
            f"{stable.last_sequence}-stable",
        )
        await core.delete(ref_of(stored[0]))
        updated = await anext(events)
        assert (updated.kind, updated.deleted, updated.instances) == (pb.STUDY_EVENT_KIND_UPDATED, 1, 2)
        await core.delete(Ref(study_instance_uid=study))
        deleted = await anext(events)
        assert (deleted.kind, deleted.instances) == (pb.STUDY_EVENT_KIND_DELETED, 0)
        listed = (await stub_of(core).ListStudyEvents(pb.ListStudyEventsRequest())).events
        assert list(listed) == [stable, updated, deleted]
        [second] = (await stub_of(core).ListStudyEvents(pb.ListStudyEventsRequest(after_number=1, page_size=1))).events
        assert second == updated


async def test_a_second_core_takes_over_when_the_first_one_stops(tmp_path: Path, database_url: str) -> None:
    settings = {"database": database_url, "study_quiet_seconds": 1}
    async with a_core(tmp_path, **settings) as second:
        events = watched(stub_of(second))
        async with a_core(tmp_path, **settings) as first:
            await first.stored(part10())
            assert (await anext(events)).number == 1
        await second.stored(part10())
        assert (await anext(events)).number == 2


async def test_invalid_requests_are_refused(core: CoreClient) -> None:
    for request in (
        pb.WatchStudyEventsRequest(after_number=-1),
        pb.WatchStudyEventsRequest(checkpoint_interval=Duration(nanos=5)),
    ):
        assert await stream_reason(stub_of(core).WatchStudyEvents(request)) == "INVALID_FIELD"


def process(events: Connection, url: str, seed: int, rounds: int | None) -> None:
    """Store, delete, and process the feed, until killed soon after some rounds; with None, process what is left."""
    asyncio.run(_process(url, random.Random(seed), rounds))


async def _process(url: str, chance: random.Random, rounds: int | None) -> None:
    database = open_database(url)
    sequencer = Sequencer(database.changes)
    ahead = timedelta()
    source = StudyEventSource(
        record=database.study_events,
        sequencer=sequencer,
        quiet=timedelta(milliseconds=50),
        now=lambda: datetime.now(UTC) + ahead,
        read_only=ReadOnlyState(),
    )
    running = asyncio.create_task(sequencer.run())
    while rounds is not None:
        rounds -= 1
        if rounds == 0:  # a process on a busy machine does not die before it has recorded anything
            die_after(chance.uniform(0, 0.1))
        study, instance = chance.randint(1, 3), chance.getrandbits(40)
        new = replace(sample(study, 1, instance), locator=f"blob-{instance}")
        await database.instances.add([new], datetime.now(UTC))
        if chance.random() < 0.4:
            of_study = identity(study).address
            scope = type(of_study)(of_study.partition, of_study.study)
            await database.instances.delete(scope, datetime.now(UTC), datetime.now(UTC))
        await source.process()
        await asyncio.sleep(chance.choice((0, 0, 0.1)))
    await sequencer.catch_up()
    while (await database.study_events.unprocessed(1, datetime.now(UTC))).entries:
        await source.process()
    ahead = timedelta(hours=1)
    await source.process()
    running.cancel()
    await database.close()


async def test_killed_processes_neither_lose_nor_repeat_an_event(tmp_path: Path, database_url: str) -> None:
    """What they have recorded are the events that follow from the whole feed."""
    migrate(database_url)
    chance = random.Random("killed")
    for seed in range(4):
        kills = (chance.randint(5, 25), chance.randint(5, 25))  # two processes at once
        await asyncio.gather(
            *(asyncio.to_thread(in_a_process, process, database_url, 10 * seed + n, at) for n, at in enumerate(kills))
        )
    await asyncio.to_thread(in_a_process, process, database_url, 99, None)
    database = open_database(database_url)
    changes = await database.changes.list(ChangeWindow(limit=100_000))
    entries = tuple(
        StudyEntry(one.sequence, one.time, one.action, False, one.instance.partition, one.instance.study)
        for one in changes
    )
    expected = StudyStates(Unprocessed(Progress(), entries, (), True), timedelta(milliseconds=50))
    expected.process(entries)
    expected.settle(datetime.now(UTC) + timedelta(days=1))
    recorded = await database.study_events.list(0, 100_000)
    await database.close()
    assert len(recorded) > 10
    assert [event.number for event in recorded] == list(range(1, len(recorded) + 1))
    assert [event.sequence for event in recorded] == sorted(event.sequence for event in recorded)
    assert {_without_position(event) for event in recorded} == {_without_position(event) for event in expected.events}
    assert len({event.id for event in recorded}) == len(recorded)


def _without_position(event: Any) -> Any:
    return (event.id, event.time, event.study, event.instances, event.changes)
