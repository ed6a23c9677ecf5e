"""An in-memory cache of complete response bodies with a size limit.

Each request calls the core first, with its own credentials; a cached body is used only if the core has confirmed that
the resource exists and has the state of the body. All use is from one event loop.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from common.telemetry.catalogue import CACHE_BYTES, CACHE_LIMIT, CACHE_REQUESTS
from common.telemetry.metrics import Sample

_MAX_SHARE = 4
_JOINED_BYTES = 1 << 20
_OVERHEAD_BYTES = 1 << 10
_NAME = "metadata"
_HITS, _MISSES = CACHE_REQUESTS.of(_NAME, "hit"), CACHE_REQUESTS.of(_NAME, "miss")


class Resource(NamedTuple):
    """The resource of a body; levels below it are empty."""

    partition: str
    study: str
    series: str
    instance: str


class Form(NamedTuple):
    """The form of a body: the base of its URLs, with version and partition, and the content coding."""

    base: str
    coding: str


class State(NamedTuple):
    """Identifies the state of a resource; see `ResourceState` in the contract."""

    max_version: int
    instance_count: int


@dataclass(frozen=True, slots=True)
class Body:
    """A complete body in pieces of about 1 MiB at most, and the state of the resource that it represents."""

    state: State
    pieces: tuple[bytes, ...]

    @property
    def size_bytes(self) -> int:
        """Return its length."""
        return sum(map(len, self.pieces))


@dataclass(slots=True)
class _Entry:
    """The bodies of one resource, all of the same state. Each body counts for 1 KiB more than its length."""

    state: State
    bodies: dict[Form, Body] = field(default_factory=dict)

    @property
    def cost_bytes(self) -> int:
        return sum(body.size_bytes + _OVERHEAD_BYTES for body in self.bodies.values())


class BodyCache:
    """Bodies by resource and form; the least recently used resource is evicted first.

    Guarantees: cached bodies and bodies being collected never exceed `limit_bytes` together. A body that counts for
    more than a quarter of the limit is not cached.
    """

    def __init__(self, limit_bytes: int) -> None:
        """Create a cache of at most `limit_bytes`; 0 disables it."""
        self._limit_bytes = limit_bytes
        self._entries: OrderedDict[Resource, _Entry] = OrderedDict()
        self._kept_bytes = 0
        self._coming_bytes = 0

    def samples(self) -> Iterator[Sample]:
        """Yield its size and limit."""
        yield Sample(CACHE_BYTES, self.size_bytes, (_NAME,))
        yield Sample(CACHE_LIMIT, self._limit_bytes, (_NAME,))

    @property
    def size_bytes(self) -> int:
        """Return the size of cached bodies and bodies being collected."""
        return self._kept_bytes + self._coming_bytes

    def find(self, resource: Resource, form: Form) -> Body | None:
        """Return a body; the caller must check with the core that it is current."""
        entry = self._entries.get(resource)
        if entry is None or form not in entry.bodies:
            _MISSES.value += 1
            return None
        _HITS.value += 1
        self._entries.move_to_end(resource)
        return entry.bodies[form]

    def learn(self, resource: Resource, state: State | None) -> None:
        """Drop the bodies of a resource that are not of its current state; None means that it does not exist."""
        entry = self._entries.get(resource)
        if entry is not None and entry.state != state:
            self._drop(resource)

    async def filled(
        self,
        resource: Resource,
        form: Form,
        state: State,
        chunks: AsyncIterator[bytes],
        is_whole: Callable[[], bool],
    ) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of a body immediately, and cache the body if it is complete and not too large.

        is_whole: returns, after the last chunk, whether the body represents exactly `state`.
        """
        pieces: list[bytes] = []
        cost_bytes = 0
        try:
            cost_bytes = self._reserved(0, _OVERHEAD_BYTES)
            async for chunk in chunks:
                if cost_bytes:
                    cost_bytes = self._reserved(cost_bytes, len(chunk))
                    pieces.append(chunk)
                if not cost_bytes:
                    pieces.clear()
                yield chunk
            if cost_bytes and is_whole():
                self._keep(resource, form, Body(state, _joined(pieces)))
        finally:
            self._coming_bytes -= cost_bytes

    def _reserved(self, so_far: int, more: int) -> int:
        """Reserve more memory for a body being collected; returns the total, or 0 if the body cannot be cached."""
        cost_bytes = so_far + more
        if cost_bytes > self._limit_bytes // _MAX_SHARE or self._coming_bytes + more > self._limit_bytes:
            self._coming_bytes -= so_far
            return 0
        self._coming_bytes += more
        while self.size_bytes > self._limit_bytes:
            self._drop(next(iter(self._entries)))
        return cost_bytes

    def _keep(self, resource: Resource, form: Form, body: Body) -> None:
        self.learn(resource, body.state)
        entry = self._entries.pop(resource, _Entry(body.state))
        self._kept_bytes -= entry.cost_bytes
        entry.bodies[form] = body
        self._kept_bytes += entry.cost_bytes
        self._entries[resource] = entry

    def _drop(self, resource: Resource) -> None:
        self._kept_bytes -= self._entries.pop(resource).cost_bytes


def _joined(pieces: list[bytes]) -> tuple[bytes, ...]:
    """Join small pieces. Large ones are not joined, because this would need twice their size."""
    return (b"".join(pieces),) if sum(map(len, pieces)) <= _JOINED_BYTES else tuple(pieces)
