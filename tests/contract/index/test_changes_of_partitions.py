"""The change feed of some partitions contains exactly their entries of the whole feed."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import combinations

import pytest

from server.model.change import Change, ChangeWindow
from server.model.ids import DEFAULT_PARTITION, Address, PartitionName
from server.ports.index import ChangeLog, InstanceIndex, Partitions
from tests.contract.index.samples import NOON, sample, study_ref

A, B, C, MISSING = (PartitionName(name) for name in ("a", "b", "c", "missing"))
SECOND = timedelta(seconds=1)


def at(second: int | None) -> datetime | None:
    return None if second is None else NOON + second * SECOND


WINDOWS = [
    ChangeWindow(limit=limit, skip=skip, after_sequence=after, through_sequence=through, start=at(start), end=at(end))
    for limit, skip in ((100, 0), (2, 0), (3, 2), (1, 100))
    for after, through in ((0, None), (4, None), (3, 11), (100, None))
    for start, end in ((None, None), (2, None), (None, 4), (2, 5), (3, 3), (100, None), (None, 100))
]


@pytest.fixture
async def filled(index: InstanceIndex, partitions: Partitions) -> None:
    """Store and delete in three partitions alternately."""
    for name in (A, B, C):
        await partitions.create(name, NOON)
    for second in range(6):
        new = [sample(second, 1, number, partition=name) for number, name in enumerate((A, B, A, C, DEFAULT_PARTITION))]
        await index.add(new, NOON + second * SECOND)
        if second:
            await index.delete(study_ref(second - 1, A), NOON + second * SECOND, NOON)
    await index.delete(Address(B, study_ref(3).study), NOON + 9 * SECOND, NOON)


def expected(feed: Sequence[Change], window: ChangeWindow, names: Collection[PartitionName]) -> list[Change]:
    through = window.through_sequence or feed[-1].sequence
    found = [
        change
        for change in feed
        if change.instance.partition in names
        and window.after_sequence < change.sequence <= through
        and (window.start is None or change.time >= window.start)
        and (window.end is None or change.time < window.end)
    ]
    return found[window.skip :][: window.limit]


@pytest.mark.usefixtures("filled")
async def test_a_window_has_the_entries_of_its_partitions_in_the_order_of_the_feed(changes: ChangeLog) -> None:
    feed = await changes.list(ChangeWindow(limit=1000))
    assert {change.instance.partition for change in feed} == {A, B, C, DEFAULT_PARTITION}
    for names in [{A}, {MISSING}, *map(set, combinations((A, B, C, MISSING), 2)), {A, B, C, DEFAULT_PARTITION}]:
        for window in WINDOWS:
            limited = replace(window, partitions=frozenset(names))
            assert await changes.list(limited) == expected(feed, window, names), limited


@pytest.mark.usefixtures("filled")
async def test_the_latest_entry_is_that_of_the_partitions(changes: ChangeLog) -> None:
    feed = await changes.list(ChangeWindow(limit=1000))
    for names in [{A}, {B}, {C}, {A, C}, {B, MISSING}]:
        of_names = [change for change in feed if change.instance.partition in names]
        assert await changes.latest(metadata=False, partitions=frozenset(names)) == of_names[-1]
    assert await changes.latest(metadata=False, partitions=frozenset({MISSING})) is None
    assert await changes.latest(metadata=False, partitions=frozenset()) is None


@pytest.mark.usefixtures("filled")
async def test_metadata_belongs_to_the_entries(changes: ChangeLog) -> None:
    window = ChangeWindow(limit=1000, metadata=True)
    feed = {change.sequence: change for change in await changes.list(window)}
    limited = await changes.list(ChangeWindow(limit=1000, metadata=True, partitions=frozenset({B})))
    assert limited
    assert all(change == feed[change.sequence] for change in limited)
    assert [change for change in limited if change.dicom_json]


async def test_a_list_of_partitions_may_be_limited_to_names(partitions: Partitions) -> None:
    for name in (B, A):
        await partitions.create(name, NOON)
    assert [each.name for each in await partitions.list({A, B, MISSING})] == [B, A]
    assert await partitions.list(()) == []
