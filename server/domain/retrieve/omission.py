"""Items that a response leaves out, counted before its first byte; see `Omission` in retrieve_service.proto."""

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeVar

from server.model.errors import DicomStoreError, Exhausted, Unavailable
from server.model.instance import StoredInstance

_MAX_ERRORS = 100


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An instance, frame or value that fails unexpectedly."""

    stored: StoredInstance
    error: DicomStoreError


class Omission:
    """Counts omitted instances or frames, and keeps the first errors."""

    def __init__(self) -> None:
        self.count = 0
        self.errors: list[tuple[StoredInstance, DicomStoreError]] = []
        self._versions: set[int] = set()

    def __contains__(self, stored: StoredInstance) -> bool:
        """True if an instance is left out."""
        return stored.version in self._versions

    @property
    def needs_error(self) -> bool:
        """True if `add` keeps the next error."""
        return len(self.errors) < _MAX_ERRORS

    def add(self, stored: StoredInstance, error: DicomStoreError, *, is_sent: bool = False) -> None:
        """Count an instance, or one more of its frames.

        is_sent: the available part of the instance is sent nevertheless.
        """
        if not is_sent:
            self._versions.add(stored.version)
        self.count += 1
        if self.needs_error:
            self.errors.append((stored, error))


class Sized(Protocol):
    """An item that can be sent."""

    @property
    def size_bytes(self) -> int | None:
        """Return the size, or None if unknown."""


AHEAD_BYTES = 4 << 20
"""Bytes of a multi-frame response prepared before its first byte is sent, so that damage affects its status."""

Item = TypeVar("Item", bound=Sized)


async def announced(
    items: AsyncGenerator[Item | FailedItem], omission: Omission, *, ahead_bytes: int = 0
) -> AsyncGenerator[Omission | Item | FailedItem]:
    """Yield items, preceded by `omission` if it is not empty; items that fail before the first success are added to it.

    ahead_bytes: total size of items to await before the first one is yielded. They must stay readable.

    Raises: the error of the first omission if no item succeeds; Exhausted and Unavailable immediately.
    """
    held: deque[Item] = deque()
    size, has_begun = 0, False
    async with aclosing(items):
        async for item in items:
            if has_begun:
                yield item
            elif isinstance(item, FailedItem):
                if isinstance(item.error, (Exhausted, Unavailable)):
                    raise item.error
                omission.add(item.stored, item.error)
            else:
                held.append(item)
                size += item.size_bytes or 0
                if size >= ahead_bytes:
                    has_begun = True
                    async for first in _beginning(omission, held):
                        yield first
        if held:
            has_begun = True
            async for first in _beginning(omission, held):
                yield first
    if not has_begun and omission.errors:
        raise omission.errors[0][1]


async def _beginning(omission: Omission, held: deque[Item]) -> AsyncGenerator[Omission | Item]:
    if omission.count:
        yield omission
    while held:
        yield held.popleft()
