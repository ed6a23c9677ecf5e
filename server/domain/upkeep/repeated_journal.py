"""The journal during a recovery, which repeats changes that are in the journal already."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from server.model.ids import Address, InstanceId, Version
from server.model.instance import Locator
from server.model.lifecycle.label import Labels
from server.model.lifecycle.version import Provenance
from server.ports.journal import ExpiryChange, HoldChange, Journal, WorkitemChange
from server.ports.spool import Spool


class RepeatedJournal:
    """Journal (see `server.ports.journal`) that records only what is new.

    Every deletion and restoration of a blob must be in the journal once, because their numbers decide whether the blob
    is deleted.

    Args:
        journal: receives what is new.
        spool: what the journal contains.
    """

    def __init__(self, journal: Journal, spool: Spool) -> None:
        self._journal = journal
        self._spool = spool
        self.deleted_all = journal.deleted_all
        self.stored_later = journal.stored_later
        self.completed = journal.completed
        self.moved = journal.moved
        self.prepare = journal.prepare
        self.committed = journal.committed
        self.ended = journal.ended
        self.rolled_back = journal.rolled_back

    def held(self, change: HoldChange) -> None:
        """Record nothing: every change of a hold is a repetition."""

    def expires(self, change: ExpiryChange) -> None:
        """Record nothing: every change of expiry is a repetition."""

    def workitem_changed(self, change: WorkitemChange) -> None:
        """Record nothing: every change of a workitem is a repetition."""

    def labelled(self, version: int, time: datetime, resource: Address, labels: Labels) -> None:
        """Record nothing: every change of labels is a repetition."""

    def deleted(self, locators: Sequence[Locator]) -> None:
        """Record deletions that are not in the journal: those in the scope of a deletion of many instances."""
        new = [locator for locator in locators if self._spool.current_locator(locator) is not None]
        if new:
            self._journal.deleted(new)

    def replaced(self, versions: Mapping[Locator, tuple[Version, Provenance]]) -> None:
        """Record nothing: every version after the first one is a repetition."""

    def restored(self, blobs: Mapping[Locator, InstanceId]) -> None:
        """Record nothing: every restoration is a repetition."""
