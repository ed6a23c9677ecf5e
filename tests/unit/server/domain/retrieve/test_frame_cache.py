"""Frames that are kept: server/domain/retrieve/frame_cache.py."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from server.domain.retrieve.frame_cache import FrameCache
from server.model.errors import Reason, WrongState


class Maker:
    """Makes frames when it is let, and counts them."""

    def __init__(self) -> None:
        self.made = 0
        self.may = asyncio.Event()

    def making(self, frame: bytes) -> Coroutine[Any, Any, bytes]:
        return self._make(frame)

    async def _make(self, frame: bytes) -> bytes:
        self.made += 1
        await self.may.wait()
        if not frame:
            raise WrongState(Reason.PIXEL_DATA_UNREADABLE, "Damaged.")
        return frame


@pytest.fixture
def maker() -> Maker:
    return Maker()


async def test_a_frame_is_made_once_for_all_who_wait_and_those_who_come_later(maker: Maker) -> None:
    cache = FrameCache(10_000)
    tasks = [asyncio.create_task(cache.get("a", maker.making(b"frame"))) for _ in range(3)]
    await asyncio.wait(tasks, timeout=0)
    maker.may.set()
    assert await asyncio.gather(*tasks) == [b"frame"] * 3
    assert await cache.get("a", maker.making(b"other")) == b"frame"
    assert maker.made == 1


async def test_different_frames_are_made_separately(maker: Maker) -> None:
    cache = FrameCache(10_000)
    maker.may.set()
    assert await cache.get("a", maker.making(b"1")) == b"1"
    assert await cache.get("b", maker.making(b"2")) == b"2"


async def test_a_failure_reaches_all_who_wait_and_is_not_kept(maker: Maker) -> None:
    cache = FrameCache(10_000)
    tasks = [asyncio.create_task(cache.get("a", maker.making(b""))) for _ in range(2)]
    await asyncio.wait(tasks, timeout=0)
    maker.may.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, WrongState) for outcome in outcomes)
    assert await cache.get("a", maker.making(b"frame")) == b"frame"


async def test_who_gives_up_spoils_nothing_for_others(maker: Maker) -> None:
    cache = FrameCache(10_000)
    first, second = (asyncio.create_task(cache.get("a", maker.making(b"frame"))) for _ in range(2))
    await asyncio.wait([first, second], timeout=0)
    first.cancel()
    await asyncio.wait([first])
    maker.may.set()
    assert await second == b"frame"
    assert maker.made == 1


async def test_what_was_not_used_for_longest_makes_room(maker: Maker) -> None:
    cache = FrameCache(3 * 1500)
    maker.may.set()
    for key in ("a", "b", "c"):
        await cache.get(key, maker.making(bytes(1000)))
    assert cache.known("a")
    await cache.get("d", maker.making(bytes(1000)))
    assert [key for key in "abcd" if cache.known(key)] == ["a", "c", "d"]


@pytest.mark.parametrize("size", [0, 3000])
async def test_a_frame_that_would_drive_out_most_others_is_not_kept(maker: Maker, size: int) -> None:
    cache = FrameCache(size)
    maker.may.set()
    await cache.get("a", maker.making(bytes(2000)))
    assert cache.known("a") is None
