"""Leases (server/ports/events/leases.py, server/domain/events/lease.py)."""

import asyncio

from server.adapters.sql.engine import Database
from server.domain.events.lease import Lease
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
