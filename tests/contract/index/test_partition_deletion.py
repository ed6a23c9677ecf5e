"""Deletion of partitions."""

import asyncio
from datetime import timedelta

import pytest

from server.adapters.sql.engine import Database
from server.adapters.sql.writing import deleting
from server.domain.partition_names import PartitionNames
from server.model.change import ChangeAction, ChangeWindow
from server.model.errors import NotFound, Reason, WrongState
from server.model.ids import DEFAULT_PARTITION, Address, PartitionName
from server.model.instance import Added, PartitionGone
from server.model.lifecycle.hold import Hold
from tests.contract.index.samples import EVERYTHING, NOON, identity, sample, series_ref, study_ref
from tests.contract.index.sequenced import sequence

WARD = PartitionName("ward")
LATER = NOON + timedelta(hours=1)
MUCH_LATER = NOON + timedelta(days=3)


@pytest.fixture
async def ward(database: Database) -> Database:
    """A partition with three studies, and the same studies in the default one."""
    await database.partitions.create(WARD, NOON)
    for partition in (WARD, DEFAULT_PARTITION):
        await database.instances.add([sample(s, 1, i, partition=partition) for s in (1, 2, 3) for i in (1, 2)], NOON)
    return database


async def purge(database: Database) -> list[Address]:
    """Delete all studies of deleted partitions, and return them."""
    studies = []
    for _ in range(20):
        study = await database.partitions.purge(LATER, MUCH_LATER, reason="gone", author="someone")
        await sequence(database.changes)
        if study is not None:
            studies.append(study)
    return studies


async def test_a_deleted_partition_does_not_exist_and_its_studies_are_deleted(ward: Database) -> None:
    assert await ward.partitions.delete(WARD, LATER)
    assert not await ward.partitions.delete(WARD, LATER)
    assert await ward.partitions.get(WARD) is None
    assert [one.name for one in await ward.partitions.list()] == [DEFAULT_PARTITION]
    assert await ward.partitions.update(WARD, None) is None
    assert sorted(study.study or "" for study in await purge(ward)) == [study_ref(n).study for n in (1, 2, 3)]
    assert await ward.instances.find(Address(WARD)) == []
    assert len(await ward.instances.find(EVERYTHING)) == 6
    changes = await ward.changes.list(ChangeWindow(limit=99))
    deleted = [change.instance for change in changes if change.action is ChangeAction.DELETE]
    assert [one.partition for one in deleted] == [WARD] * 6


async def test_nothing_is_stored_in_a_deleted_partition_but_the_rest_of_the_batch(
    ward: Database, other_database: Database
) -> None:
    assert await other_database.instances.state(study_ref(1, WARD))  # it knows the partition
    await ward.partitions.delete(WARD, LATER)
    for database in (ward, other_database):
        outcomes = await database.instances.add([sample(9, 1, 1, partition=WARD), sample(9, 1, 1)], LATER)
        assert isinstance(outcomes[0], PartitionGone)
        assert isinstance(outcomes[0].error, NotFound)
        assert not isinstance(outcomes[1], PartitionGone)
    assert isinstance(outcomes, list)
    assert await ward.instances.state(study_ref(9, WARD)) is None
    assert not await ward.holds.set(Hold(study_ref(1, WARD), "", "complaint", "someone", NOON))


async def test_nothing_is_restored_in_a_deleted_partition(ward: Database, other_database: Database) -> None:
    await ward.instances.delete(study_ref(1, WARD), LATER, MUCH_LATER)
    await ward.partitions.delete(WARD, LATER)
    assert await other_database.instances.undelete(study_ref(1, WARD), LATER, LATER) == 0
    await purge(ward)
    assert await ward.instances.find(Address(WARD)) == []


async def test_a_partition_can_be_created_again_when_its_studies_are_deleted(ward: Database) -> None:
    key = (await ward.partitions.list())[1].key
    await ward.partitions.delete(WARD, LATER)
    with pytest.raises(WrongState) as caught:
        await ward.partitions.create(WARD, LATER)
    assert caught.value.reason is Reason.PARTITION_BEING_DELETED
    await purge(ward)
    again = await ward.partitions.create(WARD, LATER)
    assert again is not None
    assert (again.key, again.created) == (key, LATER)
    assert await ward.instances.find(Address(WARD)) == []
    assert await ward.instances.undelete(study_ref(1, WARD), LATER, LATER) == 2
    assert isinstance((await ward.instances.add([sample(9, 1, 1, partition=WARD)], LATER))[0], Added)
    assert await purge(ward) == []
    assert len(await ward.instances.find(Address(WARD))) == 3


@pytest.mark.parametrize("level", range(3))
async def test_a_partition_with_a_hold_is_not_deleted(ward: Database, level: int) -> None:
    held = (study_ref(2, WARD), series_ref(2, 1, WARD), identity(2, 1, 1, WARD).address)[level]
    await ward.holds.set(Hold(held, "", "complaint", "someone", NOON))
    with pytest.raises(WrongState, match="is on hold: complaint"):
        await ward.partitions.delete(WARD, LATER)
    assert await ward.partitions.get(WARD) is not None
    await ward.holds.release(held, "")
    assert await ward.partitions.delete(WARD, LATER)


async def test_several_processes_delete_the_studies(ward: Database, other_database: Database) -> None:
    await ward.partitions.delete(WARD, LATER)
    await asyncio.gather(*(purge(database) for database in (ward, other_database)))
    assert await ward.instances.find(Address(WARD)) == []
    assert await ward.partitions.create(WARD, LATER) is not None
    changes = await ward.changes.list(ChangeWindow(limit=99))
    assert sum(change.action is ChangeAction.DELETE for change in changes) == 6


async def test_a_large_study_is_deleted_completely_before_the_partition_can_be_created(
    ward: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleting, "FEW", 1)
    await ward.partitions.delete(WARD, LATER)
    for _ in range(3):
        await ward.partitions.purge(LATER, MUCH_LATER, reason="", author="")
    await ward.partitions.purge(LATER, MUCH_LATER, reason="", author="")
    with pytest.raises(WrongState):
        await ward.partitions.create(WARD, LATER)
    await purge(ward)
    assert await ward.partitions.create(WARD, LATER) is not None


async def test_the_deletion_of_an_empty_partition_is_completed(database: Database) -> None:
    await database.partitions.create(WARD, NOON)
    assert await database.partitions.delete(WARD, LATER)
    assert await purge(database) == []
    assert await database.partitions.create(WARD, LATER) is not None


async def test_a_process_notices_the_deletion_of_a_partition_that_it_knows_within_a_second(ward: Database) -> None:
    time = 0.0
    names = PartitionNames(ward.partitions, enabled=True, now=lambda: NOON, clock=lambda: time)
    await names.require(WARD)
    await ward.partitions.delete(WARD, LATER)
    time = 1.0
    with pytest.raises(NotFound):
        await names.require(WARD)
    await names.require(DEFAULT_PARTITION)
