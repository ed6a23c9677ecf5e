"""The ordered prefetch: results in order, bounded concurrency, no task left behind."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import pytest

from server.domain.flow.prefetch import prefetch_ordered
from server.model.errors import DicomStoreError, Reason, WrongState


class Works:
    """Coroutines that end when the test lets them."""

    def __init__(self, count: int) -> None:
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self.may_end = [asyncio.Event() for _ in range(count)]
        self.has_begun = [asyncio.Event() for _ in range(count)]

    async def all(self) -> AsyncGenerator[Coroutine[Any, Any, int]]:
        for number in range(len(self.may_end)):
            yield self.one(number)

    async def one(self, number: int) -> int:
        self.begun.append(number)
        self.has_begun[number].set()
        try:
            await self.may_end[number].wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        if number == 1:
            raise WrongState(Reason.NOT_RENDERABLE, "no")
        return number


async def test_results_and_errors_are_in_order_whichever_ends_first() -> None:
    works = Works(4)
    for event in reversed(works.may_end):
        event.set()
    found = [each async for each in prefetch_ordered(works.all(), 2)]
    assert [found[0], *found[2:]] == [0, 2, 3]
    assert isinstance(found[1], DicomStoreError)


@pytest.mark.parametrize("ahead", [0, 2])
async def test_the_number_of_coroutines_started_ahead_is_limited(ahead: int) -> None:
    works = Works(6)
    made = prefetch_ordered(works.all(), ahead)
    works.may_end[0].set()
    assert await anext(made) == 0
    assert works.begun == list(range(ahead + 1))
    await made.aclose()


async def test_closing_cancels_running_coroutines() -> None:
    works = Works(6)
    made = prefetch_ordered(works.all(), 2)
    works.may_end[0].set()
    await anext(made)
    await made.aclose()
    assert works.cancelled == [1, 2]


async def test_a_cancelled_reader_leaves_no_task_behind() -> None:
    works = Works(3)

    async def read() -> None:
        async for _ in prefetch_ordered(works.all(), 1):
            pass

    reader = asyncio.create_task(read())
    await works.has_begun[1].wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert sorted(works.cancelled) == [0, 1]
