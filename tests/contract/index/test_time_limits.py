"""Time limits of database calls."""

import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, text

from server.adapters.sql.core import prepared
from server.adapters.sql.engine import Database, open_database
from server.model.errors import Exhausted, Reason
from server.model.search.query import Level, Query
from tests.contract.index.samples import EVERYTHING, NOON, sample

LIMIT_S = 0.3

# Runs for minutes unless it is interrupted.
SLOW = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000000000)
SELECT count(*) FROM numbers
"""


@pytest.fixture
async def limited(url: str) -> AsyncIterator[Database]:
    database = open_database(url, search_seconds=LIMIT_S)
    yield database
    await database.close()


def count_for_minutes(connection: Connection) -> object:
    return connection.execute(text(SLOW)).scalar_one()


def count_for_minutes_as_searches_do(connection: Connection) -> object:
    return prepared.Prepared(text(SLOW)).tuples(connection, {})


@pytest.mark.parametrize("work", [count_for_minutes, count_for_minutes_as_searches_do])
async def test_a_read_above_the_time_limit_is_interrupted_and_the_next_call_works(
    limited: Database, work: object
) -> None:
    await limited.instances.add([sample()], NOON)
    start = time.monotonic()
    with pytest.raises(Exhausted) as caught:
        await limited._transactions.read(work)  # type: ignore[arg-type]  # no search is certainly slow
    assert caught.value.reason is Reason.SEARCH_TOO_LONG
    assert LIMIT_S <= time.monotonic() - start < 60 * LIMIT_S
    for _ in range(5):
        assert len(await limited.instances.search(Query(Level.STUDY, EVERYTHING, (), limit=9))) == 1


async def test_the_time_limit_applies_to_each_call_separately(limited: Database) -> None:
    await limited.instances.add([sample()], NOON)
    start = time.monotonic()
    while time.monotonic() - start < 2 * LIMIT_S:
        assert len(await limited.instances.search(Query(Level.STUDY, EVERYTHING, (), limit=9))) == 1


async def test_writes_have_no_time_limit(limited: Database) -> None:
    def work(connection: Connection) -> object:
        few = SLOW.replace("1000000000", "3000000")
        return connection.execute(text(few)).scalar_one()

    assert await limited._transactions.write(work) == 3_000_000
