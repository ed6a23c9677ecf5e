"""The memory budget for uploads (server/domain/flow/ingest_budget.py)."""

import asyncio
import random

import pytest

from server.domain.flow.ingest_budget import BASE_BYTES, MAX_FINISHING_BYTES, IngestBudget, Reservation
from server.model.errors import Exhausted

LONG = 60.0
SHORT = 0.05


def budget_for(uploads: int, wait_seconds: float = LONG) -> IngestBudget:
    return IngestBudget(uploads * BASE_BYTES, wait_seconds)


def reservation_in(budget: IngestBudget) -> Reservation:
    return Reservation(budget, lambda: None)


async def admitted(budget: IngestBudget) -> Reservation:
    reservation = reservation_in(budget)
    await reservation.acquire()
    return reservation


async def waiting(budget: IngestBudget, count: int) -> None:
    while budget.waiting < count:  # noqa: ASYNC110 - no event announces it
        await asyncio.sleep(0)


async def test_an_upload_waits_until_another_one_ends() -> None:
    budget = budget_for(2)
    first, second = await admitted(budget), await admitted(budget)
    third = asyncio.create_task(admitted(budget))
    await waiting(budget, 1)
    assert budget.used_bytes == budget.capacity_bytes
    first.close()
    await third
    second.close()
    third.result().close()
    assert (budget.used_bytes, budget.waiting) == (0, 0)


async def test_waiting_uploads_are_admitted_in_order() -> None:
    budget, order = budget_for(1), []

    async def upload(number: int) -> None:
        reservation = await admitted(budget)
        order.append(number)
        await asyncio.sleep(0)
        reservation.close()

    holder = await admitted(budget)
    tasks = []
    for number in range(20):
        tasks.append(asyncio.create_task(upload(number)))
        await waiting(budget, number + 1)
    holder.close()
    await asyncio.gather(*tasks)
    assert order == list(range(20))


async def test_a_long_upload_alternates_with_waiting_uploads() -> None:
    budget, order = budget_for(1), []

    async def upload(name: str) -> None:
        reservation = await admitted(budget)
        for _ in range(3):
            order.append(name)
            await asyncio.sleep(0)
            await reservation.yield_to_waiting()
        reservation.close()

    await asyncio.gather(*map(upload, "abc"))
    assert "".join(order) == "abcabcabc"


async def test_an_upload_not_admitted_in_time_is_refused_and_leaves_nothing_behind() -> None:
    budget = budget_for(1, SHORT)
    holder = await admitted(budget)
    holder.is_evicted = True  # evicted before, but has not ended
    with pytest.raises(Exhausted) as caught:
        await reservation_in(budget).acquire()
    assert caught.value.reason == "BUSY"
    holder.close()
    assert (budget.used_bytes, budget.waiting) == (0, 0)


async def test_a_cancelled_waiting_upload_is_not_admitted() -> None:
    budget = budget_for(1)
    holder = await admitted(budget)
    gives_up, stays = asyncio.create_task(admitted(budget)), asyncio.create_task(admitted(budget))
    await waiting(budget, 2)
    gives_up.cancel()
    await asyncio.wait([gives_up])
    assert budget.waiting == 1
    holder.close()
    (await stays).close()
    assert budget.used_bytes == 0


async def test_an_upload_cancelled_while_being_admitted_releases_its_bytes() -> None:
    budget = budget_for(1)
    holder, late = await admitted(budget), reservation_in(budget)
    task = asyncio.create_task(late.acquire())
    await waiting(budget, 1)
    holder.close()
    task.cancel()
    await asyncio.wait([task])
    late.close()
    assert budget.used_bytes == 0


async def test_an_idle_upload_lends_its_base_and_waits_for_it_again() -> None:
    budget = budget_for(1, 4 * SHORT)
    idle = await admitted(budget)
    idle.await_client(lend=True)
    active = await admitted(budget)
    again = asyncio.create_task(idle.acquire())
    await waiting(budget, 1)
    active.close()
    await again
    idle.close()
    assert budget.used_bytes == 0


async def test_an_upload_stalled_within_an_instance_is_evicted_for_a_waiting_one() -> None:
    budget, evicted = budget_for(1, SHORT), asyncio.Event()
    stalled = Reservation(budget, evicted.set)
    await stalled.acquire()
    stalled.await_client(lend=False)
    waiter = asyncio.create_task(admitted(budget))
    await evicted.wait()
    stalled.close()
    (await waiter).close()
    assert budget.used_bytes == 0


async def test_no_upload_is_evicted_while_none_waits() -> None:
    budget, evicted = budget_for(2, SHORT), []
    stalled = Reservation(budget, lambda: evicted.append(1))
    await stalled.acquire()
    stalled.await_client(lend=False)
    stalled.active_at -= LONG
    (await admitted(budget)).close()
    assert not evicted


async def test_bytes_for_finishing_instances_are_limited_and_refused_while_an_upload_waits() -> None:
    uploads = MAX_FINISHING_BYTES // BASE_BYTES + 2
    budget = budget_for(uploads)
    reservation = await admitted(budget)
    assert reservation.reserve_finishing(MAX_FINISHING_BYTES)
    assert not reservation.reserve_finishing(1)
    reservation.release_finishing(MAX_FINISHING_BYTES)
    others = [await admitted(budget) for _ in range(uploads - 1)]
    assert not reservation.reserve_finishing(1)
    late = asyncio.create_task(admitted(budget))
    await waiting(budget, 1)
    for other in others:
        other.close()
    (await late).close()
    reservation.close()
    assert budget.used_bytes == 0


async def test_one_header_may_exceed_the_budget_and_the_next_one_waits() -> None:
    budget = budget_for(4)
    first, second = await admitted(budget), await admitted(budget)
    await first.reserve_header(10 * BASE_BYTES)
    await first.reserve_header(BASE_BYTES)
    growing = asyncio.create_task(second.reserve_header(10 * BASE_BYTES))
    entering = asyncio.create_task(admitted(budget))
    await waiting(budget, 2)
    first.release_header(11 * BASE_BYTES)
    await growing
    assert budget.waiting == 1
    second.close()
    (await entering).close()
    first.close()
    assert (budget.used_bytes, budget.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_all_kinds_of_uploads_end_and_stay_within_the_budget(seed: int) -> None:
    chance = random.Random(seed)
    budget = budget_for(chance.randint(4, 8))
    largest = 3 * BASE_BYTES

    async def pause() -> None:
        for _ in range(chance.randint(0, 3)):
            await asyncio.sleep(0)
        assert budget.used_bytes <= budget.capacity_bytes + largest

    async def upload() -> None:
        reservation = reservation_in(budget)
        try:
            for _ in range(chance.randint(1, 5)):
                await reservation.acquire()
                await pause()
                if header := chance.choice([0, 0, 0, BASE_BYTES, largest]):
                    await reservation.reserve_header(header)
                    await pause()
                if finishing := reservation.reserve_finishing(size := chance.randint(0, BASE_BYTES)):
                    await pause()
                if header:
                    reservation.release_header(header)
                await reservation.yield_to_waiting()
                if finishing:
                    reservation.release_finishing(size)
        finally:
            reservation.close()

    tasks = [asyncio.create_task(upload()) for _ in range(50)]
    for task in chance.sample(tasks, 10):
        await pause()
        task.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait(tasks)
    assert all(task.cancelled() or task.exception() is None for task in tasks)
    assert (budget.used_bytes, budget.waiting) == (0, 0)


def of(budget: IngestBudget, client: str) -> Reservation:
    return Reservation(budget, lambda: None, client)


async def end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel those that wait."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_client_leaves_room_for_the_uploads_of_others() -> None:
    budget = budget_for(10)
    greedy = [of(budget, "greedy") for _ in range(20)]
    entering = [asyncio.create_task(each.acquire()) for each in greedy]
    await waiting(budget, 12)
    assert budget.used_bytes == 8 * BASE_BYTES
    late = of(budget, "late")
    await asyncio.wait_for(late.acquire(), 1)  # although uploads wait
    assert late.reserve_finishing(0)
    greedy[0].close()
    assert budget.waiting == 12  # its share is smaller now
    late.close()
    await asyncio.wait_for(entering[8], 1)
    await end(entering)
    for each in greedy:
        each.close()
    assert (budget.used_bytes, budget.waiting, budget._held) == (0, 0, {})


async def test_of_the_waiting_uploads_that_of_the_client_with_the_least_enters_first() -> None:
    budget = budget_for(2)
    holders = [of(budget, "a"), of(budget, "b")]
    for each in holders:
        await each.acquire()
    order: list[str] = []

    async def upload(client: str) -> None:
        reservation = of(budget, client)
        await reservation.acquire()
        order.append(client)
        await asyncio.sleep(0)
        reservation.close()

    tasks = []
    for number, client in enumerate("aaac", 1):
        tasks.append(asyncio.create_task(upload(client)))
        await waiting(budget, number)
    holders[1].close()
    await asyncio.sleep(0)
    holders[0].close()
    await asyncio.gather(*tasks)
    assert "".join(order) == "caaa"


async def test_the_bytes_of_a_client_are_limited() -> None:
    budget = IngestBudget(32 * BASE_BYTES, LONG, client_bytes=3 * BASE_BYTES)
    uploads = [of(budget, "one") for _ in range(5)]
    entering = [asyncio.create_task(each.acquire()) for each in uploads]
    await waiting(budget, 2)
    assert budget.used_bytes == 3 * BASE_BYTES
    assert not uploads[0].reserve_finishing(1)
    other = of(budget, "other")
    await asyncio.wait_for(other.acquire(), 1)
    await end(entering)
    for each in (*uploads, other):
        each.close()
    assert budget.used_bytes == 0
