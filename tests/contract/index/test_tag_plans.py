"""Query plans: no search by an extended query tag scans a whole table, for few or many matches."""

from collections.abc import AsyncIterator, Mapping, Sequence

import orjson
import pytest
from sqlalchemy import create_engine, text

from server.adapters.sql.engine import Database, open_database
from server.model.search.query import Between, Condition, Equals, Level, Matcher, NameMatches, Numbers, Query, TagKey
from server.model.search.query_tag import NewTag, Tag, TagFault, TagValue
from tests.contract.index.samples import EVERYTHING, NOON, modality, sample
from tests.contract.index.test_plans import Statement, plans, statements
from tests.operations import add_tags, index_all

__all__ = ["statements"]  # the fixture

STUDIES, AT_ONCE = 3_000, 500
TAGS = {
    "text": "LO",
    "day": "DA",
    "number": "FD",
    "name": "PN",
}
LEVELS = {Level.STUDY: "0010", Level.SERIES: "0020", Level.INSTANCE: "0030"}
MATCHERS: dict[str, tuple[str, tuple[Matcher, ...]]] = {
    "a rare value": ("text", (Equals(("rare 7",)),)),
    "some rare values": ("text", (Equals(("rare 7", "rare 70")),)),
    "a common value": ("text", (Equals(("common",)),)),
    "a few days": ("day", (Between("20240107", "20240107"),)),
    "many days": ("day", (Between("20240101", None),)),
    "a rare number": ("number", (Numbers((7.0,)),)),
    "a name": ("name", (NameMatches(("nurse^7",)),)),
}


def new_tag(name: str, level: Level) -> NewTag:
    return NewTag(f"{LEVELS[level]}{list(TAGS).index(name):04}", "", TAGS[name], "", level)


def extract(dicom_json: bytes, tags: Sequence[Tag], invalid_tags: frozenset[str]) -> Mapping[int, TagValue | TagFault]:
    data = orjson.loads(dicom_json)
    values = {tag.key: data[tag.new.vr] for tag in tags}
    return {key: TagValue(value) if isinstance(value, str) else TagValue("", value) for key, value in values.items()}


def values(number: int) -> bytes:
    """Return the DICOM JSON of one of many data sets."""
    return orjson.dumps(
        {
            "LO": f"rare {number}" if number % 10 == 7 else "common",
            "DA": f"202401{number % 20 + 1:02}" if number % 1_000 == 6 else f"20240{number % 8 + 2}01",
            "FD": float(number),
            "PN": f"nurse^{number}",
        }
    )


@pytest.fixture
async def filled(url: str, statements: list[Statement]) -> AsyncIterator[Database]:
    """A database with some thousand values of query tags at each level."""
    database = open_database(url, extract=extract)
    await add_tags(database, [new_tag(name, level) for name in TAGS for level in Level], "a" * 32, NOON)
    await index_all(database, "a" * 32, NOON, most=100)
    for first in range(0, STUDIES, AT_ONCE):
        new = [sample(number, dicom_json=values(number), **modality("CT")) for number in range(first, first + AT_ONCE)]
        await database.instances.add(new, NOON)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    engine.dispose()
    yield database
    await database.close()


async def steps(
    database: Database,
    url: str,
    ran: list[Statement],
    kind: str,
    of: Level,
    level: Level,
) -> dict[str, list[str]]:
    """Return the plans of a search at a level by a query tag of a level."""
    name, matchers = MATCHERS[kind]
    tag = await database.tags.get(new_tag(name, of).tag)
    assert tag is not None
    return await plans(
        database, url, ran, Query(level, EVERYTHING, (Condition(TagKey(tag.key, tag.new.level), matchers),), limit=50)
    )


def bad(url: str, plan: Sequence[str]) -> list[str]:
    """Return the steps of a plan that scan a whole table."""
    if url.startswith("sqlite"):
        made = ("SCAN page", "SCAN anon_1", "SCAN (subquery")  # small temporary results
        return [step for step in plan if step.startswith("SCAN") and not step.startswith(made)]
    return [step for step in plan if "Seq Scan" in step]


async def test_no_search_by_a_query_tag_scans_a_whole_table(
    filled: Database,
    url: str,
    statements: list[Statement],
) -> None:
    for kind in MATCHERS:
        for of in Level:
            for level in Level:
                if of <= level:
                    for sql, plan in (await steps(filled, url, statements, kind, of, level)).items():
                        assert not bad(url, plan), (kind, of, level, sql, plan)
