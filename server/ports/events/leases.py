"""The record of leases: work that one process does at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LeaseState:
    """Who holds a lease, and how often it has been renewed.

    wakes: how often other processes have asked the holder to look for work; not compared.
    """

    holder: str
    renewals: int
    wakes: int = field(default=0, compare=False)


class Leases(Protocol):
    """The record of leases. All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database cannot be reached."""

    async def take(self, name: str, holder: str, stale: LeaseState | None) -> LeaseState:
        """Take or renew a lease if it is free, or held by this holder, or its state is `stale`; return its state."""
        ...

    async def release(self, name: str, holder: str) -> None:
        """End a lease, unless another holder has it."""
        ...

    async def wake(self, name: str) -> None:
        """Ask the holder of a lease to look for work; without one, do nothing."""
        ...

    async def states(self, prefix: str) -> Mapping[str, LeaseState]:
        """Return the states of the leases whose names begin with `prefix`, by name."""
        ...
