"""Limits of each principal (server/rpc/interceptors/principal_limits.py)."""

import asyncio

import pytest

from server.model.errors import Exhausted, Reason
from server.rpc.interceptors import principal_limits
from server.rpc.interceptors.principal_limits import BURST_SECONDS, PrincipalLimits


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def refused(limits: PrincipalLimits, client: str) -> float | None:
    """Make a call that must be refused; return when it may be repeated."""
    with pytest.raises(Exhausted) as caught:
        await limits.enter(client, counts=True)
    assert caught.value.reason is Reason.RATE_LIMITED
    return caught.value.retry_seconds


async def waiting(limits: PrincipalLimits, client: str, count: int) -> None:
    while len(limits._accounts[client].waiting) < count:  # noqa: ASYNC110 - no event announces it
        await asyncio.sleep(0)


async def test_calls_above_the_number_wait_for_the_end_of_others_of_the_same_principal() -> None:
    limits, order = PrincipalLimits(2, 0), []

    async def call(number: int) -> None:
        await limits.enter("a", counts=True)
        order.append(number)
        await asyncio.sleep(0)
        limits.leave("a")

    await limits.enter("a", counts=True)
    await limits.enter("a", counts=True)
    calls = [asyncio.create_task(call(number)) for number in range(5)]
    await waiting(limits, "a", 5)
    await limits.enter("b", counts=True)
    await limits.enter("a", counts=False)
    assert order == []
    limits.leave("a")
    await asyncio.gather(*calls)
    assert order == [0, 1, 2, 3, 4]
    limits.leave("a")
    assert limits._accounts["a"].calls == 0


async def test_a_call_that_waits_too_long_is_refused_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(principal_limits, "_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(principal_limits, "_MAX_WAITING", 1)
    limits = PrincipalLimits(1, 0)
    await limits.enter("a", counts=True)
    first = asyncio.create_task(refused(limits, "a"))
    await waiting(limits, "a", 1)
    await refused(limits, "a")  # at once: too many wait
    assert await first == 0.01
    limits.leave("a")
    await limits.enter("a", counts=True)
    assert (limits._accounts["a"].calls, len(limits._accounts["a"].waiting)) == (1, 0)


@pytest.mark.parametrize("granted", [False, True])
async def test_a_cancelled_call_passes_its_turn_on(granted: bool) -> None:
    limits = PrincipalLimits(1, 0)
    await limits.enter("a", counts=True)
    cancelled, other = (asyncio.create_task(limits.enter("a", counts=True)) for _ in range(2))
    await waiting(limits, "a", 2)
    if granted:
        limits.leave("a")
    cancelled.cancel()
    await asyncio.wait([cancelled])
    if not granted:
        limits.leave("a")
    await other
    limits.leave("a")
    assert limits._accounts["a"].calls == 0


async def test_the_rate_of_calls_is_limited_after_a_burst() -> None:
    clock = Clock()
    limits = PrincipalLimits(0, 2.0, clock)
    for _ in range(int(2 * BURST_SECONDS)):
        await limits.enter("a", counts=True)
    assert await refused(limits, "a") == pytest.approx(0.5)
    await limits.enter("b", counts=True)
    clock.now += 0.5
    await limits.enter("a", counts=True)
    assert await refused(limits, "a") == pytest.approx(0.5)
    clock.now += 1000
    for _ in range(int(2 * BURST_SECONDS)):
        await limits.enter("a", counts=True)
    await refused(limits, "a")


async def test_a_rate_below_one_call_in_the_burst_permits_single_calls() -> None:
    clock = Clock()
    limits = PrincipalLimits(0, 0.01, clock)
    clock.now = 100.0
    await limits.enter("a", counts=True)
    assert await refused(limits, "a") == pytest.approx(100)


async def test_principals_in_memory_are_bounded_and_those_with_calls_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(principal_limits, "_MAX_ACCOUNTS", 3)
    limits = PrincipalLimits(1, 1.0)
    await limits.enter("busy", counts=True)
    for number in range(10):
        await limits.enter(str(number), counts=True)
        limits.leave(str(number))
    assert list(limits._accounts) == ["busy", "8", "9"]
    limits.leave("busy")
