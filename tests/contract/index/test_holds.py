"""Holds, and their check in the transactions that delete, erase and change instances."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from server.adapters.sql.engine import Database
from server.model.errors import Reason, WrongState
from server.model.ids import Address, PartitionName
from server.model.instance import Added, OnHold
from server.model.lifecycle.hold import Hold
from server.ports.index import InstanceIndex
from server.ports.lifecycle.holds import Holds
from tests.contract.index.samples import EVERYTHING, NOON, identity, sample, series_ref, study_ref

LATER = NOON + timedelta(hours=1)
MUCH_LATER = NOON + timedelta(days=3)
INSTANCE = identity(1, 1, 1).address


def hold_on(resource: Address, name: str = "", reason: str = "complaint") -> Hold:
    return Hold(resource, name, reason, "someone", NOON)


@pytest.fixture
def holds(database: Database) -> Holds:
    return database.holds


@pytest.fixture
async def stored(index: InstanceIndex) -> InstanceIndex:
    """Two series of two instances in each of two studies."""
    await index.add([sample(s, e, i) for s in (1, 2) for e in (1, 2) for i in (1, 2)], NOON)
    return index


async def count(index: InstanceIndex, resource: Address) -> int:
    state = await index.state(resource)
    return 0 if state is None else state.instance_count


@pytest.mark.parametrize("held", [study_ref(1), series_ref(1, 1), INSTANCE])
@pytest.mark.parametrize("resource", [study_ref(1), series_ref(1, 1), INSTANCE])
async def test_neither_parts_nor_containers_of_what_is_on_hold_are_deleted(
    stored: InstanceIndex, holds: Holds, held: Address, resource: Address
) -> None:
    assert await holds.set(hold_on(held))
    for change in (stored.delete(resource, NOON, LATER), stored.erase_now(resource, NOON)):
        with pytest.raises(WrongState, match=r"is on hold: complaint$") as caught:
            await change
        assert caught.value.reason is Reason.ON_HOLD
        assert caught.value.metadata == {"hold": "", "hold_reason": "complaint"}
    assert await count(stored, study_ref(1)) == 4


@pytest.mark.parametrize("held", [study_ref(1), series_ref(1, 1), INSTANCE])
async def test_an_instance_on_hold_gets_no_new_version(stored: InstanceIndex, holds: Holds, held: Address) -> None:
    await holds.set(hold_on(held))
    with pytest.raises(WrongState, match="complaint"):
        await stored.add_version(sample(1, 1, 1), NOON)
    assert len(await stored.history(identity(1, 1, 1))) == 1


@pytest.mark.parametrize("held", [study_ref(1), series_ref(1, 1), INSTANCE])
async def test_storing_replaces_nothing_on_hold_but_the_rest_of_the_batch(
    stored: InstanceIndex, holds: Holds, held: Address
) -> None:
    await holds.set(hold_on(held))
    wanted = [sample(1, 1, 1), sample(2, 1, 1), sample(1, 1, 3)]
    outcomes = await stored.add([replace(one, may_replace=True) for one in wanted], NOON)
    assert [type(outcome) for outcome in outcomes] == [OnHold, Added, Added]
    assert len(await stored.history(identity(1, 1, 1))) == 1


@pytest.mark.parametrize(
    ("held", "free"),
    [
        (study_ref(1), study_ref(2)),
        (series_ref(1, 1), series_ref(1, 2)),
        (INSTANCE, identity(1, 1, 2).address),
        (INSTANCE, series_ref(1, 2)),
    ],
)
async def test_other_resources_can_be_deleted(
    stored: InstanceIndex, holds: Holds, held: Address, free: Address
) -> None:
    await holds.set(hold_on(held))
    assert await stored.delete(free, NOON, LATER)


async def test_a_hold_includes_instances_that_are_stored_later(stored: InstanceIndex, holds: Holds) -> None:
    await holds.set(hold_on(study_ref(1)))
    await stored.add([sample(1, 3, 1)], LATER)
    with pytest.raises(WrongState):
        await stored.delete(series_ref(1, 3), LATER, MUCH_LATER)


async def test_a_resource_is_protected_until_all_its_holds_are_released(stored: InstanceIndex, holds: Holds) -> None:
    await holds.set(hold_on(study_ref(1), "a", "first"))
    await holds.set(hold_on(study_ref(1), "b", "second"))
    with pytest.raises(WrongState, match=r"is on hold \(a\): first"):
        await stored.delete(study_ref(1), NOON, LATER)
    assert await holds.release(study_ref(1), "a") == hold_on(study_ref(1), "a", "first")
    assert await holds.release(study_ref(1), "a") is None
    assert await holds.release(series_ref(1), "b") is None
    with pytest.raises(WrongState, match="second"):
        await stored.delete(study_ref(1), NOON, LATER)
    await holds.release(study_ref(1), "b")
    assert await stored.delete(study_ref(1), NOON, LATER) == 4


async def test_a_hold_with_the_same_name_is_replaced(stored: InstanceIndex, holds: Holds) -> None:
    await holds.set(hold_on(study_ref(1), reason="first"))
    await holds.set(hold_on(study_ref(1), reason="second"))
    assert [hold for _, hold in await holds.list(EVERYTHING, None, 9)] == [hold_on(study_ref(1), reason="second")]


async def test_holds_on_a_resource_its_parts_and_what_contains_it_are_listed_newest_first(
    stored: InstanceIndex, holds: Holds
) -> None:
    every = [study_ref(1), series_ref(1, 1), INSTANCE, series_ref(1, 2), study_ref(2)]
    for resource in every:
        await holds.set(hold_on(resource))

    async def listed(scope: Address) -> list[Address]:
        return [hold.resource for _, hold in await holds.list(scope, None, 9)]

    assert await listed(EVERYTHING) == every[::-1]
    assert await listed(study_ref(1)) == every[3::-1]
    assert await listed(series_ref(1, 1)) == every[2::-1]
    assert await listed(INSTANCE) == every[2::-1]
    assert await listed(series_ref(1, 2)) == [series_ref(1, 2), study_ref(1)]
    assert await listed(study_ref(1, PartitionName("nowhere"))) == []
    (key, first), *_ = await holds.list(EVERYTHING, None, 1)
    assert [first, *(hold for _, hold in await holds.list(EVERYTHING, key, 9))] == [hold_on(one) for one in every[::-1]]


@pytest.mark.parametrize(
    "missing",
    [study_ref(3), series_ref(1, 3), identity(1, 1, 3).address, study_ref(1, PartitionName("nowhere"))],
)
async def test_there_is_no_hold_on_what_does_not_exist(stored: InstanceIndex, holds: Holds, missing: Address) -> None:
    assert not await holds.set(hold_on(missing))
    assert await holds.release(missing, "") is None
    assert not await holds.list(EVERYTHING, None, 9)


@pytest.mark.parametrize(
    ("held", "erasable"), [(study_ref(1), 0), (series_ref(1, 1), 2), (identity(1, 1, 1).address, 3)]
)
async def test_deleted_instances_on_hold_are_not_erased_until_it_is_released(
    stored: InstanceIndex, holds: Holds, held: Address, erasable: int
) -> None:
    await stored.delete(study_ref(1), NOON, LATER)
    assert await holds.set(hold_on(held))
    assert len(await stored.begin_erasure(MUCH_LATER, 9)) == erasable
    assert await stored.undelete(study_ref(1), NOON, NOON) == 4 - erasable
    with pytest.raises(WrongState):
        await stored.delete(study_ref(1), NOON, LATER)
    await holds.release(held, "")
    await stored.delete(study_ref(1), NOON, LATER)
    assert len(await stored.begin_erasure(MUCH_LATER, 9)) == 4


@pytest.mark.parametrize("late", [study_ref(1), series_ref(1, 1), INSTANCE])
async def test_a_hold_on_instances_whose_erasure_has_begun_is_refused(
    stored: InstanceIndex, holds: Holds, late: Address
) -> None:
    await stored.delete(study_ref(1), NOON, LATER)
    assert len(await stored.begin_erasure(LATER, 9)) == 4
    assert not await holds.set(hold_on(late))
    assert not await holds.list(EVERYTHING, None, 9)
    assert len(await stored.begin_erasure(LATER, 9)) == 4  # by a process that continues after a crash


async def test_an_instance_is_either_put_on_hold_or_erased(
    stored: InstanceIndex, holds: Holds, other_database: Database
) -> None:
    await stored.delete(study_ref(1), NOON, LATER)
    every = [identity(1, e, i).address for e in (1, 2) for i in (1, 2)]
    *are_set, erasing = await asyncio.gather(
        *(holds.set(hold_on(one)) for one in every), other_database.instances.begin_erasure(LATER, 9)
    )
    erased = {one.id.address for one in await stored.deleted_versions(erasing)}
    assert erased == {one for one, is_set in zip(every, are_set, strict=True) if not is_set}
