"""`python -m bench.parts.worklist_search`: add workitems to an index, search them, print a table.

Everything runs in this process, without gRPC and HTTP: the times are the cost of a search in the core without
transport. Searches run one at a time. With several sizes, kinds of searches alternate between them, so that a temporary
slowdown of the machine affects all sizes.

Workitems are written as rows of the index, in the form in which `SqlWorkitems.add` writes them, because a transaction
for each of a million would take hours. With PostgreSQL they are copied.
"""

import asyncio
import gc
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from sqlalchemy import Connection, Table, create_engine, make_url, text

from bench.index.data import StudyFacts, study_facts
from server.adapters.sql import engine
from server.adapters.sql.tables.worklist import workitem_texts, workitem_values, workitems
from server.adapters.sql.worklist.values import rows_of, text_of
from server.dicom.worklist.data_set import serialise
from server.dicom.worklist.search_keys import search_values
from server.domain.access import Access
from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.domain.search.request import Term
from server.domain.worklist.search import WorkitemSearch, WorkitemSearches
from server.model.call import EVERYBODY, Call
from server.model.errors import Exhausted
from tests.worklist import code, data_set, performed, workitem

Row = dict[str, float | str]

PER_DAY = 1_000
STATIONS = 200
"""Scheduled stations; each is of one of `CLASSES`."""

CLASSES = ("CT", "MR", "CAD", "READ", "XA")
_BATCH = 2_000
_REPETITIONS = 5
_CALL = Call("bench", EVERYBODY)
_PARTITION = 1  # the key of the default partition
_WORKLISTS = ("neuro", "chest", "breast", "worklist")


@dataclass(frozen=True, slots=True)
class WorkitemFacts:
    """A workitem by number, with the values that searches use. `study`: that to which it belongs."""

    number: int
    state: str
    study: StudyFacts

    @property
    def uid(self) -> str:
        """Return the SOP Instance UID."""
        return f"2.25.{self.number + 1}"

    @property
    def station(self) -> str:
        """Return the code of the scheduled station."""
        return f"STATION{self.number * 7 % STATIONS:03d}"

    @property
    def performer(self) -> str:
        """Return the code of the scheduled human performer."""
        return f"DR{self.number * 13 % 400:03d}"

    @property
    def priority(self) -> str:
        """Return the priority: one in fifty is HIGH."""
        return "HIGH" if self.number % 50 == 3 else "LOW" if self.number % 10 == 1 else "MEDIUM"

    @property
    def values(self) -> dict[str, str]:
        """Return the values in which workitems differ, by a name of three letters."""
        study, number = self.study, self.number
        return {
            "uid": self.uid,
            "sta": self.state,
            "std": study.uid,
            "acc": study.accession_number,
            "prc": f"RP{number:07d}",
            "pri": self.priority,
            "mod": f"{study.day}{number % 24:02d}3000.000000+0000",
            "lab": f"Task {number % 40}",
            "lis": _WORKLISTS[number % 4],
            "stn": self.station,
            "cla": CLASSES[int(self.station[-3:]) % len(CLASSES)],
            "roo": f"ROOM{number % 30}",
            "per": self.performer,
            "beg": f"{study.day}{6 + number % 14:02d}{number % 60:02d}00",
            "ser": study.series_uid(0),
            "sop": study.sop_uid(0, 0),
            "nam": f"{study.family}^{study.given}",
            "pat": study.patient_id,
            "bir": f"{1930 + number // 2 % 80}0615",
            "sex": "FMO"[number // 2 % 3],
            "adm": f"ADM{number // 3:07d}",
        }


def facts_of(number: int, count: int) -> WorkitemFacts:
    """Return a workitem with a number from 0 of `count`; older ones are in final states."""
    age, chance = count - number, random.Random(number)
    state = "CANCELED" if chance.random() < 0.04 else "COMPLETED"
    if age <= 5 * PER_DAY:
        state = "SCHEDULED"
    elif age <= 5 * PER_DAY + 300:
        state = "IN PROGRESS"
    return WorkitemFacts(number, state, study_facts(number, PER_DAY))


def varying(of: Mapping[str, str]) -> dict[str, Any]:
    """Return the searchable attributes in which workitems differ."""
    return data_set(
        SOPInstanceUID=of["uid"],
        ScheduledProcedureStepPriority=of["pri"],
        ScheduledProcedureStepModificationDateTime=of["mod"],
        ProcedureStepLabel=of["lab"],
        WorklistLabel=of["lis"],
        ScheduledStationNameCodeSequence=[data_set(CodeValue=of["stn"])],
        ScheduledStationClassCodeSequence=[data_set(CodeValue=of["cla"])],
        ScheduledStationGeographicLocationCodeSequence=[data_set(CodeValue=of["roo"])],
        ScheduledHumanPerformersSequence=[data_set(HumanPerformerCodeSequence=[data_set(CodeValue=of["per"])])],
        ScheduledProcedureStepStartDateTime=of["beg"],
        StudyInstanceUID=of["std"],
        InputInformationSequence=[
            data_set(
                StudyInstanceUID=of["std"],
                SeriesInstanceUID=of["ser"],
                ReferencedSOPSequence=[data_set(ReferencedSOPInstanceUID=of["sop"])],
            )
        ],
        PatientName=of["nam"],
        PatientID=of["pat"],
        PatientBirthDate=of["bir"],
        PatientSex=of["sex"],
        AdmissionID=of["adm"],
        ReferencedRequestSequence=[
            data_set(StudyInstanceUID=of["std"], AccessionNumber=of["acc"], RequestedProcedureID=of["prc"])
        ],
        ProcedureStepState=of["sta"],
    )


def constant() -> dict[str, Any]:
    """Return the attributes that are the same in all workitems."""
    reader = data_set(
        HumanPerformerCodeSequence=[_meaning("99STAFF", "Somebody")],
        HumanPerformerName="Reader^Rita",
        HumanPerformerOrganization="Radiology",
    )
    references = data_set(
        TypeOfInstances="DICOM", ReferencedSOPSequence=[data_set(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2")]
    )
    request = data_set(
        IssuerOfAccessionNumberSequence=None,
        OrderPlacerIdentifierSequence=None,
        OrderFillerIdentifierSequence=None,
        RequestedProcedureDescription="Chest CT",
        RequestedProcedureCodeSequence=[code("24627-2", "LN", "Chest CT")],
        RequestingService="Pulmonology",
    )
    return (
        workitem(
            "TransactionUID",
            SOPClassUID="1.2.840.10008.5.1.4.34.6.1",
            ScheduledStationNameCodeSequence=[_meaning("99STATION", "A station")],
            ScheduledStationClassCodeSequence=[_meaning("99CLASS", "A class")],
            ScheduledStationGeographicLocationCodeSequence=[_meaning("99ROOM", "A room")],
            ScheduledHumanPerformersSequence=[reader],
            ScheduledWorkitemCodeSequence=[code("110005", "DCM", "Interpretation")],
            InputInformationSequence=[references],
            IssuerOfPatientID="HOSPITAL",
            ReferencedRequestSequence=[request],
        )
        | performed()
    )


def _meaning(scheme: str, meaning: str) -> dict[str, Any]:
    return data_set(CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _joined(one: Any, other: Any) -> Any:
    """Return a data set with the attributes of two; items of sequences are joined in the same way."""
    found = dict(one)
    for name, element in other.items():
        present = found.get(name, {})
        if element["vr"] == "SQ" and "Value" in present:
            items = zip(present["Value"], element["Value"], strict=True)
            element = {"vr": "SQ", "Value": [dict(sorted(_joined(*pair).items())) for pair in items]}
        found[name] = element
    return found


class Rows:
    """Creates the rows of many workitems; what all have in common is computed once."""

    def __init__(self, count: int) -> None:
        self._count = count
        marks = {name: f"<{name}>" for name in facts_of(0, 1).values}
        self._text = serialise(_joined(constant(), varying(marks)))
        always = replaced_by_varying(constant())
        self._values = rows_of(0, _PARTITION, search_values(always))

    def between(self, first: int, last: int) -> tuple[list[dict[str, Any]], ...]:
        """Return the rows of the workitems with some numbers, and those of their values and texts."""
        items, values, texts = [], [], []
        for number in range(first, min(last, self._count)):
            facts, key = facts_of(number, self._count), number + 1
            of = facts.values
            content = self._text
            for name, value in of.items():
                content = content.replace(f"<{name}>", value)
            items.append(
                {
                    "key": key,
                    "partition_key": _PARTITION,
                    "uid": facts.uid,
                    "state": facts.state,
                    "lock": "" if facts.state == "SCHEDULED" else "0" * 64,
                    "modified": number,
                    "elements": content,
                }
            )
            of_item = [row | {"workitem_key": key} for row in self._values]
            of_item += rows_of(key, _PARTITION, search_values(varying(of)))
            values += of_item
            texts.append(text_of(key, _PARTITION, of_item))
        return items, values, texts


def replaced_by_varying(always: dict[str, Any]) -> dict[str, Any]:
    """Return the constant attributes without those that `varying` replaces."""
    return {
        name: one for name, one in always.items() if one["vr"] == "SQ" or name not in varying(facts_of(0, 1).values)
    }


def fill(url: str, count: int) -> Row:
    """Add workitems, and create the index of their values afterwards, which takes less time; return their rate."""
    began = time.perf_counter()
    made = create_engine(url)
    is_postgresql = made.dialect.name == "postgresql"
    with made.begin() as connection:
        statistics_rows: Sequence[Any] = ()
        if is_postgresql:
            connection.execute(text("SELECT setval('workitem_keys', :last)"), {"last": count})
        else:
            statistics_rows = connection.execute(_STATISTICS).all()
        for index in workitem_values.indexes:
            index.drop(connection)
    made_rows = Rows(count)
    for first in range(0, count, _BATCH):
        rows = made_rows.between(first, first + _BATCH)
        with made.begin() as connection:
            for table, some in zip((workitems, workitem_values, workitem_texts), rows, strict=True):
                _insert(connection, table, some)
    with made.begin() as connection:
        for index in workitem_values.indexes:
            index.create(connection)
        if statistics_rows:  # removed with the index
            connection.execute(text("DELETE FROM sqlite_stat1 WHERE tbl = 'workitem_values'"))
            connection.exec_driver_sql(
                "INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", [tuple(row) for row in statistics_rows]
            )
    if is_postgresql:
        with made.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in (workitems, workitem_values, workitem_texts):
                connection.execute(text(f"VACUUM ANALYZE {table.name}"))
    made.dispose()
    return {"kind": "add", "per_second": round(count / (time.perf_counter() - began)), "cpu_ms": ""}


_STATISTICS = text("SELECT tbl, idx, stat FROM sqlite_stat1 WHERE tbl = 'workitem_values'")


def _insert(connection: Connection, table: Table, some: Sequence[dict[str, Any]]) -> None:
    if connection.dialect.name == "sqlite":
        names = list(some[0])
        marks = ", ".join("?" * len(names))
        statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})"
        connection.exec_driver_sql(statement, [tuple(row.values()) for row in some])
        return
    cursor: Any = connection.connection.cursor()
    with cursor.copy(f"COPY {table.name} ({', '.join(some[0])}) FROM STDIN") as copy:
        for row in some:
            copy.write_row(list(row.values()))


@dataclass(frozen=True)
class Kind:
    """A kind of search: its requests, and the least number of matches on the page of each."""

    name: str
    requests: Sequence[WorkitemSearch]
    least: int


def _search(*terms: tuple[str, str], page_size: int = 20, **fields: Any) -> WorkitemSearch:
    return WorkitemSearch(terms=tuple(Term(name, (value,)) for name, value in terms), page_size=page_size, **fields)


def kinds(count: int, token: str) -> list[Kind]:
    """Return the kinds of search. `token`: page token of a distant page of all workitems."""
    chance = random.Random(count)
    some = [facts_of(chance.randrange(count), count) for _ in range(100)]
    families = sorted({facts_of(number, count).study.family for number in range(count - 300, count)})
    frequent = [one for one in families if not one.startswith("Q")][:6]
    rare = [one for one in map(facts_of, range(3_000), [count] * 3_000) if one.study.family.startswith("Q")]
    today, yesterday = facts_of(count - 1, count).study.day, facts_of(count - 1 - PER_DAY, count).study.day
    state, start = "ProcedureStepState", "ScheduledProcedureStepStartDateTime"
    station, of_class = "ScheduledStationNameCodeSequence.CodeValue", "ScheduledStationClassCodeSequence.CodeValue"

    def each(
        make: Callable[[WorkitemFacts], WorkitemSearch], of: Sequence[WorkitemFacts] = some
    ) -> list[WorkitemSearch]:
        return [make(one) for one in of]

    def total(*terms: tuple[str, str]) -> WorkitemSearch:
        return _search(*terms, page_size=1, total_count=True)

    return [
        Kind("patient_id", each(lambda one: _search(("PatientID", one.study.patient_id))), 1),
        Kind(
            "accession_number", each(lambda one: _search((_REQUEST + "AccessionNumber", one.study.accession_number))), 1
        ),
        Kind(
            "requested_procedure_id",
            each(lambda one: _search((_REQUEST + "RequestedProcedureID", f"RP{one.number:07d}"))),
            1,
        ),
        Kind("study_uid", each(lambda one: _search(("StudyInstanceUID", one.study.uid))), 1),
        Kind("workitem_uid", each(lambda one: _search(("SOPInstanceUID", one.uid))), 1),
        Kind("admission_id", each(lambda one: _search(("AdmissionID", f"ADM{one.number // 3:07d}"))), 1),
        Kind("state_scheduled", [_search((state, "SCHEDULED"))], 20),
        Kind("state_in_progress", [_search((state, "IN PROGRESS"))], 20),
        Kind("state_completed", [_search((state, "COMPLETED"))], 20),
        Kind("state_of_two", [_search((state, "SCHEDULED\\IN PROGRESS"))], 20),
        Kind("priority_high", [_search(("ScheduledProcedureStepPriority", "HIGH"))], 20),
        Kind(
            "priority_high_scheduled", [_search(("ScheduledProcedureStepPriority", "HIGH"), (state, "SCHEDULED"))], 20
        ),
        Kind("worklist_scheduled", [_search(("WorklistLabel", "neuro"), (state, "SCHEDULED"))], 20),
        Kind("station", each(lambda one: _search((station, one.station)), some[:20]), 1),
        Kind(
            "station_scheduled", each(lambda one: _search((station, one.station), (state, "SCHEDULED")), some[:20]), 1
        ),
        Kind(
            "station_in_progress",
            each(lambda one: _search((station, one.station), (state, "IN PROGRESS")), some[:20]),
            0,
        ),
        Kind("station_canceled", each(lambda one: _search((station, one.station), (state, "CANCELED")), some[:20]), 0),
        Kind(
            "station_day_scheduled",
            each(lambda one: _search((station, one.station), (start, today), (state, "SCHEDULED")), some[:20]),
            0,
        ),
        Kind("class_scheduled", [_search((of_class, one), (state, "SCHEDULED")) for one in CLASSES], 20),
        Kind(
            "class_and_scheme",
            [
                _search((of_class, one), (of_class.replace("CodeValue", "CodingSchemeDesignator"), "99CLASS"))
                for one in CLASSES
            ],
            20,
        ),
        Kind(
            "room",
            [_search(("ScheduledStationGeographicLocationCodeSequence.CodeValue", f"ROOM{n}")) for n in range(5)],
            20,
        ),
        Kind("performer", each(lambda one: _search((_PERFORMER, one.performer)), some[:20]), 1),
        Kind(
            "performer_scheduled",
            each(lambda one: _search((_PERFORMER, one.performer), (state, "SCHEDULED")), some[:20]),
            1,
        ),
        Kind("start_day", each(lambda one: _search((start, one.study.day))), 1),
        Kind("start_two_days", each(lambda one: _search((start, f"{one.study.day}-{one.study.next_day}"))), 20),
        Kind("start_from_yesterday", [_search((start, f"{yesterday}-"))], 20),
        Kind("start_hour_scheduled", [_search((start, f"{today}08-{today}09"), (state, "SCHEDULED"))], 1),
        Kind("start_any", [_search((start, "20000101-"))], 20),
        Kind("start_old_scheduled", [_search((start, "-20000201"), (state, "SCHEDULED"))], 0),
        Kind(
            "name_whole",
            each(lambda one: _search(("PatientName", f"{one.study.family}^{one.study.given}"), page_size=1)),
            1,
        ),
        Kind("name_begins_frequent", [_search(("PatientName", f"{one}*"), page_size=10) for one in frequent], 1),
        Kind("name_contains_frequent", [_search(("PatientName", f"*{one[1:]}*"), page_size=10) for one in frequent], 1),
        Kind("name_contains_rare", each(lambda one: _search(("PatientName", f"*{one.study.family[2:]}*")), rare), 1),
        Kind("name_contains_nothing", [_search(("PatientName", "*qqqqq*"))], 0),
        Kind(
            "name_fuzzy_frequent",
            [_search(("PatientName", one[:4]), page_size=10, fuzzy_matching=True) for one in frequent],
            1,
        ),
        Kind(
            "name_fuzzy_rare",
            each(lambda one: _search(("PatientName", one.study.family), fuzzy_matching=True), rare),
            1,
        ),
        Kind(
            "name_fuzzy_two",
            each(
                lambda one: _search(
                    ("PatientName", f"{one.study.family[:4]} {one.study.given}"), page_size=1, fuzzy_matching=True
                )
            ),
            1,
        ),
        Kind("patient_id_contains", each(lambda one: _search(("PatientID", f"*{one.study.patient_id[2:]}*"))), 1),
        Kind("label_contains", [_search(("ProcedureStepLabel", "*ask 7*"))], 20),
        Kind("no_patient_id", [_search(("PatientID", '""'), empty_value_matching=True)], 0),
        Kind("first_page", [_search(page_size=50)], 50),
        Kind("deep_offset", [_search(page_size=50, skip=int(count * part)) for part in (0.8, 0.85, 0.9)], 50),
        Kind("deep_offset_of_state", [_search((state, "COMPLETED"), page_size=50, skip=int(count * 0.2))], 50),
        Kind("page_token", [_search(page_size=50, page_token=token)], 50),
        Kind("total_all", [total()], 1),
        Kind("total_patient_id", each(lambda one: total(("PatientID", one.study.patient_id))), 1),
        Kind("total_day", each(lambda one: total((start, one.study.day)), some[:10]), 1),
        Kind("total_scheduled", [total((state, "SCHEDULED"))], 1),
        Kind("total_completed", [total((state, "COMPLETED"))], 1),
        Kind(
            "total_station_scheduled",
            each(lambda one: total((station, one.station), (state, "SCHEDULED")), some[:5]),
            1,
        ),
    ]


_REQUEST = "ReferencedRequestSequence."
_PERFORMER = "ScheduledHumanPerformersSequence.HumanPerformerCodeSequence.CodeValue"


@dataclass(frozen=True)
class _Index:
    """An index of some size, and its search service."""

    count: int
    dialect: str
    searches: WorkitemSearches


async def _measured(indexes: Sequence[_Index], of_kind: Sequence[Kind]) -> list[Row]:
    times: list[list[float]] = [[] for _ in indexes]
    best_cpu = [float("inf")] * len(indexes)
    for repetition in range(_REPETITIONS + 1):
        for number, (index, kind) in enumerate(zip(indexes, of_kind, strict=True)):
            runs, cpu = max(1, 20 // len(kind.requests)), time.process_time()
            deadline = time.monotonic() + 5
            done = 0
            for request in list(kind.requests) * runs:
                start = time.perf_counter()
                found_count = await _count(index.searches, request)
                done += 1
                if repetition:  # the first one fills caches
                    times[number].append(time.perf_counter() - start)
                if found_count is not None and found_count < kind.least:
                    raise AssertionError(f"{kind.name} found {found_count} matches")
                if time.monotonic() > deadline:
                    break
            best_cpu[number] = min(best_cpu[number], (time.process_time() - cpu) / done)
    found: list[Row] = []
    for index, kind, taken, least_cpu in zip(indexes, of_kind, times, best_cpu, strict=True):
        quantiles = statistics.quantiles(taken, n=100)
        found.append(
            {
                "workitems": index.count,
                "database": index.dialect,
                "kind": kind.name,
                "p50_ms": round(quantiles[49] * 1000, 3),
                "p95_ms": round(quantiles[94] * 1000, 3),
                "cpu_ms": round(least_cpu * 1000, 3),
            }
        )
    return found


async def _count(searches: WorkitemSearches, request: WorkitemSearch) -> int | None:
    """Return the number of matches on the page; None if the search exceeds its time limit, which is then its time."""
    try:
        return len((await searches.search(_CALL, request)).matches)
    except Exhausted:
        return None


async def _run(sizes: Sequence[tuple[int, str]], only: Sequence[str], report: Callable[[Row], None]) -> None:
    async with AsyncExitStack() as stack:
        indexes, tokens = [], []
        for count, url in sizes:
            await asyncio.to_thread(engine.migrate, url)
            database = engine.open_database(url)
            stack.push_async_callback(database.close)
            names = PartitionNames(database.partitions, enabled=False, now=lambda: datetime.now(UTC))
            searches = WorkitemSearches(access=Access(names, ReadOnlyState()), record=database.workitems)
            index = _Index(count, make_url(url).get_backend_name(), searches)
            if not (await searches.search(_CALL, _search(page_size=1))).matches:
                added = await asyncio.to_thread(fill, url, count)
                report({"workitems": count, "database": index.dialect, **added})
            far = await searches.search(_CALL, _search(page_size=1, skip=int(count * 0.9)))
            indexes.append(index)
            tokens.append(far.next_page_token)
        gc.collect()
        gc.freeze()
        of_indexes = [kinds(index.count, token) for index, token in zip(indexes, tokens, strict=True)]
        for of_kind in zip(*of_indexes, strict=True):
            if only and of_kind[0].name not in only:
                continue
            for row in await _measured(indexes, of_kind):
                report(row)


def main(
    workitems: Annotated[list[int] | None, typer.Option(help="Number of workitems; may be repeated.")] = None,
    database: Annotated[
        list[str] | None,
        typer.Option(help="SQLAlchemy URL or SQLite path, for each size; a filled index is used as it is."),
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind of search; may be repeated.")] = None,
) -> None:
    """Measure searches in worklists of the given sizes, each of at least 3,000 workitems."""
    sizes = workitems or [7_000]
    found: list[Row] = []

    def report(row: Row) -> None:
        found.append(row)
        typer.echo(json.dumps(row), err=True)

    with tempfile.TemporaryDirectory() as directory:
        paths = database or [f"{directory}/{number}.db" for number, _ in enumerate(sizes)]
        urls = [path if "://" in path else f"sqlite:///{path}" for path in paths]
        asyncio.run(_run(list(zip(sizes, urls, strict=True)), kind or (), report))
    typer.echo("| kind | workitems | p50 ms | p95 ms | CPU ms |")
    typer.echo("|---|--:|--:|--:|--:|")
    for row in found:
        first, last = (f"{row['per_second']} a second", "") if "per_second" in row else (row["p50_ms"], row["p95_ms"])
        typer.echo(f"| {row['kind']} | {row['workitems']} | {first} | {last} | {row['cpu_ms']} |")


if __name__ == "__main__":
    typer.run(main)
