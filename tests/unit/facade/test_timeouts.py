"""One timeout for the many waits of a transfer."""

import asyncio

import pytest

from facade.timeouts import IdleTimeout


async def test_a_wait_beyond_the_limit_raises_a_timeout() -> None:
    timeout = IdleTimeout(0.02)
    with pytest.raises(TimeoutError), timeout:
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    timeout.close()


async def test_several_short_waits_may_exceed_the_limit_together() -> None:
    timeout = IdleTimeout(0.3)
    loop = asyncio.get_running_loop()
    began, waits = loop.time(), 0
    while loop.time() < began + 0.6:
        with timeout:
            await asyncio.sleep(0.01)
        waits += 1
    assert waits > 4
    timeout.close()


async def test_the_limit_applies_again_after_a_timeout() -> None:
    timeout = IdleTimeout(0.02)
    for _ in range(3):
        with pytest.raises(TimeoutError), timeout:
            await asyncio.Event().wait()
        with timeout:
            await asyncio.sleep(0)
    timeout.close()


async def test_a_shorter_limit_applies_to_the_next_wait() -> None:
    timeout = IdleTimeout(60)
    with timeout:
        await asyncio.sleep(0)
    timeout.seconds = 0.02
    with pytest.raises(TimeoutError), timeout:
        await asyncio.Event().wait()
    timeout.close()


async def test_the_time_between_two_waits_has_no_limit() -> None:
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


async def test_an_exception_of_the_awaitable_is_passed_through() -> None:
    timeout = IdleTimeout(10)
    with pytest.raises(ValueError, match="its own"), timeout:
        raise ValueError("its own")
    timeout.close()
