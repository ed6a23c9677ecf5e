"""One time limit for the many waits of a transfer."""

import asyncio

import pytest

from facade.timeouts import IdleTimeout


async def test_a_wait_that_lasts_too_long_ends_with_a_timeout() -> None:
    timeout = IdleTimeout(0.02)
    with pytest.raises(TimeoutError), timeout:
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    timeout.close()


async def test_many_short_waits_may_last_longer_together() -> None:
    timeout = IdleTimeout(0.05)
    loop = asyncio.get_running_loop()
    began, waits = loop.time(), 0
    while loop.time() < began + 0.2:
        with timeout:
            await asyncio.sleep(0.01)
        waits += 1
    assert waits > 4
    timeout.close()


async def test_a_limit_that_was_reached_holds_for_the_next_wait_as_well() -> None:
    timeout = IdleTimeout(0.02)
    for _ in range(3):
        with pytest.raises(TimeoutError), timeout:
            await asyncio.Event().wait()
        with timeout:
            await asyncio.sleep(0)
    timeout.close()


async def test_a_shorter_limit_holds_from_the_next_wait_on() -> None:
    timeout = IdleTimeout(60)
    with timeout:
        await asyncio.sleep(0)
    timeout.seconds = 0.02
    with pytest.raises(TimeoutError), timeout:
        await asyncio.Event().wait()
    timeout.close()


async def test_what_happens_between_two_waits_has_no_limit() -> None:
    timeout = IdleTimeout(0.01)
    with timeout:
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    with timeout:
        await asyncio.sleep(0)
    timeout.close()


async def test_a_cancelled_wait_stays_cancelled() -> None:
    timeout = IdleTimeout(10)
    begun = asyncio.Event()

    async def wait() -> None:
        with timeout:
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    timeout.close()


async def test_a_task_that_is_cancelled_as_its_limit_is_reached_stays_cancelled() -> None:
    timeout = IdleTimeout(0.01)

    async def wait() -> None:
        task = asyncio.current_task()
        assert task is not None
        with timeout:
            try:
                await asyncio.Event().wait()
            finally:
                task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(wait())
    timeout.close()


async def test_an_error_of_the_awaited_passes_through() -> None:
    timeout = IdleTimeout(10)
    with pytest.raises(ValueError, match="its own"), timeout:
        raise ValueError("its own")
    timeout.close()
