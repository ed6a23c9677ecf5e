"""The record of study events (server/ports/events/study_events.py), and their creation from the change feed."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from server.adapters.sql.engine import Database
from server.domain.events.study_events import StudyEventSource
from server.domain.read_only import ReadOnlyState
from server.domain.sequencer import Sequencer
from server.model.events.study_event import Progress, StudyChanges, StudyEvent, StudyEventKind, StudyState
from server.model.ids import DEFAULT_PARTITION, PartitionName
from tests.contract.index.samples import NOON, identity, sample, study_ref, uid
from tests.contract.index.sequenced import sequence

LATER = NOON + timedelta(hours=1)
ERASED = NOON + timedelta(days=9)


async def events_after(database: Database, now: datetime = LATER) -> Sequence[StudyEvent]:
    """Process the feed as a core does, and return all events."""
    sequencer = Sequencer(database.changes)
    source = StudyEventSource(
        record=database.study_events,
        sequencer=sequencer,
        quiet=timedelta(minutes=1),
        now=lambda: now,
        read_only=ReadOnlyState(),
    )
    await sequence(database.changes)
    running = asyncio.create_task(sequencer.run())
    while await source.process():
        pass
    running.cancel()
    return await database.study_events.list(0, 100)


async def test_studies_are_stable_updated_deleted_and_restored(database: Database) -> None:
    index = database.instances
    await index.add([sample(1, 1, i) for i in (1, 2)] + [sample(2)], NOON)
    first = await events_after(database)
    assert [(event.study, event.kind, event.instances) for event in first] == [
        (uid(1), StudyEventKind.STABLE, 2),
        (uid(2), StudyEventKind.STABLE, 1),
    ]
    at = NOON + timedelta(hours=2)
    await index.add_version(sample(1, 1, 1), at)
    await index.delete(identity(1, 1, 2).address, at, ERASED)
    await index.delete(study_ref(2), at, ERASED)
    later = (await events_after(database, at + timedelta(hours=1)))[2:]
    assert [(event.study, event.kind, event.instances, event.changes) for event in later] == [
        (uid(2), StudyEventKind.DELETED, 0, StudyChanges(deleted=1)),
        (uid(1), StudyEventKind.UPDATED, 1, StudyChanges(updated=1, deleted=1)),
    ]
    at += timedelta(hours=2)
    assert await index.undelete(study_ref(2), at, NOON) == 1
    [restored] = (await events_after(database, at + timedelta(hours=1)))[4:]
    assert (restored.study, restored.kind, restored.changes) == (
        uid(2),
        StudyEventKind.RESTORED,
        StudyChanges(restored=1),
    )


async def test_a_deletion_of_many_instances_is_one_event_after_all_its_entries(database: Database) -> None:
    await database.instances.add([sample(1, 1, i) for i in range(300)], NOON)
    await events_after(database)
    await database.instances.delete(study_ref(1), LATER, ERASED)
    [event] = (await events_after(database))[1:]
    assert (event.kind, event.sequence, event.changes.deleted) == (StudyEventKind.DELETED, 600, 300)


async def test_nothing_is_quiet_before_a_deletion_of_many_instances_is_completed(database: Database) -> None:
    """Its entries have lower sequences than others that are not visible yet."""
    await database.instances.add([sample(1, 1, i) for i in range(300)], NOON)
    await sequence(database.changes)
    await database.instances.delete(study_ref(1), NOON, ERASED)
    if database.changes.is_numbered_later:
        await database.changes.sequence()
    found = await database.study_events.unprocessed(1000, LATER)
    assert not found.is_complete


async def test_of_two_processes_one_records_the_events(database: Database, other_database: Database) -> None:
    await database.instances.add([sample(n) for n in range(1, 6)], NOON)
    await asyncio.gather(*(events_after(each) for each in (database, other_database) * 3))
    events = await database.study_events.list(0, 100)
    assert sorted(event.study for event in events) == [uid(n) for n in range(1, 6)]
    assert [event.number for event in events] == [1, 2, 3, 4, 5]


async def test_progress_that_another_process_has_made_is_kept(database: Database) -> None:
    await database.instances.add([sample(1)], NOON)
    state = StudyState(DEFAULT_PARTITION, uid(1), 1, StudyChanges(created=1), 1, NOON)
    assert await database.study_events.processed(Progress(), Progress(1), [state], [])
    assert not await database.study_events.processed(Progress(), Progress(1), [state], [])
    assert await database.study_events.progress() == Progress(1)


async def test_events_of_some_partitions_are_listed(database: Database) -> None:
    other = PartitionName("other")
    await database.partitions.create(other, NOON)
    await database.instances.add([sample(1), sample(2, partition=other), sample(3)], NOON)
    await events_after(database)
    listed = await database.study_events.list(0, 10, frozenset({other}))
    assert [(event.partition, event.study) for event in listed] == [(other, uid(2))]
    assert [event.number for event in await database.study_events.list(1, 1)] == [2]
    assert await database.study_events.list(0, 10, frozenset()) == []
