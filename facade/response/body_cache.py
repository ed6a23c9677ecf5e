"""Finished bodies of answers, kept in memory as long as they are current and within a budget.

Nothing is served from here on its own authority: whoever asks has asked the core first, with its own credentials, and
the core has said that the resource is there and which state it is in. All use is from one event loop.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

_LARGEST_SHARE = 4
_JOINED_BYTES = 1 << 20
_OVERHEAD_BYTES = 1 << 10


class Resource(NamedTuple):
    """What a body shows; what a reference leaves out is empty."""

    partition: str
    study: str
    series: str
    instance: str


class Form(NamedTuple):
    """What else its bytes depend on: the base of its URLs, with version and partition, and the content coding."""

    base: str
    coding: str


class State(NamedTuple):
    """Changes whenever the resource does; see `ResourceState` in the contract."""

    max_version: int
    instance_count: int


@dataclass(frozen=True, slots=True)
class Body:
    """A whole body in pieces of about 1 MiB at most, and the state that it shows."""

    state: State
    pieces: tuple[bytes, ...]

    @property
    def size_bytes(self) -> int:
        """Return its length."""
        return sum(map(len, self.pieces))


@dataclass(slots=True)
class _Entry:
    """The bodies of one resource, all of one state. A body counts for a KiB more than its length."""

    state: State
    bodies: dict[Form, Body] = field(default_factory=dict)

    @property
    def cost_bytes(self) -> int:
        return sum(body.size_bytes + _OVERHEAD_BYTES for body in self.bodies.values())


class BodyCache:
    """Bodies by resource and form; the resource that was used least recently goes first.

    Guarantees: what is kept and what is on its way in never exceed `limit_bytes` together. A body that counts for more
    than a quarter of that is not kept.
    """

    def __init__(self, limit_bytes: int) -> None:
        """Keep at most so many bytes; 0 keeps nothing."""
        self._limit_bytes = limit_bytes
        self._entries: OrderedDict[Resource, _Entry] = OrderedDict()
        self._kept_bytes = 0
        self._coming_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Return how much is kept and on its way in."""
        return self._kept_bytes + self._coming_bytes

    def find(self, resource: Resource, form: Form) -> Body | None:
        """Return a body; whether it is current is for the core to say."""
        entry = self._entries.get(resource)
        if entry is None or form not in entry.bodies:
            return None
        self._entries.move_to_end(resource)
        return entry.bodies[form]

    def learn(self, resource: Resource, state: State | None) -> None:
        """Take note of the state that a resource is in now, None if it is gone: bodies of another are dropped."""
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
        """Yield the chunks of a body as they come, and keep the body if all of it came and there was room.

        is_whole: says, after the last chunk, whether the body shows `state` and nothing else.
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
        """Reserve more for a body on its way in; return what is reserved then, or 0, nothing, if it can't be kept."""
        cost_bytes = so_far + more
        if cost_bytes > self._limit_bytes // _LARGEST_SHARE or self._coming_bytes + more > self._limit_bytes:
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
    """Return small pieces as one. Large ones stay as they are: joining would need their size twice."""
    return (b"".join(pieces),) if sum(map(len, pieces)) <= _JOINED_BYTES else tuple(pieces)
