"""The record of workitems, on each database."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from server.adapters.sql.engine import Database
from server.adapters.sql.worklist import search as search_module
from server.adapters.sql.writing import partition_deleting
from server.dicom.matching.matching import conditions
from server.dicom.worklist.data_set import parse, serialise
from server.dicom.worklist.search_keys import SEARCH_KEYS, search_values
from server.model.errors import WrongState
from server.model.ids import DEFAULT_PARTITION, Address, PartitionName, Uid
from server.model.search.query import Condition
from server.model.worklist.workitem import Workitem, WorkitemQuery, WorkitemState, lock_of, must_change
from tests.contract.index.samples import NOON
from tests.worklist import code, data_set, text, workitem


def a_workitem(uid: str, **values: Any) -> Workitem:
    content = parse(text(workitem(SOPInstanceUID=uid, ProcedureStepState="SCHEDULED", **values)))
    return Workitem(Uid(uid), WorkitemState.SCHEDULED, "", serialise(content), search_values(content), NOON)


def terms(*, fuzzy: bool = False, empty: bool = False, **values: str) -> tuple[Condition, ...]:
    return tuple(
        one
        for attribute, value in values.items()
        for one in conditions(SEARCH_KEYS[attribute.replace("__", ".")], [value], fuzzy=fuzzy, empty=empty)
    )


def query(found: Sequence[Condition] = (), limit: int = 100, **fields: Any) -> WorkitemQuery:
    return WorkitemQuery(DEFAULT_PARTITION, tuple(found), limit, **fields)


async def found(database: Database, wanted: WorkitemQuery) -> list[str]:
    page = await database.workitems.search(wanted)
    assert await database.workitems.count(wanted) == len(page.matches)
    return [match.uid for match in page.matches]


LIMITS = {
    "few": {},
    "newest": {"FEW": 0, "NEWEST": 5},
    "sorted": {"FEW": 0, "NEWEST": 0},
    "many": {"FEW": 0, "NEWEST": 0, "MAX_SORTED": 0},
}


@pytest.fixture(params=LIMITS)
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All ways to search: workitems with a value one by one, the newest, those of a range, and a scan in order."""
    for name, limit in LIMITS[request.param].items():
        monkeypatch.setattr(search_module, name, limit)


async def test_a_workitem_is_added_once_and_returned(database: Database) -> None:
    one = a_workitem("1.2")
    assert await database.workitems.get(DEFAULT_PARTITION, Uid("1.2")) is None
    assert await database.workitems.add(DEFAULT_PARTITION, one)
    assert not await database.workitems.add(DEFAULT_PARTITION, a_workitem("1.2", ProcedureStepLabel="other"))
    assert await database.workitems.get(DEFAULT_PARTITION, Uid("1.2")) == replace(one, values=())


async def test_the_same_uid_in_another_partition_is_another_workitem(database: Database) -> None:
    ward = PartitionName("ward")
    await database.partitions.create(ward, NOON)
    assert await database.workitems.add(DEFAULT_PARTITION, a_workitem("1.2"))
    assert await database.workitems.add(ward, a_workitem("1.2", ProcedureStepLabel="other"))
    assert await found(database, query(terms(ProcedureStepLabel="other"))) == []
    assert await found(database, replace(query(terms(ProcedureStepLabel="other")), partition=ward)) == ["1.2"]


async def test_of_competing_claims_one_succeeds(database: Database, other_database: Database) -> None:
    await database.workitems.add(DEFAULT_PARTITION, a_workitem("1.2"))

    async def claim(record: Database, number: int) -> bool:
        transaction, claimed = f"1.2.{number}", False

        def change(present: Workitem) -> Workitem:
            nonlocal claimed
            claimed = present.state is WorkitemState.SCHEDULED
            if not claimed:
                return present
            assert must_change(present, WorkitemState.IN_PROGRESS, transaction)
            return replace(present, state=WorkitemState.IN_PROGRESS, lock=lock_of(transaction))

        await record.workitems.change(DEFAULT_PARTITION, Uid("1.2"), change)
        return claimed

    claims = [claim(record, number) for number in range(8) for record in (database, other_database)]
    assert sum(await asyncio.gather(*claims)) == 1
    added = [record.workitems.add(DEFAULT_PARTITION, a_workitem("1.3")) for record in (database, other_database) * 4]
    assert sum(await asyncio.gather(*added)) == 1


async def test_a_change_that_raises_changes_nothing(database: Database) -> None:
    await database.workitems.add(DEFAULT_PARTITION, a_workitem("1.2"))

    def change(present: Workitem) -> Workitem:
        raise LookupError

    with pytest.raises(LookupError):
        await database.workitems.change(DEFAULT_PARTITION, Uid("1.2"), change)
    assert await database.workitems.change(DEFAULT_PARTITION, Uid("9"), change) is None
    present = await database.workitems.get(DEFAULT_PARTITION, Uid("1.2"))
    assert present is not None
    assert present.state is WorkitemState.SCHEDULED


async def test_a_changed_workitem_is_found_by_its_new_values(database: Database) -> None:
    await database.workitems.add(DEFAULT_PARTITION, a_workitem("1.2", ProcedureStepLabel="old"))
    new = a_workitem("1.2", ProcedureStepLabel="new")
    await database.workitems.change(DEFAULT_PARTITION, Uid("1.2"), lambda _: new)
    assert await found(database, query(terms(ProcedureStepLabel="old"))) == []
    assert await found(database, query(terms(ProcedureStepLabel="new"))) == ["1.2"]


STATION = "ScheduledStationNameCodeSequence__"
ITEMS = [
    {
        "PatientName": "Doe^Jane^Maria",
        "PatientID": "P1",
        "ScheduledProcedureStepStartDateTime": "20240501093000",
        "ScheduledStationNameCodeSequence": [code("CT1", "99A"), code("CT2", "99B")],
    },
    {
        "PatientName": "Miller^John",
        "PatientID": "P2",
        "ScheduledProcedureStepStartDateTime": "20240502093000.5",
        "ScheduledStationNameCodeSequence": [code("CT1", "99B")],
        "ReferencedRequestSequence": [data_set(StudyInstanceUID="1.9", AccessionNumber="A7")],
    },
    {
        "PatientName": "=山田^太郎",
        "PatientID": None,
        "ScheduledProcedureStepStartDateTime": "20240503093000+0200",
        "ScheduledStationNameCodeSequence": [code("CT1", "99A"), code("CT1", "99B")],
    },
]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (terms(), "321"),
        (terms(PatientID="p1"), "1"),
        (terms(PatientID="P*"), "21"),
        (terms(PatientID='""', empty=True), "3"),
        (terms(PatientID="P2", ScheduledProcedureStepStartDateTime="20240502"), "2"),
        (terms(ScheduledProcedureStepStartDateTime="20240501-20240502"), "21"),
        (terms(ScheduledProcedureStepStartDateTime="2024050307-"), "3"),
        (terms(ScheduledProcedureStepStartDateTime="-20240501"), "1"),
        (terms(PatientName="Doe^Jane^Maria"), "1"),
        (terms(PatientName="*Miller*"), "2"),
        (terms(PatientName="山田^太郎"), "3"),
        (terms(PatientName="ja mar", fuzzy=True), "1"),
        (terms(PatientName="do mar", fuzzy=True), ""),
        (terms(PatientName="joh", fuzzy=True), "2"),
        (terms(**{STATION + "CodeValue": "CT1"}), "321"),
        (terms(**{STATION + "CodeValue": "CT2"}), "1"),
        (terms(**{STATION + "CodeValue": "CT1", STATION + "CodingSchemeDesignator": "99B"}), "32"),
        (terms(**{STATION + "CodeValue": "CT*", STATION + "CodingSchemeDesignator": "99B"}), "321"),
        (terms(ReferencedRequestSequence__AccessionNumber="A7"), "2"),
        (terms(ReferencedRequestSequence__AccessionNumber='""', empty=True), "31"),
        (terms(ProcedureStepState="SCHEDULED", PatientID="P1"), "1"),
        (terms(ProcedureStepState="IN PROGRESS"), ""),
        (terms(ProcedureStepState="IN PROGRESS\\SCHEDULED"), "321"),
        (terms(SOPInstanceUID="1.2,1.3,1.77"), "32"),
        (terms(PatientID="Q*"), ""),
        (terms(PatientID="*Q*"), ""),
        (terms(PatientName="*nobody*"), ""),
        (terms(PatientName="nob", fuzzy=True), ""),
        (terms(ScheduledProcedureStepStartDateTime="19990101-19990102"), ""),
        (terms(ProcedureStepState="COMPLETED\\CANCELED", PatientID="P1"), ""),
        (terms(ProcedureStepState="COMPLETED\\CANCELED"), ""),
    ],
)
@pytest.mark.usefixtures("few")
async def test_search_matches(database: Database, wanted: tuple[Condition, ...], expected: str) -> None:
    for number, values in enumerate(ITEMS, 1):
        await database.workitems.add(DEFAULT_PARTITION, a_workitem(f"1.{number}", **values))
    assert await found(database, query(wanted)) == [f"1.{number}" for number in expected]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    "wanted",
    [(), terms(ProcedureStepState="SCHEDULED"), terms(ScheduledProcedureStepStartDateTime="2024-")],
    ids=["all", "value", "range"],
)
async def test_pages_return_each_match_once(database: Database, wanted: tuple[Condition, ...]) -> None:
    for number in range(1, 8):
        await database.workitems.add(DEFAULT_PARTITION, a_workitem(f"1.{number}"))
    seen, after = [], None
    while True:
        page = await database.workitems.search(query(wanted, limit=3, after=after))
        seen += [match.uid for match in page.matches]
        if not page.has_more:
            break
        after = page.matches[-1].key
    assert seen == [f"1.{number}" for number in range(7, 0, -1)]
    skipped = await database.workitems.search(query(wanted, limit=2, skip=3))
    assert ([match.uid for match in skipped.matches], skipped.has_more) == (["1.4", "1.3"], True)


async def test_a_page_with_large_data_sets_is_shorter(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "MAX_METADATA", 2_000)
    for number in range(1, 4):
        await database.workitems.add(DEFAULT_PARTITION, a_workitem(f"1.{number}", ProcedureStepLabel="a" * 60))
    page = await database.workitems.search(query())
    assert 0 < len(page.matches) < 3
    assert page.has_more


async def test_a_partition_is_deleted_with_its_workitems_some_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_deleting, "_WORKITEMS", 2)
    ward = PartitionName("ward")
    await database.partitions.create(ward, NOON)
    for number in range(5):
        await database.workitems.add(ward, a_workitem(f"1.{number}"))
    await database.workitems.add(DEFAULT_PARTITION, a_workitem("1.2"))
    assert await database.partitions.delete(ward, NOON)
    for _ in range(3):
        assert await database.partitions.purge(NOON, NOON, reason="", author="") == Address(ward)
        with pytest.raises(WrongState):
            await database.partitions.create(ward, NOON)
    assert await database.partitions.purge(NOON, NOON, reason="", author="") is None
    await database.partitions.create(ward, NOON)
    assert await found(database, replace(query(), partition=ward)) == []
    assert await found(database, query()) == ["1.2"]
