"""The record of expiry."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from server.model.ids import Address
from server.model.lifecycle.expiry import Expiry


class Expiries(Protocol):
    """When studies expire. `InstanceIndex.add` sets it too, and the deletion of a study removes it.

    A study with a hold, on itself or on a part of it, does not expire before the hold is released. Raises: as
    `InstanceIndex`.
    """

    async def set(self, study: Address, expiry: Expiry | None, now: datetime) -> bool:
        """Set or, with None, remove the expiry of a study. Returns False if the study does not exist.

        now: the time recorded for the change, from the clock of receipts.
        """
        ...

    async def get(self, study: Address) -> Expiry | None:
        """Return the expiry of a study; None if it has none or does not exist."""
        ...

    async def due(self, now: datetime, limit: int) -> Sequence[Address]:
        """Return studies that have expired and are not on hold, longest expired first."""
        ...

    async def expire(
        self, study: Address, due: datetime, now: datetime, erase_after: datetime, *, author: str, reason: str
    ) -> int:
        """Delete a study as `InstanceIndex.delete` does, if it is still one of those that are due at `due`.

        Returns the number of instances; 0 if the study has been deleted meanwhile, or expires later, or is on hold.
        """
        ...
