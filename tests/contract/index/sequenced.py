"""The change feed as clients of a core see it."""

from server.model.change import Change, ChangeWindow
from server.model.ids import PartitionName
from server.ports.index import ChangeLog, Sequenced


async def sequence(changes: ChangeLog) -> None:
    """Number all committed entries and complete deletions, as a core does."""
    while await changes.sequence() is not Sequenced.NOTHING:
        pass


class SequencedChanges:
    """A change feed whose entries are numbered before each call that reads it."""

    def __init__(self, changes: ChangeLog) -> None:
        self._changes = changes

    async def list(self, window: ChangeWindow) -> list[Change]:
        await sequence(self._changes)
        return await self._changes.list(window)

    async def latest(self, metadata: bool, partitions: frozenset[PartitionName] | None = None) -> Change | None:
        await sequence(self._changes)
        return await self._changes.latest(metadata, partitions)
