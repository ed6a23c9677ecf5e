"""Things that take a while, made a few at a time and handed on in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from server.model.buffer import Buffer
from server.model.errors import DicomStoreError

Thing = TypeVar("Thing")


async def prefetch_ordered(
    works: AsyncGenerator[Coroutine[Any, Any, Thing]], ahead: int
) -> AsyncGenerator[Thing | DicomStoreError]:
    """Yield what each of `works` returns, in their order, or the error that it raised.

    While one is awaited, at most `ahead` others are under way or done. Closing this ends all of them.
    """
    tasks: deque[asyncio.Task[Thing]] = deque()
    try:
        async with aclosing(works):
            async for work in works:
                tasks.append(asyncio.create_task(work))
                if len(tasks) > ahead:
                    yield await _outcome(tasks.popleft())
        while tasks:
            yield await _outcome(tasks.popleft())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _outcome(task: "asyncio.Task[Thing]") -> Thing | DicomStoreError:
    try:
        return await task
    except DicomStoreError as error:
        return error
    finally:
        task.cancel()  # of no effect but when whoever awaits it is cancelled


async def settled(chunks: AsyncGenerator[Buffer], limit_bytes: int) -> AsyncGenerator[Buffer]:
    """Return chunks, of which the first ones, up to a number of bytes, are awaited before this returns.

    Raises: what the first ones raise, so that it is known before anything has been sent.
    """
    held: deque[Buffer] = deque()
    size = 0
    try:
        async for chunk in chunks:
            held.append(chunk)
            size += len(chunk)
            if size >= limit_bytes:
                break
    except BaseException:
        await chunks.aclose()
        raise
    return _continued(held, chunks)


async def _continued(held: deque[Buffer], chunks: AsyncGenerator[Buffer]) -> AsyncGenerator[Buffer]:
    async with aclosing(chunks):
        while held:
            yield held.popleft()
        async for chunk in chunks:
            yield chunk


async def once(data: bytes) -> AsyncGenerator[Buffer]:
    """Yield bytes that are there already."""
    yield data


async def closable(chunks: AsyncIterator[Buffer]) -> AsyncGenerator[Buffer]:
    """Yield chunks. It can be closed before they end, which any iterator need not."""
    async for chunk in chunks:
        yield chunk
