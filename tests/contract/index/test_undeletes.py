"""Restoring deleted instances."""

from datetime import timedelta

import pytest

from server.adapters.sql.engine import open_database
from server.adapters.sql.writing import deleting
from server.model.change import ChangeAction, ChangeState, ChangeWindow
from server.model.ids import Address
from server.model.search.query import Condition, Equals, Level, Query
from server.ports.index import ChangeLog, InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, identity, modality, sample, series_ref, study_ref, text
from tests.contract.index.test_deletes import rows_by_table

LATER = NOON + timedelta(hours=1)
MUCH_LATER = NOON + timedelta(days=3)


async def addresses(index: InstanceIndex) -> set[Address]:
    return {stored.id.address for stored in await index.find(EVERYTHING)}


@pytest.mark.parametrize(
    ("deleted", "restored", "count"),
    [
        (study_ref(1), study_ref(1), 4),
        (study_ref(1), series_ref(1, 2), 2),
        (study_ref(1), identity(1, 2, 1).address, 1),
        (series_ref(1, 2), study_ref(1), 2),
        (series_ref(1, 2), series_ref(1, 1), 0),
        (identity(1, 1, 1).address, study_ref(1), 1),
        (identity(1, 1, 1).address, study_ref(2), 0),
        (identity(1, 1, 1).address, study_ref(3), 0),
    ],
)
async def test_an_undelete_restores_its_resource(
    index: InstanceIndex, deleted: Address, restored: Address, count: int
) -> None:
    await index.add([sample(s, e, i) for s in (1, 2) for e in (1, 2) for i in (1, 2)], NOON)
    before = await addresses(index)
    gone = {stored.id.address for stored in await index.find(deleted)}
    expected = (before - gone) | {address for address in gone if address in await under(index, restored)}
    await index.delete(deleted, LATER, MUCH_LATER)
    assert await index.undelete(restored, LATER, LATER) == count
    assert await addresses(index) == expected
    counted = await index.search(Query(Level.STUDY, EVERYTHING, (), limit=9, counts=True))
    assert sum(match.instance_count for match in counted) == len(expected)
    assert await index.count(Query(Level.STUDY, EVERYTHING, (), limit=9)) == len(counted)


async def under(index: InstanceIndex, resource: Address) -> set[Address]:
    return {stored.id.address for stored in await index.find(resource)}


async def test_a_restored_instance_is_unchanged_with_a_new_version(index: InstanceIndex, changes: ChangeLog) -> None:
    keys = {"RequestAttributesSequence.RequestedProcedureID": "a"}
    one = sample(
        study_elements={"00100020": text("LO", "P1")},
        study_keys={"PatientID": "p1"},
        series_keys=keys,
        instance_elements={"00200013": text("IS", "7")},
    )
    await index.add([one], NOON)
    before = await index.search(Query(Level.INSTANCE, EVERYTHING, (), limit=9, metadata=True))
    await index.delete(study_ref(), LATER, MUCH_LATER)
    await index.undelete(study_ref(), LATER, LATER)
    after = await index.search(Query(Level.INSTANCE, EVERYTHING, (), limit=9, metadata=True))
    assert [(match.resource, match.elements, match.metadata) for match in after] == [
        (match.resource, match.elements, match.metadata) for match in before
    ]
    [stored] = await index.find(EVERYTHING)
    assert (stored.locator, stored.size_bytes, stored.crc32c) == (one.locator, one.size_bytes, one.crc32c)
    created, deleted, again = await changes.list(ChangeWindow(limit=9))
    assert created.version == deleted.version < again.version == stored.version
    assert (again.action, again.state, again.time) == (ChangeAction.CREATE, ChangeState.CURRENT, LATER)
    for key, value in (("PatientID", "p1"), *keys.items()):
        condition = Condition(key, (Equals((value,)),))
        assert len(await index.search(Query(Level.SERIES, EVERYTHING, (condition,), limit=9))) == 1
    assert await index.begin_erasure(MUCH_LATER, 9) == []


async def test_an_instance_stored_again_is_not_replaced(index: InstanceIndex) -> None:
    await index.add([sample(instance=n) for n in (1, 2)], NOON)
    await index.delete(study_ref(), LATER, MUCH_LATER)
    new = sample(instance=1, **modality("CT"))
    await index.add([new], LATER)
    assert await index.undelete(study_ref(), LATER, LATER) == 1
    found = {stored.id: stored.locator for stored in await index.find(EVERYTHING)}
    assert found[identity(instance=1)] == new.locator
    assert len(found) == 2
    [series] = await index.search(Query(Level.SERIES, EVERYTHING, (), limit=9, counts=True))
    assert series.instance_count == 2


async def test_of_several_deleted_instances_of_an_identity_the_last_is_restored(index: InstanceIndex) -> None:
    contents = [sample(), sample(), sample()]
    for content in contents:
        await index.add([content], NOON)
        await index.delete(study_ref(), LATER, MUCH_LATER)
    assert await index.undelete(study_ref(), LATER, LATER) == 1
    assert [stored.locator for stored in await index.find(EVERYTHING)] == [contents[-1].locator]
    assert await index.begin_erasure(MUCH_LATER, 9) == [content.locator for content in contents[:2]]


async def test_an_instance_due_for_erasure_is_not_restored(index: InstanceIndex) -> None:
    await index.add([sample()], NOON)
    await index.delete(study_ref(), NOON, LATER)
    assert await index.undelete(study_ref(), LATER, LATER) == 0
    assert await index.find(EVERYTHING) == []


async def test_earlier_versions_are_restored_as_well(index: InstanceIndex) -> None:
    contents = [sample(), sample()]
    await index.add(contents[:1], NOON)
    await index.add_version(contents[1], NOON)
    await index.delete(study_ref(), LATER, MUCH_LATER)
    await index.undelete(study_ref(), LATER, LATER)
    assert [version.locator for version in await index.history(identity().address)] == [one.locator for one in contents]


async def test_a_restored_instance_can_be_deleted_and_erased_again(
    index: InstanceIndex, changes: ChangeLog, url: str
) -> None:
    one = sample()
    await index.add([one], NOON)
    for _ in range(2):
        await index.delete(study_ref(), LATER, MUCH_LATER)
        assert await index.undelete(study_ref(), LATER, LATER) == 1
    await index.delete(identity().address, LATER, MUCH_LATER)
    assert await index.find(EVERYTHING) == []
    await index.erased(await index.begin_erasure(MUCH_LATER, 9))
    assert len(await changes.list(ChangeWindow(limit=9))) == 6
    assert rows_by_table(url) == {"feed": 1, "partitions": 1, "partition_usage": 1, "changes": 6}


async def test_many_instances_are_restored_during_their_deletion(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deleting, "FEW", 10)
    monkeypatch.setattr(deleting, "AT_ONCE", 50)
    database = open_database(url)
    many = [sample(1, n % 3, n) for n in range(230)]
    await database.instances.add(many, NOON)
    await database.instances.delete(study_ref(), LATER, MUCH_LATER)
    assert await database.instances.undelete(study_ref(), LATER, LATER) == len(many)
    found = await database.instances.find(EVERYTHING)
    assert [stored.locator for stored in found] == [one.locator for one in many]
    await database.close()
