"""Versions that an operation of type `update` has written, until it makes all of a study visible at once."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from server.model.ids import Address, Version
from server.model.instance import NewInstance, StoredInstance
from server.model.lifecycle.update import Applied, ChangedFile, Content
from server.model.operation import Operation, OperationUpdate, Update

Describe = Callable[[Content, ChangedFile], NewInstance]
"""Returns the index entry of a changed file. Called in another thread."""

Conclude = Callable[[Operation, int], OperationUpdate | None]
"""From an operation as it is recorded and the number of changed instances, its next state; None: it must not change,
whatever the number."""


class Updates(Protocol):
    """Staged versions. They belong to an operation and are invisible; their blobs count as known.

    All calls raise as `InstanceIndex`.
    """

    async def contents(self, resource: Address, after: int, limit: int) -> Sequence[Content]:
        """Return the current versions of a resource's instances with a version greater than `after`, ascending, without
        the tables and bulk elements."""
        ...

    async def earlier(self, versions: Collection[Version], time: datetime) -> Mapping[Version, StoredInstance]:
        """Return, by current version, the versions of the same instances that were current at a time."""
        ...

    async def stage(
        self, operation_id: str, files: Sequence[tuple[StoredInstance, ChangedFile]], update: Update
    ) -> bool:
        """Stage versions, and store the next state of the operation, in one transaction.

        An instance that is staged already gets the new file. Returns False, and does nothing, if `update` returns None.
        """
        ...

    async def staged(self, operation_id: str, versions: Collection[Version]) -> set[Version]:
        """Return those of the given versions from which a version is staged."""
        ...

    async def apply(
        self,
        operation_id: str,
        study: Address,
        describe: Describe,
        now: datetime,
        conclude: Conclude,
        restart: Update = lambda _: None,
        earlier: datetime | None = None,
    ) -> Applied:
        """Make all staged versions of an operation the current ones of their instances, in one transaction.

        Instances that were deleted since are left out. Also stores the next state of the operation: that of `restart`,
        if some instances have to be staged again. Does nothing if `conclude` returns None.

        earlier: `describe` gets the contents that were current at this time instead of the current ones.

        Raises:
            WrongState: ON_HOLD.
        """
        ...

    async def discard(self, operation_id: str, now: datetime, update: Update | None = None) -> None:
        """Remove the staged versions of an operation; their blobs are due for erasure at `now`.

        With `update`, also stores the next state of the operation, and does nothing if `update` returns None.
        """
        ...

    async def discard_abandoned(self, now: datetime) -> None:
        """Remove the staged versions of operations that have ended."""
        ...
