"""Errors of extended query tags, and their counts, match the stored instances."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from server.adapters.sql.engine import Database, open_database
from server.model.ids import Address
from server.model.instance import Added, Faulty, NewInstance
from server.model.search.query import Level
from server.model.search.query_tag import NewTag, QueryStatus, Tag, TagFault, TagValue
from tests.contract.index.samples import NOON, sample, series_ref, study_ref
from tests.operations import add_tags, delete_tag, index_some

TAGS = {
    level: NewTag(f"0018000{level.value}", "", "LO", "", level) for level in (Level.STUDY, Level.SERIES, Level.INSTANCE)
}
PLACES = [(study, series, instance) for study in (1, 2) for series in (1, 2) for instance in (1, 2, 3)]


def extract(dicom_json: bytes, tags: Sequence[Tag], invalid_tags: frozenset[str]) -> Mapping[int, TagValue | TagFault]:
    data = orjson.loads(dicom_json)
    found = {tag.key: data[tag.new.tag] for tag in tags if tag.new.tag in data}
    return {key: TagFault("It is bad.") if value == "bad" else TagValue(value) for key, value in found.items()}


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = open_database(url, extract=extract)
    yield database
    await database.close()


def having(place: tuple[int, int, int], *bad: Level, good: Sequence[Level] = ()) -> NewInstance:
    """Return an instance with invalid values for query tags of some levels, and valid ones for others."""
    values = {TAGS[level].tag: "good" for level in good} | {TAGS[level].tag: "bad" for level in bad}
    return replace(sample(*place), dicom_json=orjson.dumps(values))


async def rows(database: Database, sql: str) -> list[tuple[object, ...]]:
    return await database.tags._transactions.read(  # type: ignore[attr-defined, no-any-return]
        lambda connection: [tuple(row) for row in connection.execute(text(sql))]
    )


async def counts_are_right(database: Database) -> None:
    wrong = await rows(
        database,
        "SELECT tag, error_count FROM extended_query_tags t WHERE error_count <> "
        "(SELECT count(*) FROM extended_query_tag_errors e WHERE e.tag_key = t.key)",
    )
    assert wrong == []


async def step(database: Database, most: int = 2) -> bool:
    """Run the next step of a worker; return True if there are more."""
    for operation in await database.operations.unfinished():
        return await index_some(database, operation.id, most, NOON)
    return False


LEVELS = st.sampled_from(list(Level))
RESOURCES = st.one_of(
    st.builds(study_ref, st.integers(1, 2)),
    st.builds(series_ref, st.integers(1, 2), st.integers(1, 2)),
    st.builds(lambda place: sample(*place).id.address, st.sampled_from(PLACES)),
)
STORED = st.tuples(st.sampled_from(PLACES), st.frozensets(LEVELS), st.booleans())
ACTIONS = st.one_of(
    st.lists(STORED, min_size=1, max_size=4),
    RESOURCES,
    st.tuples(st.just("add"), LEVELS),
    st.tuples(st.just("remove"), LEVELS),
    st.just(("step", Level.STUDY)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(actions=st.lists(ACTIONS, min_size=3, max_size=14))
async def test_each_query_tag_has_and_counts_an_error_for_each_instance_with_an_invalid_value(
    database: Database, actions: list[object]
) -> None:
    bad: dict[Address, frozenset[Level]] = {}
    added: set[Level] = set()
    try:
        for number, action in enumerate(actions):
            match action:
                case list():
                    new = [
                        replace(having(place, *levels), must_be_indexed=must_be_indexed)
                        for place, levels, must_be_indexed in action
                    ]
                    outcomes = await database.instances.add(new, NOON)
                    for one, outcome, (_, levels, must_be_indexed) in zip(new, outcomes, action, strict=True):
                        is_refused = must_be_indexed and bool(levels & added)
                        assert isinstance(outcome, Faulty) == is_refused
                        if isinstance(outcome, Added):
                            bad[one.id.address] = levels
                case Address() as resource:
                    await database.instances.delete(resource, NOON, NOON)
                    bad = {ref: levels for ref, levels in bad.items() if not is_in(ref, resource)}
                case ("add", Level() as level) if level not in added:
                    while await step(database):
                        pass
                    await add_tags(database, [TAGS[level]], f"{number:032x}", NOON)
                    added.add(level)
                case ("remove", Level() as level):
                    assert await delete_tag(database, TAGS[level].tag, NOON) == (level in added)
                    added.discard(level)
                case ("step", _):
                    await step(database)
            await counts_are_right(database)
        while await step(database):
            pass
        await counts_are_right(database)
        for level in added:
            tag = await database.tags.get(TAGS[level].tag)
            assert tag is not None
            errors = [error.id.address for _, error in await database.tags.errors(tag.key, 0, 0, 100)]
            assert (len(errors), set(errors)) == (
                tag.error_count,
                {ref for ref, levels in bad.items() if level in levels},
            )
    finally:
        for level in added:
            await delete_tag(database, TAGS[level].tag, NOON)
        for study in (1, 2):
            await database.instances.delete(study_ref(study), NOON, NOON)
        while await step(database):
            pass
        await database.operations.delete_final(NOON.replace(year=NOON.year + 1))


def is_in(ref: Address, resource: Address) -> bool:
    return (
        ref.study == resource.study
        and resource.series in (None, ref.series)
        and resource.instance in (None, ref.instance)
    )


async def test_an_instance_that_must_be_indexed_is_refused_with_all_its_errors(database: Database) -> None:
    await add_tags(database, list(TAGS.values()), "a" * 32, NOON)
    refused = replace(having((1, 1, 1), Level.STUDY, Level.INSTANCE), must_be_indexed=True)
    accepted = replace(having((1, 1, 2), good=[Level.STUDY]), must_be_indexed=True)
    outcome, added = await database.instances.add([refused, accepted], NOON)
    fault = TagFault("It is bad.")
    assert outcome == Faulty(((TAGS[Level.STUDY], fault), (TAGS[Level.INSTANCE], fault)))
    assert isinstance(added, Added)
    assert await database.instances.state(refused.id.address) is None
    assert [tag.error_count for tag in await database.tags.list(after=0, skip=0, limit=9)] == [0, 0, 0]


async def test_errors_of_later_batches_have_higher_numbers_even_after_a_deletion(
    database: Database,
) -> None:
    await add_tags(database, [TAGS[Level.STUDY]], "a" * 32, NOON)
    await database.instances.add([having((1, 1, n), Level.STUDY) for n in (1, 2, 3)], NOON)
    await database.instances.delete(sample(1, 1, 3).id.address, NOON, NOON)
    await database.instances.add([having((1, 1, 4), Level.STUDY)], NOON)
    tag = await database.tags.get(TAGS[Level.STUDY].tag)
    assert tag is not None
    assert (tag.error_count, tag.query_status) == (3, QueryStatus.DISABLED)
    found = await database.tags.errors(tag.key, 0, 0, 10)
    assert [(number, error.id.instance) for number, error in found] == [
        (1, sample(1, 1, 1).id.instance),
        (2, sample(1, 1, 2).id.instance),
        (4, sample(1, 1, 4).id.instance),
    ]
