"""An index with many studies, in a few minutes: the first ones are stored, the others are copies of them.

Copies have other UIDs, identifiers, years, and numbers of series and instances. The index has no files.
"""

import asyncio
from datetime import UTC, datetime

from sqlalchemy import Connection, create_engine, text

from bench.index import data
from bench.index.operations import add_tags, index_some
from server.adapters.sql import engine
from server.adapters.sql.tables import schema
from server.adapters.sql.tables.studies import STUDIES_PER_BLOCK
from server.dicom.matching.query_tags import extract
from server.model.instance import NewInstance

_BATCH = 2000
STORED = 20_000
"""Number of studies that are stored."""

_SHIFTED = "CAST(:more AS bigint)"
_SUFFIX = "'.' || CAST(:n AS text)"
_YEAR = "CAST(CAST(substr(study_date, 1, 4) AS integer) + CAST(:n AS integer) AS text) || substr(study_date, 5)"
_COPIED = {
    "versions": {
        "version": f"version + {_SHIFTED}",
        "instance_key": f"instance_key + {_SHIFTED}",
        "locator": f"locator || {_SUFFIX}",
    },
    "metadata": {"version": f"version + {_SHIFTED}"},
    "studies": {
        "key": f"key + {_SHIFTED}",
        "uid": f"uid || {_SUFFIX}",
        "elements": f"replace(elements, uid || '\"', uid || {_SUFFIX} || '\"')",
        "patient_id": f"patient_id || {_SUFFIX}",
        "accession_number": f"accession_number || {_SUFFIX}",
        "study_date": _YEAR,
        "max_version": f"max_version + {_SHIFTED}",
        "instance_count": "CASE WHEN key % 100 = 0 THEN 200 + key % 301 ELSE 1 + key % 4 END",
        "series_count": "CASE WHEN key % 100 = 0 THEN 1 + key % 7 ELSE 1 + key % 2 END",
    },
    "series": {
        "key": f"key + {_SHIFTED}",
        "uid": f"uid || {_SUFFIX}",
        "study_key": f"study_key + {_SHIFTED}",
        "max_version": f"max_version + {_SHIFTED}",
    },
    "instances": {
        "version": f"version + {_SHIFTED}",
        "key": f"key + {_SHIFTED}",
        "study_key": f"study_key + {_SHIFTED}",
        "series_key": f"series_key + {_SHIFTED}",
        "uid": f"uid || {_SUFFIX}",
    },
    "extended_query_tag_values": {"owner": f"owner + {_SHIFTED}"},
}
"""By table, the columns in which copies differ."""

_LABELS = """
INSERT INTO labels (level, owner, name, value, partition_key, shard)
SELECT 1, key, 'project', 'lung', partition_key, shard FROM studies WHERE key % 50 = 0
"""


async def fill(url: str, studies: int, *, is_complete: bool = False) -> None:
    """Add studies to an empty index; if it is to be complete, also with an extended query tag and labels."""
    first = min(studies, STORED)
    database = engine.open_database(url, extract=extract)
    try:
        if is_complete:
            operation = await add_tags(database, data.TAGS[:1])
            while await index_some(database, operation.id, _BATCH):
                pass
        batch: list[NewInstance] = []
        for number in range(first):
            batch.append(next(data.instances_of(data.study_facts(number))))
            if len(batch) == _BATCH or number == first - 1:
                await database.instances.add(batch, datetime.now(UTC))
                batch = []
    finally:
        await database.close()
    await asyncio.to_thread(_multiply, url, studies)
    if is_complete:
        await asyncio.to_thread(_complete, url)


def _multiply(url: str, studies: int) -> None:
    made = create_engine(url)
    with made.begin() as connection:
        first = connection.execute(text("SELECT max(key) FROM studies")).scalar_one()
    for number in range(1, -(-studies // first)):
        copied = {"more": number * first, "n": number, "last": min(first, studies - number * first)}
        with made.begin() as connection:
            for name, changed in _COPIED.items():
                columns = {column.name: changed.get(column.name, column.name) for column in schema.tables[name].c}
                insert = f"INSERT INTO {name} ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM {name}"
                key = "owner" if "owner" in columns else next(iter(schema.tables[name].primary_key.columns)).name
                connection.execute(text(f"{insert} WHERE {key} <= :last"), copied)
    with made.begin() as connection:
        _count(connection, studies)
    made.dispose()


def _count(connection: Connection, studies: int) -> None:
    """Make the numbers of studies in blocks, and the last assigned keys, those of the present rows."""
    connection.execute(text("DELETE FROM study_blocks"))
    connection.execute(text("DELETE FROM study_block_changes"))
    blocks = f"SELECT partition_key, key / {STUDIES_PER_BLOCK}, count(*) FROM studies GROUP BY 1, 2"
    connection.execute(text(f"INSERT INTO study_blocks (partition_key, block, studies) {blocks}"))
    if connection.dialect.name == "sqlite":
        last = text("UPDATE counters SET version = :n, study_key = :n, series_key = :n")
        connection.execute(last, {"n": studies})
        return
    for name in ("study_keys", "series_keys", "version_numbers"):
        connection.execute(text(f"SELECT setval('{name}', :n)"), {"n": studies})


def _complete(url: str) -> None:
    """Add labels; PostgreSQL gathers statistics, as autovacuum does."""
    made = create_engine(url)
    with made.begin() as connection:
        connection.execute(text(_LABELS))
    if made.dialect.name == "postgresql":
        with made.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
    made.dispose()
