"""Data partitions: their list, and their isolation."""

from datetime import timedelta

from server.model.change import ChangeState, ChangeWindow
from server.model.ids import DEFAULT_PARTITION, Address, PartitionName
from server.model.instance import Added, ResourceState
from server.model.partition import DuplicatePolicy, Partition
from server.model.search.query import Condition, Equals, Level, Query
from server.ports.index import ChangeLog, InstanceIndex, Partitions
from tests.contract.index.samples import NOON, identity, sample, series_ref, study_ref
from tests.contract.index.sequenced import SequencedChanges

WARD = PartitionName("ward-1")
LATER = NOON + timedelta(days=1)


async def test_the_default_partition_always_exists_and_has_key_1(partitions: Partitions) -> None:
    (default,) = await partitions.list()
    assert (default.key, default.name) == (1, DEFAULT_PARTITION)
    assert default.created.tzinfo is not None
    assert await partitions.get(DEFAULT_PARTITION) == default
    assert await partitions.create(DEFAULT_PARTITION, NOON) is None


async def test_partitions_are_listed_in_order_of_creation(partitions: Partitions) -> None:
    names = [PartitionName(name) for name in ("z", "a", "Z", "m.-_9")]
    created = [await partitions.create(name, NOON + timedelta(microseconds=1)) for name in names]
    assert created == [Partition(n, name, NOON + timedelta(microseconds=1)) for n, name in enumerate(names, start=2)]
    assert (await partitions.list())[1:] == created
    assert [await partitions.get(name) for name in names] == created


async def test_creating_a_partition_again_changes_nothing(partitions: Partitions) -> None:
    first = await partitions.create(WARD, NOON)
    assert await partitions.create(WARD, NOON + timedelta(days=1)) is None
    assert await partitions.get(WARD) == first
    another = await partitions.create(PartitionName("next"), NOON)
    assert first is not None
    assert another is not None
    assert another.key == first.key + 1


async def test_a_partition_has_a_duplicates_policy(partitions: Partitions) -> None:
    created = await partitions.create(WARD, NOON)
    assert created is not None
    assert created.duplicates is None
    for policy in (DuplicatePolicy.NEW_VERSION, None):
        changed = await partitions.update(WARD, policy)
        assert changed is not None
        assert changed.duplicates is policy
        assert changed in await partitions.list()
    assert await partitions.update(PartitionName("nowhere"), None) is None


async def test_an_unknown_partition_is_returned_as_none(partitions: Partitions) -> None:
    assert await partitions.get(WARD) is None


async def test_a_partition_is_found_after_an_earlier_lookup_failed(
    index: InstanceIndex, partitions: Partitions
) -> None:
    assert await index.find(study_ref(1, WARD)) == []
    await partitions.create(WARD, NOON)
    (outcome,) = await index.add([sample(partition=WARD)], NOON)
    assert isinstance(outcome, Added)
    assert len(await index.find(study_ref(1, WARD))) == 1


async def test_the_same_uids_in_two_partitions_are_independent(
    index: InstanceIndex, partitions: Partitions, changes: ChangeLog
) -> None:
    await partitions.create(WARD, NOON)
    outcomes = await index.add([sample(), sample(partition=WARD), sample(1, 1, 2, partition=WARD)], NOON)
    assert all(isinstance(outcome, Added) for outcome in outcomes)
    assert (await index.state(study_ref(1, WARD))) == ResourceState(max_version=3, instance_count=2)
    assert (await index.state(study_ref(1))) == ResourceState(max_version=1, instance_count=1)
    assert await index.delete(study_ref(1, WARD), NOON, NOON) == 2
    assert [stored.id for stored in await index.find(study_ref(1))] == [identity()]
    entries = await changes.list(ChangeWindow(limit=9))
    assert [(entry.instance.partition, entry.state) for entry in entries] == [
        (DEFAULT_PARTITION, ChangeState.CURRENT),
        *[(WARD, ChangeState.DELETED)] * 4,
    ]


async def test_searches_never_cross_partitions(index: InstanceIndex, partitions: Partitions) -> None:
    await partitions.create(WARD, NOON)
    keys = {"PatientID": "p"}
    await index.add([sample(1, study_keys=keys), sample(1, 1, 2, partition=WARD, study_keys=keys)], NOON)
    condition = Condition("PatientID", (Equals(("p",)),))
    for level in Level:
        for name, instance in ((DEFAULT_PARTITION, 1), (WARD, 2)):
            (match,) = await index.search(Query(level, Address(name), (condition,), limit=9, counts=True))
            assert match.resource.partition == name
            if level is Level.INSTANCE:
                assert match.resource == identity(1, 1, instance, name).address
    for scope in (study_ref(1, WARD), series_ref(1, 1, WARD)):
        (match,) = await index.search(Query(Level.INSTANCE, scope, (), limit=9))
        assert match.resource == identity(1, 1, 2, WARD).address


async def test_a_batch_may_contain_several_partitions(index: InstanceIndex, partitions: Partitions) -> None:
    await partitions.create(WARD, NOON)
    batch = [sample(1, 1, n, partition=name) for n in (1, 2) for name in (DEFAULT_PARTITION, WARD)]
    outcomes = await index.add(batch, NOON)
    assert all(isinstance(outcome, Added) for outcome in outcomes)
    for name in (DEFAULT_PARTITION, WARD):
        assert [s.id for s in await index.find(study_ref(1, name))] == [identity(1, 1, n, name) for n in (1, 2)]
    assert [stored.id for stored in await index.locators(after=0, limit=9)] == [new.id for new in batch]


async def test_the_usage_of_partitions_follows_each_change(
    index: InstanceIndex, partitions: Partitions, changes: SequencedChanges
) -> None:
    await partitions.create(WARD, NOON)

    async def usage(name: PartitionName = WARD) -> tuple[int, int, int]:
        (found,) = await partitions.usage({name})
        assert found.stored_bytes == await partitions.stored_bytes(name)
        return found.studies, found.series, found.instances

    new = [sample(s, e, i, partition=WARD) for s in (1, 2, 3) for e in (1, 2) for i in (1, 2)]
    await index.add([*new, new[0], sample(1)], NOON)
    await index.add_version(sample(1, partition=WARD), NOON)
    assert [one.name for one in await partitions.usage()] == [DEFAULT_PARTITION, WARD]
    assert (await usage(), await usage(DEFAULT_PARTITION)) == ((3, 6, 12), (1, 1, 1))
    await index.delete(identity(1, 1, 1, WARD).address, NOON, LATER)
    assert await usage() == (3, 6, 11)
    await index.delete(identity(1, 1, 2, WARD).address, NOON, LATER)
    assert await usage() == (3, 5, 10)
    await index.delete(series_ref(1, 2, WARD), NOON, LATER)
    assert await usage() == (2, 4, 8)
    await index.delete(study_ref(2, WARD), NOON, LATER)
    assert await usage() == (1, 2, 4)
    await index.undelete(study_ref(1, WARD), NOON, NOON)
    assert await usage() == (2, 4, 8)
    await index.delete(study_ref(1, WARD), NOON, LATER)
    await index.undelete(series_ref(2, 2, WARD), NOON, NOON)
    assert await usage() == (2, 3, 6)
    assert await changes.list(ChangeWindow(limit=1))  # numbers the entries, and merges the blocks of studies
    assert await usage() == (2, 3, 6)


async def test_stored_bytes_of_a_partition_count_until_they_are_erased(
    index: InstanceIndex, partitions: Partitions
) -> None:
    await partitions.create(WARD, NOON)
    here = [sample(study, partition=WARD) for study in (1, 2, 3)]
    there = sample(1)
    await index.add([*here, there, sample(1, partition=WARD)], NOON)  # the last one is stored already
    newer = sample(1, partition=WARD)
    await index.add_version(newer, NOON)
    size = sum(each.size_bytes for each in (*here, newer))
    assert await partitions.stored_bytes(WARD) == size
    assert await partitions.stored_bytes(DEFAULT_PARTITION) == there.size_bytes
    assert await partitions.stored_bytes(PartitionName("missing")) == 0

    await index.delete(study_ref(1, WARD), NOON, NOON)
    assert await partitions.stored_bytes(WARD) == size
    await index.erased([here[0].locator])
    assert await partitions.stored_bytes(WARD) == size - here[0].size_bytes
    await index.erased([newer.locator, here[0].locator])
    assert await partitions.stored_bytes(WARD) == here[1].size_bytes + here[2].size_bytes
