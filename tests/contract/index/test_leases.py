"""Leases (server/ports/events/leases.py, server/domain/lease.py)."""

import asyncio

from server.adapters.sql.engine import Database
from server.domain.lease import Lease
from server.domain.operations.workers import Workers
from server.ports.events.leases import LeaseState


async def test_a_lease_is_taken_when_it_is_free_or_stale(database: Database, other_database: Database) -> None:
    take = database.leases.take
    assert await take("events", "a", None) == LeaseState("a", 1)
    assert await take("events", "b", None) == LeaseState("a", 1)
    assert await take("events", "a", None) == LeaseState("a", 2)
    assert await take("events", "b", LeaseState("a", 1)) == LeaseState("a", 2)
    assert await other_database.leases.take("events", "b", LeaseState("a", 2)) == LeaseState("b", 3)
    await database.leases.release("events", "a")
    assert await take("events", "a", None) == LeaseState("b", 3)
    await database.leases.release("events", "b")
    assert await take("events", "a", None) == LeaseState("a", 1)


async def test_of_concurrent_processes_one_takes_a_new_lease(database: Database, other_database: Database) -> None:
    names = [f"process {number}" for number in range(8)]
    states = await asyncio.gather(
        *(
            each.leases.take("events", name, None)
            for name, each in zip(names, (database, other_database) * 4, strict=True)
        )
    )
    assert len({state.holder for state in states}) == 1


async def test_one_process_works_and_another_takes_over(database: Database, other_database: Database) -> None:
    noted: asyncio.Queue[str] = asyncio.Queue()

    async def work(name: str) -> None:
        noted.put_nowait(f"{name} starts")
        try:
            await asyncio.Event().wait()
        finally:
            noted.put_nowait(f"{name} ends")

    first = asyncio.create_task(Lease(database.leases, "events", "a", 0.9).run(lambda: work("a")))
    assert await noted.get() == "a starts"
    second = asyncio.create_task(Lease(other_database.leases, "events", "b", 0.9).run(lambda: work("b")))
    first.cancel()  # it releases the lease
    assert [await noted.get(), await noted.get()] == ["a ends", "b starts"]
    # A process that takes the lease and is killed.
    await database.leases.release("events", "b")
    assert (await database.leases.take("events", "killed", None)).holder == "killed"
    assert [await noted.get(), await noted.get()] == ["b ends", "b starts"]
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert await noted.get() == "b ends"


async def test_any_process_wakes_the_holder(database: Database, other_database: Database) -> None:
    woken = asyncio.Event()
    is_working = asyncio.Event()

    async def work() -> None:
        is_working.set()
        await asyncio.Event().wait()

    holder = Lease(database.leases, "background", "a", 0.6, woken=woken.set)
    holding = asyncio.create_task(holder.run(work))
    await is_working.wait()
    holder.wake()
    assert woken.is_set()
    woken.clear()
    other = Lease(other_database.leases, "background", "b", 0.6)
    waiting = asyncio.create_task(other.run(work))
    other.wake()
    async with asyncio.timeout(10):
        await woken.wait()
    for task in (waiting, holding):
        task.cancel()
    await asyncio.gather(waiting, holding, return_exceptions=True)


async def test_a_work_that_fails_is_started_again_while_the_others_continue(database: Database) -> None:
    starts = {"fails": 0, "lasts": 0}
    is_repeated = asyncio.Event()

    async def fails() -> None:
        starts["fails"] += 1
        if starts["fails"] == 3:
            is_repeated.set()
        raise ValueError("a fault")

    async def lasts() -> None:
        starts["lasts"] += 1
        await asyncio.Event().wait()

    running = asyncio.create_task(Lease(database.leases, "background", "a", 1.5).run(fails, lasts))
    async with asyncio.timeout(30):
        await is_repeated.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert starts["lasts"] == 1


async def test_one_worker_replaces_each_that_has_ended(database: Database, other_database: Database) -> None:
    now = 0.0
    names = {"one": "a", "two": "b", "killed": "c"}
    workers = {
        name: Workers(database.leases, name, holder, seconds=9, clock=lambda: now) for name, holder in names.items()
    }
    for worker in workers.values():
        assert await worker.look() == []
    replaced: list[str] = []
    for _ in range(5):
        now += 3
        for name in ("one", "two"):
            replaced += await workers[name].look()
    assert replaced == ["killed"]
    restarted = Workers(other_database.leases, "killed", "d", seconds=9, clock=lambda: now)
    assert await restarted.look() == []
    await workers["two"].leave()
    now += 12
    assert await workers["one"].look() == []
    now += 12
    assert await workers["one"].look() == ["killed"]
    await workers["one"].replaced("killed")
    assert await workers["one"].look() == []
    assert set(await database.leases.states("operations-worker ")) == {"operations-worker one"}
