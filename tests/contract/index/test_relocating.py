"""Relocation of blobs: `InstanceIndex.referenced` and `relocate`."""

import asyncio
from datetime import timedelta

from server.adapters.sql.engine import Database
from server.ports.index import ChangeLog, InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, identity, sample, study_ref

LATER = NOON + timedelta(hours=1)
MUCH_LATER = NOON + timedelta(days=3)


async def locators(index: InstanceIndex) -> list[str]:
    return [stored.locator for stored in await index.find(EVERYTHING)]


async def test_a_moved_instance_refers_to_the_copy_and_its_old_blob_is_erased_later(index: InstanceIndex) -> None:
    one, other = sample(instance=1), sample(instance=2)
    await index.add([one, other], NOON)
    assert await index.relocate({one.locator: "copy"}, LATER) == {one.locator}
    assert await locators(index) == ["copy", other.locator]
    assert await index.begin_erasure(NOON, 10) == []
    assert await index.begin_erasure(LATER, 10) == [one.locator]


async def test_moving_an_instance_changes_nothing_else(index: InstanceIndex, changes: ChangeLog) -> None:
    one = sample()
    await index.add([one], NOON)
    [before], latest = await index.find(EVERYTHING), await changes.latest(metadata=False)
    await index.relocate({one.locator: "copy"}, LATER)
    [after] = await index.find(EVERYTHING)
    assert (after.id, after.version, after.size_bytes, after.crc32c) == (
        before.id,
        before.version,
        before.size_bytes,
        before.crc32c,
    )
    assert await changes.latest(metadata=False) == latest


async def test_old_blob_and_copy_of_a_moved_instance_are_known_and_only_the_copy_is_named(
    index: InstanceIndex,
) -> None:
    one = sample()
    await index.add([one], NOON)
    await index.relocate({one.locator: "copy"}, LATER)
    both = [one.locator, "copy", "neither"]
    assert await index.known(both) == {one.locator, "copy"}
    assert await index.referenced(both) == {"copy"}


async def test_the_blob_of_an_earlier_version_is_not_moved_because_a_later_one_may_share_its_bytes(
    index: InstanceIndex,
) -> None:
    one, two = sample(), sample()
    await index.add([one], NOON)
    await index.add_version(two, NOON)
    both = [one.locator, two.locator]
    assert await index.referenced(both) == {*both}
    assert await index.relocate({one.locator: "copy", two.locator: "other copy"}, LATER) == {two.locator}
    assert [version.locator for version in await index.history(identity().address)] == [one.locator, "other copy"]
    assert await index.begin_erasure(LATER, 10) == [two.locator]
    await index.delete(study_ref(1), NOON, MUCH_LATER)
    assert await index.referenced([one.locator, "other copy"]) == set()


async def test_a_deleted_instance_is_not_moved_and_its_blob_is_erased_as_planned(index: InstanceIndex) -> None:
    one = sample()
    await index.add([one], NOON)
    await index.delete(study_ref(1), NOON, MUCH_LATER)
    assert await index.referenced([one.locator]) == set()
    assert await index.relocate({one.locator: "copy", "unknown": "copy too"}, LATER) == set()
    assert await index.known(["copy", "copy too", "unknown"]) == set()
    assert await index.begin_erasure(LATER, 10) == []
    assert await index.begin_erasure(MUCH_LATER, 10) == [one.locator]


async def test_an_instance_deleted_after_it_moved_has_both_blobs_erased(index: InstanceIndex) -> None:
    one = sample()
    await index.add([one], NOON)
    await index.relocate({one.locator: "copy"}, LATER)
    await index.delete(study_ref(1), NOON, MUCH_LATER)
    assert set(await index.begin_erasure(MUCH_LATER, 10)) == {one.locator, "copy"}


async def test_a_blob_may_move_again(index: InstanceIndex) -> None:
    one = sample()
    await index.add([one], NOON)
    await index.relocate({one.locator: "copy"}, LATER)
    assert await index.relocate({one.locator: "late copy"}, LATER) == set()
    assert await index.relocate({"copy": "second copy"}, LATER) == {"copy"}
    assert await locators(index) == ["second copy"]
    assert set(await index.begin_erasure(LATER, 10)) == {one.locator, "copy"}


async def test_an_empty_relocation_has_no_effect(index: InstanceIndex) -> None:
    assert await index.relocate({}, LATER) == set()
    assert await index.referenced([]) == set()


async def test_many_blobs_are_relocated_in_one_call(index: InstanceIndex) -> None:
    many = [sample(instance=number) for number in range(1, 1201)]
    await index.add(many, NOON)
    moves = {one.locator: f"copy of {one.locator}" for one in many}
    assert await index.relocate(moves, LATER) == set(moves)
    assert await index.referenced([*moves.values(), *moves]) == set(moves.values())


async def test_a_concurrent_move_and_delete_leave_no_blob_without_an_owner(
    index: InstanceIndex, other_database: Database
) -> None:
    many = [sample(instance=number) for number in range(1, 21)]
    await index.add(many, NOON)
    deleting = [other_database.instances.delete(identity(instance=n).address, NOON, LATER) for n in range(1, 21)]
    moving = [index.relocate({one.locator: f"copy of {one.locator}"}, LATER) for one in many]
    moved, _ = await asyncio.gather(asyncio.gather(*moving), asyncio.gather(*deleting))
    expected = {one.locator for one in many} | {f"copy of {old}" for old in set[str]().union(*moved)}
    assert set(await index.begin_erasure(LATER, 100)) == expected


async def test_a_move_assigns_a_version_so_that_an_older_index_is_detected(
    index: InstanceIndex,
) -> None:
    one, other = sample(instance=1), sample(instance=2)
    await index.add([one], NOON)
    await index.relocate({one.locator: "copy"}, LATER)
    await index.add([other], NOON)
    assert [stored.version for stored in await index.find(EVERYTHING)] == [1, 3]
