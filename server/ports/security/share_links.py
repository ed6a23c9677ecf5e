"""The record of share links."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from server.model.ids import PartitionName
from server.model.security.share_link import ShareLink


class ShareLinks(Protocol):
    """The record of share links. A link that is not recorded is invalid.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached.
    """

    async def add(self, link: ShareLink) -> None:
        """Record a new link, and remove those that had expired when it was created."""
        ...

    async def find(self, link_id: str) -> ShareLink | None:
        """Return a link; None if there is none."""
        ...

    async def list(
        self, *, valid_at: datetime, partitions: Collection[PartitionName] | None, before: int | None, limit: int
    ) -> Sequence[tuple[int, ShareLink]]:
        """Return the links that are valid at a time, with their record keys, newest first.

        Args:
            partitions: only links of these; None returns those of all.
            before: only those with smaller record keys.
        """
        ...

    async def remove(self, link_id: str, partitions: Collection[PartitionName] | None) -> bool:
        """Remove a link if it belongs to one of the partitions, or to any with None; return whether it did."""
        ...
