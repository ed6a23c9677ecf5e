"""The call context of a handler (server/rpc/interceptors/call_context.py)."""

import asyncio
from typing import Any

import pytest

from server.model.call import ANONYMOUS, Call
from server.rpc.interceptors.call_context import CallContext


class GrpcContext:
    """A gRPC context with the given metadata and time."""

    def __init__(self, *metadata: tuple[str, Any], seconds: float | None = None) -> None:
        self._metadata = metadata
        self._seconds = seconds
        self.address = "ipv4:127.0.0.1:1"

    def peer(self) -> str:
        return self.address

    def invocation_metadata(self) -> Any:
        return self._metadata or None

    def time_remaining(self) -> float | None:
        return self._seconds


async def call_of(context: GrpcContext) -> Call:
    async with CallContext().around("/dicomstore.v1.SearchService/Search", context) as inner:
        return inner.call


@pytest.mark.parametrize(("sent", "expected"), [("r-17", "r-17"), ("x" * 128, "x" * 128), ("/a.B/C:1+2", "/a.B/C:1+2")])
async def test_the_request_id_is_the_one_that_the_client_sent(sent: str, expected: str) -> None:
    assert (await call_of(GrpcContext(("authorization", "b"), ("x-request-id", sent)))).request_id == expected


INVALID_IDS = ("line\nbreak", "ö", "", "x" * 129, "a code=OK")


@pytest.mark.parametrize("metadata", [(), *((("x-request-id", sent),) for sent in INVALID_IDS)])
async def test_a_request_id_is_generated_without_a_valid_one(metadata: Any) -> None:
    first, second = [(await call_of(GrpcContext(*metadata))).request_id for _ in range(2)]
    assert len(first) == len(second) == 32
    assert first != second


async def test_the_deadline_is_a_time_of_the_event_loop() -> None:
    before = asyncio.get_running_loop().time()
    deadline = (await call_of(GrpcContext(seconds=5.0))).deadline
    assert deadline is not None
    assert before + 5 <= deadline <= asyncio.get_running_loop().time() + 5
    assert (await call_of(GrpcContext())).deadline is None


async def test_an_unauthenticated_caller_is_anonymous() -> None:
    assert (await call_of(GrpcContext(("authorization", "Bearer unverified")))).principal is ANONYMOUS


async def test_the_peer_is_read_at_the_start_of_the_call() -> None:
    context = GrpcContext()
    async with CallContext().around("/dicomstore.v1.SearchService/Search", context) as inner:
        context.address = "unknown"
        assert inner.peer == "ipv4:127.0.0.1:1"
