"""`python -m bench.index.billion --database URL`: an index of a billion instances, simulated on an empty PostgreSQL.

The index receives a uniform sample of the archive: every nth study, so that keys, dates and names are distributed as in
all of it. From the growth between the first half of the sample and all of it follow the sizes. Then the files of all
tables and indexes are extended to those sizes by holes, which need no disk space, and the statistics are changed
accordingly: the planner takes sizes from the files, so it plans searches as in the large index.

What a store costs when the indexes do not fit into memory follows from the pages that it changes: after a checkpoint,
PostgreSQL writes each page completely to its log when it is changed for the first time, and counts these writes.

The server must be on this machine and should be one that is deleted afterwards. Autovacuum, which would fill the holes,
is off meanwhile.
"""

import asyncio
import json
import math
import os
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import psycopg
import typer
from sqlalchemy import Engine, event, make_url

from bench.figures import Row, table
from bench.index import data
from bench.index.data import StudyFacts, instances_of, study_facts
from bench.index.scale import Kind, kinds
from server.adapters.sql import engine
from server.adapters.sql.pipeline import Answer, Pipeline
from server.domain.access import Access
from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.domain.search.request import SearchRequest
from server.domain.search.search import Search
from server.model.call import EVERYBODY, Call
from server.model.instance import NewInstance
from server.ports.index import Sequenced

app = typer.Typer(add_completion=False)

_BATCH = 1000
_INSERTED = 2000
_SEGMENT_BYTES = 1 << 30
_PAGE_BYTES = 8192
_YEARS = 27

_SIZES = """
SELECT owner.relname, relation.relname, relation.relkind, relation.oid::bigint, relation.reltuples::float8,
    pg_relation_size(relation.oid), pg_relation_filepath(relation.oid)
FROM pg_class AS owner
JOIN pg_namespace AS space ON space.oid = owner.relnamespace AND space.nspname = 'public'
JOIN pg_class AS relation ON relation.oid = owner.oid OR relation.oid = owner.reltoastrelid
    OR relation.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid IN (owner.oid, owner.reltoastrelid))
WHERE owner.relkind = 'r'
"""

_PARENTS = (
    ("instances", "study_key", 0.2),
    ("instances", "series_key", 0.3),
    ("series", "study_key", 0.67),
)
"""Columns whose values are frequent in the sample only, as of a CT, and the part of them that is distinct."""

_WITHOUT_FREQUENT_VALUES = f"""
UPDATE pg_statistic SET stadistinct = %(distinct)s, {
    ", ".join(f"stakind{slot} = CASE stakind{slot} WHEN 1 THEN 0 ELSE stakind{slot} END" for slot in range(1, 6))
}
WHERE starelid = %(table)s::regclass
    AND staattnum = (SELECT attnum FROM pg_attribute WHERE attrelid = %(table)s::regclass AND attname = %(column)s)
"""

Statement = tuple[Any, Any]


@dataclass(frozen=True)
class Relation:
    """A table, an index, or the values of a table that are stored outside of its rows.

    owner: its table.
    rows: number of rows or entries.
    """

    owner: str
    name: str
    is_index: bool
    oid: int
    rows: float
    size_bytes: int
    path: str


@dataclass(frozen=True)
class Sample:
    """Studies that are distributed evenly over an archive which has grown evenly for some years.

    instances: of the sample.
    target: instances of the archive.
    """

    instances: int
    target: int

    def __len__(self) -> int:
        """Return the number of studies."""
        return self.instances // data.INSTANCES_PER_STUDY

    def __getitem__(self, index: int) -> StudyFacts:
        """Return a study by its position in the order of time; one in a hundred is a CT."""
        number = index * (self.target // self.instances)
        # The step may be a multiple of that of the CTs.
        return self.study(number - number % data.STUDIES_PER_CT + index % data.STUDIES_PER_CT)

    def study(self, number: int) -> StudyFacts:
        """Return a study of the archive. Its UID is random, as those of different devices are in an order of theirs."""
        studies = self.target // data.INSTANCES_PER_STUDY
        facts = study_facts(number, studies // (_YEARS * 365) + 1)
        return replace(facts, uid=f"2.25.{random.Random(number).getrandbits(120)}")


def with_metadata(new: NewInstance, metadata: dict[str, Any]) -> NewInstance:
    """Return an instance whose metadata has in addition that of a real one."""
    return replace(new, dicom_json=orjson.dumps(metadata | orjson.loads(new.dicom_json)))


def ct_metadata() -> dict[str, Any]:
    """Return the DICOM JSON of a real CT slice without its pixel data."""
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    found = dcmread(str(get_testdata_file("CT_small.dcm")), stop_before_pixels=True)
    return dict(found.to_json_dict(suppress_invalid_tags=True))


async def add(database: engine.Database, instances: Sequence[NewInstance]) -> float:
    """Add instances with their entries of the change feed; return the seconds."""
    start = time.perf_counter()
    for first in range(0, len(instances), _BATCH):
        await database.instances.add(instances[first : first + _BATCH], datetime.now(UTC))
        while await database.changes.sequence() is Sequenced.MAY_HAVE_MORE:
            pass
    return time.perf_counter() - start


def relations(postgres: psycopg.Connection[Any]) -> dict[str, Relation]:
    """Return all tables and indexes by name."""
    postgres.execute("VACUUM (ANALYZE)")
    rows = postgres.execute(_SIZES).fetchall()
    return {
        name: Relation(owner, name, kind == "i", oid, max(tuples, 0.0), size, path)
        for owner, name, kind, oid, tuples, size, path in rows
    }


def extrapolated(half: dict[str, Relation], full: dict[str, Relation], sampled: int, target: int) -> dict[str, int]:
    """Return the size of each relation in bytes, from what it grew in the second half of the sample."""
    # The rows of some tables are soon removed again.
    lasting = {name for name in full if full[full[name].owner].rows > 0}
    grown = {name: (full[name].size_bytes - half[name].size_bytes) * (name in lasting) for name in full}
    per_instance = {name: grown[name] / (sampled / 2) for name in full}
    return {name: full[name].size_bytes + math.ceil(per_instance[name] * (target - sampled)) for name in full}


@contextmanager
def inflated(postgres: psycopg.Connection[Any], found: dict[str, Relation], sizes: dict[str, int]) -> Iterator[None]:
    """Extend the files of all relations by holes, and change the statistics to match."""
    [[directory]] = postgres.execute("SHOW data_directory").fetchall()
    postgres.execute("CHECKPOINT")
    created: list[Path] = []
    extended: list[tuple[Path, int]] = []
    try:
        for relation in found.values():
            pages = sizes[relation.name] // _PAGE_BYTES
            if pages * _PAGE_BYTES <= relation.size_bytes:
                continue
            first = Path(directory, relation.path)
            last, rest = divmod(pages * _PAGE_BYTES, _SEGMENT_BYTES)
            if relation.size_bytes > _SEGMENT_BYTES:
                raise typer.BadParameter("The sample is too large.")
            extended.append((first, first.stat().st_size))
            os.truncate(first, _SEGMENT_BYTES if last else rest)
            for number in range(1, last + 1):
                segment = first.with_name(f"{first.name}.{number}")
                segment.touch()
                created.append(segment)
                shutil.copystat(first, segment)
                os.chown(segment, first.stat().st_uid, first.stat().st_gid)
                os.truncate(segment, _SEGMENT_BYTES if number < last else rest)
            factor = pages * _PAGE_BYTES / max(relation.size_bytes, 1)  # of the number of rows
            postgres.execute(
                "UPDATE pg_class SET relpages = %s, reltuples = %s WHERE oid = %s",
                (min(pages, 2**31 - 1), relation.rows * factor, relation.oid),
            )
        for table_name, column, part in _PARENTS:
            postgres.execute(_WITHOUT_FREQUENT_VALUES, {"table": table_name, "column": column, "distinct": -part})
        yield
    finally:
        for path in created:
            path.unlink()
        for path, size in extended:
            os.truncate(path, size)


@contextmanager
def changed_settings(postgres: psycopg.Connection[Any]) -> Iterator[None]:
    """Switch autovacuum off, and complete pages in the log on."""
    wanted = {"autovacuum": "off", "full_page_writes": "on"}
    before = {name: postgres.execute(f"SHOW {name}".encode()).fetchall()[0][0] for name in wanted}
    _set(postgres, wanted)
    try:
        yield
    finally:
        _set(postgres, before)


def _set(postgres: psycopg.Connection[Any], settings: dict[str, str]) -> None:
    for name, value in settings.items():
        postgres.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
    postgres.execute("SELECT pg_reload_conf()")


@contextmanager
def recorded(statements: list[Statement]) -> Iterator[None]:
    """Add the statements of all connections to a list."""
    queue = Pipeline.add

    def add_recorded(pipeline: Pipeline, statement: str, arguments: Sequence[Any] = ()) -> Answer:
        statements.append((statement, arguments))
        return queue(pipeline, statement, arguments)

    def executed(_: object, __: object, sql: str, parameters: Any, *___: object) -> None:
        statements.append((sql, parameters))

    Pipeline.add = add_recorded  # type: ignore[method-assign, assignment]
    event.listen(Engine, "before_cursor_execute", executed)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", executed)
        Pipeline.add = queue  # type: ignore[method-assign]


def plan_of(postgres: psycopg.Connection[Any], statements: Sequence[Statement]) -> tuple[float, set[str]]:
    """Return the estimated cost of some queries together, and the tables that they would read completely."""
    cost, whole = 0.0, set()
    for sql, parameters in {str(sql): (sql, parameters) for sql, parameters in statements}.values():
        if not str(sql).lstrip().startswith("SELECT"):
            continue
        cursor = psycopg.Cursor(postgres) if isinstance(parameters, dict) else psycopg.RawCursor(postgres)
        [[plans]] = cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}".encode(), parameters).fetchall()
        cost += plans[0]["Plan"]["Total Cost"]
        steps = [plans[0]["Plan"]]
        while steps:
            step = steps.pop()
            steps += step.get("Plans", [])
            if step["Node Type"] == "Seq Scan":
                whole.add(step["Relation Name"])
    return cost, whole


def _search(database: engine.Database) -> Search:
    names = PartitionNames(database.partitions, enabled=False, now=lambda: datetime.now(UTC))
    return Search(database.instances, Access(names, ReadOnlyState()), database.tags, database.labels)


async def _statements(database: engine.Database, request: SearchRequest) -> list[Statement]:
    search = _search(database)
    await search.search(Call("bench", EVERYBODY), request)  # fills caches
    found: list[Statement] = []
    with recorded(found):
        await search.search(Call("bench", EVERYBODY), request)
    return found


def _searches(sample: Sample) -> list[Kind]:
    """Return the kinds of searches, without those by extended query tags and by tokens of a page."""
    return [
        one
        for one in kinds(sample.instances, "", sample.__getitem__)
        if not one.name.startswith(("tag_", "page_token"))
    ]


async def _simulate(url: str, sample: Sample) -> tuple[list[Row], list[Row], Row]:
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    await asyncio.to_thread(engine.migrate, url)
    database = engine.open_database(url)
    metadata = ct_metadata()
    with psycopg.connect(dsn, autocommit=True) as postgres, changed_settings(postgres):
        instances = [
            with_metadata(new, metadata)
            for facts in map(sample.__getitem__, range(len(sample)))
            for new in instances_of(facts)
        ]
        await add(database, instances[: len(instances) // 2])
        half = relations(postgres)
        await add(database, instances[len(instances) // 2 :])
        full = relations(postgres)
        sizes = extrapolated(half, full, len(instances), sample.target)
        inserts = await _inserts(database, postgres, metadata, sample)
        requests = {kind.name: kind.requests[0] for kind in _searches(sample)}
        statements = {name: await _statements(database, request) for name, request in requests.items()}
        small = {name: plan_of(postgres, found) for name, found in statements.items()}
        with inflated(postgres, full, sizes):
            large = {name: plan_of(postgres, found) for name, found in statements.items()}
    await database.close()
    return _size_rows(full, sizes, len(instances), sample.target), _plan_rows(small, large), inserts


async def _inserts(
    database: engine.Database, postgres: psycopg.Connection[Any], metadata: dict[str, Any], sample: Sample
) -> Row:
    """Measure what adding new studies changes."""
    new: list[NewInstance] = []
    number = sample.target // data.INSTANCES_PER_STUDY
    while len(new) < _INSERTED:
        number += 1
        new += [with_metadata(one, metadata) for one in instances_of(sample.study(number))]
    postgres.execute("CHECKPOINT")
    before = _log(postgres)
    seconds = await add(database, new)
    after = _log(postgres)
    pages, log_bytes = (int(end - start) for start, end in zip(before, after, strict=True))
    return {
        "instances": len(new),
        "per_second": round(len(new) / seconds),
        "pages": round(pages / len(new), 2),
        "log_bytes": round((log_bytes - pages * _PAGE_BYTES) / len(new)) if log_bytes > pages * _PAGE_BYTES else 0,
    }


def _log(postgres: psycopg.Connection[Any]) -> tuple[int, int]:
    """Return the numbers of complete pages and of bytes that the server has written to its log."""
    postgres.execute("SELECT pg_stat_force_next_flush()")
    [row] = postgres.execute("SELECT wal_fpi, wal_bytes FROM pg_stat_wal").fetchall()
    return int(row[0]), int(row[1])


def _size_rows(full: dict[str, Relation], sizes: dict[str, int], sampled: int, target: int) -> list[Row]:
    rows: list[Row] = []
    for owner in sorted({one.owner for one in full.values()}, key=lambda name: -_of(name, full, sizes, index=None)):
        total = _of(owner, full, sizes, index=None)
        if total < target / 100:
            continue
        rows.append(
            {
                "table": owner,
                "rows": round(full[owner].rows / sampled, 3),
                "bytes": round(total / target),
                "table_gb": round(_of(owner, full, sizes, index=False) / 1e9, 1),
                "index_gb": round(_of(owner, full, sizes, index=True) / 1e9, 1),
            }
        )
    everything = sum(sizes.values())
    rows.append({"table": "all", "rows": "", "bytes": round(everything / target), "table_gb": round(everything / 1e9)})
    return rows


def _of(owner: str, full: dict[str, Relation], sizes: dict[str, int], *, index: bool | None) -> int:
    return sum(sizes[one.name] for one in full.values() if one.owner == owner and index in (None, one.is_index))


def _plan_rows(small: dict[str, tuple[float, set[str]]], large: dict[str, tuple[float, set[str]]]) -> list[Row]:
    return [
        {
            "search": name,
            "small": round(small[name][0]),
            "large": round(cost),
            "whole": ", ".join(sorted(whole)) or "none",
        }
        for name, (cost, whole) in large.items()
    ]


@app.command()
def main(
    database: Annotated[str, typer.Option(help="SQLAlchemy URL of an empty PostgreSQL on this machine.")],
    sampled: Annotated[int, typer.Option("--sample", help="Number of instances to add.")] = 200_000,
    target: Annotated[int, typer.Option(help="Number of instances to simulate.")] = 1_000_000_000,
    output: Annotated[Path | None, typer.Option(help="Also write the figures to this file, as JSON.")] = None,
) -> None:
    """Print the sizes of tables and indexes, the plans of searches, and what a store changes."""
    sizes, plans, inserts = asyncio.run(_simulate(database, Sample(sampled, target)))
    size_columns = {
        "table": "table",
        "rows": "rows per instance",
        "bytes": "bytes per instance",
        "table_gb": "table, GB",
        "index_gb": "indexes, GB",
    }
    plan_columns = {
        "search": "search",
        "small": "cost in the sample",
        "large": f"cost of {target:,} instances",
        "whole": "tables read completely",
    }
    insert_columns = {
        "instances": "instances added",
        "per_second": "per second",
        "pages": "pages changed per instance",
        "log_bytes": "bytes of log per instance, without these pages",
    }
    for rows, columns in ((sizes, size_columns), (plans, plan_columns), ([inserts], insert_columns)):
        for line in table(rows, columns):
            typer.echo(line)
        typer.echo("")
    if output is not None:
        output.write_text(json.dumps({"sizes": sizes, "plans": plans, "inserts": inserts}, indent=2))


if __name__ == "__main__":
    app()
