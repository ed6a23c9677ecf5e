"""Labels of studies, series and instances."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Protocol

from server.model.ids import Address, PartitionName
from server.model.lifecycle.label import Labels

Change = Callable[[Labels], Labels]
"""Returns the new labels of a resource, or raises."""


class LabelRecord(Protocol):
    """The labels. Each call is one transaction.

    Labels belong to the study, series or instance and not to a version of it: they remain when it is updated, are
    hidden while it is deleted, and are removed when its bytes are erased.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database can't be reached.
    """

    async def get(self, resource: Address) -> Labels | None:
        """Return the labels of a study, series or instance; None if it does not exist."""
        ...

    async def of(self, partition: PartitionName, resources: Collection[Address]) -> Mapping[Address, Labels]:
        """Return the labels of studies, series and instances of a partition; those without labels are missing."""
        ...

    async def change(self, resource: Address, change: Change, now: datetime) -> Labels | None:
        """Change the labels of a study, series or instance, and return the result; None if it does not exist.

        Args:
            resource: its address.
            change: called within the transaction, perhaps several times, with the present labels.
            now: time of the change, from the clock of receipts.
        """
        ...

    async def in_use(self, partition: PartitionName, names: Collection[str]) -> Collection[str]:
        """Return those of some names that a label in the partition has."""
        ...
