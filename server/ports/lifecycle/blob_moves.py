"""Moving the blobs of instances, to another store or within one."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from server.model.ids import Address
from server.model.instance import Locator
from server.model.lifecycle.blob_move import BlobPage, BlobsOfInstance, StoreUsage
from server.model.store_id import StoreId


class BlobMoves(Protocol):
    """The blobs in the index by store. All calls raise as `InstanceIndex`."""

    async def usage(self) -> Sequence[StoreUsage]:
        """Return what the index has in each store. Reads all locators."""
        ...

    async def count(self, store: StoreId) -> int:
        """Return the number of versions whose blobs are in a store."""
        ...

    async def page(self, store: StoreId, after: Locator, limit: int) -> BlobPage:
        """Return at most `limit` blobs of a store, with locators after `after`, and the others of their instances."""
        ...

    async def instances(self, locators: Sequence[Locator]) -> Sequence[BlobsOfInstance]:
        """Return the instances with these blobs, which are in one store; deleted ones until their erasure begins."""
        ...

    async def move(self, moves: Sequence[Mapping[Locator, Locator]], erase_after: datetime) -> set[Locator]:
        """Refer instances, deleted ones included, to copies of their blobs, in one transaction.

        Queues the old blobs for erasure at `erase_after`. Returns the old locators of those that were moved. The copies
        of the others are not referred to: their instance was erased or has another blob in the same store meanwhile, a
        changed version of it is staged, or its deletion or erasure is in progress.

        Args:
            moves: of each instance all blobs in one store; old locator → new one, or the same for a blob that stays.
                All or none are moved.
        """
        ...

    async def repeat(self, moves: Mapping[Locator, Locator], erase_after: datetime) -> int:
        """As `move`, for each blob alone, and whatever else its instance has: for the recovery of an older index.

        Returns the number of moved blobs.
        """
        ...

    async def forget_old_copies(self, store: StoreId) -> None:
        """Remove the moved blobs of a store that no longer exists from those to be erased."""
        ...

    async def address(self, locator: Locator) -> Address | None:
        """Return the instance of a blob, deleted or not; None if there is none."""
        ...
