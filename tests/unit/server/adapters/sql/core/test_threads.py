"""The thread pool for database work (server/adapters/sql/core/threads.py)."""

import asyncio
import threading
from dataclasses import dataclass, field

import pytest

from server.adapters.sql.core.threads import NoneLeft, Threads


@dataclass
class Owned:
    """A resource of one thread; records the threads that created and closed it."""

    made_in: int = field(default_factory=threading.get_ident)
    closed_in: int | None = None

    def close(self) -> None:
        self.closed_in = threading.get_ident()


async def test_sequential_work_uses_one_thread() -> None:
    threads = Threads(4, "worker", Owned)
    idents = {await threads.run(lambda owned: owned.made_in) for _ in range(50)}
    assert len(idents) == 1
    threads.close()


async def test_concurrent_work_uses_several_threads_up_to_the_limit() -> None:
    threads = Threads(3, "worker", Owned)
    together = threading.Barrier(3)
    idents = await asyncio.gather(*(threads.run(lambda owned: (together.wait(10), owned.made_in)[1]) for _ in range(9)))
    assert len(set(idents)) == 3
    threads.close()


async def test_an_exception_reaches_the_caller_and_the_thread_continues() -> None:
    threads = Threads(1, "worker", Owned)

    def fail(_owned: Owned) -> None:
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        await threads.run(fail)
    assert await threads.run(lambda _owned: 7) == 7
    threads.close()


async def test_queued_work_of_a_cancelled_caller_is_skipped() -> None:
    threads = Threads(1, "worker", Owned)
    go, done = threading.Event(), []
    first = asyncio.ensure_future(threads.run(lambda _owned: go.wait(10)))
    second = asyncio.ensure_future(threads.run(lambda _owned: done.append("second")))
    third = asyncio.ensure_future(threads.run(lambda _owned: done.append("third")))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, third)
    assert done == ["third"]
    threads.close()


async def test_closing_waits_for_queued_work_and_closes_each_resource_in_its_thread() -> None:
    owned: list[Owned] = []
    threads = Threads(2, "worker", lambda: owned.append(Owned()) or owned[-1])
    working = [asyncio.ensure_future(threads.run(lambda one: one.closed_in)) for _ in range(6)]
    await asyncio.sleep(0)
    await asyncio.to_thread(threads.close)
    assert await asyncio.gather(*working) == [None] * 6
    assert owned
    assert all(one.closed_in == one.made_in for one in owned)
    with pytest.raises(RuntimeError):
        await threads.run(lambda one: one)


def test_threads_survive_the_end_of_their_event_loop() -> None:
    threads = Threads(1, "worker", Owned)
    go = threading.Event()

    async def leave() -> None:
        working = asyncio.ensure_future(threads.run(lambda _owned: go.wait(10)))
        await asyncio.sleep(0)
        working.cancel()

    asyncio.run(leave())
    go.set()
    threads.close()


class Limited(Owned):
    """A resource of which only a limited number exist."""

    left = 2

    def use(self) -> int:
        """Take one of the remaining ones at the first call."""
        if not hasattr(self, "taken"):
            if Limited.left == 0:
                raise NoneLeft(LookupError("none left"))
            Limited.left -= 1
            self.taken = True
        return threading.get_ident()


async def test_threads_without_a_resource_leave_the_work_to_the_others() -> None:
    Limited.left = 2
    threads = Threads(4, "worker", Limited)
    idents = await asyncio.gather(*(threads.run(Limited.use) for _ in range(20)))
    assert len(set(idents)) <= 2
    threads.close()


async def test_work_fails_if_the_only_thread_gets_no_resource() -> None:
    Limited.left = 0
    threads = Threads(4, "worker", Limited)
    with pytest.raises(LookupError, match="none left"):
        await threads.run(Limited.use)
    threads.close()


async def test_the_number_of_threads_grows_again_later() -> None:
    Limited.left = 1
    threads = Threads(2, "worker", Limited, fewer_seconds=0)
    await asyncio.gather(*(threads.run(Limited.use) for _ in range(10)))
    Limited.left = 1
    go = threading.Event()
    waiting = threads.run(lambda owned: (owned.use(), go.wait(10))[1])
    _, waited = await asyncio.gather(threads.run(lambda owned: (owned.use(), go.set())), waiting)
    assert waited
    threads.close()
