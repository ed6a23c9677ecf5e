"""Deleting many instances: one small transaction, after which they are not found."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from server.adapters.sql.core import prepared
from server.adapters.sql.engine import Database, open_database
from server.adapters.sql.pipeline import Pipeline
from server.adapters.sql.writing import deleting
from server.model.change import ChangeAction, ChangeState, ChangeWindow
from server.model.ids import Address
from server.model.instance import BulkElement, ResourceState
from server.model.search.query import Condition, Equals, Level, Query
from server.ports.index import Sequenced
from tests.contract.index.samples import EVERYTHING, NOON, identity, modality, sample, series_ref, study_ref
from tests.contract.index.sequenced import SequencedChanges, sequence

LATER = NOON + timedelta(hours=1)
MUCH_LATER = NOON + timedelta(days=3)
MANY = 60


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limit, so that a delete of a dozen instances counts as large."""
    monkeypatch.setattr(deleting, "FEW", 10)
    monkeypatch.setattr(deleting, "AT_ONCE", 25)


async def stored(database: Database) -> None:
    """Store two studies: one with two large series, and a small one."""
    bulk = (BulkElement("7FE00010", "OW", 1, 2),)
    await database.instances.add(
        [sample(1, 1 + n % 2, n, bulk=bulk, **modality("CT")) for n in range(MANY)]
        + [sample(2, 1, n, **modality("MR")) for n in range(3)],
        NOON,
    )


async def found(database: Database, level: Level, scope: Address = EVERYTHING, *conditions: Condition) -> set[Address]:
    query = Query(level, scope, conditions, limit=500, counts=True)
    matches = await database.instances.search(query)
    assert await database.instances.count(query) == len(matches)
    return {match.resource for match in matches}


@pytest.mark.parametrize("resource", [study_ref(1), series_ref(1, 1)])
async def test_instances_being_deleted_are_not_found(database: Database, resource: Address) -> None:
    await stored(database)
    index = database.instances
    everything = await index.find(EVERYTHING)
    gone = {one.id.address for one in await index.find(resource)}
    kept = {one.id.address for one in everything} - gone
    [first, *_] = await index.find(resource)
    assert await index.delete(resource, LATER, MUCH_LATER) == len(gone)

    async def check() -> None:
        assert {one.id.address for one in await index.find(EVERYTHING)} == kept
        assert {one.id.address for one in await index.locators(0, 500)} == kept
        assert await index.state(resource) is None
        assert await index.find(resource) == []
        assert await index.metadata(resource, 0, 9) == []
        assert await index.version_at(resource, 0) is None
        assert await index.frames(first.id, [1]) is None
        assert await index.bulk_elements(first.id, first.version, "", 9) == []
        assert await index.referenced([one.locator for one in everything]) == {
            one.locator for one in everything if one.id.address in kept
        }
        assert await index.known([one.locator for one in everything]) == {one.locator for one in everything}
        assert await found(database, Level.INSTANCE) == kept
        sop_class = Condition("SOPClassUID", (Equals((first.sop_class_uid,)),))
        assert await found(database, Level.INSTANCE, EVERYTHING, sop_class) == kept
        of_study = {address for address in kept if address.study == study_ref(1).study}
        assert await found(database, Level.INSTANCE, study_ref(1)) == of_study
        assert await found(database, Level.INSTANCE, study_ref(1), sop_class) == of_study
        of_modality = Condition("Modality", (Equals(("ct",)),))
        assert await found(database, Level.INSTANCE, EVERYTHING, of_modality) == of_study
        series = {Address(address.partition, address.study, address.series) for address in kept}
        assert await found(database, Level.SERIES) == series
        studies = {Address(address.partition, address.study) for address in kept}
        assert await found(database, Level.STUDY) == studies
        modalities = Condition("ModalitiesInStudy", (Equals(("ct",)),))
        assert await found(database, Level.STUDY, EVERYTHING, modalities) == studies & {study_ref(1)}
        versions = sorted(one.version for one in everything if one.id.address in of_study)
        positions = [await index.version_at(study_ref(1), n) for n in range(len(versions) + 1)]
        assert positions == [*versions, None]
        if of_study:
            assert await index.state(study_ref(1)) == ResourceState(versions[-1], len(versions))

    await check()
    await sequence(database.changes)
    await check()


async def test_the_entry_of_each_instance_precedes_any_later_entry(
    database: Database, other_database: Database
) -> None:
    await stored(database)
    changes = SequencedChanges(database.changes)
    before = await changes.list(ChangeWindow(limit=500))
    await database.instances.delete(study_ref(1), LATER, MUCH_LATER)
    await other_database.instances.add([sample(3)], LATER + timedelta(hours=1))
    await other_database.instances.delete(identity(2, 1, 1).address, LATER + timedelta(hours=1), MUCH_LATER)
    seen = before
    more = True
    while more:
        more = await database.changes.sequence() is Sequenced.MAY_HAVE_MORE
        page = await other_database.changes.list(ChangeWindow(limit=500, after_sequence=seen[-1].sequence))
        newest = await other_database.changes.latest(metadata=False)
        seen = seen + page
        assert newest == seen[-1]
    entries = seen[len(before) :]
    deleted = entries[:MANY]
    assert {entry.instance for entry in deleted} == {identity(1, 1 + n % 2, n) for n in range(MANY)}
    assert {(entry.action, entry.state, entry.time) for entry in deleted} == {
        (ChangeAction.DELETE, ChangeState.DELETED, LATER)
    }
    assert {(entry.instance, entry.action) for entry in entries[MANY:]} == {
        (identity(3), ChangeAction.CREATE),
        (identity(2, 1, 1), ChangeAction.DELETE),
    }
    sequences = [entry.sequence for entry in seen]
    assert sequences == sorted(set(sequences))


async def test_instances_being_deleted_can_be_stored_again(database: Database) -> None:
    await stored(database)
    await database.instances.delete(study_ref(1), LATER, MUCH_LATER)
    again = [sample(1, 1, n) for n in (0, 2)]
    await database.instances.add(again, LATER)
    for _ in range(2):
        state = await database.instances.state(study_ref(1))
        assert state is not None
        assert state.instance_count == 2
        assert [one.locator for one in await database.instances.find(study_ref(1))] == [one.locator for one in again]
        await sequence(database.changes)
    entries = await database.changes.list(ChangeWindow(limit=500))
    current = [entry for entry in entries if entry.state is ChangeState.CURRENT]
    assert len(current) == 2 + 3
    assert len(await database.instances.begin_erasure(MUCH_LATER, 500)) == MANY


async def test_another_process_completes_an_unfinished_deletion(database: Database, other_database: Database) -> None:
    await stored(database)
    await database.instances.delete(study_ref(1), LATER, MUCH_LATER)
    await database.changes.sequence()
    await database.close()
    entries = await SequencedChanges(other_database.changes).list(ChangeWindow(limit=500))
    assert sum(entry.action is ChangeAction.DELETE for entry in entries) == MANY
    assert len(await other_database.instances.begin_erasure(MUCH_LATER, 500)) == MANY


@pytest.fixture
async def counting(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Database, list[int]]]:
    """A database, and the numbers of rows changed by the statements of its transactions."""
    changed: list[int] = []
    in_sqlite, in_postgresql = prepared._execute, Pipeline.flush

    def counted_in_sqlite(*arguments: object, **options: object) -> object:
        result = in_sqlite(*arguments, **options)  # type: ignore[arg-type]
        changed.append(max(0, result[1]))
        return result

    def counted_in_postgresql(pipeline: Pipeline) -> None:
        answers = [queued[-1] for queued in pipeline._queue]
        in_postgresql(pipeline)
        changed.extend(answer.count for answer in answers)

    monkeypatch.setattr(prepared, "_execute", counted_in_sqlite)
    monkeypatch.setattr(Pipeline, "flush", counted_in_postgresql)
    database = open_database(url)
    yield database, changed
    await database.close()


async def test_the_rows_changed_by_a_delete_do_not_depend_on_the_number_of_instances(
    counting: tuple[Database, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, changed = counting
    monkeypatch.setattr(deleting, "AT_ONCE", 1000)
    rows = []
    for study, count in ((1, 20), (2, 3000)):
        for first in range(0, count, 1000):
            await database.instances.add([sample(study, 1, n) for n in range(first, min(first + 1000, count))], NOON)
        changed.clear()
        assert await database.instances.delete(study_ref(study), LATER, MUCH_LATER) == count
        rows.append(sum(changed))
    assert 0 < rows[0] == rows[1] < 20
    await sequence(database.changes)
    assert await database.instances.find(EVERYTHING) == []
