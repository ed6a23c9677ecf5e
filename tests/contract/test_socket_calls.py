"""Calls of the contract over a socket of the machine: the server of a node, and the channel of the gateway."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import pytest
from dicomstore.v1 import (
    retrieve_service_pb2 as retrieve,
)
from dicomstore.v1 import (
    retrieve_service_pb2_grpc,
    search_service_pb2_grpc,
    store_service_pb2_grpc,
)
from dicomstore.v1 import (
    search_service_pb2 as search,
)
from dicomstore.v1 import (
    store_service_pb2 as store,
)
from google.protobuf.message import DecodeError

from common.process import socket_calls
from common.telemetry import neighbours
from dimse.local_channel import CallFailed, LocalChannel
from dimse.store_stream import local_stream, message_with
from node.calls import LocalServer
from node.socket_server import serving
from server.rpc.store import read_uncopied

SECONDS = 20.0
METADATA = (("x-request-id", "r1"), ("x-dicomstore-client", "192.0.2.1"))
LARGE = 2 << 20


class Services(
    search_service_pb2_grpc.SearchServiceServicer,
    retrieve_service_pb2_grpc.RetrieveServiceServicer,
    store_service_pb2_grpc.StoreServiceServicer,
):
    """Handlers that end as the request says."""

    def __init__(self) -> None:
        self.cancelled = threading.Semaphore(0)
        self.calls: list[tuple[str, dict[str, str], float | None]] = []
        self.received: list[tuple[int, int, bool]] = []
        self.largest_backlog = 0

    async def Search(self, request: Any, context: Any) -> Any:
        left = context.time_remaining()
        self.calls.append((context.peer(), dict(context.invocation_metadata()), left))
        await self._end_as(request.page_token, context)
        return search.SearchResponse(next_page_token=request.page_token)

    async def RetrieveInstances(self, request: Any, context: Any) -> AsyncIterator[Any]:
        wanted = request.resource.study_instance_uid
        for _ in range(1_000_000 if wanted == "endless" else 3):
            try:
                yield retrieve.RetrieveInstancesResponse(pieces=[retrieve.RetrievedPiece(data=bytes(LARGE // 8))])
            except (asyncio.CancelledError, GeneratorExit):
                self.cancelled.release()
                raise
        await self._end_as(wanted, context)

    async def StoreInstances(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            for piece in request.pieces:
                self.received.append((piece.item, len(piece.data), piece.last))
                if piece.data[:6] == b"refuse":
                    await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
                if piece.last:
                    yield store.StoreInstancesResponse(outcomes=[store.StoreOutcome(item=piece.item)])

    async def _end_as(self, wanted: str, context: Any) -> None:
        if wanted == "refuse":
            await context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        elif wanted == "fault":
            raise RuntimeError("a fault")
        elif wanted == "wait":
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.cancelled.release()
                raise


class Node:
    """A server in a thread of its own."""

    def __init__(self) -> None:
        self.services = Services()
        self._ready: Future[str] = Future()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        self.name = self._ready.result(SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        local = LocalServer()
        search_service_pb2_grpc.add_SearchServiceServicer_to_server(self.services, local)
        retrieve_service_pb2_grpc.add_RetrieveServiceServicer_to_server(self.services, local)
        store_service_pb2_grpc.add_StoreServiceServicer_to_server(self.services, local)
        listener = socket_calls.listen()
        async with serving(listener, local, is_shared=True, stop_seconds=0.2):
            self._ready.set_result(socket_calls.name_of(listener))
            await self._stop.wait()

    def stop(self) -> None:
        """Stop it."""
        if self.thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self.thread.join(SECONDS)


@pytest.fixture(scope="module")
def module_node() -> Iterator[Node]:
    node = Node()
    yield node
    node.stop()


@pytest.fixture
def node(module_node: Node) -> Node:
    module_node.services.calls.clear()
    module_node.services.received.clear()
    return module_node


@pytest.fixture
def channel(node: Node) -> Iterator[LocalChannel]:
    channel = LocalChannel(node.name)
    yield channel
    channel.close()


def searching(channel: LocalChannel) -> Any:
    return search_service_pb2_grpc.SearchServiceStub(channel).Search  # type: ignore[arg-type]


def retrieving(channel: LocalChannel) -> Any:
    return retrieve_service_pb2_grpc.RetrieveServiceStub(channel).RetrieveInstances  # type: ignore[arg-type]


def instances_of(study: str) -> Any:
    request = retrieve.RetrieveInstancesRequest()
    request.resource.study_instance_uid = study
    return request


def test_a_call_has_metadata_a_deadline_and_a_peer(node: Node, channel: LocalChannel) -> None:
    found = searching(channel)(search.SearchRequest(page_token="more"), metadata=METADATA, timeout=60)
    assert found.next_page_token == "more"
    [(peer, metadata, left)] = node.services.calls
    assert (peer, metadata) == ("local", dict(METADATA))
    assert left is not None
    assert 50 < left <= 60


def test_a_call_without_deadline_has_none(node: Node, channel: LocalChannel) -> None:
    searching(channel)(search.SearchRequest())
    assert node.services.calls[0][2] is None


@pytest.mark.parametrize(
    ("wanted", "code", "details"),
    [
        ("refuse", grpc.StatusCode.NOT_FOUND, "gone"),
        ("fault", grpc.StatusCode.UNKNOWN, "The handler failed."),
        ("wait", grpc.StatusCode.DEADLINE_EXCEEDED, ""),
    ],
)
def test_a_failed_call_has_a_status(channel: LocalChannel, wanted: str, code: grpc.StatusCode, details: str) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        searching(channel)(search.SearchRequest(page_token=wanted), timeout=0.5 if wanted == "wait" else None)
    assert failed.value.code() is code
    assert details in failed.value.details()
    assert searching(channel)(search.SearchRequest(page_token="next")).next_page_token == "next"


def test_an_unknown_rpc_is_unimplemented(channel: LocalChannel) -> None:
    with pytest.raises(CallFailed) as failed:
        channel.unary_unary("/none/None", bytes, bytes)(b"")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("size", [10, 16 << 10, 64 << 10, (64 << 10) + 1, LARGE])
def test_messages_of_any_size_arrive(channel: LocalChannel, size: int) -> None:
    found = searching(channel)(search.SearchRequest(page_token="x" * size))
    assert found.next_page_token == "x" * size


def test_a_stream_of_responses_ends_with_its_status(channel: LocalChannel) -> None:
    for _ in range(2):
        assert [len(one.pieces[0].data) for one in retrieving(channel)(instances_of("1"))] == [LARGE // 8] * 3
    responses = retrieving(channel)(instances_of("refuse"))
    for _ in range(3):
        next(responses)
    for _ in range(2):
        with pytest.raises(grpc.RpcError) as failed:
            next(responses)
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_stream_that_is_not_read_waits_and_can_be_cancelled(node: Node, channel: LocalChannel) -> None:
    for cancel in (True, False):
        responses = retrieving(channel)(instances_of("endless"))
        next(responses)
        if cancel:
            responses.cancel()
            with pytest.raises(grpc.RpcError):
                for _ in responses:
                    pass
        del responses  # a call that nobody refers to is cancelled, too
        assert node.services.cancelled.acquire(timeout=SECONDS)


def test_another_thread_can_cancel_a_call(node: Node, channel: LocalChannel) -> None:
    call = searching(channel).future(search.SearchRequest(page_token="wait"))
    timer = threading.Timer(0.1, call.cancel)
    timer.start()
    with pytest.raises(grpc.RpcError):
        call.result()
    timer.join()
    assert node.services.cancelled.acquire(timeout=SECONDS)


def test_calls_at_the_same_time_have_connections_of_their_own(channel: LocalChannel) -> None:
    def repeat(number: int) -> bool:
        texts = [f"{number}.{count}" * 1000 for count in range(50)]
        return all(searching(channel)(search.SearchRequest(page_token=one)).next_page_token == one for one in texts)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(repeat, range(8)))


def test_a_stream_of_requests_and_responses(node: Node, channel: LocalChannel) -> None:
    header = store.StoreHeader(create_partition=True)
    for _ in range(2):
        stream = local_stream(channel, METADATA)
        for item, size in enumerate((0, 1, 200, LARGE // 4), 1):
            stream.write(message_with(header if item == 1 else None, item, memoryview(bytes(size)), last=False))
            stream.write(message_with(None, item, memoryview(b"xy"), last=True))
            assert [outcome.item for outcome in next(stream).outcomes] == [item]
        stream.end()
    expected = [
        (item, size, last)
        for item, one in enumerate((0, 1, 200, LARGE // 4), 1)
        for size, last in ((one, False), (2, True))
    ]
    assert node.services.received == expected * 2


def test_a_stream_of_requests_that_is_refused(channel: LocalChannel) -> None:
    stream = local_stream(channel, METADATA)
    stream.write(message_with(None, 1, memoryview(b"refuse"), last=True))
    with pytest.raises(grpc.RpcError) as failed:
        next(stream)
    assert failed.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.RpcError):
        stream.write(message_with(None, 2, memoryview(b""), last=True))
    stream.end()
    assert searching(channel)(search.SearchRequest(page_token="next")).next_page_token == "next"


def test_a_message_is_that_of_the_contract() -> None:
    header = store.StoreHeader(create_partition=True)
    parts = message_with(header, 300, memoryview(b"x" * 1000), last=True)
    piece = store.InstancePiece(item=300, data=b"x" * 1000, last=True)
    assert store.StoreInstancesRequest.FromString(b"".join(parts)) == store.StoreInstancesRequest(
        header=header, pieces=[piece]
    )


def test_a_message_is_read_without_copies_as_with_protobuf() -> None:
    header = store.StoreHeader(create_partition=True, reason="why")
    pieces = [
        store.InstancePiece(item=1, data=b"a" * 300, declared_size_bytes=1 << 40),
        store.InstancePiece(item=1, last=True, crc32c=0xFEDCBA98),
        store.InstancePiece(item=300, aborted=True),
    ]
    serialised = store.StoreInstancesRequest(header=header, pieces=pieces).SerializeToString()
    found = read_uncopied(serialised)
    assert found.header is not None
    assert (found.header.create_partition, found.header.reason) == (True, "why")
    assert list(found.pieces) == [
        (1, b"a" * 300, False, False, 1 << 40, None),
        (1, b"", True, False, None, 0xFEDCBA98),
        (300, b"", False, True, None, None),
    ]
    assert read_uncopied(b"").header is None
    for end in range(1, 300):
        with suppress(ValueError, DecodeError):
            read_uncopied(serialised[:end])


def test_calls_fail_when_the_node_ends_and_others_are_made_on_new_connections() -> None:
    node = Node()
    channel = LocalChannel(node.name)
    searching(channel)(search.SearchRequest())
    waiting = searching(channel).future(search.SearchRequest(page_token="wait"))
    node.stop()
    with pytest.raises(grpc.RpcError) as failed:
        waiting.result()
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.RpcError) as failed:
        searching(channel)(search.SearchRequest())
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


def test_processes_of_other_users_are_neither_served_nor_called(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "trusted_users", lambda: {os.getuid() + 1})
    with pytest.raises(OSError, match="another user"):
        socket_calls.connect(node.name, SECONDS)


def test_a_connection_that_violates_the_format_is_closed(node: Node) -> None:
    for data in (socket_calls.FRAME.pack(1 << 31, socket_calls.HEAD), socket_calls.FRAME.pack(0, 99) * 2):
        with socket_calls.connect(node.name, SECONDS) as connection:
            head = socket_calls.FRAME.pack(22, socket_calls.HEAD) + b'["/none/None",null,[]]'
            connection.sendall(head + data)
            began = time.monotonic()
            while connection.recv(1000):
                pass
            assert time.monotonic() - began < SECONDS
