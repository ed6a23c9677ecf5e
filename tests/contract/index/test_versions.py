"""Versions of an instance: one is current, none is overwritten."""

import asyncio
from datetime import timedelta

from server.adapters.sql.engine import Database
from server.model.change import ChangeAction, ChangeState, ChangeWindow
from server.model.instance import Added, BulkElement, PixelLayout, ResourceState
from server.model.search.query import Condition, Equals, Level, Query
from server.ports.index import ChangeLog, InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, identity, modality, sample, series_ref, study_ref, text

LATER = NOON + timedelta(hours=1)
MUCH_LATER = NOON + timedelta(days=3)


async def test_a_new_version_becomes_current_and_the_earlier_one_remains(index: InstanceIndex) -> None:
    one, two = sample(), sample(dicom_json=b'{"2":{}}')
    await index.add([one], NOON)
    outcome = await index.add_version(two, LATER, reason="correction", author="someone")
    assert outcome == Added(2)
    [stored] = await index.find(EVERYTHING)
    assert (stored.version, stored.locator, stored.size_bytes) == (2, two.locator, two.size_bytes)
    assert [found.dicom_json for found in await index.metadata(identity().address, 0, 9)] == [b'{"2":{}}']
    first, current = await index.history(identity())
    assert (first.locator, first.version, first.replaced, first.reason) == (one.locator, 1, LATER, "")
    assert (current.locator, current.replaced, current.reason, current.author) == (
        two.locator,
        None,
        "correction",
        "someone",
    )
    assert (first.created, current.created) == (NOON, LATER)


async def test_exactly_one_of_many_versions_is_current(index: InstanceIndex) -> None:
    await index.add([sample(), sample(instance=2)], NOON)
    contents = [sample() for _ in range(5)]
    for content in contents:
        await index.add_version(content, LATER, reason="", author="")
    versions = await index.history(identity())
    assert [version.locator for version in versions][1:] == [content.locator for content in contents]
    assert [version.replaced is None for version in versions] == [False] * 5 + [True]
    assert len(await index.history(identity(instance=2))) == 1


async def test_a_new_version_changes_the_state_and_no_counts(index: InstanceIndex) -> None:
    await index.add([sample(instance=1), sample(instance=2)], NOON)
    await index.add_version(sample(instance=1), LATER, reason="", author="")
    for resource in (study_ref(), series_ref()):
        assert await index.state(resource) == ResourceState(max_version=3, instance_count=2)
    assert [stored.version for stored in await index.find(study_ref())] == [2, 3]


async def test_searches_find_the_current_version_only(index: InstanceIndex) -> None:
    old = sample(instance_keys={"InstanceNumber": "1"}, instance_elements={"00200013": text("IS", "1")})
    new = sample(
        instance_keys={"InstanceNumber": "2"}, instance_elements={"00200013": text("IS", "2")}, **modality("MR")
    )
    await index.add([old], NOON)
    await index.add_version(new, LATER, reason="", author="")

    async def found(number: str) -> int:
        condition = Condition("InstanceNumber", (Equals((number,)),))
        return len(await index.search(Query(Level.INSTANCE, EVERYTHING, (condition,), limit=9)))

    assert (await found("1"), await found("2")) == (0, 1)
    [series] = await index.search(Query(Level.SERIES, EVERYTHING, (), limit=9))
    assert series.elements["00080060"]["Value"] == ["MR"]


async def test_an_update_has_a_change_entry(index: InstanceIndex, changes: ChangeLog) -> None:
    await index.add([sample()], NOON)
    await index.add_version(sample(), LATER, reason="", author="")
    created, updated = await changes.list(ChangeWindow(limit=9))
    assert (created.action, created.state) == (ChangeAction.CREATE, ChangeState.REPLACED)
    assert (updated.action, updated.state, updated.version) == (ChangeAction.UPDATE, ChangeState.CURRENT, 2)


async def test_frames_and_bulk_data_are_those_of_the_current_version(index: InstanceIndex) -> None:
    layout = PixelLayout(2, 100, 20, 8, 0, bytes(range(32)))
    await index.add([sample(pixels=layout, bulk=(BulkElement("7FE00010", "OB", 1, 2),))], NOON)
    await index.add_version(sample(), LATER, reason="", author="")
    assert await index.bulk_elements(1, "", 9) == []
    found = await index.frames(identity(), [1])
    assert found is not None
    assert found[1:] == (None, {})


async def test_an_unknown_instance_gets_no_new_version(index: InstanceIndex) -> None:
    await index.add([sample(instance=2)], NOON)
    assert await index.add_version(sample(), NOON, reason="", author="") is None
    assert await index.history(identity()) == []
    assert len(await index.find(EVERYTHING)) == 1


async def test_all_versions_of_a_deleted_instance_are_erased(index: InstanceIndex) -> None:
    contents = [sample(), sample(), sample()]
    await index.add(contents[:1], NOON)
    for content in contents[1:]:
        await index.add_version(content, LATER, reason="", author="")
    locators = [content.locator for content in contents]
    assert await index.known(locators) == set(locators)
    await index.delete(study_ref(), LATER, MUCH_LATER)
    assert await index.erasable(MUCH_LATER, 9) == locators
    await index.erased(locators[:1])
    assert await index.known(locators) == set(locators[1:])
    await index.erased(locators[1:])
    assert await index.known(locators) == set()


async def test_a_new_version_waits_for_concurrent_changes_of_the_study(
    database: Database, other_database: Database
) -> None:

    await database.instances.add([sample()], NOON)
    both = (database.instances, other_database.instances)
    await asyncio.gather(*(both[n % 2].add_version(sample(), LATER, reason=str(n), author="") for n in range(12)))
    versions = await database.instances.history(identity())
    assert len(versions) == 13
    assert [version.replaced is None for version in versions] == [False] * 12 + [True]
