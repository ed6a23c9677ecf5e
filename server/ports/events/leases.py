"""The record of leases: work that one process does at a time."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LeaseState:
    """Who holds a lease, and how often it has been renewed."""

    holder: str
    renewals: int


class Leases(Protocol):
    """The record of leases. All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database cannot be reached."""

    async def take(self, name: str, holder: str, stale: LeaseState | None) -> LeaseState:
        """Take or renew a lease if it is free, or held by this holder, or its state is `stale`; return its state."""
        ...

    async def release(self, name: str, holder: str) -> None:
        """End a lease, unless another holder has it."""
        ...
