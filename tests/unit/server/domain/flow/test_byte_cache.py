"""A cache with a limit in bytes: server/domain/flow/byte_cache.py."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from server.domain.flow.byte_cache import ByteCache, cost_of_bytes
from server.model.errors import Reason, WrongState


class Maker:
    """Computes values once allowed, and counts them."""

    def __init__(self) -> None:
        self.made = 0
        self.may = asyncio.Event()

    def making(self, frame: bytes) -> Callable[[], Coroutine[Any, Any, bytes]]:
        return lambda: self._make(frame)

    async def _make(self, frame: bytes) -> bytes:
        self.made += 1
        await self.may.wait()
        if not frame:
            raise WrongState(Reason.PIXEL_DATA_UNREADABLE, "Damaged.")
        return frame


@pytest.fixture
def maker() -> Maker:
    return Maker()


async def test_a_value_is_computed_once_for_all_callers(maker: Maker) -> None:
    cache: ByteCache[str, bytes] = ByteCache("test", 10_000, cost_of_bytes)
    tasks = [asyncio.create_task(cache.get("a", maker.making(b"frame"))) for _ in range(3)]
    await asyncio.wait(tasks, timeout=0)
    maker.may.set()
    assert await asyncio.gather(*tasks) == [b"frame"] * 3
    assert await cache.get("a", maker.making(b"other")) == b"frame"
    assert maker.made == 1


async def test_values_of_different_keys_are_computed_separately(maker: Maker) -> None:
    cache: ByteCache[str, bytes] = ByteCache("test", 10_000, cost_of_bytes)
    maker.may.set()
    assert await cache.get("a", maker.making(b"1")) == b"1"
    assert await cache.get("b", maker.making(b"2")) == b"2"


async def test_a_failure_reaches_all_waiting_callers_and_is_not_cached(maker: Maker) -> None:
    cache: ByteCache[str, bytes] = ByteCache("test", 10_000, cost_of_bytes)
    tasks = [asyncio.create_task(cache.get("a", maker.making(b""))) for _ in range(2)]
    await asyncio.wait(tasks, timeout=0)
    maker.may.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, WrongState) for outcome in outcomes)
    assert await cache.get("a", maker.making(b"frame")) == b"frame"


async def test_a_cancelled_caller_does_not_cancel_the_computation_for_others(maker: Maker) -> None:
    cache: ByteCache[str, bytes] = ByteCache("test", 10_000, cost_of_bytes)
    first, second = (asyncio.create_task(cache.get("a", maker.making(b"frame"))) for _ in range(2))
    await asyncio.wait([first, second], timeout=0)
    first.cancel()
    await asyncio.wait([first])
    maker.may.set()
    assert await second == b"frame"
    assert maker.made == 1


async def test_the_least_recently_used_value_is_dropped_first(maker: Maker) -> None:
    cache: ByteCache[str, bytes] = ByteCache("test", 3 * 1500, cost_of_bytes)
    maker.may.set()
    for key in ("a", "b", "c"):
        await cache.get(key, maker.making(bytes(1000)))
    assert cache.known("a")
    await cache.get("d", maker.making(bytes(1000)))
    assert [key for key in "abcd" if cache.known(key)] == ["a", "c", "d"]


@pytest.mark.parametrize("size", [0, 3000])
async def test_a_value_of_more_than_half_the_limit_is_not_cached(maker: Maker, size: int) -> None:
    cache: ByteCache[str, bytes] = ByteCache("test", size, cost_of_bytes)
    maker.may.set()
    await cache.get("a", maker.making(bytes(2000)))
    assert cache.known("a") is None
