"""Query plans: no frequent search scans a whole table.

PostgreSQL plans by its statistics, so the tests make sequential scans expensive, as they are in a large table.
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, event, make_url

from server.adapters.sql.engine import Database, open_database
from server.adapters.sql.pipeline import Answer, Pipeline
from server.adapters.sql.search import search, study_search
from server.adapters.sql.search.study_search import FAR
from server.adapters.sql.tables.studies import STUDIES_PER_BLOCK, study_blocks
from server.model.change import ChangeWindow
from server.model.ids import DEFAULT_PARTITION, PartitionName
from server.model.operation import Operation, OperationState, OperationUpdate
from server.model.search.query import (
    Between,
    Condition,
    DateTimeRange,
    Empty,
    Equals,
    Level,
    Like,
    NameMatches,
    NameWords,
    Order,
    Query,
    SortKey,
)
from tests.contract.index.samples import EVERYTHING, NOON, identity, modality, sample, series_ref, study_ref, uid

Statement = tuple[str, Any]

BY_PATIENT_ID = Condition("PatientID", (Equals(("p1",)),))
BY_MODALITY = Condition("Modality", (Equals(("ct",)),))
IN_JANUARY = Condition("StudyDate", (Between("20260101", "20260131"),))
IN_A_SPAN = Condition(
    "StudyDate",
    (
        DateTimeRange(
            Between("20260101220000.000000", "20260131060000.000000"),
            Between("20260101120000.000000", "20260130200000.000000"),
        ),
    ),
)
OF_A_REQUEST = Condition("RequestAttributesSequence.RequestedProcedureID", (Equals(("r1",)),))
A_STEP = Condition("RequestAttributesSequence.ScheduledProcedureStepID", (Like("s*"),))
NAMED_DOE = Condition("PatientName", (NameMatches(("*doe*",)),))

IN_ORDER = {
    "the first page of studies": Query(Level.STUDY, EVERYTHING, (), limit=50),
    "a later page of studies": Query(Level.STUDY, EVERYTHING, (), limit=50, after=7),
    "studies at a small offset": Query(Level.STUDY, EVERYTHING, (), limit=50, skip=FAR - 1),
    "studies at a large offset": Query(Level.STUDY, EVERYTHING, (), limit=50, skip=FAR + 7),
    "studies by patient ID": Query(Level.STUDY, EVERYTHING, (BY_PATIENT_ID,), limit=50),
    "studies of a day": Query(Level.STUDY, EVERYTHING, (Condition("StudyDate", (Equals(("20260101",)),)),), limit=50),
    "studies by accession number": Query(
        Level.STUDY, EVERYTHING, (Condition("AccessionNumber", (Equals(("a1",)),)),), limit=50
    ),
    "studies by description": Query(
        Level.STUDY, EVERYTHING, (Condition("StudyDescription", (Equals(("chest pa",)),)),), limit=50
    ),
    "one study": Query(Level.STUDY, study_ref(), (), limit=50),
    "the series of a study": Query(Level.SERIES, study_ref(), (), limit=50),
    "the instances of a study": Query(Level.INSTANCE, study_ref(), (), limit=50),
    "the instances of a series": Query(Level.INSTANCE, series_ref(), (), limit=50),
    "the first page of series": Query(Level.SERIES, EVERYTHING, (), limit=50),
    "the first page of instances": Query(Level.INSTANCE, EVERYTHING, (), limit=50),
    "series by modality": Query(Level.SERIES, EVERYTHING, (BY_MODALITY,), limit=50),
    "series by number": Query(Level.SERIES, EVERYTHING, (Condition("SeriesNumber", (Equals(("1",)),)),), limit=50),
    "series by model": Query(
        Level.SERIES, EVERYTHING, (Condition("ManufacturerModelName", (Equals(("m1",)),)),), limit=50
    ),
    "instances by SOP class": Query(
        Level.INSTANCE, EVERYTHING, (Condition("SOPClassUID", (Equals(("1.2",)),)),), limit=50
    ),
    "studies with no patient ID": Query(Level.STUDY, EVERYTHING, (Condition("PatientID", (Empty(),)),), limit=50),
    "the study list of a viewer": Query(
        Level.STUDY, EVERYTHING, (), limit=102, counts=True, newest=frozenset({Level.SERIES})
    ),
    "the series of a study, with the values of its newest instances": Query(
        Level.SERIES, study_ref(), (), limit=50, counts=True, newest=frozenset({Level.INSTANCE})
    ),
}
"""These come from an index in the order of the answer."""

OF_TEXT = {
    "a name that contains something": Query(Level.STUDY, EVERYTHING, (NAMED_DOE,), limit=50),
    "a name that begins so": Query(
        Level.STUDY, EVERYTHING, (Condition("PatientName", (NameMatches(("doe*",)),)),), limit=50
    ),
    "words of a name": Query(
        Level.STUDY, EVERYTHING, (Condition("PatientName", (NameWords(("john", "doe")),)),), limit=9
    ),
    "a later page of names": Query(Level.STUDY, EVERYTHING, (NAMED_DOE,), limit=50, after=7),
    "a patient ID with a substring": Query(
        Level.STUDY, EVERYTHING, (Condition("PatientID", (Like("*123*"),)),), limit=50
    ),
    "a description with a substring": Query(
        Level.STUDY, EVERYTHING, (Condition("StudyDescription", (Like("*chest*"),)),), limit=50
    ),
}
"""These come from the text index, and on SQLite in the order of the answer."""

SORTED = {
    "studies by several UIDs": Query(
        Level.STUDY, EVERYTHING, (Condition("StudyInstanceUID", (Equals((uid(1), uid(2))),)),), limit=50
    ),
    "studies by modality": Query(
        Level.STUDY, EVERYTHING, (Condition("ModalitiesInStudy", (Equals(("ct", "mr")),)),), limit=50
    ),
    "studies of some days": Query(Level.STUDY, EVERYTHING, (IN_JANUARY,), limit=50),
    "a name that begins with one letter": Query(
        Level.STUDY, EVERYTHING, (Condition("PatientName", (NameMatches(("d*",)),)),), limit=50
    ),
    "a patient ID with a prefix": Query(Level.STUDY, EVERYTHING, (Condition("PatientID", (Like("p1*"),)),), limit=50),
    "studies of some days by name": Query(Level.STUDY, EVERYTHING, (IN_JANUARY, NAMED_DOE), limit=50),
    "studies of a patient by name": Query(Level.STUDY, EVERYTHING, (BY_PATIENT_ID, NAMED_DOE), limit=50),
    "studies of a span of time": Query(Level.STUDY, EVERYTHING, (IN_JANUARY, IN_A_SPAN), limit=50),
    "series of a request": Query(Level.SERIES, EVERYTHING, (OF_A_REQUEST,), limit=50),
    "series of a step of a request": Query(Level.SERIES, EVERYTHING, (A_STEP, OF_A_REQUEST), limit=50),
    "series by UID": Query(
        Level.SERIES, EVERYTHING, (Condition("SeriesInstanceUID", (Equals((uid(1, 1),)),)),), limit=50
    ),
    "series of a patient": Query(Level.SERIES, EVERYTHING, (BY_PATIENT_ID,), limit=50),
    "instances of a patient": Query(Level.INSTANCE, EVERYTHING, (BY_PATIENT_ID,), limit=50),
    "an instance by UID": Query(
        Level.INSTANCE, EVERYTHING, (Condition("SOPInstanceUID", (Equals((identity().instance,)),)),), limit=50
    ),
}
"""An index leads to these; few have to be sorted."""

SPREAD = {
    "studies of some days",
    "studies of a span of time",
    "a name that begins with one letter",
    "a patient ID with a prefix",
}
"""Of these, an index may lead to many, and nothing else leads to fewer."""

ALL = IN_ORDER | OF_TEXT | SORTED


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Statement]]:
    """The statements run on either database, with their parameters."""
    ran: list[Statement] = []

    class Noting(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **rest: Any) -> Any:
            ran.append((query, params))
            return super().execute(query, params, **rest)

    add = Pipeline.add

    def noted(pipeline: Pipeline, statement: str, arguments: Sequence[Any] = ()) -> Answer:
        ran.append((statement, arguments))
        return add(pipeline, statement, arguments)

    def trace(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_trace_callback(lambda statement: ran.append((statement, ())))
        else:
            connection.cursor_factory = Noting

    monkeypatch.setattr(Pipeline, "add", noted)
    event.listen(Engine, "connect", trace)
    yield ran
    event.remove(Engine, "connect", trace)


@pytest.fixture
async def noted(url: str, statements: list[Statement]) -> Any:
    """A database with a few instances that records its statements."""
    database = open_database(url)
    keys = {"PatientID": "p1", "PatientName": "doe^john", "StudyDate": "20260101", "StudyDescription": "chest pa"}
    await database.instances.add(
        [sample(n, 1, m, study_keys=keys, **modality("CT")) for n in range(1, 4) for m in range(3)], NOON
    )
    engine = create_engine(url)
    with engine.begin() as connection:  # statistics as of many rows
        connection.execute(study_blocks.update().values(studies=STUDIES_PER_BLOCK))
        connection.execute(study_blocks.insert().values(partition_key=1, block=1, studies=STUDIES_PER_BLOCK))
    engine.dispose()
    yield database
    await database.close()


async def plans(
    database: Database, url: str, statements: list[Statement], query: Query, off: Sequence[str] = ("seqscan",)
) -> dict[str, list[str]]:
    """Return the plans of the statements of a query, one step per line; `off`: disabled options of PostgreSQL."""
    await database.instances.search(query)
    statements.clear()
    await database.instances.search(query)
    return explained(url, statements, off)


def explained(url: str, statements: list[Statement], off: Sequence[str] = ("seqscan",)) -> dict[str, list[str]]:
    """Return the plans of the queries among statements, as `plans` does."""
    selects = {str(sql): parameters for sql, parameters in statements if str(sql).startswith("SELECT")}
    assert selects
    if url.startswith("sqlite"):
        with sqlite3.connect(make_url(url).database or "") as connection:
            connection.create_function("REGEXP", 2, lambda _pattern, _text: True)
            # Text indexes also read their own tables, by key.
            ours = [sql for sql in selects if "'study_text_" not in sql and "'workitem_trigrams_" not in sql]
            explained = {sql: connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall() for sql in ours}
        connection.close()
        return {sql: [row[3] for row in rows] for sql, rows in explained.items()}
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn) as postgres:
        for kind in off:
            postgres.execute(f"SET enable_{kind} = off".encode())
        found = {}
        for sql, parameters in selects.items():
            by_name = isinstance(parameters, dict)  # a statement of SQLAlchemy; those of the pipeline have $1, $2 …
            cursor = psycopg.Cursor(postgres) if by_name else psycopg.RawCursor(postgres)
            found[sql] = [row[0] for row in cursor.execute(f"EXPLAIN {sql}".encode(), parameters).fetchall()]
        return found


@pytest.mark.parametrize(
    "window",
    [
        ChangeWindow(limit=10, after_sequence=3),
        ChangeWindow(limit=10, skip=7),
        ChangeWindow(limit=10, start=NOON, end=NOON + timedelta(hours=1)),
        None,
    ],
)
@pytest.mark.parametrize("names", [{DEFAULT_PARTITION}, {DEFAULT_PARTITION, PartitionName("other")}])
async def test_the_feed_of_some_partitions_is_read_by_their_index(
    noted: Database, url: str, statements: list[Statement], window: ChangeWindow | None, names: set[PartitionName]
) -> None:
    """Entries of other partitions are not read, however many there are."""
    await noted.partitions.create(PartitionName("other"), NOON)
    await noted.changes.list(ChangeWindow(limit=1, partitions=frozenset(names)))  # the keys of partitions are cached
    statements.clear()
    if window is None:
        await noted.changes.latest(metadata=False, partitions=frozenset(names))
    else:
        await noted.changes.list(replace(window, partitions=frozenset(names)))
    # Sorting a few entries costs nothing, whatever the statistics are of what was there before.
    found = explained(url, statements, off=("seqscan", "bitmapscan", "sort"))
    [steps] = [steps for sql, steps in found.items() if "changes AS entry" in sql]
    assert [step for step in steps if "ix_changes_partition_key_sequence" in step], steps
    assert not [step for step in steps if "Seq Scan" in step or step.startswith("SCAN")], steps


async def test_other_versions_than_the_current_ones_are_read_by_indexes(
    noted: Database, url: str, statements: list[Statement]
) -> None:
    running = Operation("0" * 32, "update", OperationState.RUNNING, NOON, NOON)
    await noted.operations.start("", lambda _: running)

    def unused(*_: object) -> Any:
        raise AssertionError

    async def read() -> None:
        statements.clear()
        await noted.instances.kept_versions(0, 9)
        await noted.instances.find(study_ref(1), as_of=5)
        await noted.updates.apply("0" * 32, study_ref(1), unused, NOON, lambda operation, _: OperationUpdate(operation))

    await read()
    await read()
    found = {sql: steps for sql, steps in explained(url, statements).items() if "instance_key" in sql}
    assert len(found) >= 3
    for sql, steps in found.items():
        assert not [one for one in steps if one.startswith("SCAN") or "AUTOMATIC" in one or "Seq Scan" in one], sql


sqlite_only = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@sqlite_only
@pytest.mark.parametrize("kind", ALL)
async def test_no_search_reads_a_whole_table_of_sqlite(
    noted: Database, url: str, statements: list[Statement], kind: str
) -> None:
    for sql, steps in (await plans(noted, url, statements, ALL[kind])).items():
        # Temporary results are small, and the text index reads only matching entries.
        mine = r"SCAN (page|anon_1|\(subquery-\d+\)|study_text VIRTUAL TABLE INDEX \d+:\S*M.*)"
        assert not [step for step in steps if step.startswith("SCAN") and not re.fullmatch(mine, step)], (sql, steps)


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
@pytest.mark.parametrize("kind", ALL)
async def test_no_search_reads_a_whole_table_of_postgresql(
    noted: Database, url: str, statements: list[Statement], kind: str
) -> None:
    for sql, steps in (await plans(noted, url, statements, ALL[kind])).items():
        assert not [step for step in steps if "Seq Scan" in step], (sql, steps)


@sqlite_only
@pytest.mark.parametrize("kind", IN_ORDER | OF_TEXT)
async def test_an_index_returns_pages_in_order(
    noted: Database, url: str, statements: list[Statement], kind: str
) -> None:
    found = await plans(noted, url, statements, ALL[kind])
    (page,) = [steps for steps in found.values() if "SCAN page" in steps]
    assert not [step for step in page if "TEMP B-TREE" in step]


@sqlite_only
@pytest.mark.parametrize("is_later", [False, True])
@pytest.mark.parametrize(
    ("keyword", "column"),
    [
        ("PatientName", "patient_name_1"),
        ("StudyDescription", "study_description"),
        ("ReferringPhysicianName", "referring_physician_name_1"),
        ("NumberOfStudyRelatedSeries", "series_count"),
        ("NumberOfStudyRelatedInstances", "instance_count"),
    ],
)
async def test_a_page_in_an_order_of_values_is_read_from_the_index_on_the_first_key(
    noted: Database, url: str, statements: list[Statement], keyword: str, column: str, is_later: bool
) -> None:
    order = Order((SortKey(keyword, descending=True),), oldest_first=False)
    query = Query(Level.STUDY, EVERYTHING, (), limit=50, order=order)
    if is_later:
        query = replace(query, after=7, after_values=(7 if column.endswith("count") else "m",))
    found = await plans(noted, url, statements, query)
    assert found
    index = rf"ix_(studies|study_counts)_partition_key_{column}_(study_)?key"
    for sql, steps in found.items():
        assert [step for step in steps if re.search(index, step)], (sql, steps)


@sqlite_only
@pytest.mark.parametrize("kind", OF_TEXT)
async def test_text_searches_use_the_text_index(
    noted: Database, url: str, statements: list[Statement], kind: str
) -> None:
    found = await plans(noted, url, statements, OF_TEXT[kind])
    assert [step for steps in found.values() for step in steps if "SCAN study_text" in step]


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
@pytest.mark.parametrize("kind", sorted(OF_TEXT.keys() - {"a name that begins so"}))
async def test_text_searches_can_use_the_text_index_of_postgresql(
    noted: Database, url: str, statements: list[Statement], kind: str
) -> None:
    """With three studies the server prefers other plans, so these are disabled. Prefixes have their own index."""
    found = await plans(noted, url, statements, OF_TEXT[kind], off=("seqscan", "indexscan"))
    by_text = [steps for sql, steps in found.items() if "dicomstore_trigrams" in sql]
    assert by_text
    for steps in by_text:
        assert [step for step in steps if "Bitmap Index Scan on ix_studies_text" in step], steps


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
@pytest.mark.parametrize("query", [ALL["a name that contains something"], ALL["a later page of names"]])
async def test_the_newest_studies_are_a_range_of_keys_with_limits_that_postgresql_can_compare_with_its_statistics(
    noted: Database, url: str, statements: list[Statement], query: Query
) -> None:
    """With limits from subqueries it expects a fixed part of all studies, and reads a large table completely."""
    limited = [steps for sql, steps in (await plans(noted, url, statements, query)).items() if "BETWEEN" in sql]
    assert limited
    for steps in limited:
        assert not [step for step in steps if "InitPlan" in step], steps


@sqlite_only
@pytest.mark.parametrize("kind", SORTED)
async def test_frequent_values_are_searched_among_the_newest_studies_and_then_in_order(
    noted: Database, url: str, statements: list[Statement], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FEW", "NEWEST", "MAX_SORTED", "MAX_SORTED_KEYS"):
        monkeypatch.setattr(study_search, name, 0)
    found = await plans(noted, url, statements, SORTED[kind])
    (page,) = [steps for sql, steps in found.items() if "SCAN page" in steps and "max(" not in sql]
    if kind in SPREAD:
        # A scan in the order of the result, which ends when the page is full.
        assert page[:3] == ["MATERIALIZE page", "SCAN studies", "SCAN page"]
    else:
        assert not [step for step in page if step.startswith("SCAN studies")]


@sqlite_only
@pytest.mark.parametrize(
    ("query", "order"),
    [
        (Query(Level.INSTANCE, EVERYTHING, (BY_MODALITY,), limit=9), "ix_instances_partition_key_version"),
        (Query(Level.INSTANCE, EVERYTHING, (IN_JANUARY, BY_MODALITY), limit=9), "ix_instances_partition_key_version"),
        (Query(Level.SERIES, EVERYTHING, (IN_JANUARY,), limit=9), "ix_series_partition_key_key"),
    ],
)
async def test_matches_in_many_parents_are_scanned_in_order(
    noted: Database, url: str, statements: list[Statement], query: Query, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FEW_PARENTS", 0)
    found = await plans(noted, url, statements, query)
    (page,) = [steps for steps in found.values() if "SCAN page" in steps]
    assert f"USING INDEX {order} (partition_key=?)" in page[1]
    assert not [step for step in page if "BLOOM" in step or "TEMP B-TREE" in step]


@sqlite_only
async def test_a_modality_returns_its_studies_in_order(noted: Database, url: str, statements: list[Statement]) -> None:
    found = await plans(noted, url, statements, SORTED["studies by modality"])
    assert [
        "SEARCH series USING COVERING INDEX ix_series_partition_key_modality_study_key (partition_key=? AND modality=?)"
    ] in found.values()


@sqlite_only
async def test_a_large_offset_scans_at_most_one_block(noted: Database, url: str, statements: list[Statement]) -> None:
    await noted.instances.search(IN_ORDER["studies at a large offset"])
    (page,) = [sql for sql, _ in statements if "AS page" in sql]
    offset = re.search(r"OFFSET (\d+)", page)
    assert offset
    assert int(offset[1]) < STUDIES_PER_BLOCK


@pytest.mark.parametrize("kind", ALL)
async def test_no_search_counts_rows(noted: Database, statements: list[Statement], kind: str) -> None:
    await noted.instances.search(ALL[kind])
    assert not [sql for sql, _ in statements if "count(" in str(sql).lower()]


@sqlite_only
@pytest.mark.parametrize("kind", ["series of a request", "series of a step of a request"])
async def test_request_attributes_are_searched_by_an_index_of_values(
    noted: Database, url: str, statements: list[Statement], kind: str
) -> None:
    steps = [step for steps in (await plans(noted, url, statements, SORTED[kind])).values() for step in steps]
    assert [step for step in steps if "ix_series_values_keyword_value (keyword=? AND value=?)" in step]
    assert not [step for step in steps if step.endswith("ix_series_partition_key_key (partition_key=?)")]
