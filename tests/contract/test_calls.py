"""Calls over the network and within one process: both channels behave alike for the facade."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from dicomstore.v1 import (
    retrieve_service_pb2,
    retrieve_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
    store_service_pb2,
    store_service_pb2_grpc,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from facade.channel import CallStatus, Core
from facade.errors import CoreFailure
from node.calls import LocalChannel, LocalServer

EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]
SECONDS = 20.0


def refusal(reason: str) -> grpc.Status:
    """Return an error status as the core builds it."""
    detail = AnyMessage()
    detail.Pack(ErrorInfo(reason=reason, domain="dicomstore", metadata={"field": "limit"}))
    return rpc_status.to_status(Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="gone", details=[detail]))


class Services(
    search_service_pb2_grpc.SearchServiceServicer,
    retrieve_service_pb2_grpc.RetrieveServiceServicer,
    store_service_pb2_grpc.StoreServiceServicer,
):
    """Handlers that record what reaches them and end as the request says."""

    def __init__(self) -> None:
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.metadata: dict[str, str] = {}
        self.seconds_left: float | None = None

    async def Search(self, request: Any, context: Any) -> Any:
        self.metadata = dict(context.invocation_metadata())
        self.seconds_left = context.time_remaining()
        await self._maybe_end(request.page_token, context)
        return search_service_pb2.SearchResponse(next_page_token="more")

    async def RetrieveInstances(self, request: Any, context: Any) -> AsyncIterator[Any]:
        wanted = request.resource.study_instance_uid
        try:
            for number in range(1000 if wanted == "long" else 3):
                data = b"%d" % number
                yield retrieve_service_pb2.RetrieveInstancesResponse(
                    pieces=[retrieve_service_pb2.RetrievedPiece(data=data)]
                )
            await self._maybe_end(wanted, context)
        finally:
            self.ended.put_nowait("retrieve")

    async def StoreInstances(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for request in requests:
                await self._maybe_end(request.header.address.partition, context)
                for piece in request.pieces:
                    yield store_service_pb2.StoreInstancesResponse(
                        outcomes=[store_service_pb2.StoreOutcome(item=piece.item)]
                    )
        finally:
            self.ended.put_nowait("store")

    async def _maybe_end(self, how: str, context: Any) -> None:
        if how == "refuse":
            await context.abort_with_status(refusal("STUDY_NOT_FOUND"))
        if how == "break":
            raise ValueError("a fault in the handler")
        if how == "hang":
            await asyncio.Event().wait()


class Counting(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Counts the calls."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        self.methods.append(details.method)
        return await continuation(details)


@asynccontextmanager
async def connected(transport: str, services: Services, interceptor: Counting) -> AsyncIterator[Any]:
    def register(server: Any) -> None:
        search_service_pb2_grpc.add_SearchServiceServicer_to_server(services, server)
        retrieve_service_pb2_grpc.add_RetrieveServiceServicer_to_server(services, server)
        store_service_pb2_grpc.add_StoreServiceServicer_to_server(services, server)

    if transport == "local":
        local = LocalServer([interceptor])
        register(local)
        yield LocalChannel(local)
        return
    server = grpc.aio.server(interceptors=[interceptor])
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    finally:
        await server.stop(None)


@pytest.fixture(params=["network", "local"])
async def wire(request: pytest.FixtureRequest) -> AsyncIterator[SimpleNamespace]:
    """Stubs as the facade uses them, and the handlers behind them."""
    services, interceptor = Services(), Counting()
    async with connected(request.param, services, interceptor) as channel:
        core = Core(channel, call_seconds=SECONDS, idle_seconds=SECONDS)
        yield SimpleNamespace(core=core, services=services, interceptor=interceptor)
        await core.close()


def searching(how: str = "") -> Any:
    return search_service_pb2.SearchRequest(page_token=how)


def retrieving(how: str = "") -> Any:
    return retrieve_service_pb2.RetrieveInstancesRequest(resource={"study_instance_uid": how})


def storing(*items: int, partition: str = "") -> Any:
    return store_service_pb2.StoreInstancesRequest(
        header=store_service_pb2.StoreHeader(address={"partition": partition}),
        pieces=[{"item": item} for item in items],
    )


async def test_a_unary_call_passes_metadata_and_returns_its_response(wire: SimpleNamespace) -> None:
    answer = await wire.core.call(wire.core.search.Search, searching(), (("x-request-id", "7"),))
    assert answer.next_page_token == "more"
    assert wire.services.metadata["x-request-id"] == "7"
    assert wire.interceptor.methods == ["/dicomstore.v1.SearchService/Search"]


async def test_a_handler_sees_the_deadline_of_its_caller(wire: SimpleNamespace) -> None:
    await wire.core.call(wire.core.search.Search, searching(), ())
    assert 0 < wire.services.seconds_left <= SECONDS + 1  # gRPC rounds the deadline
    await wire.core.search.Search(searching())
    assert wire.services.seconds_left is None


async def test_a_refused_call_has_the_reason_of_the_core(wire: SimpleNamespace) -> None:
    with pytest.raises(CoreFailure) as caught:
        await wire.core.call(wire.core.search.Search, searching("refuse"), ())
    assert (caught.value.reason, caught.value.code) == ("STUDY_NOT_FOUND", "NOT_FOUND")
    assert dict(caught.value.metadata) == {"field": "limit"}


async def test_a_call_without_a_response_in_time_fails(wire: SimpleNamespace) -> None:
    with pytest.raises(CoreFailure) as caught:
        await wire.core.call(wire.core.search.Search, searching("hang"), (), seconds=0.05)
    assert caught.value.code == "DEADLINE_EXCEEDED"


async def test_an_exception_in_a_handler_is_a_failure_without_a_reason(wire: SimpleNamespace) -> None:
    with pytest.raises(CoreFailure) as caught:
        await wire.core.call(wire.core.search.Search, searching("break"), ())
    assert (caught.value.reason, caught.value.code) == ("", "UNKNOWN")


async def test_a_method_without_a_handler_is_unimplemented(wire: SimpleNamespace) -> None:
    with pytest.raises(CoreFailure) as caught:
        await wire.core.call(wire.core.delete.DeleteInstances, searching(), ())
    assert caught.value.code == "UNIMPLEMENTED"


async def test_a_response_stream_is_in_order_and_ends(wire: SimpleNamespace) -> None:
    stream = wire.core.messages(wire.core.retrieve.RetrieveInstances(retrieving(), metadata=()))
    assert [message.pieces[0].data async for message in stream] == [b"0", b"1", b"2"]


@pytest.mark.parametrize(
    ("how", "code", "reason"), [("refuse", "NOT_FOUND", "STUDY_NOT_FOUND"), ("break", "UNKNOWN", "")]
)
async def test_a_failing_stream_delivers_its_messages_and_then_its_status(
    wire: SimpleNamespace, how: str, code: str, reason: str
) -> None:
    stream = wire.core.messages(wire.core.retrieve.RetrieveInstances(retrieving(how), metadata=()))
    assert [(await anext(stream)).pieces[0].data for _ in range(3)] == [b"0", b"1", b"2"]
    with pytest.raises(CoreFailure) as caught:
        await anext(stream)
    assert (caught.value.code, caught.value.reason) == (code, reason)


async def test_a_reader_that_stops_early_cancels_the_handler(wire: SimpleNamespace) -> None:
    stream = wire.core.messages(wire.core.retrieve.RetrieveInstances(retrieving("hang"), metadata=()))
    await anext(stream)
    await stream.aclose()
    assert await asyncio.wait_for(wire.services.ended.get(), SECONDS) == "retrieve"


async def test_a_stalled_stream_fails_and_its_handler_ends(wire: SimpleNamespace) -> None:
    wire.core.idle_seconds = 0.05
    stream = wire.core.messages(wire.core.retrieve.RetrieveInstances(retrieving("hang"), metadata=()))
    with pytest.raises(CoreFailure) as caught:
        async for _ in stream:
            pass
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert await asyncio.wait_for(wire.services.ended.get(), SECONDS) == "retrieve"


async def test_requests_and_responses_of_a_bidirectional_stream_alternate_until_both_end(wire: SimpleNamespace) -> None:
    call = wire.core.store.StoreInstances(metadata=())
    answers: list[int] = []

    async def read() -> None:
        while (response := await call.read()) is not EOF:
            answers.extend(outcome.item for outcome in response.outcomes)

    reader = asyncio.create_task(read())
    for item in range(1, 50):
        await call.write(storing(item))
    await call.done_writing()
    await asyncio.wait_for(reader, SECONDS)
    assert answers == list(range(1, 50))
    assert await call.code() is grpc.StatusCode.OK
    assert await call.read() is EOF


async def test_a_refused_bidirectional_stream_fails_reader_and_writer_with_its_status(
    wire: SimpleNamespace,
) -> None:
    call = wire.core.store.StoreInstances(metadata=())
    status = CallStatus(call)
    reader = asyncio.create_task(call.read())

    async def write() -> None:
        while True:
            await call.write(storing(partition="refuse"))

    with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)):
        await asyncio.wait_for(write(), SECONDS)
    with pytest.raises(grpc.aio.AioRpcError):
        await asyncio.wait_for(reader, SECONDS)
    failure = await status.failure()
    assert failure is not None
    assert failure.reason == "STUDY_NOT_FOUND"


async def test_a_cancelled_bidirectional_stream_ends_reader_and_handler(wire: SimpleNamespace) -> None:
    call = wire.core.store.StoreInstances(metadata=())

    async def read() -> Any:
        return [await call.read(), await call.read()]

    reader = asyncio.create_task(read())
    await call.write(storing(1))
    await call.write(storing(partition="hang"))
    call.cancel()
    results = await asyncio.wait_for(asyncio.gather(reader, return_exceptions=True), SECONDS)
    assert isinstance(results[0], asyncio.CancelledError | grpc.aio.AioRpcError)
    assert await asyncio.wait_for(wire.services.ended.get(), SECONDS) == "store"
    assert call.done()
    assert call.cancel() is False


async def test_a_writer_waits_for_a_handler_that_does_not_read(wire: SimpleNamespace) -> None:
    call = wire.core.store.StoreInstances(metadata=())
    reader = asyncio.create_task(call.read())
    await call.write(storing(partition="hang"))

    async def flood() -> None:
        piece = {"item": 1, "data": bytes(1 << 20)}
        for _ in range(200):
            await call.write(store_service_pb2.StoreInstancesRequest(pieces=[piece]))

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flood(), 0.2)
    call.cancel()
    await asyncio.gather(reader, return_exceptions=True)
