"""Concurrent indexing by query tags, deletion of query tags, and stores."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
import pytest
from sqlalchemy import text

from server.adapters.sql.engine import Database, open_database
from server.adapters.sql.query_tags import tags as sql_tags
from server.domain.operations.reindex import reindex
from server.domain.query_tags import addition
from server.model.operation import OperationState
from server.model.search.query import Level
from server.model.search.query_tag import NewTag, Tag, TagFault, TagStatus, TagValue
from tests.contract.index.samples import NOON, sample
from tests.operations import add_tags, delete_tag, end, index_some, query_tags

A, B = "a" * 32, "b" * 32
KVP = NewTag("00180060", "KVP", "SL", "", Level.INSTANCE)
STATION = NewTag("00081010", "StationName", "SH", "", Level.SERIES)
OLD, NEW = orjson.dumps({"00180060": 80, "00081010": "s", "old": True}), orjson.dumps({"00180060": 120})


@dataclass
class Slow:
    """An extractor that the test can block on instances stored before."""

    begun: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)

    def extract(
        self, dicom_json: bytes, tags: Sequence[Tag], invalid_tags: frozenset[str]
    ) -> Mapping[int, TagValue | TagFault]:
        data = orjson.loads(dicom_json)
        if "old" in data:
            self.begun.set()
            self.may_end.wait(30)
        values = {tag.key: data.get(tag.new.tag) for tag in tags}
        return {
            key: TagValue(value) if isinstance(value, str) else TagValue("", value)
            for key, value in values.items()
            if value
        }


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.may_end.set()


@pytest.fixture
async def database(url: str, slow: Slow) -> AsyncIterator[Database]:
    """A database with three instances, and an operation to index them by two query tags."""
    database = open_database(url, extract=slow.extract)
    await database.instances.add([sample(n, dicom_json=OLD) for n in (1, 2, 3)], NOON)
    await add_tags(database, [KVP, STATION], A, NOON)
    yield database
    slow.may_end.set()
    await database.close()


async def values(database: Database, tag: str = "00180060") -> list[tuple[int, float | None]]:
    """Return owner and number of the indexed values of a query tag."""
    found = await database.tags.get(tag)
    rows = text("SELECT owner, number FROM extended_query_tag_values WHERE tag_key = :key ORDER BY owner")
    return await database.tags._transactions.read(
        lambda connection: [tuple(row) for row in connection.execute(rows, {"key": found.key if found else 0})]
    )


async def begin(database: Database, slow: Slow) -> "asyncio.Task[bool]":
    """Start a step and return while it is reading instances."""
    step = asyncio.create_task(index_some(database, A, 100, NOON))
    await asyncio.to_thread(slow.begun.wait, 30)
    return step


async def test_stores_do_not_wait_while_a_step_reads_instances(database: Database, slow: Slow) -> None:
    step = await begin(database, slow)
    async with asyncio.timeout(10):
        await database.instances.add([sample(1, 1, 9, dicom_json=NEW)], NOON)
    slow.may_end.set()
    assert not await step
    assert await values(database) == [(1, 80.0), (2, 80.0), (3, 80.0), (4, 120.0)]


async def test_an_instance_deleted_during_a_step_leaves_nothing(database: Database, slow: Slow) -> None:
    step = await begin(database, slow)
    async with asyncio.timeout(10):
        await database.instances.delete(sample(2).id.address, NOON, NOON)
    slow.may_end.set()
    assert not await step
    assert await values(database) == [(1, 80.0), (3, 80.0)]
    assert [owner for owner, _ in await values(database, "00081010")] == [1, 3]


async def test_a_tag_deleted_during_a_step_leaves_nothing(database: Database, slow: Slow) -> None:
    step = await begin(database, slow)
    async with asyncio.timeout(10):
        await delete_tag(database, "00180060", NOON)
    slow.may_end.set()
    assert not await step
    rows = await database.tags._transactions.read(
        lambda connection: connection.execute(text("SELECT DISTINCT tag_key FROM extended_query_tag_values")).all()
    )
    assert [row[0] for row in rows] == [2]


async def test_a_step_of_an_operation_cancelled_during_it_has_no_effect(database: Database, slow: Slow) -> None:
    step = await begin(database, slow)
    async with asyncio.timeout(10):
        await end(database, A, OperationState.CANCELED, NOON)
    slow.may_end.set()
    assert not await step
    assert await values(database) == []


async def test_two_concurrent_workers_apply_a_step_once(database: Database, slow: Slow, url: str) -> None:
    other = open_database(url, extract=slow.extract)
    steps = [asyncio.create_task(index_some(one, A, 2, NOON)) for one in (database, other)]
    await asyncio.to_thread(slow.begun.wait, 30)
    slow.may_end.set()
    assert await asyncio.gather(*steps) in ([True, True], [True, False], [False, True])
    while await index_some(other, A, 2, NOON):
        pass
    await other.close()
    operation = await database.operations.get(A)
    assert operation is not None
    assert (operation.state, operation.done) == (OperationState.SUCCEEDED, 3)
    assert await values(database) == [(1, 80.0), (2, 80.0), (3, 80.0)]


async def test_a_repeated_deletion_does_not_affect_a_query_tag_added_since(
    database: Database, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.may_end.set()
    while await index_some(database, A, 100, NOON):
        pass
    real = sql_tags._delete_some
    states: list[TagStatus] = []

    def with_another_between(connection: object, key: int) -> bool:
        # Another client finishes the deletion and adds the query tag again, which gets the free row key.
        again = real(connection, key)  # type: ignore[arg-type]
        assert not again
        type_ = reindex(database.tags)
        sql_tags._add(connection, "", lambda state: addition(type_, [STATION], state, B, NOON))  # type: ignore[arg-type]
        return real(connection, key)  # type: ignore[arg-type]

    monkeypatch.setattr(sql_tags, "_delete_some", with_another_between)
    assert await delete_tag(database, "00081010", NOON)
    found = await database.tags.get("00081010")
    assert found is not None
    states.append(found.status)
    assert (found.key, states) == (2, [TagStatus.ADDING])


async def test_only_interrupted_deletions_are_completed(
    database: Database, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.may_end.set()
    while await index_some(database, A, 100, NOON):
        pass
    with monkeypatch.context() as patch:
        patch.setattr(sql_tags, "_delete_some", lambda _connection, _key: False)
        await delete_tag(database, "00180060", NOON)
    left = await database.tags.get("00180060")
    assert left is not None
    assert left.status is TagStatus.DELETING
    await query_tags(database, NOON).finish_deletions()
    assert await database.tags.get("00180060") is None
    assert len(await values(database, "00081010")) == 3


async def test_a_query_tag_with_more_rows_than_one_batch_is_deleted_completely(
    database: Database, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.may_end.set()
    while await index_some(database, A, 100, NOON):
        pass
    monkeypatch.setattr(sql_tags, "_ROWS_AT_ONCE", 1)
    await delete_tag(database, "00180060", NOON)
    await delete_tag(database, "00081010", NOON)
    rows = await database.tags._transactions.read(
        lambda connection: connection.execute(text("SELECT * FROM extended_query_tag_values")).all()
    )
    assert rows == []


async def test_steps_are_smaller_with_many_query_tags(
    database: Database, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.may_end.set()
    monkeypatch.setattr(sql_tags, "_VALUES_AT_ONCE", 4)
    assert await index_some(database, A, 100, NOON)
    operation = await database.operations.get(A)
    assert operation is not None
    assert operation.done == 2
