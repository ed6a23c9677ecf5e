"""Query plans: no search for workitems scans a whole table, and exact values are read in the order of the result."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from server.adapters.sql.engine import Database, open_database
from server.adapters.sql.worklist import search as search_module
from server.model.ids import DEFAULT_PARTITION
from server.model.search.query import Condition
from tests.contract.index.test_plans import Statement, explained, sqlite_only, statements
from tests.contract.index.test_tag_plans import bad
from tests.contract.index.test_workitems import ITEMS, LIMITS, STATION, a_workitem, query, terms

__all__ = ["statements"]  # the fixture

KINDS = {
    "all": terms(),
    "a patient": terms(PatientID="P1"),
    "a state": terms(ProcedureStepState="SCHEDULED"),
    "two states": terms(ProcedureStepState="SCHEDULED\\IN PROGRESS"),
    "days": terms(ScheduledProcedureStepStartDateTime="20240501-20240502"),
    "a state and days": terms(ProcedureStepState="SCHEDULED", ScheduledProcedureStepStartDateTime="20240501-"),
    "a station": terms(**{STATION + "CodeValue": "CT1"}),
    "a station and its scheme": terms(**{STATION + "CodeValue": "CT1", STATION + "CodingSchemeDesignator": "99B"}),
    "a request": terms(ReferencedRequestSequence__AccessionNumber="A7"),
    "the beginning of a name": terms(PatientName="Doe*"),
    "words of a name": terms(PatientName="do ja", fuzzy=True),
    "a part of a name": terms(PatientName="*oe^jan*"),
    "a part of an accession number": terms(ReferencedRequestSequence__AccessionNumber="*123*"),
    "a part of a label and a state": terms(ProcedureStepLabel="*ask*", ProcedureStepState="SCHEDULED"),
    "a part of a name and days": terms(PatientName="*oe^jan*", ScheduledProcedureStepStartDateTime="20240501-20240502"),
    "long words": terms(PatientName="doe jane", fuzzy=True),
    "no patient": terms(PatientID='""', empty=True),
}
PARTS = ["a part of a name", "a part of an accession number", "a part of a label and a state"]
IN_ORDER = ["all", "a patient", "a state", "a station", "a request", *PARTS]
OF_TEXT = [*PARTS, "a part of a name and days", "long words"]
TEXT_INDEX = re.compile(r"SCAN workitem_trigrams VIRTUAL TABLE INDEX \d+:\S*M.*")
"""A step that reads only matching entries of the text index."""


@pytest.fixture
async def filled(url: str, statements: list[Statement]) -> AsyncIterator[Database]:
    database = open_database(url)
    for number in range(20):
        values: Mapping[str, Any] = ITEMS[number % len(ITEMS)]
        await database.workitems.add(DEFAULT_PARTITION, a_workitem(f"1.{number}", **values))
    yield database
    await database.close()


async def plans(
    database: Database,
    url: str,
    ran: list[Statement],
    wanted: tuple[Condition, ...],
    off: Sequence[str] = ("seqscan",),
) -> dict[str, list[str]]:
    """Return the plans of a search, of its next page, and of its total."""
    await database.workitems.search(query(wanted, limit=2))
    ran.clear()
    page = await database.workitems.search(query(wanted, limit=2))
    after = page.matches[-1].key if page.matches else 1
    await database.workitems.search(query(wanted, limit=2, after=after))
    await database.workitems.count(query(wanted))
    return explained(url, ran, off)


@pytest.mark.parametrize("way", LIMITS)
async def test_no_search_for_workitems_scans_a_whole_table(
    filled: Database, url: str, statements: list[Statement], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limit in LIMITS[way].items():
        monkeypatch.setattr(search_module, name, limit)
    for kind, wanted in KINDS.items():
        for sql, plan in (await plans(filled, url, statements, wanted)).items():
            steps = [step for step in bad(url, plan) if step != "SCAN found" and not TEXT_INDEX.fullmatch(step)]
            assert not steps, (kind, sql, plan)


@sqlite_only
@pytest.mark.parametrize("kind", IN_ORDER)
async def test_an_index_returns_workitems_in_order(
    filled: Database, url: str, statements: list[Statement], kind: str
) -> None:
    found = await plans(filled, url, statements, KINDS[kind])
    pages = [plan for sql, plan in found.items() if "ORDER BY" in sql and "count(" not in sql]
    assert pages
    assert not [step for plan in pages for step in plan if "FOR ORDER BY" in step]


@sqlite_only
@pytest.mark.parametrize("kind", OF_TEXT)
async def test_parts_of_values_and_words_are_read_from_the_text_index(
    filled: Database, url: str, statements: list[Statement], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "FEW", 0)
    monkeypatch.setattr(search_module, "MAX_SORTED", 0)
    found = await plans(filled, url, statements, KINDS[kind])
    paths = [step for plan in found.values() for step in plan if TEXT_INDEX.fullmatch(step)]
    assert len(paths) >= 3, found


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
@pytest.mark.parametrize("kind", OF_TEXT)
async def test_parts_of_values_can_be_read_from_the_text_index_of_postgresql(
    filled: Database, url: str, statements: list[Statement], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With few workitems the server prefers other plans, so these are disabled."""
    monkeypatch.setattr(search_module, "FEW", 0)
    monkeypatch.setattr(search_module, "MAX_SORTED", 0)
    found = await plans(filled, url, statements, KINDS[kind], off=("seqscan", "indexscan"))
    by_text = [plan for sql, plan in found.items() if "dicomstore_trigrams" in sql]
    assert len(by_text) >= 3, found
    for plan in by_text:
        assert [step for step in plan if "Bitmap Index Scan on ix_workitem_texts_trigrams" in step], plan
