"""The record of consumers of the change feed."""

import enum
from collections.abc import Sequence
from typing import Protocol

from server.model.change import Consumer


class Move(enum.Enum):
    """Outcome of setting a position."""

    DONE = enum.auto()
    FOREIGN = enum.auto()
    """The consumer belongs to another principal."""
    UNEXPECTED = enum.auto()
    """It has another position than expected."""
    TOO_MANY = enum.auto()
    """The owner has as many consumers as it may have."""


class Consumers(Protocol):
    """The record of consumers and their positions.

    `owner` limits a call to the consumers of a principal; None means all. All calls raise Unavailable
    (DATABASE_UNAVAILABLE) when the database cannot be reached.
    """

    async def find(self, name: str) -> Consumer | None:
        """Return a consumer; None if it does not exist."""
        ...

    async def list(self, owner: str | None, after_name: str, limit: int) -> Sequence[Consumer]:
        """Return the consumers with a name after `after_name`, by code point, ascending."""
        ...

    async def move(
        self, to: Consumer, *, owner: str | None, expected: int | None, limit: int
    ) -> tuple[Move, Consumer | None]:
        """Set the position of a consumer; create it if it does not exist. Return the consumer afterwards.

        Of concurrent calls that expect the same position, at most one is `DONE`.

        Args:
            to: the consumer; its owner is that of a new one.
            expected: the present position; that of a consumer that does not exist is 0. None is any.
            limit: number of consumers that an owner may have.
        """
        ...

    async def remove(self, name: str, owner: str | None) -> bool:
        """Remove a consumer; return whether it existed."""
        ...
