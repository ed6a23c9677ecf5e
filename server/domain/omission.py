"""What a response leaves out, counted before its first byte; see `Omission` in retrieve_service.proto."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, TypeVar

from server.model.errors import DicomStoreError, Exhausted, Unavailable
from server.model.instance import StoredInstance

_MOST_ERRORS = 100


class Failed(Protocol):
    """An item that cannot be sent."""

    @property
    def stored(self) -> StoredInstance:
        """Return the instance, or that of the frame."""

    @property
    def error(self) -> DicomStoreError:
        """Return why."""


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


Item = TypeVar("Item")
Failure = TypeVar("Failure", bound=Failed)


async def announced(
    items: AsyncGenerator[Item | Failure], failure: type[Failure], omission: Omission
) -> AsyncGenerator[Omission | Item | Failure]:
    """Yield items, first of all what is left out, if anything is: `omission`, and what fails before the first success.

    Raises: the error of the first omission, if there is no success; at once, if it is not the item's fault.
    """
    has_begun = False
    async with aclosing(items):
        async for item in items:
            if not has_begun and isinstance(item, failure):
                if isinstance(item.error, (Exhausted, Unavailable)):
                    raise item.error
                omission.add(item.stored, item.error)
                continue
            if not has_begun and omission.count:
                yield omission
            has_begun = True
            yield item
    if not has_begun and omission.errors:
        raise omission.errors[0][1]
