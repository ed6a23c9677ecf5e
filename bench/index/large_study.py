"""`python -m bench.index.large_study`: delete and restore a study of many instances in an index, and print the times.

Everything runs in this process, without gRPC and HTTP. After each deletion the script checks that nothing of the study
is found, before background work has begun, and that the change feed has one entry for each instance when it has ended.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from bench.figures import Row, table
from bench.index.data import instances_of, study_facts
from server.adapters.sql import engine
from server.adapters.sql.engine import Database
from server.model.ids import DEFAULT_PARTITION, Address, Uid
from server.model.instance import NewInstance
from server.model.search.query import Level, Query
from server.ports.index import Sequenced

app = typer.Typer(add_completion=False)

_BATCH = 1000
_RETENTION = timedelta(days=3)
_COLUMNS = {
    "deletion": "deletion",
    "instances": "instances",
    "delete_ms": "delete, ms",
    "entries_ms": "until all entries are in the change feed, ms",
    "restore_ms": "restore, ms",
    "restored_entries_ms": "until its entries are in the change feed, ms",
}

Result = TypeVar("Result")


@app.command()
def main(
    instances: Annotated[int, typer.Option(help="Instances of the study.")] = 100_000,
    series: Annotated[int, typer.Option(help="Series of the study.")] = 100,
    repetitions: Annotated[int, typer.Option(help="Number of deletions; each but the last is undone.")] = 3,
    database: Annotated[str, typer.Option(help="URL of an empty database; by default an SQLite file.")] = "",
    output: Annotated[Path | None, typer.Option(help="Also write the rows to this file, as JSON lines.")] = None,
) -> None:
    """Print the times of each deletion and restoration, in milliseconds."""
    with tempfile.TemporaryDirectory(prefix="dicomstore-bench-") as directory:
        url = database or f"sqlite:///{directory}/index.db"
        rows = asyncio.run(_measure(url, instances, series, repetitions))
    for line in table(rows, _COLUMNS):
        typer.echo(line)
    if output is not None:
        with output.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


async def _measure(url: str, instances: int, series: int, repetitions: int) -> Sequence[Row]:
    engine.migrate(url)
    database = engine.open_database(url)
    try:
        facts = replace(study_facts(1), sizes=(instances // series,) * series)
        study = Address(DEFAULT_PARTITION, Uid(facts.uid))
        for batch in _batches(instances_of(facts)):
            await database.instances.add(batch, datetime.now(UTC))
            await _sequence(database)
        return [await _once(database, study, number, sum(facts.sizes)) for number in range(1, repetitions + 1)]
    finally:
        await database.close()


async def _once(database: Database, study: Address, number: int, count: int) -> Row:
    """Delete and restore the study; return the times."""
    index = database.instances
    now = datetime.now(UTC)
    deletion, deleted = await _timed(index.delete(study, now, now + _RETENTION))
    assert deleted == count
    await _assert_invisible(database, study)
    background, _ = await _timed(_sequence(database))
    await _assert_invisible(database, study)
    latest = await database.changes.latest(metadata=False)
    assert latest is not None
    row: Row = {
        "deletion": number,
        "instances": count,
        "delete_ms": round(deletion, 1),
        "entries_ms": round(background),
    }
    restoration, restored = await _timed(index.undelete(study, now, now))
    assert restored == count
    state = await index.state(study)
    assert state is not None
    assert state.instance_count == count
    after, _ = await _timed(_sequence(database))
    return row | {"restore_ms": round(restoration), "restored_entries_ms": round(after)}


async def _assert_invisible(database: Database, study: Address) -> None:
    index = database.instances
    assert await index.state(study) is None
    assert not await index.find(study)
    for level in Level:
        assert not await index.search(Query(level, study, (), limit=10))


async def _sequence(database: Database) -> None:
    while await database.changes.sequence() is Sequenced.MAY_HAVE_MORE:
        pass


def _batches(every: Iterator[NewInstance]) -> Iterator[Sequence[NewInstance]]:
    batch: list[NewInstance] = []
    for one in every:
        batch.append(one)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _timed(work: Awaitable[Result]) -> tuple[float, Result]:
    """Return the duration of `work` in milliseconds, and its result."""
    began = time.perf_counter()
    result = await work
    return (time.perf_counter() - began) * 1000, result


if __name__ == "__main__":
    app()
