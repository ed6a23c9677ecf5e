"""`python -m bench.index.reindex`: re-indexing of stored instances by new tags, in a worker that is killed several
times.

The benchmark fills an index, adds three tags, and runs a worker process as `dicomstore up` does. The worker is killed
(SIGKILL) after a fifth, a half and four fifths of the work, and restarted. Meanwhile this process searches at a
moderate rate, as it did before. In the end the index must equal one that had the tags from the start.
"""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from sqlalchemy import create_engine, text

from bench.figures import Row, percentile_ms, table
from bench.index import data as index_data
from bench.index.data import study_facts
from bench.index.operations import add_tags, index_some
from facade.versions import STUDY, VERSIONS
from server.adapters.sql import engine
from server.adapters.sql.engine import Database
from server.dicom.matching.query_tags import extract
from server.domain.access import Access
from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.domain.search.request import SearchRequest, Term
from server.domain.search.search import Search
from server.model.call import EVERYBODY, Call
from server.model.instance import NewInstance
from server.model.operation import Operation, OperationState
from server.model.search.query import Level

app = typer.Typer(add_completion=False)

_CALL = Call("bench", EVERYBODY)
_KILL_AT = (0.2, 0.5, 0.8)
_IDLE_SEARCHES = 400
_PAUSE_SECONDS = 0.01
_BATCH = 1000
_BAD_EVERY = 500
_BAD = {"vr": "DA", "Value": ["yesterday"]}
_DATE = index_data.TAGS[2].tag
_TICKS = os.sysconf("SC_CLK_TCK")
_TOO_FEW = "too few to measure"
_COLUMNS = {"figure": "", "value": ""}
_SEARCH_COLUMNS = {
    "search": "search",
    "idle_p50_ms": "idle p50 ms",
    "idle_p95_ms": "idle p95 ms",
    "p50_ms": "meanwhile p50 ms",
    "p95_ms": "meanwhile p95 ms",
    "count": "searches meanwhile",
}
_ATTRIBUTES = VERSIONS["v2"].returned_attributes[STUDY]


@dataclass
class Work:
    """Figures of the worker processes, without their start: from their first step to their end."""

    total: int = 0
    instances: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    all_seconds: float = 0.0
    """Including starts and kills."""


@dataclass
class Latency:
    """Times of searches in seconds, by name; `counts` enables recording."""

    counts: bool = True
    times: dict[str, list[float]] = field(default_factory=dict)

    def percentiles(self, name: str) -> tuple[float, float]:
        """Return p50 and p95 in ms."""
        ascending = sorted(self.times[name])
        return percentile_ms(ascending, 50), percentile_ms(ascending, 95)


def instances_of(count: int) -> Iterator[Sequence[NewInstance]]:
    """Yield batches of instances with the metadata of an image, some with values that cannot be indexed."""
    number = 0
    for batch in index_data.batches(count, _BATCH):
        made = []
        for instance in batch:
            number += 1
            elements = orjson.loads(instance.dicom_json) | _BESIDES
            if number % _BAD_EVERY == 0:
                elements[_DATE] = _BAD
            made.append(replace(instance, dicom_json=orjson.dumps(elements)))
        yield made


def _other_attributes() -> dict[str, Any]:
    """Return the other attributes of an image: about 5 KB of short values."""
    return {
        f"0018{number:04X}": {"vr": "LO", "Value": [f"VALUE NUMBER {number}"]} for number in range(0x9000, 0x9000 + 96)
    }


_BESIDES = _other_attributes()


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Database]:
    database = engine.open_database(url, extract=extract)
    try:
        yield database
    finally:
        await database.close()


async def _fill(database: Database, count: int) -> None:
    for batch in instances_of(count):
        await database.instances.add(batch, datetime.now(UTC))


@contextmanager
def _worker(url: str, data: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DICOMSTORE_")}
    environment |= {"DICOMSTORE_DATABASE": url, "DICOMSTORE_DATA": str(data), "DICOMSTORE_LOG_LEVEL": "WARNING"}
    with subprocess.Popen([sys.executable, "-m", "server", "work"], env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _peak_mb(pid: int) -> float:
    sizes = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return round(int(sizes[0]) * 1024 / 1e6, 1) if sizes else 0.0


async def _search_on(search: Search, count: int, into: Latency, most: int | None = None) -> None:
    """Search alternately by patient ID and for the first page, with pauses, until cancelled or `most` is reached."""
    chance = random.Random(count)
    done = 0
    while most is None or done < most:
        facts = study_facts(chance.randrange(count // index_data.INSTANCES_PER_STUDY))
        for name, terms in (("patient_id", (Term("PatientID", (facts.patient_id,)),)), ("first_page", ())):
            request = SearchRequest(Level.STUDY, terms=terms, include_attributes=_ATTRIBUTES, page_size=50)
            began = time.perf_counter()
            found = await search.search(_CALL, request)
            if into.counts:
                into.times.setdefault(name, []).append(time.perf_counter() - began)
            if not found.matches:
                raise AssertionError(f"{name} found nothing")
            await asyncio.sleep(_PAUSE_SECONDS)
            done += 1


async def _until(database: Database, operation_id: str, least: int, worker: subprocess.Popen[bytes]) -> Operation:
    """Wait until at least `least` instances are processed, or all."""
    while True:
        operation = await database.operations.get(operation_id)
        assert operation is not None
        if operation.state in (OperationState.FAILED, OperationState.CANCELED) or worker.poll() is not None:
            raise RuntimeError("the operation or its worker ended unexpectedly")
        if operation.done >= least:
            return operation
        await asyncio.sleep(0.05)


async def _work(database: Database, url: str, data: Path, latency: Latency) -> Work:
    """Add the tags and run workers; all but the last are killed during the work."""
    work, start = Work(), time.perf_counter()
    operation = await add_tags(database, index_data.TAGS)
    for part in (*_KILL_AT, 1):
        if operation.done == operation.total:  # completed before this process saw the previous part
            break
        end = round(part * operation.total)
        with _worker(url, data) as process:
            first = await _until(database, operation.id, operation.done + 1, process)
            latency.counts = True
            began, cpu = time.perf_counter(), _cpu_seconds(process.pid)
            operation = await _until(database, operation.id, end, process)
            latency.counts = False
            work.instances += operation.done - first.done
            work.seconds += time.perf_counter() - began
            work.cpu_seconds += _cpu_seconds(process.pid) - cpu
            work.peak_mb = max(work.peak_mb, _peak_mb(process.pid))
            process.send_signal(signal.SIGKILL if part < 1 else signal.SIGTERM)
            process.wait()
    work.total = operation.total
    work.all_seconds = time.perf_counter() - start
    return work


def indexed(url: str) -> list[list[tuple[Any, ...]]]:
    """Return all values, errors and tags, without times and numbers."""
    statements = (
        'SELECT tag_key, owner, part, "text", number FROM extended_query_tag_values ORDER BY 1, 2, 3',
        "SELECT tag_key, version, message FROM extended_query_tag_errors ORDER BY 1, 2",
        "SELECT key, tag, status, query_status, operation_id, error_count FROM extended_query_tags ORDER BY 1",
    )
    database = create_engine(url)
    with database.connect() as connection:
        rows = [[tuple(row) for row in connection.execute(text(statement))] for statement in statements]
    database.dispose()
    return rows


async def _measure(url: str, fresh_url: str, data: Path, count: int) -> tuple[list[Row], list[Row]]:
    """Return the rows of both tables.

    Raises:
        RuntimeError: the result differs from an index that had the tags from the start.
    """
    for each in (url, fresh_url):
        await asyncio.to_thread(engine.migrate, each)
    idle, meanwhile = Latency(), Latency(counts=False)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(_opened(url))
        await _fill(database, count)
        names = PartitionNames(database.partitions, enabled=False, now=lambda: datetime.now(UTC))
        search = Search(database.instances, Access(names, ReadOnlyState()), database.tags, database.labels)
        await _search_on(search, count, Latency(), _IDLE_SEARCHES // 4)  # fills caches
        await _search_on(search, count, idle, _IDLE_SEARCHES)
        searching = asyncio.create_task(_search_on(search, count, meanwhile))
        work = await _work(database, url, data, meanwhile)
        searching.cancel()
        await asyncio.gather(searching, return_exceptions=True)
        fresh = await stack.enter_async_context(_opened(fresh_url))
        operation = await add_tags(fresh, index_data.TAGS)
        while await index_some(fresh, operation.id, 1):
            pass
        await _fill(fresh, count)
    result, expected = indexed(url), indexed(fresh_url)
    if result != expected or not all(result):
        raise RuntimeError("the index differs from the expected one")
    figures: list[Row] = [
        {"figure": "instances", "value": f"{work.total:,}"},
        {"figure": "instances a second", "value": round(work.instances / work.seconds) if work.instances else _TOO_FEW},
        {
            "figure": "CPU seconds of the worker for 1,000 instances",
            "value": round(work.cpu_seconds / work.instances * 1000, 3) if work.instances else _TOO_FEW,
        },
        {"figure": "largest resident set of a worker, MB", "value": work.peak_mb},
        {"figure": f"seconds in all, with {len(_KILL_AT)} kills and starts", "value": round(work.all_seconds, 1)},
        {"figure": "values and errors equal to a fresh index", "value": f"{len(result[0]):,} and {len(result[1]):,}"},
    ]
    searches: list[Row] = []
    for name in idle.times:
        before = idle.percentiles(name)
        during = meanwhile.percentiles(name) if name in meanwhile.times else (_TOO_FEW, _TOO_FEW)
        searches.append(
            {
                "search": name,
                "idle_p50_ms": before[0],
                "idle_p95_ms": before[1],
                "p50_ms": during[0],
                "p95_ms": during[1],
                "count": len(meanwhile.times.get(name, ())),
            }
        )
    return figures, searches


@app.command()
def main(
    instances: Annotated[int, typer.Option(help="Number of instances in the archive.")] = 100_000,
    database: Annotated[
        str, typer.Option(help="SQLAlchemy URL of an empty PostgreSQL database; SQLite by default.")
    ] = "",
    fresh: Annotated[str, typer.Option(help="URL of another one, which gets the tags from the start.")] = "",
) -> None:
    """Measure re-indexing, and check its result."""
    if bool(database) != bool(fresh):
        raise typer.BadParameter("--database and --fresh require each other")
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        urls = (database, fresh) if database else (f"sqlite:///{data}/index.db", f"sqlite:///{data}/fresh.db")
        figures, searches = asyncio.run(_measure(*urls, data, instances))
    typer.echo("\n".join([*table(figures, _COLUMNS), "", *table(searches, _SEARCH_COLUMNS)]))


if __name__ == "__main__":
    app()
