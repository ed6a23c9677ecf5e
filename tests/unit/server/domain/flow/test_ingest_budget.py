"""Room for instances on their way to disk (server/domain/flow/ingest_budget.py)."""

import asyncio
import random

import pytest

from server.domain.flow.ingest_budget import BASE_BYTES, MOST_CARRIED_BYTES, Room, Share
from server.model.errors import Exhausted

PATIENT = 60.0
HASTY = 0.05


def room_for(shares: int, patience_seconds: float = PATIENT) -> Room:
    return Room(shares * BASE_BYTES, patience_seconds)


def share_of(room: Room) -> Share:
    return Share(room, lambda: None)


async def entered(room: Room) -> Share:
    share = share_of(room)
    await share.enter()
    return share


async def waiting(room: Room, count: int) -> None:
    while room.waiting < count:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)


async def test_who_finds_no_room_waits_until_somebody_leaves() -> None:
    room = room_for(2)
    first, second = await entered(room), await entered(room)
    third = asyncio.create_task(entered(room))
    await waiting(room, 1)
    assert room.used_bytes == room.capacity_bytes
    first.close()
    await third
    second.close()
    third.result().close()
    assert (room.used_bytes, room.waiting) == (0, 0)


async def test_those_who_wait_are_let_in_in_their_order() -> None:
    room, order = room_for(1), []

    async def upload(number: int) -> None:
        share = await entered(room)
        order.append(number)
        await asyncio.sleep(0)
        share.close()

    holder = await entered(room)
    tasks = []
    for number in range(20):
        tasks.append(asyncio.create_task(upload(number)))
        await waiting(room, number + 1)
    holder.close()
    await asyncio.gather(*tasks)
    assert order == list(range(20))


async def test_an_upload_that_goes_on_and_on_takes_turns_with_those_who_wait() -> None:
    room, order = room_for(1), []

    async def upload(name: str) -> None:
        share = await entered(room)
        for _ in range(3):
            order.append(name)
            await asyncio.sleep(0)
            await share.pass_on()
        share.close()

    await asyncio.gather(*map(upload, "abc"))
    assert "".join(order) == "abcabcabc"


async def test_who_waits_in_vain_is_refused_and_leaves_nothing_behind() -> None:
    room = room_for(1, HASTY)
    holder = await entered(room)
    holder.is_evicted = True  # has been told to go, and does not
    with pytest.raises(Exhausted) as caught:
        await share_of(room).enter()
    assert caught.value.reason == "BUSY"
    holder.close()
    assert (room.used_bytes, room.waiting) == (0, 0)


async def test_who_gives_up_waiting_is_not_let_in() -> None:
    room = room_for(1)
    holder = await entered(room)
    gives_up, stays = asyncio.create_task(entered(room)), asyncio.create_task(entered(room))
    await waiting(room, 2)
    gives_up.cancel()
    await asyncio.wait([gives_up])
    assert room.waiting == 1
    holder.close()
    (await stays).close()
    assert room.used_bytes == 0


async def test_who_is_cancelled_at_the_moment_of_being_let_in_gives_it_back() -> None:
    room = room_for(1)
    holder, late = await entered(room), share_of(room)
    task = asyncio.create_task(late.enter())
    await waiting(room, 1)
    holder.close()
    task.cancel()
    await asyncio.wait([task])
    late.close()
    assert room.used_bytes == 0


async def test_an_idle_upload_lends_its_room_and_waits_for_it_again() -> None:
    room = room_for(1, 4 * HASTY)
    idle = await entered(room)
    idle.rest(lend=True)
    active = await entered(room)
    again = asyncio.create_task(idle.enter())
    await waiting(room, 1)
    active.close()
    await again
    idle.close()
    assert room.used_bytes == 0


async def test_an_upload_that_stalls_within_an_instance_is_evicted_for_one_that_waits() -> None:
    room, evicted = room_for(1, HASTY), asyncio.Event()
    stalled = Share(room, evicted.set)
    await stalled.enter()
    stalled.rest(lend=False)
    waiter = asyncio.create_task(entered(room))
    await evicted.wait()
    stalled.close()
    (await waiter).close()
    assert room.used_bytes == 0


async def test_nobody_is_evicted_while_nobody_waits() -> None:
    room, evicted = room_for(2, HASTY), []
    stalled = Share(room, lambda: evicted.append(1))
    await stalled.enter()
    stalled.rest(lend=False)
    stalled.moved_at -= PATIENT
    (await entered(room)).close()
    assert not evicted


async def test_more_is_carried_only_while_nobody_waits_and_not_beyond_bounds() -> None:
    room = room_for(10)
    share = await entered(room)
    assert share.carry(MOST_CARRIED_BYTES)
    assert not share.carry(1)
    share.drop(MOST_CARRIED_BYTES)
    others = [await entered(room) for _ in range(9)]
    assert not share.carry(1)
    late = asyncio.create_task(entered(room))
    await waiting(room, 1)
    for other in others:
        other.close()
    (await late).close()
    share.close()
    assert room.used_bytes == 0


async def test_one_header_may_be_larger_than_the_room_and_the_next_waits_for_it() -> None:
    room = room_for(4)
    first, second = await entered(room), await entered(room)
    await first.grow(10 * BASE_BYTES)
    await first.grow(BASE_BYTES)
    growing = asyncio.create_task(second.grow(10 * BASE_BYTES))
    entering = asyncio.create_task(entered(room))
    await waiting(room, 2)
    first.shrink(11 * BASE_BYTES)
    await growing
    assert room.waiting == 1
    second.close()
    (await entering).close()
    first.close()
    assert (room.used_bytes, room.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_uploads_of_all_kinds_come_to_an_end_within_the_bounds(seed: int) -> None:
    chance = random.Random(seed)
    room = room_for(chance.randint(4, 8))
    largest = 3 * BASE_BYTES

    async def pause() -> None:
        for _ in range(chance.randint(0, 3)):
            await asyncio.sleep(0)
        assert room.used_bytes <= room.capacity_bytes + largest

    async def upload() -> None:
        share = share_of(room)
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
    assert (room.used_bytes, room.waiting) == (0, 0)
