"""What a response leaves out, counted before its first byte; see `Omission` in retrieve_service.proto."""

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeVar

from server.model.errors import DicomStoreError, Exhausted, Unavailable
from server.model.instance import StoredInstance

_MOST_ERRORS = 100


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An instance, or something of it, that fails although it was expected to be available."""

    stored: StoredInstance
    error: DicomStoreError


class Omission:
    """Counts what is left out, each instance once, and keeps the first errors."""

    def __init__(self) -> None:
        self.count = 0
        self.errors: list[tuple[StoredInstance, DicomStoreError]] = []
        self._versions: set[int] = set()

    def __contains__(self, stored: StoredInstance) -> bool:
        """Say whether an instance is left out."""
        return stored.version in self._versions

    @property
    def needs_error(self) -> bool:
        """Say whether the error of the next one is looked at."""
        return len(self.errors) < _MOST_ERRORS

    def add(self, stored: StoredInstance, error: DicomStoreError, *, is_sent: bool = False) -> None:
        """Count an instance, or one more of its frames.

        is_sent: what is there of it is sent all the same.
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
        """Return its size, if it is known."""


AHEAD_BYTES = 4 << 20
"""How much of a response of many frames is made before its first byte is sent, so that damage shows in its status."""

Item = TypeVar("Item", bound=Sized)


async def announced(
    items: AsyncGenerator[Item | FailedItem], omission: Omission, *, ahead_bytes: int = 0
) -> AsyncGenerator[Omission | Item | FailedItem]:
    """Yield items, first of all what is left out, if anything is: `omission`, and what fails before the first success.

    ahead_bytes: items of so many bytes together are awaited before the first is yielded. They must be readable then.

    Raises: the error of the first omission, if there is no success; at once, if it is not the item's fault.
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
