"""Index updates for blobs that the blob store moves during compaction."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from server.domain.limits import MIN_GRACE_PERIOD
from server.domain.store.commit import Committer
from server.model.errors import DicomStoreError
from server.model.instance import Locator
from server.ports.blobs import BlobStore
from server.ports.lifecycle.blob_moves import BlobMoves


class IndexRelocation:
    """Implements Relocation (see `server.ports.blobs`) with an index.

    Old copies are retained as long as the bytes of deleted instances, because a backup may need them: its index was
    copied before its blobs.
    """

    def __init__(
        self,
        *,
        blobs: BlobStore,
        moves: BlobMoves,
        committer: Committer,
        now: Callable[[], datetime],
        retention: timedelta,
    ) -> None:
        self._blobs = blobs
        self._moves = moves
        self._committer = committer
        self._now = now
        self._grace = max(retention, MIN_GRACE_PERIOD)

    async def instances(self, locators: Sequence[Locator]) -> list[list[Locator]]:
        """See the port."""
        return [[blob.locator for blob in one.blobs] for one in await self._moves.instances(locators)]

    async def relocate(self, moves: Sequence[Mapping[Locator, Locator]]) -> int:
        """See the port. `Committer.resolve_in_doubt` decides about the copies of a transaction with unknown outcome."""
        copies = {old: copy for one in moves for old, copy in one.items() if copy != old}
        try:
            moved = await self._moves.move(moves, self._now() + self._grace)
        except BaseException as error:
            is_refused = isinstance(error, DicomStoreError) and not error.may_have_happened
            leave = self._committer.abandon if is_refused else self._committer.mark_in_doubt
            for copy in copies.values():
                leave(copy)
            raise
        await self._blobs.settle([copies[locator] for locator in moved])
        await self._committer.discard([copy for locator, copy in copies.items() if locator not in moved])
        return len(moved)
