"""`python -m bench.index.scale`: fill an index through its port, search it, print a table.

Everything runs in this process, without gRPC and HTTP: the times are the cost of a search in the core without
transport. Searches run one at a time, with nothing else running. With several sizes, kinds of searches alternate
between them, so that a temporary slowdown of the machine affects all sizes.
"""

import asyncio
import gc
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import make_url

from bench.index import data
from bench.index.data import StudyFacts, study_facts
from bench.index.operations import add_tags, index_some
from facade.versions import INSTANCE as LEVEL_OF_INSTANCE
from facade.versions import SERIES as LEVEL_OF_SERIES
from facade.versions import STUDY as LEVEL_OF_STUDY
from facade.versions import VERSIONS
from server.adapters.sql import engine
from server.dicom.matching.query_tags import extract
from server.domain.access import Access
from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.domain.search.request import SearchRequest, Term
from server.domain.search.search import Search
from server.model.call import EVERYBODY, Call
from server.model.ids import parse_address
from server.model.search.query import Level

app = typer.Typer(add_completion=False)

_STUDY, _SERIES, _INSTANCE = (
    VERSIONS["v2"].returned_attributes[level] for level in (LEVEL_OF_STUDY, LEVEL_OF_SERIES, LEVEL_OF_INSTANCE)
)
_CALL = Call("bench", EVERYBODY)
_URL = "http://127.0.0.1/v2"
_STEP = 500
_BATCH = 1000
_REPETITIONS = 5

Row = dict[str, float | str]


@dataclass(frozen=True)
class Kind:
    """A kind of query: its requests, and the number of matches on the first page of each, for any archive size."""

    name: str
    requests: Sequence[SearchRequest]
    least: int


def _studies(*terms: tuple[str, str], page_size: int = 100, skip: int = 0, token: str = "") -> SearchRequest:
    named = tuple(Term(name, (value,)) for name, value in terms)
    return SearchRequest(
        Level.STUDY,
        terms=named,
        include_attributes=_STUDY,
        page_size=page_size,
        skip=skip,
        page_token=token,
        retrieve_url_base=_URL,
    )


def _series(*terms: tuple[str, str]) -> SearchRequest:
    named = tuple(Term(name, (value,)) for name, value in terms)
    return SearchRequest(
        Level.SERIES, terms=named, include_attributes=(*_STUDY, *_SERIES), page_size=20, retrieve_url_base=_URL
    )


def _instances(*terms: tuple[str, str]) -> SearchRequest:
    named = tuple(Term(name, (value,)) for name, value in terms)
    every = (*_STUDY, *_SERIES, *_INSTANCE)
    return SearchRequest(Level.INSTANCE, terms=named, include_attributes=every, page_size=20, retrieve_url_base=_URL)


def kinds(instances: int, token: str, study_facts: Callable[[int], StudyFacts] = study_facts) -> list[Kind]:
    """Return the kinds of query for an archive of this size.

    Args:
        token: page token of a distant page.
        study_facts: returns the study with a number from 0.
    """
    count = instances // data.INSTANCES_PER_STUDY
    chance = random.Random(count)
    some = [study_facts(chance.randrange(count)) for _ in range(100)]
    cts = [study_facts(chance.randrange(0, count, data.STUDIES_PER_CT)) for _ in range(20)]
    frequent = sorted({facts.family for facts in (study_facts(n) for n in range(min(count, 1000)))}, key=_rank)[:6]
    rare = [facts for facts in map(study_facts, range(min(count, 3000))) if facts.family.startswith("Q")]

    def each(make: Callable[[StudyFacts], SearchRequest], facts: Sequence[StudyFacts] = some) -> list[SearchRequest]:
        return [make(one) for one in facts]

    return [
        Kind("patient_id", each(lambda s: _studies(("PatientID", s.patient_id))), 1),
        Kind("accession_number", each(lambda s: _studies(("AccessionNumber", s.accession_number))), 1),
        Kind("study_date_day", each(lambda s: _studies(("StudyDate", s.day))), 1),
        Kind("study_date_two_days", each(lambda s: _studies(("StudyDate", f"{s.day}-{s.next_day}"))), 1),
        Kind("name_begins_frequent", [_studies(("PatientName", f"{f}*"), page_size=10) for f in frequent], 10),
        Kind("name_contains_frequent", [_studies(("PatientName", f"*{f[1:]}*"), page_size=10) for f in frequent], 10),
        Kind("name_contains_rare", each(lambda s: _studies(("PatientName", f"*{s.family[2:]}*")), rare), 1),
        Kind("name_given", each(lambda s: _studies(("PatientName", f"*^{s.given}*"), page_size=2)), 2),
        Kind("name_contains_nothing", [_studies(("PatientName", "*qqqqq*")), _studies(("PatientName", "*^xyz*"))], 0),
        Kind("patient_id_contains", each(lambda s: _studies(("PatientID", f"*{s.patient_id[2:]}*"))), 2),
        Kind("description_contains", [_studies(("StudyDescription", "*contrast*"), page_size=20)], 20),
        Kind("first_page", [_studies(page_size=50)], 50),
        Kind("deep_offset", [_studies(page_size=50, skip=int(count * f)) for f in (0.8, 0.85, 0.9)], 50),
        Kind("page_token", [_studies(page_size=50, token=token)], 50),
        Kind("modalities_in_study", [_studies(("ModalitiesInStudy", m), page_size=10) for m in ("CT", "MR")], 10),
        Kind(
            "patient_id_and_modality",
            each(lambda s: _studies(("PatientID", s.patient_id), ("ModalitiesInStudy", s.modality))),
            1,
        ),
        Kind("study_by_uid", each(lambda s: _studies(("StudyInstanceUID", s.uid))), 1),
        Kind(
            "series_of_study",
            each(
                lambda s: SearchRequest(
                    Level.SERIES, parse_address("", s.uid), include_attributes=_SERIES, retrieve_url_base=_URL
                )
            ),
            1,
        ),
        Kind(
            "instances_of_series_250",
            each(
                lambda s: SearchRequest(
                    Level.INSTANCE,
                    parse_address("", s.uid, s.series_uid(0)),
                    include_attributes=_INSTANCE,
                    page_size=200,
                    retrieve_url_base=_URL,
                ),
                cts,
            ),
            200,
        ),
        Kind(
            "instance_by_uid",
            each(lambda s: _instances(("SOPInstanceUID", s.sop_uid(0, 0)))),
            1,
        ),
        Kind("series_by_number", [_series(("SeriesNumber", "2"))], 20),
        Kind("series_of_no_model", [_series(("ManufacturerModelName", "none such"))], 0),
        Kind("instances_of_sop_class", [_instances(("SOPClassUID", uid)) for uid in data.CLASSES.values()], 20),
        Kind("instances_of_no_sop_class", [_instances(("SOPClassUID", "1.2.3"))], 0),
        Kind("instances_of_modality", [_instances(("Modality", m)) for m in ("CT", "MR")], 20),
        Kind("tag_few_studies", each(lambda s: _studies(("DeviceSerialNumber", s.device), page_size=20)), 1),
        Kind("tag_many_studies", [_studies(("Manufacturer", m), page_size=20) for m in data.MAKERS], 20),
        Kind(
            "tag_days_of_instances", each(lambda s: _instances(("DateOfLastCalibration", f"{s.day}-{s.next_day}"))), 1
        ),
        Kind("tag_many_instances", [_instances(("DateOfLastCalibration", "20000101-"))], 20),
    ]


def _rank(family: str) -> int:
    return data.FAMILIES.index(family) if family in data.FAMILIES else len(data.FAMILIES)


async def _measured(archives: Sequence["_Archive"], kinds_of: Sequence[Kind]) -> list[Row]:
    """Return a row for each archive: percentiles of the search time and the CPU time, the best of several
    repetitions."""
    times: list[list[float]] = [[] for _ in archives]
    best_cpu = [float("inf")] * len(archives)
    for repetition in range(_REPETITIONS + 1):
        for number, (archive, kind) in enumerate(zip(archives, kinds_of, strict=True)):
            runs = max(1, 20 // len(kind.requests))
            cpu = time.process_time()
            for request in list(kind.requests) * runs:
                start = time.perf_counter()
                result = await archive.search.search(_CALL, request)
                if repetition:  # the first one fills caches
                    times[number].append(time.perf_counter() - start)
                if len(result.matches) < kind.least:
                    raise AssertionError(f"{kind.name} found {len(result.matches)} matches")
            best_cpu[number] = min(best_cpu[number], (time.process_time() - cpu) / (runs * len(kind.requests)))
    rows: list[Row] = []
    for archive, kind, taken, least_cpu in zip(archives, kinds_of, times, best_cpu, strict=True):
        quantiles = statistics.quantiles(taken, n=100)
        rows.append(
            {
                **archive.named,
                "kind": kind.name,
                "p50_ms": round(quantiles[49] * 1000, 3),
                "p95_ms": round(quantiles[94] * 1000, 3),
                "cpu_ms": round(least_cpu * 1000, 3),
            }
        )
    return rows


async def _fill(database: engine.Database, instances: int) -> Row:
    """Add all instances; their generation is not counted."""
    spent = cpu = 0.0
    added = 0
    for batch in data.batches(instances, _BATCH):
        start, start_cpu = time.perf_counter(), time.process_time()
        await database.instances.add(batch, datetime.now(UTC))
        spent, cpu = spent + time.perf_counter() - start, cpu + time.process_time() - start_cpu
        added += len(batch)
    return {"kind": "add", "per_second": round(added / spent), "cpu_ms": round(cpu / added * 1000, 4)}


async def _reindex(database: engine.Database, instances: int) -> Row:
    """Add extended query tags and re-index, in the steps of a worker."""
    operation = await add_tags(database, data.TAGS)
    start, cpu = time.perf_counter(), time.process_time()
    longest = 0.0
    more = True
    while more:
        began = time.perf_counter()
        more = await index_some(database, operation.id, _STEP)
        longest = max(longest, time.perf_counter() - began)
    spent, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "kind": "reindex",
        "per_second": round(instances / spent),
        "cpu_ms": round(cpu / instances * 1000, 4),
        "longest_step_ms": round(longest * 1000, 1),
    }


@dataclass(frozen=True)
class _Archive:
    """An index of some size, and its search service."""

    instances: int
    dialect: str
    database: engine.Database
    search: Search

    @property
    def named(self) -> Row:
        """Return the columns that identify it."""
        named: Row = {} if self.dialect == "sqlite" else {"database": self.dialect}
        return {"instances": self.instances, **named}


async def _run(sizes: Sequence[tuple[int, str]], report: Callable[[Row], None]) -> None:
    async with AsyncExitStack() as stack:
        archives: list[_Archive] = []
        for instances, url in sizes:
            await asyncio.to_thread(engine.migrate, url)
            database = engine.open_database(url, extract=extract)
            stack.push_async_callback(database.close)
            names = PartitionNames(database.partitions, enabled=False, now=lambda: datetime.now(UTC))
            archive = _Archive(
                instances,
                make_url(url).get_backend_name(),
                database,
                Search(database.instances, Access(names, ReadOnlyState()), database.tags, database.labels),
            )
            archives.append(archive)
            if not (await archive.search.search(_CALL, _studies(page_size=1))).matches:
                report(archive.named | await _fill(database, instances))
                report(archive.named | await _reindex(database, instances))
        gc.collect()
        gc.freeze()
        of_archives: list[list[Kind]] = []
        for archive in archives:
            count = archive.instances // data.INSTANCES_PER_STUDY
            far = await archive.search.search(_CALL, _studies(page_size=1, skip=int(count * 0.9)))
            # A token is valid for its query, which may have another page size but is the same otherwise.
            of_archives.append(kinds(archive.instances, far.next_page_token))
        for of_kind in zip(*of_archives, strict=True):
            for row in await _measured(archives, of_kind):
                report(row)


@app.command()
def main(
    instances: Annotated[
        list[int] | None, typer.Option(help="Number of instances in the archive; may be repeated.")
    ] = None,
    database: Annotated[
        list[str] | None,
        typer.Option(help="SQLAlchemy URL or SQLite path, for each size; a filled index is used as it is."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Also append the rows to this file, as JSON lines.")] = None,
) -> None:
    """Measure adding to and searching indexes of the given sizes, each of at least 5,000 instances."""
    sizes = instances or [5_000]
    rows: list[Row] = []

    def report(row: Row) -> None:
        rows.append(row)
        typer.echo(json.dumps(row), err=True)

    with tempfile.TemporaryDirectory() as directory:
        paths = database or [f"{directory}/{number}.db" for number, _ in enumerate(sizes)]
        urls = [path if "://" in path else f"sqlite:///{path}" for path in paths]
        asyncio.run(_run(list(zip(sizes, urls, strict=True)), report))
    typer.echo("| kind | instances | p50 ms | p95 ms | CPU ms |")
    typer.echo("|---|--:|--:|--:|--:|")
    for row in rows:
        first, last = (f"{row['per_second']} a second", "") if "per_second" in row else (row["p50_ms"], row["p95_ms"])
        typer.echo(f"| {row['kind']} | {row['instances']} | {first} | {last} | {row['cpu_ms']} |")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    app()
