"""Extended query tags and the operation that indexes by them."""

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta

import orjson
import pytest
from sqlalchemy import create_engine, text

from server.adapters.sql.engine import Database, open_database
from server.domain.operations.backlog import backlog_of
from server.model.errors import AlreadyExists, Reason, WrongState
from server.model.ids import PartitionName
from server.model.instance import NewInstance
from server.model.operation import OperationState
from server.model.search.query import Level
from server.model.search.query_tag import NewTag, QueryStatus, Tag, TagFault, TagStatus, TagValue
from tests.contract.index.samples import NOON, identity, sample, series_ref, study_ref
from tests.operations import add_tags, delete_tag, end, index_some

LATER = NOON + timedelta(minutes=1)
WEIGHT = NewTag("00101030", "PatientWeight", "FL", "", Level.STUDY)
STATION = NewTag("00081010", "StationName", "SH", "", Level.SERIES)
KVP = NewTag("00180060", "KVP", "SL", "", Level.INSTANCE)
NURSE = NewTag("00081070", "OperatorsName", "PN", "", Level.INSTANCE)


def extract(dicom_json: bytes, tags: Sequence[Tag], invalid_tags: frozenset[str]) -> Mapping[int, TagValue | TagFault]:
    """Extract numbers and text; the text "bad" is a fault."""
    data = orjson.loads(dicom_json)
    found: dict[int, TagValue | TagFault] = {}
    for tag in tags:
        value = None if tag.new.tag in invalid_tags else data.get(tag.new.tag)
        if value == "bad":
            found[tag.key] = TagFault("The value breaks a rule.")
        elif isinstance(value, str):
            found[tag.key] = TagValue(value)
        elif value is not None:
            found[tag.key] = TagValue("", float(value))
    return found


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = open_database(url, extract=extract)
    yield database
    await database.close()


def having(study: int = 1, series: int = 1, instance: int = 1, /, **values: object) -> NewInstance:
    """Return an instance with values by tag, each with the prefix "t"."""
    return sample(
        study,
        series,
        instance,
        dicom_json=orjson.dumps({tag.removeprefix("t"): value for tag, value in values.items()}),
    )


async def add(database: Database, *new: NewTag, operation: str = "a" * 32, request: str = "") -> str:
    return (await add_tags(database, new, operation, NOON, request_id=request)).id


async def run(database: Database, operation: str = "a" * 32, most: int = 100) -> int:
    """Run all steps and return their number."""
    for steps in itertools.count(1):
        if not await index_some(database, operation, most, LATER):
            return steps
    raise AssertionError


def values(url: str) -> list[tuple[object, ...]]:
    """Return tag, owner, part, text and number of all indexed values."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT t.tag, v.owner, v.part, v.text, v.number FROM extended_query_tag_values v "
                "JOIN extended_query_tags t ON t.key = v.tag_key ORDER BY t.tag, v.owner, v.part"
            )
        ).all()
    engine.dispose()
    return [tuple(row) for row in rows]


async def test_earlier_instances_are_indexed_by_the_operation_and_later_ones_when_stored(
    database: Database, url: str
) -> None:
    await database.instances.add([having(t00180060=80)], NOON)
    await add(database, KVP)
    await database.instances.add([having(1, 1, 2, t00180060=120)], NOON)
    assert values(url) == [("00180060", 2, 0, None, 120.0)]
    await run(database)
    assert values(url) == [("00180060", 1, 0, None, 80.0), ("00180060", 2, 0, None, 120.0)]


async def test_a_started_operation_can_be_read_unchanged(database: Database) -> None:
    await database.instances.add([having(1, 1, n) for n in (1, 2, 3)], NOON)
    started = await add_tags(database, [KVP], "a" * 32, NOON)
    assert started == await database.operations.get("a" * 32)
    assert type(started.total) is int


async def test_a_query_tag_becomes_ready_when_its_operation_succeeds(database: Database) -> None:
    await database.instances.add([having(1, 1, n) for n in (1, 2, 3)], NOON)
    await add(database, KVP)
    tag = await database.tags.get("00180060")
    assert tag is not None
    assert (tag.status, tag.query_status, tag.operation_id) == (TagStatus.ADDING, QueryStatus.ENABLED, "a" * 32)
    assert await index_some(database, "a" * 32, 2, LATER)
    running = await database.operations.get("a" * 32)
    assert running is not None
    assert (running.state, running.done, running.total) == (OperationState.RUNNING, 2, 3)
    assert not await index_some(database, "a" * 32, 2, LATER)
    done = await database.operations.get("a" * 32)
    assert done is not None
    assert (done.state, done.done, done.updated) == (OperationState.SUCCEEDED, 3, LATER)
    tag = await database.tags.get("00180060")
    assert tag is not None
    assert (tag.status, tag.operation_id) == (TagStatus.READY, "")


async def test_the_newest_instance_with_a_value_determines_that_of_study_and_series(
    database: Database, url: str
) -> None:
    await database.instances.add([having(1, 1, 1, t00101030=70, t00081010="old")], NOON)
    await database.instances.add([having(1, 1, 2, t00101030=71)], NOON)
    await add(database, WEIGHT, STATION)
    await database.instances.add([having(1, 1, 3)], NOON)
    await run(database, most=1)
    assert values(url) == [("00081010", 1, 0, "old", None), ("00101030", 1, 0, None, 71.0)]
    await database.instances.add([having(1, 1, 4, t00081010="x"), having(1, 1, 5, t00081010="new")], NOON)
    assert values(url) == [("00081010", 1, 0, "new", None), ("00101030", 1, 0, None, 71.0)]


async def test_a_name_is_indexed_by_component_groups_and_words(database: Database, url: str) -> None:
    await add(database, NURSE)
    await database.instances.add([having(t00081070="yamada^tarou=山田^太郎")], NOON)
    assert [row[2:4] for row in values(url)] == [
        (0, "yamada^tarou"),
        (1, "山田^太郎"),
        (3, " yamada tarou \n 山田 太郎 "),
    ]


async def test_a_value_that_cannot_be_indexed_is_reported_and_disables_the_query_tag(database: Database) -> None:
    await database.instances.add([having(1, 1, 1, t00180060=80), having(2, t00180060="bad")], NOON)
    await add(database, KVP)
    await run(database)
    tag = await database.tags.get("00180060")
    assert tag is not None
    assert (tag.status, tag.query_status, tag.error_count) == (TagStatus.READY, QueryStatus.DISABLED, 1)
    ((number, error),) = await database.tags.errors(tag.key, 0, 0, 10)
    assert (error.id, error.time, error.message) == (identity(2), LATER, "The value breaks a rule.")
    assert await database.tags.errors(tag.key, number, 0, 10) == []
    enabled = await database.tags.set_query_status("00180060", QueryStatus.ENABLED)
    assert enabled is not None
    assert enabled.query_status is QueryStatus.ENABLED


async def test_deleting_an_instance_deletes_its_values_and_errors(database: Database, url: str) -> None:
    await add(database, WEIGHT, STATION, KVP)
    new = [having(n, 1, m, t00101030=70, t00081010="s", t00180060=80) for n in (1, 2) for m in (1, 2)]
    await database.instances.add([*new, having(1, 1, 3, t00180060="bad")], NOON)
    assert len(values(url)) == 8
    await database.instances.delete(new[0].id.address, NOON, NOON)
    assert len(values(url)) == 7
    await database.instances.delete(series_ref(1), NOON, NOON)
    assert [row[1] for row in values(url)] == [2, 2, 3, 4]
    kvp = await database.tags.get("00180060")
    assert kvp is not None
    assert kvp.error_count == 0
    await database.instances.delete(study_ref(2), NOON, NOON)
    assert values(url) == []


async def test_query_tags_are_added_all_or_none(database: Database) -> None:
    await add(database, KVP)
    await run(database)
    with pytest.raises(AlreadyExists) as refused:
        await add(database, STATION, KVP, operation="b" * 32)
    assert (refused.value.reason, refused.value.metadata) == (Reason.TAG_ALREADY_EXISTS, {"path": "00180060"})
    assert await database.tags.get("00081010") is None
    assert await database.operations.get("b" * 32) is None


async def test_only_one_operation_indexes_at_a_time(database: Database) -> None:
    await add(database, KVP)
    with pytest.raises(WrongState) as refused:
        await add(database, STATION, operation="b" * 32)
    assert (refused.value.reason, refused.value.metadata) == (Reason.OPERATION_RUNNING, {"operation": "a" * 32})


async def test_a_repeated_request_starts_no_new_operation(database: Database) -> None:
    first = await add(database, KVP, request="r1")
    assert await add(database, KVP, operation="b" * 32, request="r1") == first
    assert await database.operations.get("b" * 32) is None


async def test_a_query_tag_deleted_during_indexing_leaves_nothing(database: Database, url: str) -> None:
    await database.instances.add([having(1, 1, n, t00180060=80, t00081010="s") for n in (1, 2, 3)], NOON)
    await add(database, KVP, STATION)
    await index_some(database, "a" * 32, 1, LATER)
    assert await delete_tag(database, "00180060", LATER)
    await run(database)
    assert [row[0] for row in values(url)] == ["00081010"]
    assert await database.tags.get("00180060") is None
    assert not await delete_tag(database, "00180060", LATER)


async def test_a_cancelled_operation_has_no_further_effect(database: Database, url: str) -> None:
    await database.instances.add([having(t00180060=80)], NOON)
    await add(database, KVP)
    await end(database, "a" * 32, OperationState.CANCELED, LATER)
    assert not await index_some(database, "a" * 32, 10, LATER)
    assert values(url) == []


async def test_operations_are_listed_newest_first_and_old_records_are_deleted(database: Database) -> None:
    await add(database, KVP)
    assert [one.id for one in await database.operations.unfinished()] == ["a" * 32]
    await run(database)
    await add(database, STATION, operation="b" * 32)
    await end(database, "b" * 32, OperationState.FAILED, LATER + timedelta(days=1), "It could not be done.")
    page = await database.operations.list(limit=10)
    assert [(one.id, one.state) for _, one in page] == [
        ("b" * 32, OperationState.FAILED),
        ("a" * 32, OperationState.SUCCEEDED),
    ]
    assert page[0][1].error == "It could not be done."
    assert [one.id for _, one in await database.operations.list(before=page[0][0], limit=10)] == ["a" * 32]
    assert await database.operations.delete_final(LATER + timedelta(seconds=1)) == 1
    # The query tag of the failed operation still refers to it.
    assert await database.operations.delete_final(LATER + timedelta(days=2)) == 0
    assert (await backlog_of(database.operations, database.tags, LATER)).abandoned == ("00081010",)
    assert [one.id for _, one in await database.operations.list(limit=10)] == ["b" * 32]
    await delete_tag(database, "00081010", LATER)
    assert (await backlog_of(database.operations, database.tags, LATER)).abandoned == ()
    assert await database.operations.delete_final(LATER + timedelta(days=2)) == 1


async def test_instances_of_all_partitions_are_indexed(database: Database, url: str) -> None:
    clinic = PartitionName("clinic")
    await database.partitions.create(clinic, NOON)
    await database.instances.add([sample(partition=clinic, dicom_json=b'{"00180060":1}'), having(t00180060=2)], NOON)
    await add(database, KVP)
    await run(database)
    assert [row[4] for row in values(url)] == [1.0, 2.0]
