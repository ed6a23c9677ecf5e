"""A cache with a limit in bytes, whose values are computed once for all calls that wait for them."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from cachetools import LRUCache

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


_OVERHEAD_BYTES = 500


def cost_of_bytes(value: bytes) -> int:
    """Return the memory of a cached bytes value and its entry."""
    return len(value) + _OVERHEAD_BYTES


class ByteCache(Generic[Key, Value]):
    """A least-recently-used cache for use within one event loop.

    A value that costs more than half of the limit is not cached. A computation continues when all its callers are
    cancelled, and its value is cached.

    Args:
        max_bytes: limit of the total cost of all values; 0 disables caching.
        cost: about the memory that a value takes, in bytes.
    """

    def __init__(self, max_bytes: int, cost: Callable[[Value], int]) -> None:
        self._cost = cost
        self._cached: LRUCache[Key, Value] = LRUCache(max_bytes, getsizeof=cost)
        self._running: dict[Key, asyncio.Task[Value]] = {}

    def known(self, key: Key) -> Value | None:
        """Return a value if it is cached."""
        return self._cached.get(key)

    async def get(self, key: Key, compute: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """Return the value of `key`; `compute` is called if it is neither cached nor being computed.

        Raises: the exception of the computation, in all waiting calls. The next call computes again.
        """
        if (value := self._cached.get(key)) is not None:
            return value
        if key not in self._running:
            self._running[key] = task = asyncio.create_task(compute())
            task.add_done_callback(lambda done: self._finish(key, done))
        return await asyncio.shield(self._running[key])

    def _finish(self, key: Key, task: "asyncio.Task[Value]") -> None:
        del self._running[key]
        if not task.cancelled() and task.exception() is None and self._cost(task.result()) <= self._cached.maxsize / 2:
            self._cached[key] = task.result()
