"""Query plans: no search for workitems scans a whole table, and exact values are read in the order of the result."""

from collections.abc import AsyncIterator, Mapping
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
    "no patient": terms(PatientID='""', empty=True),
}
IN_ORDER = ["all", "a patient", "a state", "a station", "a request"]


@pytest.fixture
async def filled(url: str, statements: list[Statement]) -> AsyncIterator[Database]:
    database = open_database(url)
    for number in range(20):
        values: Mapping[str, Any] = ITEMS[number % len(ITEMS)]
        await database.workitems.add(DEFAULT_PARTITION, a_workitem(f"1.{number}", **values))
    yield database
    await database.close()


async def plans(
    database: Database, url: str, ran: list[Statement], wanted: tuple[Condition, ...]
) -> dict[str, list[str]]:
    """Return the plans of a search, of its next page, and of its total."""
    await database.workitems.search(query(wanted, limit=2))
    ran.clear()
    page = await database.workitems.search(query(wanted, limit=2))
    after = page.matches[-1].key if page.matches else 1
    await database.workitems.search(query(wanted, limit=2, after=after))
    await database.workitems.count(query(wanted))
    return explained(url, ran)


@pytest.mark.parametrize("way", LIMITS)
async def test_no_search_for_workitems_scans_a_whole_table(
    filled: Database, url: str, statements: list[Statement], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limit in LIMITS[way].items():
        monkeypatch.setattr(search_module, name, limit)
    for kind, wanted in KINDS.items():
        for sql, plan in (await plans(filled, url, statements, wanted)).items():
            assert not [step for step in bad(url, plan) if step != "SCAN found"], (kind, sql, plan)


@sqlite_only
@pytest.mark.parametrize("kind", IN_ORDER)
async def test_an_index_returns_workitems_in_order(
    filled: Database, url: str, statements: list[Statement], kind: str
) -> None:
    found = await plans(filled, url, statements, KINDS[kind])
    pages = [plan for sql, plan in found.items() if "ORDER BY" in sql and "count(" not in sql]
    assert pages
    assert not [step for plan in pages for step in plan if "FOR ORDER BY" in step]
