"""A cache with a limit in bytes, whose values are computed once for all calls that wait for them."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterator
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from cachetools import LRUCache

from common.telemetry.catalogue import CACHE_BYTES, CACHE_LIMIT, CACHE_REQUESTS
from common.telemetry.metrics import Sample

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
        name: of the cache in the metrics.
        max_bytes: limit of the total cost of all values; 0 disables caching.
        cost: about the memory that a value takes, in bytes.
        has_size: limit and cost are indeed bytes; otherwise the metrics do not have them.
    """

    def __init__(self, name: str, max_bytes: int, cost: Callable[[Value], int], *, has_size: bool = True) -> None:
        self._name = name
        self._hits, self._misses = CACHE_REQUESTS.of(name, "hit"), CACHE_REQUESTS.of(name, "miss")
        if has_size:
            _caches.add(self)
        self._cost = cost
        self._cached: LRUCache[Key, Value] = LRUCache(max_bytes, getsizeof=cost)
        self._running: dict[Key, asyncio.Task[Value]] = {}

    def known(self, key: Key) -> Value | None:
        """Return a value if it is cached."""
        value = self._cached.get(key)
        if value is not None:
            self._hits.value += 1
        return value

    def samples(self) -> Iterator[Sample]:
        """Yield its size and limit."""
        yield Sample(CACHE_BYTES, self._cached.currsize, (self._name,))
        yield Sample(CACHE_LIMIT, self._cached.maxsize, (self._name,))

    async def get(self, key: Key, compute: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """Return the value of `key`; `compute` is called if it is neither cached nor being computed.

        Raises: the exception of the computation, in all waiting calls. The next call computes again.
        """
        if (value := self._cached.get(key)) is not None:
            self._hits.value += 1
            return value
        self._misses.value += 1
        if key not in self._running:
            self._running[key] = task = asyncio.create_task(compute())
            task.add_done_callback(lambda done: self._finish(key, done))
        return await asyncio.shield(self._running[key])

    def _finish(self, key: Key, task: "asyncio.Task[Value]") -> None:
        del self._running[key]
        if not task.cancelled() and task.exception() is None and self._cost(task.result()) <= self._cached.maxsize / 2:
            self._cached[key] = task.result()


_caches: "WeakSet[ByteCache[Any, Any]]" = WeakSet()


def cache_samples() -> Iterator[Sample]:
    """Yield the sizes and limits of all caches of this process."""
    for cache in list(_caches):
        yield from cache.samples()
