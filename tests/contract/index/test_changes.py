"""The change feed."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from server.model.change import Change, ChangeAction, ChangeState, ChangeWindow
from server.model.ids import DEFAULT_PARTITION, InstanceId
from server.model.instance import Added
from server.ports.index import ChangeLog, InstanceIndex
from tests.contract.index.samples import NOON, identity, sample, study_ref, uid

SECOND = timedelta(seconds=1)
ALL = ChangeWindow(limit=1000)

Summary = tuple[InstanceId, ChangeAction, ChangeState]


def summary(changes: list[Change]) -> list[Summary]:
    return [(change.instance, change.action, change.state) for change in changes]


async def sequences(changes: ChangeLog, window: ChangeWindow) -> list[int]:
    return [change.sequence for change in await changes.list(window)]


async def test_an_empty_feed_has_no_latest(changes: ChangeLog) -> None:
    assert await changes.list(ALL) == []
    assert await changes.latest(metadata=True) is None


async def test_each_added_instance_has_an_entry_in_order(index: InstanceIndex, changes: ChangeLog) -> None:
    outcomes = await index.add([sample(n) for n in (2, 1, 3)], NOON)
    entries = await changes.list(ALL)
    assert [entry.sequence for entry in entries] == [1, 2, 3]
    assert summary(entries) == [(identity(n), ChangeAction.CREATE, ChangeState.CURRENT) for n in (2, 1, 3)]
    assert [entry.version for entry in entries] == [o.version for o in outcomes if isinstance(o, Added)]
    assert {entry.time for entry in entries} == {NOON}


async def test_refused_instances_leave_no_entry_and_no_gap(index: InstanceIndex, changes: ChangeLog) -> None:
    await index.add([sample(1), sample(1)], NOON)
    await index.add([sample(1), sample(2)], NOON)
    assert await sequences(changes, ALL) == [1, 2]


async def test_storing_and_deleting_leave_two_entries_with_state_deleted(
    index: InstanceIndex, changes: ChangeLog
) -> None:
    await index.add([sample()], NOON)
    await index.delete(identity().address, NOON + SECOND, NOON)
    created, deleted = await changes.list(ChangeWindow(limit=9, metadata=True))
    assert summary([created, deleted]) == [
        (identity(), ChangeAction.CREATE, ChangeState.DELETED),
        (identity(), ChangeAction.DELETE, ChangeState.DELETED),
    ]
    assert created.version == deleted.version
    assert (created.time, deleted.time) == (NOON, NOON + SECOND)
    assert created.dicom_json is deleted.dicom_json is None


async def test_storing_again_sets_earlier_entries_to_replaced(index: InstanceIndex, changes: ChangeLog) -> None:
    await index.add([sample(dicom_json=b"{1}")], NOON)
    await index.delete(identity().address, NOON, NOON)
    await index.add([sample(dicom_json=b"{2}")], NOON)
    entries = await changes.list(ChangeWindow(limit=9, metadata=True))
    assert summary(entries) == [
        (identity(), ChangeAction.CREATE, ChangeState.REPLACED),
        (identity(), ChangeAction.DELETE, ChangeState.REPLACED),
        (identity(), ChangeAction.CREATE, ChangeState.CURRENT),
    ]
    assert [entry.dicom_json for entry in entries] == [b"{2}"] * 3


async def test_an_equal_instance_uid_elsewhere_does_not_change_the_state(
    index: InstanceIndex, changes: ChangeLog
) -> None:
    here = InstanceId(DEFAULT_PARTITION, uid(1), uid(1), uid(7))
    there = InstanceId(DEFAULT_PARTITION, uid(2), uid(1), uid(7))
    await index.add([sample(id=here), sample(id=there)], NOON)
    await index.delete(here.address, NOON, NOON)
    assert summary(await changes.list(ALL)) == [
        (here, ChangeAction.CREATE, ChangeState.DELETED),
        (there, ChangeAction.CREATE, ChangeState.CURRENT),
        (here, ChangeAction.DELETE, ChangeState.DELETED),
    ]


async def test_deleting_a_study_adds_an_entry_per_instance_in_order_of_version(
    index: InstanceIndex, changes: ChangeLog
) -> None:
    await index.add([sample(1, series, 1) for series in (3, 1, 2)] + [sample(2)], NOON)
    await index.delete(study_ref(1), NOON, NOON)
    deletes = await changes.list(ChangeWindow(limit=9, after_sequence=4))
    assert [change.sequence for change in deletes] == [5, 6, 7]
    assert [change.instance for change in deletes] == [identity(1, series) for series in (3, 1, 2)]


async def test_metadata_is_only_returned_on_request(index: InstanceIndex, changes: ChangeLog) -> None:
    await index.add([sample(dicom_json=b"{7}")], NOON)
    (without,) = await changes.list(ALL)
    (with_,) = await changes.list(ChangeWindow(limit=1, metadata=True))
    assert (without.dicom_json, with_.dicom_json) == (None, b"{7}")
    assert await changes.latest(metadata=True) == with_
    assert await changes.latest(metadata=False) == without


async def test_windows_by_sequence(index: InstanceIndex, changes: ChangeLog) -> None:
    await index.add([sample(n) for n in range(1, 8)], NOON)
    assert await sequences(changes, ChangeWindow(limit=3)) == [1, 2, 3]
    assert await sequences(changes, ChangeWindow(limit=3, after_sequence=5)) == [6, 7]
    assert await sequences(changes, ChangeWindow(limit=9, after_sequence=2, through_sequence=4)) == [3, 4]
    assert await sequences(changes, ChangeWindow(limit=2, skip=3)) == [4, 5]
    assert await sequences(changes, ChangeWindow(limit=9, after_sequence=7)) == []
    assert await sequences(changes, ChangeWindow(limit=9, after_sequence=2**62)) == []


async def test_windows_by_time_include_their_start_and_exclude_their_end(
    index: InstanceIndex, changes: ChangeLog
) -> None:
    for n in range(1, 6):
        await index.add([sample(n)], NOON + n * SECOND)
    start, end = NOON + 2 * SECOND, NOON + 4 * SECOND
    assert await sequences(changes, ChangeWindow(limit=9, start=start, end=end)) == [2, 3]
    assert await sequences(changes, ChangeWindow(limit=9, start=start)) == [2, 3, 4, 5]
    assert await sequences(changes, ChangeWindow(limit=9, end=end)) == [1, 2, 3]
    assert await sequences(changes, ChangeWindow(limit=1, start=start, skip=1)) == [3]
    assert await sequences(changes, ChangeWindow(limit=9, start=start, after_sequence=3)) == [4, 5]


async def test_a_window_may_use_any_time_zone(index: InstanceIndex, changes: ChangeLog) -> None:
    await index.add([sample()], NOON)
    noon_in_tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    assert await sequences(changes, ChangeWindow(limit=9, start=noon_in_tokyo)) == [1]
    assert await sequences(changes, ChangeWindow(limit=9, end=noon_in_tokyo)) == []


async def test_times_ascend_even_if_the_clock_goes_back(index: InstanceIndex, changes: ChangeLog) -> None:
    await index.add([sample(1)], NOON)
    await index.add([sample(2)], NOON - timedelta(hours=1))
    await index.delete(study_ref(2), NOON - timedelta(minutes=1), NOON)
    await index.add([sample(3)], NOON + SECOND)
    times = [change.time for change in await changes.list(ALL)]
    assert times == [NOON, NOON, NOON, NOON + SECOND]


@pytest.mark.parametrize(
    "time", [datetime(1999, 12, 31, 23, 59, 59, 999999, UTC), datetime(2400, 1, 1, 0, 0, 0, 1, UTC)]
)
async def test_times_have_microsecond_precision(index: InstanceIndex, changes: ChangeLog, time: datetime) -> None:
    await index.add([sample()], time)
    (change,) = await changes.list(ALL)
    assert change.time == time


async def test_latest_is_the_entry_with_the_highest_sequence(index: InstanceIndex, changes: ChangeLog) -> None:
    await index.add([sample(1), sample(2)], NOON)
    await index.delete(study_ref(1), NOON, NOON)
    latest = await changes.latest(metadata=False)
    assert latest is not None
    assert (latest.sequence, latest.instance, latest.action) == (3, identity(1), ChangeAction.DELETE)
