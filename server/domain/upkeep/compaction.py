"""Moving blobs together, so that the space of deleted ones between them comes back.

A blob is stored anew, the index is told, and the old copy is erased when nobody can be reading it any more. The index
decides: whatever a crash leaves is a copy that it names, or one that it does not and that `recover` quarantines.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

from server.domain.store.commit import Committer
from server.model.errors import DataLoss, DicomStoreError
from server.model.instance import Locator
from server.ports.blobs import BlobStore
from server.ports.index import InstanceIndex

LEAST_GRACE = timedelta(hours=6)
"""How long an old copy stays at least.

Who retrieves a study has found where up to 500 instances lie before the first is read. At 1 MiB each, the most that is
packed, a client that reads 24 KB a second has got them all by then.
"""

_BATCHES_A_TURN = 64

_log = logging.getLogger("dicomstore.compaction")


class Compaction:
    """Any number of processes may try; the store lets one of them work.

    Old copies stay as long as the bytes of deleted instances, since a backup may still need them: its index was copied
    before its blobs.
    """

    def __init__(
        self,
        *,
        blobs: BlobStore,
        index: InstanceIndex,
        committer: Committer,
        now: Callable[[], datetime],
        retention: timedelta,
    ) -> None:
        self._blobs = blobs
        self._index = index
        self._committer = committer
        self._now = now
        self._grace = max(retention, LEAST_GRACE)

    async def turn(self) -> bool:
        """Move some blobs, resting as long as working; return whether there may be more to move.

        Raises: as the store and the index.
        """
        clock = asyncio.get_running_loop().time
        left, moved = _BATCHES_A_TURN, 0
        async with aclosing(self._blobs.sparse()) as batches:
            async for locators in batches:
                began = clock()
                count = await self._move(locators)
                moved += count
                left -= count > 0
                if not left:
                    break
                await asyncio.sleep(clock() - began)
        if moved:
            _log.info("compacted blobs count=%d", moved)
        return not left

    async def _move(self, locators: Sequence[Locator]) -> int:
        """Move the blobs that an instance names; return how many were moved."""
        moves: dict[Locator, Locator] = {}
        leave = self._committer.abandon
        try:
            copying = (self._copy(locator, moves) for locator in await self._index.named(locators))
            for failure in await asyncio.gather(*copying, return_exceptions=True):
                if failure is not None:
                    raise failure
            leave = self._committer.doubt
            moved = await self._index.relocate(moves, self._now() + self._grace) if moves else set[Locator]()
        except BaseException as error:
            if isinstance(error, DicomStoreError) and not error.may_have_happened:
                leave = self._committer.abandon
            for copy in moves.values():
                leave(copy)
            raise
        await self._blobs.settle([moves[locator] for locator in moved])
        await self._committer.discard([copy for locator, copy in moves.items() if locator not in moved])
        return len(moved)

    async def _copy(self, locator: Locator, moves: dict[Locator, Locator]) -> None:
        """Store a blob anew and note it in `moves`; not if it is damaged or has been erased meanwhile."""
        try:
            receipt, _ = await self._blobs.receipt(locator)
            async with self._blobs.open_write() as writer:
                async for piece in self._blobs.read(locator):
                    await writer.write(piece)
                moves[locator] = await writer.commit(receipt)
        except DataLoss as loss:
            _log.warning("could not move a blob locator=%s reason=%s", locator, loss.reason)
