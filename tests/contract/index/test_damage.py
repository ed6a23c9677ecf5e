"""Recorded damage of instances, and data sets whose encoding differs from their transfer syntax."""

from dataclasses import replace

from server.model.damage import NO_DAMAGE, Damage
from server.model.ids import Version
from server.ports.index import InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, identity, sample, series_ref, study_ref


def of_frames(*numbers: int) -> Damage:
    return Damage(frames=frozenset(numbers))


async def known(index: InstanceIndex) -> Damage:
    (stored,) = await index.find(identity().address)
    return stored.damage


async def test_a_new_instance_has_no_known_damage(index: InstanceIndex) -> None:
    await index.add([sample()], NOON)
    assert await known(index) == NO_DAMAGE
    assert await index.damaged(EVERYTHING, 0, 9) == []


async def test_damage_accumulates_until_it_is_removed(index: InstanceIndex) -> None:
    await index.add([sample()], NOON)
    (stored,) = await index.find(EVERYTHING)
    for damage in (of_frames(7), of_frames(3), of_frames(7), Damage(is_changed=True)):
        await index.add_damage(stored.version, damage)
    assert await known(index) == Damage(is_changed=True, frames=frozenset({3, 7}))
    await index.remove_damage(stored.version, Damage(is_changed=True, frames=frozenset({7})))
    assert await known(index) == of_frames(3)
    await index.remove_damage(stored.version, of_frames(3))
    assert await known(index) == NO_DAMAGE


async def test_many_damaged_frames_are_recorded_as_all_frames(index: InstanceIndex) -> None:
    await index.add([sample()], NOON)
    (stored,) = await index.find(EVERYTHING)
    await index.add_damage(stored.version, of_frames(*range(1, 65)))
    assert not (await known(index)).is_of_frame(65)
    await index.add_damage(stored.version, of_frames(100))
    assert (await known(index)).is_of_frame(65)
    assert len((await known(index)).frames) == 1


async def test_damaged_instances_of_a_resource_are_listed_in_pages(index: InstanceIndex) -> None:
    await index.add([sample(1, 1, n) for n in range(1, 6)] + [sample(1, 2), sample(2)], NOON)
    everything = await index.find(EVERYTHING)
    for stored in everything:
        if stored.id != identity(1, 1, 3):
            await index.add_damage(stored.version, Damage(is_missing=True))
    first = await index.damaged(series_ref(), 0, 3)
    rest = await index.damaged(series_ref(), first[-1].version, 3)
    assert [stored.id for stored in first + rest] == [identity(1, 1, n) for n in (1, 2, 4, 5)]
    assert len(await index.damaged(study_ref(), 0, 9)) == 5
    assert len(await index.damaged(EVERYTHING, 0, 9)) == 6


async def test_recording_damage_of_a_deleted_instance_has_no_effect(index: InstanceIndex) -> None:
    await index.add_damage(Version(99), of_frames(1))
    await index.remove_damage(Version(99), of_frames(1))


async def test_a_mislabelled_transfer_syntax_is_recorded(
    index: InstanceIndex,
) -> None:
    await index.add([replace(sample(1), is_mislabelled=True), sample(2)], NOON)
    assert [stored.is_mislabelled for stored in await index.find(EVERYTHING)] == [True, False]
