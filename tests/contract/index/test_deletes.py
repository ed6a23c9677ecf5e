"""Deleting instances, and the fate of their blobs."""

from datetime import timedelta

import pytest
from sqlalchemy import create_engine, func, make_url, select

from server.adapters.sql.tables import schema
from server.model.change import ChangeWindow
from server.model.ids import Address, PartitionName
from server.model.instance import Added, BulkElement, PixelLayout, ResourceState
from server.model.search.query import Level, Query
from server.ports.index import ChangeLog, InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, identity, modality, sample, series_ref, study_ref, uid

LATER = NOON + timedelta(days=3)


async def remaining(index: InstanceIndex) -> list[Address]:
    return [stored.id.address for stored in await index.find(EVERYTHING)]


async def store_eight(index: InstanceIndex) -> None:
    await index.add([sample(s, e, i) for s in (1, 2) for e in (1, 2) for i in (1, 2)], NOON)


@pytest.mark.parametrize(
    ("resource", "count"),
    [
        (study_ref(1), 4),
        (series_ref(1, 2), 2),
        (identity(1, 2, 1).address, 1),
        (study_ref(3), 0),
        (series_ref(1, 3), 0),
        (identity(1, 2, 3).address, 0),
        (study_ref(1, PartitionName("nowhere")), 0),
    ],
)
async def test_a_delete_removes_only_its_resource(index: InstanceIndex, resource: Address, count: int) -> None:
    await store_eight(index)
    before = await remaining(index)
    gone = [stored.id.address for stored in await index.find(resource)]
    assert await index.delete(resource, NOON, LATER) == count
    assert await remaining(index) == [ref for ref in before if ref not in gone]
    assert await index.state(resource) is None
    assert await index.find(resource) == []
    assert await index.metadata(resource, after=0, limit=9) == []


async def test_a_deleted_resource_cannot_be_deleted_again(index: InstanceIndex, changes: ChangeLog) -> None:
    await store_eight(index)
    await index.delete(study_ref(1), NOON, LATER)
    latest = await changes.latest(metadata=False)
    assert await index.delete(study_ref(1), NOON, LATER) == 0
    assert await index.delete(identity(1, 1, 1).address, NOON, LATER) == 0
    assert await changes.latest(metadata=False) == latest


async def test_counts_decrease_and_empty_series_and_studies_are_removed(index: InstanceIndex) -> None:
    outcomes = await index.add([sample(1, 1, 1), sample(1, 1, 2), sample(1, 2, 1)], NOON)
    first, _, third = (outcome.version for outcome in outcomes if isinstance(outcome, Added))

    async def counts() -> list[tuple[int, int]]:
        matches = await index.search(Query(Level.STUDY, EVERYTHING, (), limit=2, counts=True))
        return [(match.series_count, match.instance_count) for match in matches]

    await index.delete(identity(1, 1, 2).address, NOON, LATER)
    assert await counts() == [(2, 2)]
    assert await index.state(series_ref(1, 1)) == ResourceState(max_version=first, instance_count=1)
    assert await index.state(study_ref(1)) == ResourceState(max_version=third, instance_count=2)
    await index.delete(series_ref(1, 2), NOON, LATER)
    assert await counts() == [(1, 1)]
    assert await index.state(study_ref(1)) == ResourceState(max_version=first, instance_count=1)
    await index.delete(identity(1, 1, 1).address, NOON, LATER)
    assert await counts() == []
    assert await index.search(Query(Level.SERIES, EVERYTHING, (), limit=2)) == []


async def test_deleting_the_last_series_removes_the_study(index: InstanceIndex) -> None:
    await index.add([sample(1, 1, 1, **modality("CT")), sample(1, 2, 1, **modality("SR"))], NOON)
    await index.delete(series_ref(1, 2), NOON, LATER)
    (match,) = await index.search(Query(Level.STUDY, EVERYTHING, (), limit=2, counts=True))
    assert match.modalities == ("CT",)
    await index.delete(series_ref(1, 1), NOON, LATER)
    assert await index.search(Query(Level.STUDY, EVERYTHING, (), limit=2)) == []
    assert await index.state(study_ref(1)) is None


async def test_study_values_remain_when_the_instance_that_set_them_is_deleted(index: InstanceIndex) -> None:
    await index.add(
        [sample(1, 1, n, study_elements={"00100020": {"vr": "LO", "Value": [f"P{n}"]}}) for n in (1, 2)], NOON
    )
    await index.delete(identity(1, 1, 2).address, NOON, LATER)
    (match,) = await index.search(Query(Level.STUDY, EVERYTHING, (), limit=2))
    assert match.elements == {"00100020": {"vr": "LO", "Value": ["P2"]}}


async def test_study_values_do_not_survive_the_study(index: InstanceIndex) -> None:
    await index.add([sample(1, study_elements={"00100020": {"vr": "LO", "Value": ["P1"]}})], NOON)
    await index.delete(study_ref(1), NOON, LATER)
    await index.add([sample(1)], NOON)
    (match,) = await index.search(Query(Level.STUDY, EVERYTHING, (), limit=2))
    assert match.elements == {}


async def test_a_deleted_instance_can_be_stored_again_with_a_new_version(index: InstanceIndex) -> None:
    (first,) = await index.add([sample()], NOON)
    await index.delete(identity().address, NOON, LATER)
    (second,) = await index.add([sample()], NOON)
    assert isinstance(first, Added)
    assert isinstance(second, Added)
    assert second.version > first.version


async def test_blobs_of_deleted_instances_are_erasable_after_the_retention_time(index: InstanceIndex) -> None:
    new = [sample(1, 1, n) for n in (1, 2, 3)]
    await index.add(new, NOON)
    await index.delete(identity(1, 1, 2).address, NOON, LATER)
    await index.delete(study_ref(1), NOON, LATER - timedelta(microseconds=1))
    assert await index.begin_erasure(LATER - timedelta(seconds=1), limit=10) == []
    assert await index.begin_erasure(LATER - timedelta(microseconds=1), limit=10) == [new[0].locator, new[2].locator]
    assert await index.begin_erasure(LATER, limit=2) == [new[0].locator, new[2].locator]
    assert set(await index.begin_erasure(LATER, limit=10)) == {one.locator for one in new}


async def test_erased_blobs_leave_the_queue(index: InstanceIndex) -> None:
    new = [sample(1, 1, n) for n in (1, 2)]
    await index.add(new, NOON)
    await index.delete(study_ref(1), NOON, NOON)
    await index.erased([new[0].locator, "never heard of"])
    assert await index.begin_erasure(NOON, limit=10) == [new[1].locator]
    await index.erased([])
    assert await index.known([instance.locator for instance in new]) == {new[1].locator}


async def test_locators_are_known_while_visible_or_queued_for_erasure(index: InstanceIndex) -> None:
    visible, waiting = sample(1), sample(2)
    await index.add([visible, waiting], NOON)
    await index.delete(study_ref(2), NOON, LATER)
    asked = [visible.locator, waiting.locator, *(f"other-{n}" for n in range(1200))]
    assert await index.known(asked) == {visible.locator, waiting.locator}
    assert await index.known([]) == set()


async def test_only_the_history_of_a_deleted_study_remains_after_its_blobs_are_erased(
    index: InstanceIndex, changes: ChangeLog, url: str
) -> None:
    layout = PixelLayout(3000, 1, 2, 8, 0, bytes(16 * 3000))
    keys = {"RequestAttributesSequence.RequestedProcedureID": "a\\b"}
    await index.add(
        [sample(1, 1, n, pixels=layout, bulk=(BulkElement("7FE00010", "OB", 1, 2),), series_keys=keys) for n in (1, 2)],
        NOON,
    )
    before = await changes.list(ChangeWindow(limit=10))
    await index.delete(study_ref(1), NOON, LATER)
    await index.erased(await index.begin_erasure(LATER, 10))
    assert len(await changes.list(ChangeWindow(limit=10))) == 2 * len(before)
    assert rows_by_table(url) == {"feed": 1, "partitions": 1, "partition_usage": 1, "changes": 4}


def rows_by_table(url: str) -> dict[str, int]:
    """Return the number of rows of each non-empty table, without counters, progress and compatibility."""
    engine = create_engine(make_url(url))
    with engine.connect() as connection:
        counts = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in schema.sorted_tables
            if table.name not in ("compatibility", "counters", "study_event_progress", "workitem_event_log")
        }
    engine.dispose()
    return {name: count for name, count in counts.items() if count}


async def test_a_delete_stays_within_its_partition_and_study(index: InstanceIndex) -> None:
    shared = identity(1, 1, 1)
    other = type(shared)(shared.partition, uid(2), shared.series, shared.instance)
    await index.add([sample(id=shared), sample(id=other)], NOON)
    assert await index.delete(other.address, NOON, LATER) == 1
    assert await remaining(index) == [shared.address]
