"""Responses when the core is unavailable, slow, or fails midway.

A healthy core does none of this on demand, so small servicers of the contract play it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
import pytest
from dicomstore.v1 import (
    retrieve_service_pb2,
    retrieve_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
    store_service_pb2,
    store_service_pb2_grpc,
)
from dicomstore.v1.errors_pb2 import ErrorReason
from dicomstore.v1.resources_pb2 import Address, ItemError
from dicomstore.v1.retrieve_service_pb2 import InstanceHead, RetrievedPiece, RetrieveInstancesResponse
from dicomstore.v1.store_service_pb2 import StoredInstance, StoreInstancesRequest, StoreInstancesResponse, StoreOutcome

from common.telemetry.tracing import Span, recorded, sampler_of
from tests.integration.facade.serving import STOW, multipart, serving, stow

ANYTHING = {"Accept": "*/*"}


class Retrieving(retrieve_service_pb2_grpc.RetrieveServiceServicer):
    """Sends the given messages, then calls `then`."""

    def __init__(self, *messages: Any, then: Callable[[Any], Any] | None = None) -> None:
        self._messages = messages
        self._then = then

    async def RetrieveInstances(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for message in self._messages:
            yield message
        if self._then is not None:
            await self._then(context)

    RetrieveMetadata = RetrieveInstances


class Storing(store_service_pb2_grpc.StoreServiceServicer):
    """Records the messages; reports each item as stored, except those in `silent_about`."""

    def __init__(self, *, silent_about: tuple[int, ...] = (), read_at_most: int = 2**31) -> None:
        self.received: list[StoreInstancesRequest] = []
        self.ended = asyncio.Event()
        self._silent_about = silent_about
        self._read_at_most = read_at_most

    async def StoreInstances(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        try:
            async for request in requests:
                self.received.append(request)
                outcomes = [
                    StoreOutcome(item=piece.item, stored=StoredInstance(id=Address(sop_instance_uid="1")))
                    for piece in request.pieces
                    if piece.last and piece.item not in self._silent_about
                ]
                if outcomes:
                    yield StoreInstancesResponse(outcomes=outcomes)
                if len(self.received) >= self._read_at_most:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
        finally:
            self.ended.set()


@asynccontextmanager
async def playing(servicer: Any, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run a core with one servicer, and a facade of it."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    match servicer:
        case Retrieving():
            retrieve_service_pb2_grpc.add_RetrieveServiceServicer_to_server(servicer, server)
        case Storing():
            store_service_pb2_grpc.add_StoreServiceServicer_to_server(servicer, server)
        case search_service_pb2_grpc.SearchServiceServicer():
            search_service_pb2_grpc.add_SearchServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with serving(f"127.0.0.1:{port}", **settings) as web:
            yield web
    finally:
        await server.stop(0)


def head(number: int, size_bytes: int | None = None) -> InstanceHead:
    return InstanceHead(
        id=Address(study_instance_uid="1", series_instance_uid="2", sop_instance_uid=str(number)),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        size_bytes=size_bytes,
    )


def whole(number: int, data: bytes) -> RetrievedPiece:
    return RetrievedPiece(head=head(number, len(data)), data=data, last=True)


def failure(reason: str = "BLOB_MISSING") -> ItemError:
    return ItemError(reason=ErrorReason.Value(f"ERROR_REASON_{reason}"))


def message(*pieces: RetrievedPiece) -> RetrieveInstancesResponse:
    return RetrieveInstancesResponse(pieces=pieces)


async def abort(context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "going down")


async def hang(context: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    "broken",
    [
        [whole(1, b"AAAA"), RetrievedPiece(head=head(2), failed=failure()), whole(3, b"CCCC")],
        [whole(1, b"AAAA"), RetrievedPiece(head=head(2)), RetrievedPiece(failed=failure()), whole(3, b"CCCC")],
        [whole(1, b"AAAA"), RetrievedPiece(failed=failure()), whole(3, b"CCCC")],
        [RetrievedPiece(failed=failure()), whole(1, b"AAAA"), whole(3, b"CCCC")],
    ],
)
@pytest.mark.parametrize("apart", [True, False])
async def test_an_instance_that_fails_before_its_first_byte_is_omitted(
    broken: list[RetrievedPiece], apart: bool
) -> None:
    """As long as nothing is sent: the status says so."""
    messages = [message(piece) for piece in broken] if apart else [message(*broken)]
    async with playing(Retrieving(*messages)) as web:
        if apart and broken[0].last:
            with pytest.raises(httpx.RemoteProtocolError):
                await web.get("/v2/studies/1", headers=ANYTHING)
            return
        response = await web.get("/v2/studies/1", headers=ANYTHING)

    assert response.status_code == 206
    assert response.headers["Warning"] == '299 dicomstore "1 instance is missing or incomplete: BLOB_MISSING"'
    assert response.headers["Cache-Control"] == "no-store"
    assert response.content.count(b"Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n") == 2
    assert b"AAAA" in response.content
    assert b"CCCC" in response.content
    assert response.content.endswith(b"--\r\n")


@pytest.mark.parametrize(("reason", "status"), [("BLOB_MISSING", 500), ("NOT_ACCEPTABLE_TRANSFER_SYNTAX", 406)])
async def test_if_all_instances_fail_the_response_has_the_reason(reason: str, status: int) -> None:
    async with playing(Retrieving(message(RetrievedPiece(head=head(1), failed=failure(reason))))) as web:
        assert (await web.get("/v2/studies/1", headers=ANYTHING)).status_code == status


@pytest.mark.parametrize(
    "messages",
    [
        [message(RetrievedPiece(head=head(1), data=b"AAAA")), message(RetrievedPiece(failed=failure()))],
        [message(whole(1, b"A"), RetrievedPiece(head=head(2), data=b"B")), message(RetrievedPiece(failed=failure()))],
    ],
)
async def test_an_instance_that_fails_midway_closes_the_connection(
    messages: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with playing(Retrieving(*messages)) as web:
        with pytest.raises(httpx.RemoteProtocolError):
            await web.get("/v2/studies/1", headers=ANYTHING | {"X-Request-Id": "r1"})

    assert "response aborted reason=BLOB_MISSING request_id=r1" in caplog.messages


async def test_a_stream_that_fails_midway_closes_the_connection() -> None:
    async with playing(Retrieving(message(RetrievedPiece(head=head(1), data=b"AAAA")), then=abort)) as web:
        with pytest.raises(httpx.RemoteProtocolError):
            await web.get("/v2/studies/1", headers=ANYTHING)


async def test_a_single_body_that_fails_midway_is_shorter_than_its_content_length() -> None:
    broken = [message(RetrievedPiece(head=head(1, 10), data=b"AAAA")), message(RetrievedPiece(failed=failure()))]
    async with playing(Retrieving(*broken)) as web:
        with pytest.raises(httpx.RemoteProtocolError):
            await web.get("/v2/studies/1/series/2/instances/1", headers={"Accept": "application/dicom"})


async def test_an_idle_timeout_of_the_core_closes_the_connection() -> None:
    silent = Retrieving(message(RetrievedPiece(head=head(1), data=b"AAAA")), then=hang)
    async with playing(silent, idle_seconds=0.2) as web:
        with pytest.raises(httpx.RemoteProtocolError):
            await web.get("/v2/studies/1", headers=ANYTHING)


async def test_a_core_that_does_not_answer_is_a_503() -> None:
    async with playing(Retrieving(then=hang), call_seconds=0.2) as web:
        response = await web.get("/v2/studies/1", headers=ANYTHING)

    assert response.status_code == 503
    assert "retry-after" in response.headers


async def test_a_client_that_disconnects_cancels_the_call() -> None:
    stopped = asyncio.Event()

    async def go_on(context: Any) -> None:
        try:
            while True:
                await context.write(message(RetrievedPiece(data=bytes(1 << 20))))
        finally:
            stopped.set()

    endless = Retrieving(message(RetrievedPiece(head=head(1), data=b"AAAA")), then=go_on)
    async with playing(endless) as web:
        async with web.stream("GET", "/v2/studies/1", headers=ANYTHING) as response:
            assert (await anext(response.aiter_bytes())).startswith(b"--")
        async with asyncio.timeout(10):
            await stopped.wait()


async def test_head_requests_only_the_head_from_the_core() -> None:
    stopped = asyncio.Event()

    async def wait_for_the_end(context: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    one = Retrieving(message(RetrievedPiece(head=head(1, 10), data=b"AAAA")), then=wait_for_the_end)
    async with playing(one) as web:
        response = await web.head("/v2/studies/1/series/2/instances/1", headers={"Accept": "application/dicom"})
        async with asyncio.timeout(10):
            await stopped.wait()

    assert response.status_code == 200
    assert response.headers["content-length"] == "10"
    assert response.headers["content-type"] == "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"


async def test_metadata_of_one_instance_may_exceed_the_usual_message_size() -> None:
    data_set = b'{"00081030":{"vr":"LO","Value":["' + b"x" * (5 << 20) + b'"]}}'
    item = retrieve_service_pb2.MetadataItem(version=1, dicom_json=data_set)
    state = retrieve_service_pb2.ResourceState(max_version=1, instance_count=1)
    large = retrieve_service_pb2.RetrieveMetadataResponse(state=state, items=[item])
    async with playing(Retrieving(large)) as web:
        response = await web.get("/v2/studies/1/metadata", headers={"Accept": "application/json"})

    assert response.content == b"[" + data_set + b"]"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/studies"),
        ("GET", "/v2/studies/1"),
        ("GET", "/v2/studies/1/metadata"),
        ("GET", "/v2/studies/1/series/2/instances/3/frames/1"),
        ("DELETE", "/v2/studies/1"),
        ("GET", "/v2/changefeed"),
        ("GET", "/v2/partitions"),
        ("GET", "/health/check"),
    ],
)
async def test_without_a_core_everything_is_a_503(method: str, path: str) -> None:
    async with serving("127.0.0.1:1", call_seconds=5) as web:
        response = await web.request(method, path, headers=ANYTHING)

    assert response.status_code == 503
    assert "127.0.0.1" not in response.text


async def test_without_a_core_nothing_is_stored() -> None:
    async with serving("127.0.0.1:1", call_seconds=5) as web:
        assert (await stow(web, b"DICM" * 1_000_000)).status_code == 503


async def test_a_core_without_the_service_is_older_than_the_facade() -> None:
    async with playing(Retrieving()) as web:
        assert (await web.get("/v2/studies", headers=ANYTHING)).status_code == 501


async def test_an_expected_reason_of_a_later_release_is_an_internal_error() -> None:
    class Searching(search_service_pb2_grpc.SearchServiceServicer):
        async def Search(self, request: Any, context: Any) -> Any:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "secret detail")
            return search_service_pb2.SearchResponse()

    async with playing(Searching()) as web:
        response = await web.get("/v2/studies", headers=ANYTHING)

    assert response.status_code == 500
    assert "secret" not in response.text


async def test_small_instances_share_a_message_and_large_ones_take_several() -> None:
    core = Storing()
    async with playing(core) as web:
        response = await stow(web, *[b"x" * 1000] * 100, b"y" * (3 << 20))

    assert response.status_code == 200
    assert len(core.received) < 12
    assert len(core.received[0].pieces) >= 100
    sizes = [sum(len(piece.data) for piece in message.pieces) for message in core.received]
    assert max(sizes) <= 1 << 20
    assert sum(sizes) == 100_000 + (3 << 20)
    ends = [piece.item for message in core.received for piece in message.pieces if piece.last]
    assert ends == list(range(1, 102))


async def test_the_size_of_a_single_part_is_declared_to_the_core() -> None:
    core = Storing()
    async with playing(core) as web:
        await web.post("/v2/studies", content=b"12345", headers=STOW | {"Content-Type": "application/dicom"})

    first = core.received[0].pieces[0]
    assert first.declared_size_bytes == 5


async def test_a_chunked_single_part_has_no_size() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"123"
        yield b"45"

    core = Storing()
    async with playing(core) as web:
        response = await web.post("/v2/studies", content=chunks(), headers=STOW | {"Content-Type": "application/dicom"})

    assert response.status_code == 200
    assert not core.received[0].pieces[0].HasField("declared_size_bytes")
    assert b"".join(piece.data for piece in core.received[0].pieces) == b"12345"


async def test_version_partition_and_study_of_the_url_reach_the_core() -> None:
    core = Storing()
    async with playing(core) as web:
        await stow(web, b"A", path="/v1/partitions/p1/studies/1.2.3")

    assert core.received[0].header == store_service_pb2.StoreHeader(
        address=Address(partition="p1", study_instance_uid="1.2.3"),
        create_partition=True,
        validation=store_service_pb2.ValidationMode.VALIDATION_MODE_INDEXED_STRICT,
    )


async def test_an_instance_without_an_outcome_is_a_failure() -> None:
    async with playing(Storing(silent_about=(2,))) as web:
        response = await stow(web, b"A", b"B", b"C")

    assert response.status_code == 202
    assert response.json()["00081198"]["Value"] == [{"00081197": {"vr": "US", "Value": [272]}}]
    assert len(response.json()["00081199"]["Value"]) == 2


async def test_a_core_that_goes_down_during_an_upload_is_a_503() -> None:
    # The status of the core and the failure of a pending write race; the response must not depend on the winner.
    async with playing(Storing(read_at_most=2)) as web:
        statuses = [(await stow(web, b"x" * (10 << 20))).status_code for _ in range(20)]

    assert statuses == [503] * 20


async def test_an_instance_is_discarded_if_its_client_disconnects() -> None:
    core = Storing()

    async def half_a_body() -> AsyncIterator[bytes]:
        yield multipart(b"x" * (2 << 20))[: 1 << 20]
        raise ConnectionAbortedError

    async with playing(core) as web:
        with pytest.raises(ConnectionAbortedError):
            await web.post("/v2/studies", content=half_a_body(), headers=STOW)
        async with asyncio.timeout(10):
            await core.ended.wait()

    assert not any(piece.last for message in core.received for piece in message.pieces)


async def test_an_upload_without_further_data_gets_408() -> None:
    async with playing(Storing(), idle_seconds=0.2) as web:
        reader, writer = await asyncio.open_connection(web.base_url.host, web.base_url.port)
        writer.write(
            b"POST /v2/studies HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Length: 100\r\n"
            b"Content-Type: multipart/related; type=application/dicom; boundary=boundary\r\n\r\n--boundary\r\n"
        )
        status = await reader.readline()
        writer.close()
        await writer.wait_closed()

    assert b" 408 " in status


async def test_credentials_and_trace_reach_the_core() -> None:
    seen: dict[str, str] = {}

    class Searching(search_service_pb2_grpc.SearchServiceServicer):
        async def Search(self, request: Any, context: Any) -> Any:
            seen.update(context.invocation_metadata())
            return search_service_pb2.SearchResponse()

    sent = {"Authorization": "Bearer x", "traceparent": "00-1-2-03", "X-Request-Id": "r1"}
    async with playing(Searching()) as web:
        response = await web.get("/v2/studies", headers=ANYTHING | sent)

    assert response.headers["x-request-id"] == "r1"
    assert (seen["authorization"], seen["traceparent"], seen["x-request-id"]) == ("Bearer x", "00-1-2-03", "r1")


@pytest.mark.parametrize(
    ("sampler", "given", "flags"),
    [
        ("always_on", "", "01"),
        ("always_off", "", "00"),
        ("parentbased_always_on", "00", "00"),
        ("parentbased_always_off", "01", "01"),
    ],
)
async def test_a_core_in_another_process_gets_the_trace_of_the_request_recorded_or_not(
    sampler: str, given: str, flags: str
) -> None:
    seen: list[str] = []

    class Searching(search_service_pb2_grpc.SearchServiceServicer):
        async def Search(self, request: Any, context: Any) -> Any:
            seen.extend(value for key, value in context.invocation_metadata() if key == "traceparent")
            return search_service_pb2.SearchResponse()

    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    headers = {"traceparent": f"00-{trace}-{parent}-{given}"} if given else {}
    spans: list[Span] = []
    with recorded(spans.append, sampler_of({"OTEL_TRACES_SAMPLER": sampler})):
        async with playing(Searching()) as web:
            response = await web.get("/v2/studies", headers=ANYTHING | headers | {"X-Request-Id": "r1"})

    assert response.status_code == 204
    [sent] = seen
    _, trace_id, span_id, sent_flags = sent.split("-")
    assert sent_flags == flags
    assert (trace_id == trace) is bool(given)
    assert span_id != parent
    assert [span.span_id for span in spans] == ([span_id] if flags == "01" else [])
