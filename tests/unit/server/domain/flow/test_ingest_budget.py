"""Budget of instances on their way to disk (server/domain/flow/ingest_budget.py)."""

import asyncio
import random

import pytest

from server.domain.flow.ingest_budget import BASE_BYTES, MOST_CARRIED_BYTES, IngestBudget, Share
from server.model.errors import Exhausted

PATIENT = 60.0
HASTY = 0.05


def budget_for(shares: int, idle_timeout_seconds: float = PATIENT) -> IngestBudget:
    return IngestBudget(shares * BASE_BYTES, idle_timeout_seconds)


def share_of(budget: IngestBudget) -> Share:
    return Share(budget, lambda: None)


async def entered(budget: IngestBudget) -> Share:
    share = share_of(budget)
    await share.enter()
    return share


async def waiting(budget: IngestBudget, count: int) -> None:
    while budget.waiting < count:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)


async def test_who_finds_no_room_waits_until_somebody_leaves() -> None:
    budget = budget_for(2)
    first, second = await entered(budget), await entered(budget)
    third = asyncio.create_task(entered(budget))
    await waiting(budget, 1)
    assert budget.used_bytes == budget.capacity_bytes
    first.close()
    await third
    second.close()
    third.result().close()
    assert (budget.used_bytes, budget.waiting) == (0, 0)


async def test_those_who_wait_are_let_in_in_their_order() -> None:
    budget, order = budget_for(1), []

    async def upload(number: int) -> None:
        share = await entered(budget)
        order.append(number)
        await asyncio.sleep(0)
        share.close()

    holder = await entered(budget)
    tasks = []
    for number in range(20):
        tasks.append(asyncio.create_task(upload(number)))
        await waiting(budget, number + 1)
    holder.close()
    await asyncio.gather(*tasks)
    assert order == list(range(20))


async def test_an_upload_that_goes_on_and_on_takes_turns_with_those_who_wait() -> None:
    budget, order = budget_for(1), []

    async def upload(name: str) -> None:
        share = await entered(budget)
        for _ in range(3):
            order.append(name)
            await asyncio.sleep(0)
            await share.pass_on()
        share.close()

    await asyncio.gather(*map(upload, "abc"))
    assert "".join(order) == "abcabcabc"


async def test_who_waits_in_vain_is_refused_and_leaves_nothing_behind() -> None:
    budget = budget_for(1, HASTY)
    holder = await entered(budget)
    holder.is_evicted = True  # has been told to go, and does not
    with pytest.raises(Exhausted) as caught:
        await share_of(budget).enter()
    assert caught.value.reason == "BUSY"
    holder.close()
    assert (budget.used_bytes, budget.waiting) == (0, 0)


async def test_who_gives_up_waiting_is_not_let_in() -> None:
    budget = budget_for(1)
    holder = await entered(budget)
    gives_up, stays = asyncio.create_task(entered(budget)), asyncio.create_task(entered(budget))
    await waiting(budget, 2)
    gives_up.cancel()
    await asyncio.wait([gives_up])
    assert budget.waiting == 1
    holder.close()
    (await stays).close()
    assert budget.used_bytes == 0


async def test_who_is_cancelled_at_the_moment_of_being_let_in_gives_it_back() -> None:
    budget = budget_for(1)
    holder, late = await entered(budget), share_of(budget)
    task = asyncio.create_task(late.enter())
    await waiting(budget, 1)
    holder.close()
    task.cancel()
    await asyncio.wait([task])
    late.close()
    assert budget.used_bytes == 0


async def test_an_idle_upload_lends_its_room_and_waits_for_it_again() -> None:
    budget = budget_for(1, 4 * HASTY)
    idle = await entered(budget)
    idle.rest(lend=True)
    active = await entered(budget)
    again = asyncio.create_task(idle.enter())
    await waiting(budget, 1)
    active.close()
    await again
    idle.close()
    assert budget.used_bytes == 0


async def test_an_upload_that_stalls_within_an_instance_is_evicted_for_one_that_waits() -> None:
    budget, evicted = budget_for(1, HASTY), asyncio.Event()
    stalled = Share(budget, evicted.set)
    await stalled.enter()
    stalled.rest(lend=False)
    waiter = asyncio.create_task(entered(budget))
    await evicted.wait()
    stalled.close()
    (await waiter).close()
    assert budget.used_bytes == 0


async def test_nobody_is_evicted_while_nobody_waits() -> None:
    budget, evicted = budget_for(2, HASTY), []
    stalled = Share(budget, lambda: evicted.append(1))
    await stalled.enter()
    stalled.rest(lend=False)
    stalled.moved_at -= PATIENT
    (await entered(budget)).close()
    assert not evicted


async def test_more_is_carried_only_while_nobody_waits_and_not_beyond_bounds() -> None:
    budget = budget_for(10)
    share = await entered(budget)
    assert share.carry(MOST_CARRIED_BYTES)
    assert not share.carry(1)
    share.drop(MOST_CARRIED_BYTES)
    others = [await entered(budget) for _ in range(9)]
    assert not share.carry(1)
    late = asyncio.create_task(entered(budget))
    await waiting(budget, 1)
    for other in others:
        other.close()
    (await late).close()
    share.close()
    assert budget.used_bytes == 0


async def test_one_header_may_be_larger_than_the_room_and_the_next_waits_for_it() -> None:
    budget = budget_for(4)
    first, second = await entered(budget), await entered(budget)
    await first.grow(10 * BASE_BYTES)
    await first.grow(BASE_BYTES)
    growing = asyncio.create_task(second.grow(10 * BASE_BYTES))
    entering = asyncio.create_task(entered(budget))
    await waiting(budget, 2)
    first.shrink(11 * BASE_BYTES)
    await growing
    assert budget.waiting == 1
    second.close()
    (await entering).close()
    first.close()
    assert (budget.used_bytes, budget.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_uploads_of_all_kinds_come_to_an_end_within_the_bounds(seed: int) -> None:
    chance = random.Random(seed)
    budget = budget_for(chance.randint(4, 8))
    largest = 3 * BASE_BYTES

    async def pause() -> None:
        for _ in range(chance.randint(0, 3)):
            await asyncio.sleep(0)
        assert budget.used_bytes <= budget.capacity_bytes + largest

    async def upload() -> None:
        share = share_of(budget)
        try:
            for _ in range(chance.randint(1, 5)):
                await share.enter()
                await pause()
                if grown := chance.choice([0, 0, 0, BASE_BYTES, largest]):
                    await share.grow(grown)
                    await pause()
                if carried := share.carry(size := chance.randint(0, BASE_BYTES)):
                    await pause()
                if grown:
                    share.shrink(grown)
                await share.pass_on()
                if carried:
                    share.drop(size)
        finally:
            share.close()

    tasks = [asyncio.create_task(upload()) for _ in range(50)]
    for task in chance.sample(tasks, 10):
        await pause()
        task.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait(tasks)
    assert all(task.cancelled() or task.exception() is None for task in tasks)
    assert (budget.used_bytes, budget.waiting) == (0, 0)
