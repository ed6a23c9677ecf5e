"""Query plans: no search by a label scans a whole table, whether few or many resources have it."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import create_engine, insert, select, text

from server.adapters.sql.engine import Database, open_database
from server.adapters.sql.tables.instances import instances, series
from server.adapters.sql.tables.lifecycle import labels
from server.adapters.sql.tables.studies import studies
from server.model.search.query import Condition, Equals, LabelKey, Level, Like, Matcher, Query
from tests.contract.index.samples import EVERYTHING, NOON, modality, sample
from tests.contract.index.test_plans import Statement, plans, statements
from tests.contract.index.test_tag_plans import bad

__all__ = ["statements"]  # the fixture

STUDIES, AT_ONCE = 3_000, 500
MATCHERS: dict[str, Matcher] = {
    "a rare value": Equals(("rare 7",)),
    "some rare values": Equals(("rare 7", "rare 70")),
    "a common value": Equals(("common",)),
    "a rare prefix": Like("rare 10*"),
    "every value": Like("*"),
}


@pytest.fixture
async def filled(url: str, statements: list[Statement]) -> AsyncIterator[Database]:
    """A database with some thousand labels at each level."""
    database = open_database(url)
    for first in range(0, STUDIES, AT_ONCE):
        await database.instances.add([sample(n, **modality("CT")) for n in range(first, first + AT_ONCE)], NOON)
    engine = create_engine(url)
    with engine.begin() as connection:
        for level, table in ((1, studies), (2, series), (3, instances)):
            rows = connection.execute(select(table.c.key, table.c.partition_key, table.c.shard)).all()
            new = [
                {
                    "level": level,
                    "owner": key,
                    "name": f"label {level}",
                    "value": f"rare {number}" if number % 10 == 7 or number % 10 == 0 else "common",
                    "partition_key": partition_key,
                    "shard": shard,
                }
                for number, (key, partition_key, shard) in enumerate(sorted(map(tuple, rows)))
            ]
            connection.execute(insert(labels), new)
        connection.execute(text("ANALYZE"))
    engine.dispose()
    yield database
    await database.close()


async def test_no_search_by_a_label_scans_a_whole_table(
    filled: Database, url: str, statements: list[Statement]
) -> None:
    for kind, matcher in MATCHERS.items():
        for level in Level:
            names = [f"label {of}" for of in Level if of <= level]
            for some in (*((name,) for name in names), tuple(names)):
                query = Query(level, EVERYTHING, (Condition(LabelKey(some, level), (matcher,)),), limit=50)
                for sql, plan in (await plans(filled, url, statements, query)).items():
                    assert not bad(url, plan), (kind, some, level, sql, plan)


async def test_a_rare_label_is_found_by_an_index_on_its_owner(
    filled: Database, url: str, statements: list[Statement]
) -> None:
    condition = Condition(LabelKey(("label 1",), Level.INSTANCE), (Equals(("rare 7",)),))
    found = await plans(filled, url, statements, Query(Level.INSTANCE, EVERYTHING, (condition,), limit=50))
    [page] = [
        plan for sql, plan in found.items() if "LIMIT" in sql.upper() and "FROM instances" in sql.replace("\n", " ")
    ]
    assert any("study_key" in step for step in page), page
