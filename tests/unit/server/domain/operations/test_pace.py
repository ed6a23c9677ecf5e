"""The pace of work in the background (server/domain/operations/pace.py)."""

import asyncio

import pytest

from server.domain.operations import pace
from server.domain.operations.pace import Pace


class Clock:
    """The time, which passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    return clock


async def test_a_limit_of_the_rate_holds_over_the_whole_call(clock: Clock) -> None:
    limited = Pace(1000)
    await limited.spend(500)
    assert clock.now == 100.5
    clock.now += 1  # work
    await limited.spend(500)
    assert clock.now == 101.5
    await limited.spend(2000)
    await limited.rest()
    assert clock.now == 103


async def test_without_a_limit_the_rest_is_as_long_as_the_work_but_not_longer_than_five_seconds(clock: Clock) -> None:
    for work, end in ((2.0, 104.0), (60.0, 169.0)):
        unlimited = Pace(0)
        await unlimited.spend(1 << 40)
        clock.now += work
        await unlimited.rest()
        assert clock.now == end
