"""Versions of an instance: one is current, none is overwritten."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from server.adapters.sql.engine import Database
from server.model.change import ChangeAction, ChangeState, ChangeWindow
from server.model.ids import Address, Version
from server.model.instance import Added, AlreadyStored, BulkElement, NewInstance, PixelLayout, ResourceState
from server.model.lifecycle.version import Provenance, VersionOrigin
from server.model.search.query import Condition, Equals, Level, Query
from server.ports.index import ChangeLog, InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, identity, modality, sample, series_ref, study_ref, text

LATER = NOON + timedelta(hours=1)
MUCH_LATER = NOON + timedelta(days=3)


async def test_a_new_version_becomes_current_and_the_earlier_one_remains(index: InstanceIndex) -> None:
    correction = Provenance("someone", "correction", VersionOrigin.UPDATED)
    one, two = sample(provenance=Provenance("gateway")), sample(dicom_json=b'{"2":{}}', provenance=correction)
    await index.add([one], NOON)
    assert await index.add_version(two, LATER) == Added(2, replaced=1)
    [stored] = await index.find(EVERYTHING)
    assert (stored.version, stored.locator, stored.size_bytes) == (2, two.locator, two.size_bytes)
    assert [found.dicom_json for found in await index.metadata(identity().address, 0, 9)] == [b'{"2":{}}']
    first, current = await index.history(identity().address)
    assert (first.locator, first.version, first.replaced) == (one.locator, 1, LATER)
    assert (current.locator, current.version, current.replaced) == (two.locator, 2, None)
    assert (first.provenance, current.provenance) == (Provenance("gateway"), correction)
    assert (first.created, current.created) == (NOON, LATER)


async def test_exactly_one_of_many_versions_is_current(index: InstanceIndex) -> None:
    await index.add([sample(), sample(instance=2)], NOON)
    contents = [sample() for _ in range(5)]
    for content in contents:
        await index.add_version(content, LATER)
    versions = await index.history(identity().address)
    assert [version.locator for version in versions][1:] == [content.locator for content in contents]
    assert [version.replaced is None for version in versions] == [False] * 5 + [True]
    assert len(await index.history(identity(instance=2).address)) == 1


async def test_a_new_version_changes_the_state_and_no_counts(index: InstanceIndex) -> None:
    await index.add([sample(instance=1), sample(instance=2)], NOON)
    await index.add_version(sample(instance=1), LATER)
    for resource in (study_ref(), series_ref()):
        assert await index.state(resource) == ResourceState(max_version=3, instance_count=2)
    assert [stored.version for stored in await index.find(study_ref())] == [2, 3]


async def test_searches_find_the_current_version_only(index: InstanceIndex) -> None:
    old = sample(instance_keys={"InstanceNumber": "1"}, instance_elements={"00200013": text("IS", "1")})
    new = sample(
        instance_keys={"InstanceNumber": "2"}, instance_elements={"00200013": text("IS", "2")}, **modality("MR")
    )
    await index.add([old], NOON)
    await index.add_version(new, LATER)

    async def found(number: str) -> int:
        condition = Condition("InstanceNumber", (Equals((number,)),))
        return len(await index.search(Query(Level.INSTANCE, EVERYTHING, (condition,), limit=9)))

    assert (await found("1"), await found("2")) == (0, 1)
    [series] = await index.search(Query(Level.SERIES, EVERYTHING, (), limit=9))
    assert series.elements["00080060"]["Value"] == ["MR"]


async def test_an_update_has_a_change_entry(index: InstanceIndex, changes: ChangeLog) -> None:
    await index.add([sample()], NOON)
    await index.add_version(sample(), LATER)
    created, updated = await changes.list(ChangeWindow(limit=9))
    assert (created.action, created.state) == (ChangeAction.CREATE, ChangeState.REPLACED)
    assert (updated.action, updated.state, updated.version) == (ChangeAction.UPDATE, ChangeState.CURRENT, 2)


async def test_frames_and_bulk_data_are_those_of_the_current_version(index: InstanceIndex) -> None:
    layout = PixelLayout(2, 100, 20, 8, 0, bytes(range(32)))
    await index.add([sample(pixels=layout, bulk=(BulkElement("7FE00010", "OB", 1, 2),))], NOON)
    await index.add_version(sample(), LATER)
    assert await index.bulk_elements(identity(), Version(2), "", 9) == []
    found = await index.frames(identity(), [1])
    assert found is not None
    assert found[1:] == (None, {})


async def test_earlier_versions_can_be_read_like_the_current_one(index: InstanceIndex) -> None:
    layout = PixelLayout(2, 100, 20, 8, 0, bytes(range(32)))
    element = BulkElement("7FE00010", "OB", 1, 2)
    one = sample(pixels=layout, bulk=(element,), dicom_json=b'{"1":{}}', sop_class_uid="1.2.3")
    two = sample(dicom_json=b'{"2":{}}')
    await index.add([one], NOON)
    await index.add([replace(two, may_replace=True)], LATER)
    for number, new in ((Version(1), one), (Version(2), two)):
        stored = await index.find_version(identity(), number)
        assert stored is not None
        assert (stored.version, stored.locator, stored.sop_class_uid) == (number, new.locator, new.sop_class_uid)
        assert await index.dicom_json(identity(), number) == new.dicom_json
        assert await index.frames(identity(), [1], number) == (
            stored,
            new.pixels and replace(new.pixels, table=b""),
            {1: (0x0706050403020100, 0x0F0E0D0C0B0A0908)} if new.pixels else {},
        )
        assert await index.bulk(identity(), "7FE00010", number) == (stored, element if new.bulk else None)
        assert await index.bulk_elements(identity(), number, "", 9) == list(new.bulk)


@pytest.mark.parametrize(("instance", "version"), [(1, 3), (2, 1), (3, 1)])
async def test_a_version_belongs_to_its_instance(index: InstanceIndex, instance: int, version: int) -> None:
    await index.add([sample(instance=1), sample(instance=2)], NOON)
    asked = identity(instance=instance), Version(version)
    assert await index.find_version(*asked) is None
    assert await index.dicom_json(*asked) is None
    assert await index.frames(asked[0], [1], asked[1]) is None
    assert await index.bulk(asked[0], "7FE00010", asked[1]) is None
    assert await index.bulk_elements(*asked, "", 9) == []


async def test_versions_of_a_deleted_instance_cannot_be_read(index: InstanceIndex) -> None:
    await index.add([sample()], NOON)
    await index.add([replacing()], LATER)
    await index.delete(identity().address, LATER, MUCH_LATER)
    assert await index.find_version(identity(), Version(1)) is None
    assert await index.dicom_json(identity(), Version(2)) is None
    await index.undelete(identity().address, LATER, LATER)
    restored = await index.find_version(identity(), Version(1))
    assert restored is not None


async def test_an_unknown_instance_gets_no_new_version(index: InstanceIndex) -> None:
    await index.add([sample(instance=2)], NOON)
    assert await index.add_version(sample(), NOON) is None
    assert await index.history(identity().address) == []
    assert len(await index.find(EVERYTHING)) == 1


async def test_all_versions_of_a_deleted_instance_are_erased(index: InstanceIndex) -> None:
    contents = [sample(), sample(), sample()]
    await index.add(contents[:1], NOON)
    for content in contents[1:]:
        await index.add_version(content, LATER)
    locators = [content.locator for content in contents]
    assert await index.known(locators) == set(locators)
    await index.delete(study_ref(), LATER, MUCH_LATER)
    assert await index.begin_erasure(MUCH_LATER, 9) == locators
    await index.erased(locators[:1])
    assert await index.known(locators) == set(locators[1:])
    await index.erased(locators[1:])
    assert await index.known(locators) == set()


async def test_a_new_version_waits_for_concurrent_changes_of_the_study(
    database: Database, other_database: Database
) -> None:

    await database.instances.add([sample()], NOON)
    both = (database.instances, other_database.instances)
    await asyncio.gather(*(both[n % 2].add_version(sample(), LATER) for n in range(12)))
    versions = await database.instances.history(identity().address)
    assert len(versions) == 13
    assert [version.replaced is None for version in versions] == [False] * 12 + [True]


def replacing(*, differs_from: int | None = None, **attributes: Any) -> NewInstance:
    """Return an instance that may replace one with the same UIDs."""
    known = None if differs_from is None else Version(differs_from)
    return replace(sample(**attributes), may_replace=True, differs_from=known)


async def test_an_instance_that_may_replace_another_becomes_its_next_version(index: InstanceIndex) -> None:
    assert await index.add([replacing()], NOON) == [Added(1)]
    assert await index.add([replacing(provenance=Provenance("editor"))], LATER) == [Added(2, replaced=1)]
    assert [one.provenance for one in await index.history(identity().address)] == [
        Provenance(),
        Provenance("editor", origin=VersionOrigin.REPLACED),
    ]
    assert [one.version for one in await index.find(EVERYTHING)] == [2]


async def test_equal_content_replaces_only_a_version_that_is_known_to_differ(index: InstanceIndex) -> None:
    one = sample()
    await index.add([one], NOON)
    equal = replace(replacing(), size_bytes=one.size_bytes, crc32c=one.crc32c)
    [outcome] = await index.add([equal], NOON)
    assert isinstance(outcome, AlreadyStored)
    [outcome] = await index.add([replace(equal, differs_from=Version(1))], NOON)
    assert isinstance(outcome, Added)
    assert outcome.replaced == 1


async def test_one_transaction_may_replace_an_instance_several_times(index: InstanceIndex, changes: ChangeLog) -> None:
    number = {"instance_keys": {"InstanceNumber": "7"}, "instance_elements": {"00200013": text("IS", "7")}}
    await index.add([sample(instance=2)], NOON)
    batch = [
        replacing(),
        replacing(),
        replacing(instance=2),
        sample(instance=3),
        replacing(instance=2),
        replacing(**number),
    ]
    outcomes = await index.add(batch, LATER)
    assert outcomes == [Added(2), Added(3, 2), Added(4, 1), Added(5), Added(6, 4), Added(7, 3)]
    assert [(one.version, one.locator) for one in await index.find(EVERYTHING)] == [
        (5, batch[3].locator),
        (6, batch[4].locator),
        (7, batch[5].locator),
    ]
    assert [(one.version, one.replaced) for one in await index.history(identity().address)] == [
        (2, LATER),
        (3, LATER),
        (7, None),
    ]
    assert await index.state(study_ref()) == ResourceState(7, 3)
    entries = await changes.list(ChangeWindow(limit=9))
    assert [(one.version, one.state is ChangeState.CURRENT) for one in entries if one.instance == identity()] == [
        (2, False),
        (3, False),
        (7, True),
    ]
    condition = Condition("InstanceNumber", (Equals(("7",)),))
    assert len(await index.search(Query(Level.INSTANCE, EVERYTHING, (condition,), limit=9))) == 1


async def test_the_history_of_a_study_has_all_versions_in_order_of_creation(index: InstanceIndex) -> None:
    await index.add([sample(1, 1, 1), sample(1, 1, 2), sample(1, 2, 1), sample(2, 1, 1)], NOON)
    await index.add([replacing(series=2), replacing(instance=2), replacing(study=2), replacing(instance=2)], LATER)

    async def numbers(resource: Address, **page: int) -> list[int]:
        return [one.version for one in await index.history(resource, **page)]

    assert await numbers(study_ref()) == [1, 2, 3, 5, 6, 8]
    assert await numbers(series_ref()) == [1, 2, 6, 8]
    assert await numbers(identity(1, 2, 1).address) == [3, 5]
    assert await numbers(study_ref(), after=2, limit=3) == [3, 5, 6]
    assert await numbers(study_ref(3)) == []
    assert [one.id for one in await index.history(series_ref(1, 2))] == [identity(1, 2, 1)] * 2


async def test_the_history_of_a_study_is_without_deleted_instances_until_they_are_restored(
    index: InstanceIndex,
) -> None:
    await index.add([sample(instance=1), sample(instance=2)], NOON)
    await index.add([replacing(instance=1), replacing(instance=2)], LATER)
    for deleted in (identity().address, study_ref()):
        await index.delete(deleted, LATER, MUCH_LATER)
    assert await index.history(study_ref()) == []
    await index.add([sample(instance=3)], LATER)  # a new study
    assert await index.undelete(study_ref(), LATER, LATER) == 2
    history = await index.history(study_ref())
    assert [one.replaced is None for one in history] == [False, False, True, True, True]
    assert {one.id for one in history} == {identity(instance=number) for number in (1, 2, 3)}
    assert len(await index.history(series_ref())) == 5


async def test_all_kept_versions_are_listed_with_their_state_until_their_erasure_begins(index: InstanceIndex) -> None:
    first, second, other, gone = sample(), sample(), sample(instance=2), sample(2)
    await index.add([first, other, gone], NOON)
    await index.add_version(second, NOON)
    await index.delete(identity(instance=2).address, NOON, LATER)
    await index.delete(study_ref(2), NOON, MUCH_LATER)

    async def kept() -> dict[str, str]:
        found = [one for after in (0, 2) for one in await index.kept_versions(after, 2)]
        assert [(one.stored.id, one.stored.sop_class_uid) for one in found] == [
            (new.id, new.sop_class_uid) for new in (first, other, gone, second)
        ]
        return {one.stored.locator: one.state for one in found}

    states = {first.locator: "earlier", other.locator: "deleted", gone.locator: "deleted", second.locator: "current"}
    assert await kept() == states
    assert await index.begin_erasure(LATER, 9) == [other.locator]
    assert {one.stored.locator for one in await index.kept_versions(0, 9)} == states.keys() - {other.locator}
