"""The list of deletions, and erasure before the retention time is over."""

from datetime import timedelta

import pytest

from server.adapters.sql.engine import open_database
from server.adapters.sql.writing import deleting
from server.model.ids import Address, PartitionName
from server.model.lifecycle.deletion import Deletion, DeletionQuery
from server.ports.index import InstanceIndex
from tests.contract.index.samples import EVERYTHING, NOON, identity, sample, series_ref, study_ref

LATER = NOON + timedelta(hours=1)
MUCH_LATER = NOON + timedelta(days=3)


async def listed(index: InstanceIndex, scope: Address = EVERYTHING) -> list[Deletion]:
    return await index.deletions(DeletionQuery(scope), None, 99)


@pytest.fixture
async def three(index: InstanceIndex) -> InstanceIndex:
    """Two series of two instances in two studies, and three deletions."""
    await index.add([sample(s, e, i) for s in (1, 2) for e in (1, 2) for i in (1, 2)], NOON)
    await index.delete(study_ref(1), LATER, MUCH_LATER, reason="wrong patient", author="a")
    await index.delete(series_ref(2, 1), LATER + timedelta(seconds=1), MUCH_LATER)
    await index.delete(identity(2, 2, 1).address, LATER + timedelta(seconds=2), MUCH_LATER)
    return index


async def test_deletions_are_listed_with_their_facts_newest_first(three: InstanceIndex) -> None:
    newest, middle, oldest = await listed(three)
    assert oldest == Deletion(oldest.key, study_ref(1), LATER, "a", "wrong patient", 4, MUCH_LATER)
    assert (middle.resource, middle.author, middle.reason, middle.instances) == (series_ref(2, 1), "", "", 2)
    assert (newest.resource, newest.instances) == (identity(2, 2, 1).address, 1)
    assert newest.key > middle.key > oldest.key


async def test_deletions_are_listed_in_pages(three: InstanceIndex) -> None:
    every = await listed(three)
    query = DeletionQuery(EVERYTHING)
    assert await three.deletions(query, None, 2) == every[:2]
    assert await three.deletions(query, every[1].key, 2) == every[2:]


@pytest.mark.parametrize(
    ("scope", "found"),
    [
        (study_ref(1), [study_ref(1)]),
        (series_ref(1, 2), [study_ref(1)]),
        (identity(1, 2, 1).address, [study_ref(1)]),
        (study_ref(2), [identity(2, 2, 1).address, series_ref(2, 1)]),
        (series_ref(2, 2), [identity(2, 2, 1).address]),
        (identity(2, 2, 2).address, []),
        (study_ref(3), []),
        (study_ref(1, PartitionName("nowhere")), []),
    ],
)
async def test_deletions_of_a_resource_its_parts_and_what_contains_it_are_listed(
    three: InstanceIndex, scope: Address, found: list[Address]
) -> None:
    assert [deletion.resource for deletion in await listed(three, scope)] == found


async def test_deletions_are_limited_to_a_time(three: InstanceIndex) -> None:
    query = DeletionQuery(EVERYTHING, LATER + timedelta(seconds=1), LATER + timedelta(seconds=2))
    assert [deletion.resource for deletion in await three.deletions(query, None, 9)] == [series_ref(2, 1)]


async def test_restored_instances_are_not_counted(three: InstanceIndex) -> None:
    await three.undelete(series_ref(1, 1), LATER, LATER)
    [left] = await listed(three, study_ref(1))
    assert left.instances == 2
    await three.undelete(study_ref(1), LATER, LATER)
    assert await listed(three, study_ref(1)) == []


async def test_what_is_erased_now_is_due_and_cannot_be_restored(three: InstanceIndex) -> None:
    assert await three.erase_now(series_ref(1, 1), LATER) == 2
    assert await three.erase_now(series_ref(1, 1), LATER) == 0
    assert len(await three.begin_erasure(LATER, 9)) == 2
    [partly] = await listed(three, study_ref(1))
    assert partly.erase_after == MUCH_LATER
    assert await three.erase_now(study_ref(1), LATER) == 2
    [deletion] = await listed(three, study_ref(1))
    assert deletion.erase_after == LATER
    assert await three.undelete(study_ref(1), LATER, LATER) == 0
    await three.erased(await three.begin_erasure(LATER, 9))
    assert await listed(three, study_ref(1)) == []
    assert len(await listed(three)) == 2


async def test_one_instance_is_erased_now(three: InstanceIndex) -> None:
    assert await three.erase_now(identity(1, 1, 1).address, LATER) == 1
    assert await three.undelete(study_ref(1), LATER, LATER) == 3


async def test_a_deletion_of_many_instances_is_erased_now(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deleting, "FEW", 10)
    monkeypatch.setattr(deleting, "AT_ONCE", 50)
    database = open_database(url)
    many = [sample(1, n % 3, n) for n in range(120)]
    await database.instances.add(many, NOON)
    await database.instances.delete(study_ref(), LATER, MUCH_LATER)
    assert await database.instances.erase_now(study_ref(), LATER) == len(many)
    assert len(await database.instances.begin_erasure(LATER, 200)) == len(many)
    await database.close()


async def test_deleted_versions_have_the_author_and_reason_of_their_deletion_or_of_their_erasure(
    index: InstanceIndex,
) -> None:
    contents = [sample(1, 1, 1), sample(1, 1, 1), sample(1, 1, 2), sample(1, 2, 1)]
    await index.add([contents[0], *contents[2:]], NOON)
    await index.add_version(contents[1], NOON)
    await index.delete(series_ref(1, 1), LATER, MUCH_LATER, reason="duplicate", author="a")
    await index.erase_now(identity(1, 1, 1).address, LATER, reason="consent", author="b")
    found = await index.deleted_versions([content.locator for content in contents] + ["other"])
    by = {one.locator: (one.id, one.size_bytes, one.crc32c, one.author, one.reason) for one in found}
    assert by == {
        content.locator: (content.id, content.size_bytes, content.crc32c, *request)
        for content, request in zip(contents[:3], (("b", "consent"), ("b", "consent"), ("a", "duplicate")), strict=True)
    }
