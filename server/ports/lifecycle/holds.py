"""The record of holds."""

from collections.abc import Sequence
from typing import Protocol

from server.model.ids import Address
from server.model.lifecycle.hold import Hold


class Holds(Protocol):
    """The holds on studies, series and instances, which the calls of `InstanceIndex` respect in their transactions.

    A hold protects a resource, its parts, and the resources that contain it. Raises: as `InstanceIndex`.
    """

    async def set(self, hold: Hold) -> bool:
        """Set a hold, or replace the one with the same resource and name.

        Returns False, without effect, if the resource does not exist and no deleted instances of it are retained.
        """
        ...

    async def release(self, resource: Address, name: str) -> Hold | None:
        """Remove a hold and return it; None if there is none with this name on exactly this resource."""
        ...

    async def list(self, scope: Address, before: int | None, limit: int) -> Sequence[tuple[int, Hold]]:
        """Return holds with their keys, newest first, with keys below `before`.

        Args:
            scope: a partition; or a study, series or instance: holds on it, on its parts, and on what contains it.
        """
        ...
