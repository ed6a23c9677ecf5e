"""A second operation type: apart from the line in the registry, this module is all that a new type needs.

The type `count` counts the items of a range, two per call of its step; the request lists items that fail. Its messages
would be in `operation_types.proto`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import operation_service_pb2 as pb
from dicomstore.v1 import operation_service_pb2_grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from server.adapters.sql.engine import open_database
from server.bootstrap.components import Supervisor
from server.bootstrap.serving import running
from server.bootstrap.working import working
from server.domain.operations.types import OperationType, OperationTypes, Progress, Step
from server.domain.operations.watch import OperationWatch
from server.domain.read_only import ReadOnlyState
from server.jobs import engine as jobs
from server.model.errors import InvalidRequest, Reason, Unavailable
from server.model.ids import DEFAULT_PARTITION, Address
from server.model.operation import Json, Operation, OperationError, OperationState
from tests.core import reason_of, settings_for
from tests.integration.facade.serving import serving
from tests.operations import end

BATCH = 2


def _contract() -> dict[str, Any]:
    """Return the messages of the type, as in generated code."""
    file = descriptor_pb2.FileDescriptorProto(name="count.proto", package="dicomstore.v1", syntax="proto3")
    one, many = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
    messages = {"CountRequest": {"items": one, "failing": many}, "CountResult": {"counted": one}}
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, (field_name, label) in enumerate(fields.items(), 1):
            message.field.add(name=field_name, number=number, type=FieldDescriptorProto.TYPE_INT32, label=label)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"dicomstore.v1.{name}")) for name in messages
    }


MESSAGES = _contract()


@dataclass
class Counting:
    """The type, and a record of its steps.

    gate: the step waits for it before each part.
    outages: number of calls of the step that fail because a dependency is not reachable.
    """

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[int] = field(default_factory=list)
    cleaned_up: list[str] = field(default_factory=list)
    outages: int = 0

    def type(self, **fields: Any) -> OperationType:
        """Return the entry of the registry."""
        return OperationType(
            name="count",
            request_message="CountRequest",
            result_message="CountResult",
            steps=(Step("count", self.count), Step("sum up", self.sum_up)),
            check=self.check,
            clean_up=self.clean_up,
            **fields,
        )

    def check(self, request: Json) -> Json:
        if request.get("items", 0) < 0:
            raise InvalidRequest(Reason.INVALID_FIELD, "items must not be negative.", field="items")
        return request

    async def count(self, operation: Operation) -> Progress:
        await self.gate.wait()
        if self.outages:
            self.outages -= 1
            raise Unavailable(Reason.STORAGE_UNAVAILABLE, "The storage can't be reached.")
        items, first = operation.request.get("items", 0), int(operation.cursor or 0)
        if items == 13:
            raise InvalidRequest(Reason.INVALID_FIELD, "13 items can't be counted.")
        batch = range(first, min(first + BATCH, items))
        self.calls.append(first)
        failing = [item for item in batch if item in operation.request.get("failing", ())]
        address = Address(DEFAULT_PARTITION)
        return Progress(
            cursor=str(batch.stop),
            done=len(batch),
            failed=len(failing),
            total=items,
            errors=[
                OperationError(datetime.now(UTC), Reason.BLOB_DAMAGED, "It is damaged.", address, f"item {item}")
                for item in failing
            ],
            is_last=batch.stop >= items,
        )

    async def sum_up(self, operation: Operation) -> Progress:
        return Progress(result={"counted": operation.done - operation.failed}, is_last=True)

    async def clean_up(self, operation: Operation) -> None:
        self.cleaned_up.append(operation.id)


@pytest.fixture
def counting() -> Counting:
    return Counting()


@asynccontextmanager
async def a_core(data: Path, *types: OperationType, **fields: Any) -> AsyncIterator[Any]:
    """Yield the stub of OperationService of a core with these types, and its address."""
    async with (
        running(settings_for(data), more_operation_types=types, **fields) as core,
        grpc.aio.insecure_channel(core.address) as channel,
    ):
        yield operation_service_pb2_grpc.OperationServiceStub(channel), core.address


@asynccontextmanager
async def a_worker(data: Path, *types: OperationType) -> AsyncIterator[jobs.Engine]:
    """Run a worker with these types."""
    async with working(settings_for(data), more_operation_types=types) as engine:
        assert engine is not None
        task = asyncio.create_task(engine.run())
        yield engine
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def start(stub: Any, items: int, failing: tuple[int, ...] = (), request_id: str = "") -> pb.Operation:
    request = pb.StartOperationRequest(request_id=request_id)
    request.request.Pack(MESSAGES["CountRequest"](items=items, failing=failing))
    return (await stub.StartOperation(request)).operation  # type: ignore[no-any-return]


async def ended(stub: Any, operation: pb.Operation) -> pb.Operation:
    async with asyncio.timeout(60):
        return (await stub.WaitOperation(pb.WaitOperationRequest(id=operation.id))).operation  # type: ignore[no-any-return]


def unpacked(packed: Any, name: str) -> Any:
    message = MESSAGES[name]()
    assert packed.Unpack(message)
    return message


async def refusal(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return str(reason_of(refused.value))


async def test_an_operation_runs_in_steps_with_progress_errors_and_a_result(tmp_path: Path, counting: Counting) -> None:
    type_ = counting.type()
    counting.gate.set()
    counting.outages = 1
    async with a_core(tmp_path, type_) as (stub, _):
        started = await start(stub, 5, failing=(0, 3))
        assert (started.type, started.state, started.internal) == ("count", pb.OPERATION_STATE_NOT_STARTED, False)
        assert unpacked(started.request, "CountRequest").items == 5
        unchanged = await start(stub, 0, request_id="once")
        assert (await start(stub, 0, request_id="once")).id == unchanged.id
        async with a_worker(tmp_path, type_):
            done = await ended(stub, started)
            await ended(stub, unchanged)
        assert (done.state, done.percent_complete) == (pb.OPERATION_STATE_SUCCEEDED, 100)
        assert (done.done, done.failed, done.total) == (5, 2, 5)
        assert unpacked(done.result, "CountResult").counted == 3
        assert counting.calls == [0, 2, 4, 0]

        page = await stub.ListOperationErrors(pb.ListOperationErrorsRequest(id=done.id, page_size=1))
        [error] = page.errors
        assert (error.item, error.message) == ("item 0", "It is damaged.")
        rest = pb.ListOperationErrorsRequest(id=done.id, page_token=page.next_page_token)
        assert [error.item for error in (await stub.ListOperationErrors(rest)).errors] == ["item 3"]


async def test_a_worker_that_is_woken_looks_for_operations_at_once(
    tmp_path: Path, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LOOK_SECONDS", 1000.0)
    counting.gate.set()
    type_ = counting.type()
    async with a_core(tmp_path, type_) as (stub, _), a_worker(tmp_path, type_) as engine:
        for _ in range(2):
            started = await start(stub, 1)
            engine.wake()
            assert (await ended(stub, started)).state == pb.OPERATION_STATE_SUCCEEDED


async def test_a_request_is_validated_and_a_failing_operation_has_its_reason(
    tmp_path: Path, counting: Counting
) -> None:
    type_ = counting.type(is_exclusive=True)
    counting.gate.set()
    async with a_core(tmp_path, type_) as (stub, _):
        assert await refusal(start(stub, -1)) == "INVALID_FIELD"
        assert await refusal(stub.StartOperation(pb.StartOperationRequest())) == "INVALID_FIELD"
        unknown = pb.StartOperationRequest()
        unknown.request.Pack(pb.GetOperationRequest())
        assert await refusal(stub.StartOperation(unknown)) == "INVALID_FIELD"
        started = await start(stub, 13)
        assert await refusal(start(stub, 1)) == "OPERATION_RUNNING"
        async with a_worker(tmp_path, type_):
            failed = await ended(stub, started)
        assert (failed.state, failed.error) == (pb.OPERATION_STATE_FAILED, "13 items can't be counted.")


async def test_cancelling_a_started_operation_cleans_up(tmp_path: Path, counting: Counting) -> None:
    type_ = counting.type()
    async with a_core(tmp_path, type_) as (stub, _):
        waiting = await start(stub, 5)
        cancelled = await stub.CancelOperation(pb.CancelOperationRequest(id=waiting.id))
        assert cancelled.operation.state == pb.OPERATION_STATE_CANCELED
        begun = await start(stub, 1000)
        counting.gate.set()
        async with a_worker(tmp_path, type_):
            async with asyncio.timeout(60):
                while not counting.calls:  # noqa: ASYNC110 - no event announces a step
                    await asyncio.sleep(0.01)
            counting.gate.clear()
            seen = await stub.CancelOperation(pb.CancelOperationRequest(id=begun.id))
            assert seen.operation.state == pb.OPERATION_STATE_CANCELING
            counting.gate.set()
            assert (await ended(stub, begun)).state == pb.OPERATION_STATE_CANCELED
        assert counting.cleaned_up == [begun.id]


async def test_the_facade_shows_operations_of_types_that_are_not_internal(tmp_path: Path, counting: Counting) -> None:
    for data, is_internal, expected in ((tmp_path / "shown", False, 202), (tmp_path / "internal", True, 404)):
        async with a_core(data, counting.type(is_internal=is_internal)) as (stub, address), serving(address) as web:
            started = await start(stub, 1)
            answer = await web.get(f"/v2/operations/{started.id}")
            assert answer.status_code == expected
            assert is_internal or answer.json()["type"] == "count"


async def test_a_recurring_type_is_started_once_per_period(tmp_path: Path, counting: Counting) -> None:
    async with a_core(tmp_path):
        database = open_database(settings_for(tmp_path).database_url)
        time = datetime(2026, 1, 1, tzinfo=UTC)
        reports: list[datetime] = []
        types = OperationTypes.of([counting.type(every=timedelta(days=1))])
        watches = [
            OperationWatch(
                record=database.operations,
                types=types,
                now=lambda: time,
                retention=timedelta(days=7),
                read_only=ReadOnlyState(),
                report=lambda: reports.append(time),
                upkeep=nothing,
            )
            for _ in range(2)
        ]
        await asyncio.gather(*(watch.check() for watch in watches))
        [(_, first)] = await database.operations.list(limit=10)
        assert (first.type, first.state, len(reports)) == ("count", OperationState.NOT_STARTED, 2)
        time += timedelta(days=2)
        await watches[0].check()
        assert len(await database.operations.list(limit=10)) == 1, "the first is not finished"
        await end(database, first.id, OperationState.SUCCEEDED, time)
        for watch in watches:
            await watch.check()
        assert len(await database.operations.list(limit=10)) == 2
        [(_, second), _] = await database.operations.list(limit=10)
        await end(database, second.id, OperationState.SUCCEEDED, time)
        time += timedelta(days=30)
        await watches[0].delete_old()
        assert [one.id for _, one in await database.operations.list(limit=10)] == [second.id]
        await database.close()


async def nothing() -> None:
    """No other upkeep."""


async def test_unfinished_operations_are_reported_to_the_supervisor_at_once_and_after_a_restart(
    tmp_path: Path, counting: Counting
) -> None:
    reported = asyncio.Event()
    supervisor = Supervisor(need_worker=reported.set)
    async with a_core(tmp_path, counting.type(), supervisor=supervisor) as (stub, _):
        await asyncio.sleep(0)
        assert not reported.is_set()
        await start(stub, 1)
        async with asyncio.timeout(10):
            await reported.wait()
    reported.clear()
    async with a_core(tmp_path, counting.type(), supervisor=supervisor), asyncio.timeout(10):
        await reported.wait()


async def test_operations_take_turns(tmp_path: Path, counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_TURN_CALLS", 2)
    counting.gate.set()
    types = (counting.type(),)
    async with a_core(tmp_path, *types) as (stub, _):
        first, second = await start(stub, 20), await start(stub, 6)
        async with a_worker(tmp_path, *types):
            assert (await ended(stub, second)).state == OperationState.SUCCEEDED
            assert (await ended(stub, first)).state == OperationState.SUCCEEDED
    firsts = [n for n, item in enumerate(counting.calls) if item >= 6]
    assert len(counting.calls) == 10 + 3, "no part is done twice"
    assert firsts[-1] - firsts[0] >= 3, "the long operation goes on after parts of the short one"
    assert counting.calls[:2] == [0, 2]
    assert counting.calls[2:4] == [0, 2], "the second operation begins before the first one ends"


async def test_an_operation_pauses_until_the_time_that_its_step_states(tmp_path: Path) -> None:
    times: list[datetime] = []
    twice = asyncio.Event()

    async def step(operation: Operation) -> Progress:
        times.append(datetime.now(UTC))
        if (count := len(times)) == 2:
            twice.set()
        return Progress(str(count), done=1, is_last=count == 3, resumes=times[-1] + timedelta(seconds=1.5))

    type_ = OperationType(name="count", request_message="CountRequest", steps=(Step("wait", step),), check=dict)
    async with a_core(tmp_path, type_) as (stub, _):
        started = await start(stub, 0)
        async with a_worker(tmp_path, type_):
            async with asyncio.timeout(30):
                await twice.wait()
        async with a_worker(tmp_path, type_):  # that of another process
            assert (await ended(stub, started)).done == 3
    assert all(later - earlier >= timedelta(seconds=1.5) for earlier, later in pairwise(times))


async def test_a_paused_operation_can_be_cancelled(tmp_path: Path, counting: Counting) -> None:
    called = asyncio.Event()

    async def step(operation: Operation) -> Progress:
        called.set()
        return Progress("waits", resumes=datetime.now(UTC) + timedelta(hours=1))

    fields = {"request_message": "CountRequest", "check": dict, "clean_up": counting.clean_up}
    type_ = OperationType(name="count", steps=(Step("wait", step),), **fields)
    async with a_core(tmp_path, type_) as (stub, _), a_worker(tmp_path, type_):
        started = await start(stub, 0)
        async with asyncio.timeout(30):
            await called.wait()
        await stub.CancelOperation(pb.CancelOperationRequest(id=started.id))
        assert (await ended(stub, started)).state == OperationState.CANCELED
    assert counting.cleaned_up == [started.id]
