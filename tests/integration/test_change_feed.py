"""ChangeFeedService, as specified in protos/dicomstore/v1/change_feed_service.proto."""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import change_feed_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from server.bootstrap.serving import running
from tests.core import CoreClient, reason_of, ref_of, settings_for, stream_reason
from tests.data import part10
from tests.integration.conftest import a_core


def summary(entry: Any) -> tuple[str, str]:
    return (
        pb.ChangeAction.Name(entry.action).removeprefix("CHANGE_ACTION_"),
        pb.ChangeState.Name(entry.state).removeprefix("CHANGE_STATE_"),
    )


async def test_each_store_and_delete_has_an_entry_with_its_state(core: CoreClient) -> None:
    body = part10()
    [first] = await core.stored(body)
    await core.delete(ref_of(first))
    assert [summary(e) for e in await core.changes()] == [("CREATE", "DELETED"), ("DELETE", "DELETED")]
    [second] = await core.stored(body)
    entries = await core.changes(include_metadata=True)
    assert [summary(e) for e in entries] == [("CREATE", "REPLACED"), ("DELETE", "REPLACED"), ("CREATE", "CURRENT")]
    assert entries[-1].version == second.version
    assert entries[-1].instance == second.id
    assert json.loads(entries[-1].dicom_json)["00080018"]["Value"] == [second.id.sop_instance_uid]


async def test_metadata_is_only_sent_on_request(core: CoreClient) -> None:
    await core.stored(part10())
    [entry] = await core.changes()
    assert entry.dicom_json == b""


async def test_paging_by_sequence_number(core: CoreClient) -> None:
    await core.stored(*(part10() for _ in range(10)))
    seen: list[int] = []
    while page := await core.changes(after_sequence=seen[-1] if seen else 0, page_size=3):
        seen += [entry.sequence for entry in page]
    assert seen == sorted(set(seen))
    assert len(seen) == 10


async def test_windows_by_sequence_number_and_row_count(core: CoreClient) -> None:
    await core.stored(*(part10() for _ in range(6)))
    everything = [entry.sequence for entry in await core.changes()]
    assert [e.sequence for e in await core.changes(through_sequence=everything[2])] == everything[:3]
    assert [e.sequence for e in await core.changes(skip=4)] == everything[4:]


async def test_windows_by_time(core: CoreClient) -> None:
    await core.stored(*(part10() for _ in range(3)))
    times = [entry.time for entry in await core.changes()]
    assert [t.ToNanoseconds() for t in times] == sorted(t.ToNanoseconds() for t in times)
    after_all = Timestamp()
    after_all.FromNanoseconds(times[-1].ToNanoseconds() + 1_000_000)
    assert len(await core.changes(start_time=times[0], end_time=after_all)) == 3
    assert await core.changes(start_time=after_all) == []
    assert await core.changes(end_time=times[0]) == []


@pytest.mark.parametrize("fields", [{"after_sequence": -1}, {"skip": -1}, {"page_size": -1}, {"page_size": 201}])
async def test_invalid_windows_are_refused(core: CoreClient, fields: dict[str, int]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await core.changes(**fields)
    assert reason_of(caught.value) == "INVALID_FIELD"


async def test_the_latest_change(core: CoreClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await core.change_feed_stub.GetLatestChange(pb.GetLatestChangeRequest())
    assert reason_of(caught.value) == "NO_CHANGES"
    await core.stored(part10(), part10())
    latest = await core.change_feed_stub.GetLatestChange(pb.GetLatestChangeRequest(include_metadata=True))
    assert latest.entry.sequence == max(entry.sequence for entry in await core.changes())
    assert latest.entry.dicom_json


async def test_a_watch_catches_up_and_then_follows(core: CoreClient) -> None:
    await core.stored(part10(), part10())
    call = core.change_feed_stub.WatchChanges(pb.WatchChangesRequest())
    seen = list((await call.read()).entries)
    while len(seen) < 2:
        seen += (await call.read()).entries
    await core.stored(part10())
    response = await call.read()
    assert len(response.entries) == 1
    assert response.checkpoint_sequence == response.entries[0].sequence
    call.cancel()


async def test_an_idle_watch_sends_checkpoints_the_first_at_once(core: CoreClient) -> None:
    [_] = await core.stored(part10())
    call = core.change_feed_stub.WatchChanges(
        pb.WatchChangesRequest(after_sequence=1, checkpoint_interval=Duration(seconds=1))
    )
    started = time.monotonic()
    for _ in range(2):
        response = await call.read()
        assert (list(response.entries), response.checkpoint_sequence) == ([], 1)
    assert 1 <= time.monotonic() - started < 10
    call.cancel()


async def test_a_watch_sees_changes_by_another_core_on_the_same_database(tmp_path: Path) -> None:
    async with a_core(tmp_path) as one, a_core(tmp_path) as other:
        call = one.change_feed_stub.WatchChanges(pb.WatchChangesRequest())
        assert not (await call.read()).entries
        [stored] = await other.stored(part10())
        [entry] = (await call.read()).entries
        assert entry.instance == stored.id
        call.cancel()


async def test_a_watch_ends_when_the_core_stops(tmp_path: Path) -> None:
    async with AsyncExitStack() as stopping:
        started = await stopping.enter_async_context(running(settings_for(tmp_path)))
        async with grpc.aio.insecure_channel(started.address) as channel:
            call = CoreClient(channel, tmp_path).change_feed_stub.WatchChanges(
                pb.WatchChangesRequest(checkpoint_interval=Duration(seconds=1))
            )
            await call.initial_metadata()
            reason = asyncio.create_task(stream_reason(call))
            await stopping.aclose()
            assert await reason == "SHUTTING_DOWN"


async def test_invalid_watch_requests_are_refused(core: CoreClient) -> None:
    for request in (
        pb.WatchChangesRequest(after_sequence=-1),
        pb.WatchChangesRequest(checkpoint_interval=Duration(nanos=5)),
    ):
        assert await stream_reason(core.change_feed_stub.WatchChanges(request)) == "INVALID_FIELD"
