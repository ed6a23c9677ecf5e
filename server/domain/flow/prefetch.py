"""Ordered prefetch: runs up to N coroutines concurrently and yields their results in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from server.model.buffer import Buffer
from server.model.errors import DicomStoreError

Result = TypeVar("Result")


async def prefetch_ordered(
    coroutines: AsyncGenerator[Coroutine[Any, Any, Result]], ahead: int
) -> AsyncGenerator[Result | DicomStoreError]:
    """Yield the result of each coroutine in order, or the error that it raised.

    While one is awaited, at most `ahead` others are running or done. Closing the generator cancels all of them.
    """
    tasks: deque[asyncio.Task[Result]] = deque()
    try:
        async with aclosing(coroutines):
            async for coroutine in coroutines:
                tasks.append(asyncio.create_task(coroutine))
                if len(tasks) > ahead:
                    yield await _outcome(tasks.popleft())
        while tasks:
            yield await _outcome(tasks.popleft())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _outcome(task: "asyncio.Task[Result]") -> Result | DicomStoreError:
    try:
        return await task
    except DicomStoreError as error:
        return error
    finally:
        task.cancel()  # has an effect only if the awaiting task was cancelled


async def settled(chunks: AsyncGenerator[Buffer], limit_bytes: int) -> AsyncGenerator[Buffer]:
    """Return chunks after reading the first ones, up to a number of bytes.

    Raises: the errors of the first chunks, so that they are known before any byte is sent.
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
    """Yield one chunk."""
    yield data


async def closable(chunks: AsyncIterator[Buffer]) -> AsyncGenerator[Buffer]:
    """Return an iterator as a generator, which can be closed before its end."""
    async for chunk in chunks:
        yield chunk
