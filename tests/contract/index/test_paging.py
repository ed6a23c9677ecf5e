"""Order and paging of matches."""

import asyncio

import pytest

from server.adapters.sql.engine import Database
from server.model.search.query import Condition, Level, Like, Query
from server.ports.index import InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, identity, sample, series_ref, study_ref, uid


async def keys(
    index: InstanceIndex, level: Level = Level.STUDY, *, limit: int = 100, skip: int = 0, after: int | None = None
) -> list[int]:
    matches = await index.search(Query(level, EVERYTHING, (), limit=limit, skip=skip, after=after))
    return [match.key for match in matches]


@pytest.mark.parametrize("level", Level)
async def test_matches_are_ordered_newest_first(index: InstanceIndex, level: Level) -> None:
    for study in (2, 3, 1):
        await index.add([sample(study)], NOON)
    matches = await index.search(Query(level, EVERYTHING, (), limit=10))
    assert [match.resource.study for match in matches] == [uid(1), uid(3), uid(2)]
    assert [match.key for match in matches] == sorted((match.key for match in matches), reverse=True)


async def test_an_instance_added_to_an_old_study_does_not_move_it(index: InstanceIndex) -> None:
    await index.add([sample(1), sample(2)], NOON)
    before = await keys(index), await keys(index, Level.SERIES)
    await index.add([sample(1, 1, 2, study_keys={"PatientID": "p"})], NOON)
    assert (await keys(index), await keys(index, Level.SERIES)) == before


async def test_a_study_stored_again_after_its_deletion_is_new(index: InstanceIndex) -> None:
    await index.add([sample(1), sample(2)], NOON)
    _, oldest = await keys(index)
    await index.delete(study_ref(1), NOON, NOON)
    await index.add([sample(1)], NOON)
    newest = await index.search(Query(Level.STUDY, EVERYTHING, (), limit=1))
    assert newest[0].resource.study == uid(1)
    assert newest[0].key != oldest


async def test_row_keys_are_never_reused(index: InstanceIndex) -> None:
    await index.add([sample(1)], NOON)
    before = [await keys(index, level) for level in Level]
    await index.delete(study_ref(1), NOON, NOON)
    await index.add([sample(2)], NOON)
    after = [await keys(index, level) for level in Level]
    assert all(new > old for new, old in zip(after, before, strict=True))


@pytest.mark.parametrize("level", Level)
async def test_limit_skip_and_after_select_from_the_same_order(index: InstanceIndex, level: Level) -> None:
    await index.add([sample(n, study_keys={"PatientID": "p"}) for n in range(1, 8)], NOON)
    whole = await keys(index, level)
    assert len(whole) == 7
    assert await keys(index, level, limit=3) == whole[:3]
    assert await keys(index, level, limit=3, skip=2) == whole[2:5]
    assert await keys(index, level, limit=3, after=whole[2]) == whole[3:6]
    assert await keys(index, level, limit=3, after=whole[2], skip=1) == whole[4:7]
    assert await keys(index, level, skip=7) == []
    assert await keys(index, level, after=whole[-1]) == []
    assert await keys(index, level, skip=2**40) == []


async def test_pages_of_a_conditional_search_continue_after_a_key(index: InstanceIndex) -> None:
    await index.add([sample(n, study_keys={"PatientID": f"{'ab'[n % 2]}{n}"}) for n in range(1, 10)], NOON)
    condition = Condition("PatientID", (Like("b*"),))
    found: list[str | None] = []
    after = None
    while page := await index.search(Query(Level.STUDY, EVERYTHING, (condition,), limit=2, after=after)):
        found += [match.resource.study for match in page]
        after = page[-1].key
    assert found == [uid(n) for n in (9, 7, 5, 3, 1)]


@pytest.mark.parametrize("level", Level)
async def test_paging_during_stores_returns_each_earlier_match_once(
    index: InstanceIndex, other_database: Database, level: Level
) -> None:
    await index.add([sample(n) for n in range(1, 31)], NOON)
    before = await keys(index, level)

    async def store() -> None:
        for n in range(101, 131):
            await other_database.instances.add([sample(n), sample(n - 100, 1, n)], NOON)

    async def walk() -> list[int]:
        seen: list[int] = []
        after = None
        while page := await keys(index, level, limit=3, after=after):
            seen += page
            after = page[-1]
        return seen

    seen, _ = await asyncio.gather(walk(), store())
    assert len(seen) == len(set(seen))
    assert [key for key in seen if key <= before[0]] == before


async def test_paging_during_deletes_returns_each_remaining_match_once(
    index: InstanceIndex, other_database: Database
) -> None:
    await index.add([sample(n) for n in range(1, 31)], NOON)
    seen: list[str | None] = []
    after = None
    while page := await index.search(Query(Level.STUDY, EVERYTHING, (), limit=4, after=after)):
        seen += [match.resource.study for match in page]
        after = page[-1].key
        gone = page[-1].resource.study
        assert gone is not None
        await other_database.instances.delete(page[-1].resource, NOON, NOON)
    assert seen == [uid(n) for n in range(30, 0, -1)]


async def test_series_within_a_study_are_ordered_newest_first(index: InstanceIndex) -> None:
    await index.add([sample(study, series) for series in (2, 1, 3) for study in (1, 2)], NOON)
    matches = await index.search(Query(Level.SERIES, study_ref(1), (), limit=10))
    assert [match.resource for match in matches] == [series_ref(1, 3), series_ref(1, 1), series_ref(1, 2)]
    instances = await index.search(Query(Level.INSTANCE, study_ref(1), (), limit=1, skip=1))
    assert [match.resource for match in instances] == [identity(1, 1, 1).address]
