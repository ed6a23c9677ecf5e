"""The number of matches of a query, from counters where possible."""

import pytest

from server.adapters.sql.search import study_search
from server.model.ids import Address, PartitionName
from server.model.search.query import Between, Condition, Empty, Equals, Level, Like, NameMatches, Query
from server.ports.index import InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, modality, sample, series_ref, study_ref

STUDY, SERIES, INSTANCE = Level
DOE = Condition("PatientName", (NameMatches(("*doe*",)),))
IN_2026 = Condition("StudyDate", (Between("20260101", "20261231"),))
MR = Condition("Modality", (Equals(("mr",)),))


async def filled(index: InstanceIndex) -> None:
    """Store three studies with a CT series of two instances; all but the last also have an MR series of one."""
    for study, name in enumerate(("doe^jane", "doe^john", "roe^richard"), start=1):
        keys = {"PatientName": name, "StudyDate": f"202{4 + study}0101", "PatientID": f"p{study}"}
        new = [sample(study, 1, number, study_keys=keys, **modality("CT")) for number in (1, 2)]
        if study < 3:
            new.append(sample(study, 2, 1, study_keys=keys, **modality("MR")))
        await index.add(new, NOON)


@pytest.mark.parametrize(
    ("level", "scope", "conditions", "expected"),
    [
        (STUDY, EVERYTHING, (), 3),
        (SERIES, EVERYTHING, (), 5),
        (INSTANCE, EVERYTHING, (), 8),
        (STUDY, study_ref(1), (), 1),
        (SERIES, study_ref(1), (), 2),
        (INSTANCE, study_ref(1), (), 3),
        (SERIES, series_ref(1, 1), (), 1),
        (INSTANCE, series_ref(1, 1), (), 2),
        (INSTANCE, study_ref(9), (), 0),
        (STUDY, Address(PartitionName("nowhere")), (), 0),
        (STUDY, EVERYTHING, (DOE,), 2),
        (SERIES, EVERYTHING, (DOE,), 4),
        (INSTANCE, EVERYTHING, (DOE,), 6),
        (STUDY, EVERYTHING, (IN_2026,), 1),
        (STUDY, EVERYTHING, (DOE, IN_2026), 1),
        (INSTANCE, EVERYTHING, (IN_2026, MR), 1),
        (SERIES, EVERYTHING, (MR,), 2),
        (INSTANCE, EVERYTHING, (MR,), 2),
        (INSTANCE, study_ref(1), (MR,), 1),
        (STUDY, EVERYTHING, (Condition("ModalitiesInStudy", (Equals(("mr",)),)),), 2),
        (STUDY, EVERYTHING, (Condition("PatientID", (Equals(("p1", "p3")),)),), 2),
        (STUDY, EVERYTHING, (Condition("PatientID", (Like("p*"),)),), 3),
        (STUDY, EVERYTHING, (Condition("AccessionNumber", (Empty(),)),), 3),
        (INSTANCE, EVERYTHING, (Condition("PatientID", (Like("x*"),)),), 0),
    ],
)
@pytest.mark.parametrize("few", [study_search.FEW, 0])
async def test_matches_are_counted_on_all_pages(
    index: InstanceIndex,
    level: Level,
    scope: Address,
    conditions: tuple[Condition, ...],
    expected: int,
    few: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(study_search, "FEW", few)
    await filled(index)

    assert await index.count(Query(level, scope, conditions, limit=1, skip=1, after=1)) == expected


async def test_counts_follow_deletes(index: InstanceIndex) -> None:
    await filled(index)
    await index.delete(series_ref(1, 1), NOON, NOON)
    await index.delete(study_ref(3), NOON, NOON)

    counted = [await index.count(Query(level, EVERYTHING, (), limit=1)) for level in Level]
    assert counted == [2, 3, 4]
    assert await index.count(Query(Level.INSTANCE, EVERYTHING, (DOE,), limit=1)) == 4
