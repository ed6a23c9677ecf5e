"""An overloaded core delays or refuses calls, and stays within its memory limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import (
    change_feed_service_pb2,
    partition_service_pb2,
    workitem_event_service_pb2,
    workitem_event_service_pb2_grpc,
)
from dicomstore.v1 import store_service_pb2 as pb
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from grpc_status._async import from_call

from server.bootstrap.serving import running
from server.domain.flow.ingest_budget import BASE_BYTES, IngestBudget
from tests.core import CoreClient, settings_for
from tests.data import new_uid, part10

PIXELS = bytes(600_000)
SMALL_BUDGET = 4 * BASE_BYTES


@asynccontextmanager
async def busy_core(data: Path, **settings: Any) -> AsyncIterator[tuple[CoreClient, IngestBudget]]:
    """Run a core; yield a client and the ingest budget of the core."""
    async with (
        running(settings_for(data, **settings)) as core,
        grpc.aio.insecure_channel(core.address) as channel,
    ):
        yield CoreClient(channel, data, core.address), core.ingest_budget


def instance(**attributes: Any) -> bytes:
    return part10(frames=[PIXELS], Rows=600, Columns=1000, **attributes)


def message(*pieces: pb.InstancePiece) -> pb.StoreInstancesRequest:
    return pb.StoreInstancesRequest(pieces=pieces)


def header() -> pb.StoreInstancesRequest:
    return pb.StoreInstancesRequest(header=pb.StoreHeader())


async def half_an_instance(core: CoreClient, body: bytes | None = None) -> Any:
    """Begin an upload that sends half an instance and stalls; return its call, which may still be sending."""
    call = core.store_stub.StoreInstances()
    body = body or instance()
    half = message(pb.InstancePiece(item=1, data=body[: len(body) // 2]))

    async def send() -> None:
        await call.write(header())
        await call.write(half)

    call.sending = asyncio.create_task(send())
    return call


async def finish(call: Any, body: bytes) -> list[Any]:
    """Send the other half; return the outcomes."""
    await call.sending
    await call.write(message(pb.InstancePiece(item=1, data=body[len(body) // 2 :], last=True)))
    await call.done_writing()
    return [outcome async for response in call for outcome in response.outcomes]


async def cancel_all(*calls: Any) -> None:
    for call in calls:
        call.sending.cancel()
        call.cancel()
    await asyncio.gather(*(call.sending for call in calls), return_exceptions=True)


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110 - no event announces it
        await asyncio.sleep(0.01)


async def reasons_of(call: Any) -> tuple[grpc.StatusCode, str, int]:
    """Read a call until it fails; return code, reason and the retry delay in seconds."""
    with pytest.raises(grpc.aio.AioRpcError):
        await _read_all(call)
    return _reasons(await from_call(call))


async def _read_all(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:  # type: ignore[attr-defined] # unknown to the type stubs
        pass


def _reasons(status: Any) -> tuple[grpc.StatusCode, str, int]:
    info, retry = ErrorInfo(), RetryInfo()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(retry)
    [code] = [code for code in grpc.StatusCode if code.value[0] == status.code]
    return code, info.reason, retry.retry_delay.seconds


BUSY = (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUSY", 1)


async def test_hundreds_of_stalled_uploads_stay_within_the_ingest_budget(tmp_path: Path) -> None:
    async with busy_core(tmp_path, max_ingest_bytes=SMALL_BUDGET) as (core, budget):
        calls = [await half_an_instance(core) for _ in range(200)]
        await until(lambda: budget.waiting == 196)
        assert budget.used_bytes == SMALL_BUDGET
        assert sum(call.sending.done() for call in calls) < 10  # flow control stops the others
        await cancel_all(*calls)
        await until(lambda: not budget.used_bytes and not budget.waiting)
        assert await core.blob_count() == 0
        await core.stored(instance())


async def test_waiting_uploads_continue_when_the_ingest_budget_allows(tmp_path: Path) -> None:
    async with busy_core(tmp_path, max_ingest_bytes=SMALL_BUDGET) as (core, budget):
        stalled = [await half_an_instance(core) for _ in range(4)]
        await until(lambda: budget.used_bytes == SMALL_BUDGET)
        bodies = [instance(SOPInstanceUID=new_uid()) for _ in range(20)]
        waiting = [asyncio.create_task(core.stored(body)) for body in bodies]
        await until(lambda: budget.waiting == 20)
        await cancel_all(*stalled)
        assert len(await asyncio.gather(*waiting)) == 20
        await until(lambda: not budget.used_bytes)


async def test_waiting_uploads_are_admitted_in_order_of_arrival(tmp_path: Path) -> None:
    async with busy_core(tmp_path, max_ingest_bytes=SMALL_BUDGET, ingest_wait_seconds=100) as (core, budget):
        stalled = [await half_an_instance(core) for _ in range(4)]
        await until(lambda: budget.used_bytes == SMALL_BUDGET)
        order: list[int] = []

        async def upload(number: int) -> None:
            await core.stored(instance())
            order.append(number)

        tasks = []
        for number in range(8):
            tasks.append(asyncio.create_task(upload(number)))
            await until(lambda: budget.waiting == number + 1)  # noqa: B023 - awaited here
        await cancel_all(stalled[0])
        await asyncio.gather(*tasks)
        assert order == list(range(8))
        await cancel_all(*stalled[1:])


async def test_an_upload_not_admitted_in_time_is_refused_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The clock of the loop is moved: in real time, clients that keep sending may pause for long on a busy machine.
    loop, moved_s = asyncio.get_running_loop(), 0.0
    real_time = loop.time
    monkeypatch.setattr(loop, "time", lambda: real_time() + moved_s)
    settings = {"max_ingest_bytes": SMALL_BUDGET, "ingest_wait_seconds": 3600}
    async with busy_core(tmp_path, **settings) as (core, budget):
        bodies = [instance(SOPInstanceUID=new_uid()) for _ in range(4)]
        holders = [await half_an_instance(core, body) for body in bodies]
        await until(lambda: budget.used_bytes == SMALL_BUDGET)
        # An upload whose instance has not arrived yet lends its bytes.
        await until(lambda: not any(each.is_idle for each in budget._admitted))

        waiting = asyncio.create_task(reasons_of(core.store_stub.StoreInstances()))
        await until(lambda: budget.waiting)
        moved_s = 1800
        later = loop.time()
        for call in holders:  # a client that sends again is not evicted
            await call.sending
            await call.write(message(pb.InstancePiece(item=1)))
        await until(lambda: all(each.active_at >= later for each in budget._admitted))
        moved_s = 3600
        assert await waiting == BUSY
        for call, body in zip(holders, bodies, strict=True):
            [outcome] = await finish(call, body)
            assert outcome.HasField("stored")
        await until(lambda: not budget.used_bytes)
        assert await core.blob_count() == 4


async def test_a_stalled_upload_is_evicted_for_a_waiting_one_and_its_stored_instances_remain(tmp_path: Path) -> None:
    settings = {"max_ingest_bytes": SMALL_BUDGET, "ingest_wait_seconds": 0.5}
    async with busy_core(tmp_path, **settings) as (core, budget):
        stalled = []
        for _ in range(4):
            call = core.store_stub.StoreInstances()
            await call.write(header())
            await call.write(message(pb.InstancePiece(item=1, data=instance(), last=True)))
            first = await call.read()
            assert first.outcomes[0].HasField("stored")
            await call.write(message(pb.InstancePiece(item=2, data=instance()[:300_000])))
            stalled.append(call)
        await until(lambda: budget.used_bytes == SMALL_BUDGET)
        await core.stored(instance())
        assert [await reasons_of(call) for call in stalled] == [BUSY] * 4
        await until(lambda: not budget.used_bytes)
        assert len(await core.changes()) == 5
        assert await core.blob_count() == 5


async def test_uploads_idle_between_instances_hold_no_budget(tmp_path: Path) -> None:
    async with busy_core(tmp_path, max_ingest_bytes=SMALL_BUDGET) as (core, budget):
        calls = [core.store_stub.StoreInstances() for _ in range(12)]
        for call in calls:
            await call.write(header())
            await call.write(message(pb.InstancePiece(item=1, data=instance(), last=True)))
        for call in calls:
            assert (await call.read()).outcomes[0].HasField("stored")
        for call in calls:
            await call.write(message(pb.InstancePiece(item=2, data=instance(), last=True)))
            await call.done_writing()
            assert (await call.read()).outcomes[0].HasField("stored")
        await until(lambda: not budget.used_bytes)


async def test_many_small_instances_are_stored_with_a_small_budget(tmp_path: Path) -> None:
    async with busy_core(tmp_path, max_ingest_bytes=SMALL_BUDGET) as (core, budget):

        async def upload() -> int:
            pieces = [pb.InstancePiece(item=number, data=part10(), last=True) for number in range(1, 101)]
            requests = [header(), *(message(*pieces[start : start + 20]) for start in range(0, 100, 20))]
            return sum(outcome.HasField("stored") for outcome in await core.send(requests))

        assert await asyncio.gather(*(upload() for _ in range(20))) == [100] * 20
        await until(lambda: not budget.used_bytes)


async def test_large_headers_count_against_the_budget_and_every_upload_succeeds(tmp_path: Path) -> None:
    async with busy_core(tmp_path, max_ingest_bytes=SMALL_BUDGET) as (core, budget):
        most = 0

        async def upload() -> None:
            nonlocal most
            body = part10(TextValue="x" * (6 << 20))
            sending = asyncio.create_task(core.stored(body, piece_bytes=200_000))
            while not sending.done():
                most = max(most, budget.used_bytes)
                await asyncio.sleep(0)
            await sending

        await asyncio.gather(*(upload() for _ in range(6)))
        assert 6 << 20 < most <= SMALL_BUDGET + (8 << 20)
        await until(lambda: not budget.used_bytes)


async def test_the_core_stops_reading_a_client_that_reads_no_outcomes(tmp_path: Path) -> None:
    async with busy_core(tmp_path) as (core, budget):
        call = core.store_stub.StoreInstances()
        await call.write(header())
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                pieces = [pb.InstancePiece(item=sent + 1 + number, last=True) for number in range(1000)]
                await call.write(message(*pieces))
                sent += 1000

        sending = asyncio.create_task(send())
        settled = -1
        while settled != sent:
            settled = sent
            await asyncio.wait({sending}, timeout=1)
        assert sent < 100_000
        sending.cancel()
        call.cancel()
        await asyncio.wait([sending])
        await until(lambda: not budget.used_bytes)


async def test_calls_above_the_limit_are_refused_at_once_and_health_still_responds(tmp_path: Path) -> None:
    async with busy_core(tmp_path, max_calls=3) as (core, budget):
        calls = [await half_an_instance(core) for _ in range(3)]
        await until(lambda: budget.used_bytes == 3 * BASE_BYTES)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await core.partition_stub.ListPartitions(partition_service_pb2.ListPartitionsRequest())
        assert _reasons(rpc_status.from_call(caught.value)) == BUSY
        assert await reasons_of(core.store_stub.StoreInstances()) == BUSY
        healthy = await health_pb2_grpc.HealthStub(core.channel).Check(health_pb2.HealthCheckRequest())
        assert healthy.status == health_pb2.HealthCheckResponse.SERVING
        await cancel_all(calls[0])
        await until(lambda: budget.used_bytes == 2 * BASE_BYTES)
        await core.changes()
        await cancel_all(*calls[1:])


async def test_watches_have_a_separate_call_limit(tmp_path: Path) -> None:
    async with busy_core(tmp_path, max_calls=1, max_watches=2) as (core, _):
        await core.stored(part10())
        request = change_feed_service_pb2.WatchChangesRequest()
        watches = [core.change_feed_stub.WatchChanges(request) for _ in range(2)]
        for watch in watches:
            assert len((await watch.read()).entries) == 1
        assert len(await core.changes()) == 1
        assert await reasons_of(core.change_feed_stub.WatchChanges(request)) == BUSY
        for watch in watches:
            watch.cancel()


async def test_event_channels_of_workitems_have_a_separate_call_limit(tmp_path: Path) -> None:
    async with busy_core(tmp_path, max_calls=1, max_watches=0, max_event_channels=2) as (core, _):
        events = workitem_event_service_pb2_grpc.WorkitemEventServiceStub(core.channel)
        channels: list[Any] = [
            events.ReceiveWorkitemEvents(workitem_event_service_pb2.ReceiveWorkitemEventsRequest(ae_title="VIEWER")),
            events.WatchWorkitems(workitem_event_service_pb2.WatchWorkitemsRequest()),
        ]
        for channel in channels:
            assert not (await channel.read()).events
        assert await core.changes() == []
        refused = events.WatchWorkitems(workitem_event_service_pb2.WatchWorkitemsRequest())
        assert await reasons_of(refused) == BUSY
        for channel in channels:
            channel.cancel()


async def test_a_refused_call_releases_its_slot_exactly_once(tmp_path: Path) -> None:
    async with busy_core(tmp_path, max_calls=2) as (core, budget):
        held = await half_an_instance(core)
        await until(lambda: budget.used_bytes == BASE_BYTES)
        for _ in range(5):
            assert len(await core.changes()) == 0
        second = await half_an_instance(core)
        await until(lambda: budget.used_bytes == 2 * BASE_BYTES)
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError):
                await core.changes()
        await cancel_all(held, second)


async def test_a_message_above_the_contract_limit_ends_the_call(tmp_path: Path) -> None:
    async with busy_core(tmp_path) as (core, budget):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await core.send([header(), message(pb.InstancePiece(item=1, data=bytes(4 << 20), last=True))])
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await until(lambda: not budget.used_bytes)
