"""Moves live blobs out of mostly empty segments, so that the files can be removed.

A blob is copied, the index is updated, and the old copy is deleted later, when no reader can use it any more. The index
is the authority: after a crash a copy is either referenced by it, or yielded by `recover` and quarantined.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from server.model.errors import DataLoss
from server.model.instance import Locator
from server.ports.blobs import Relocation

_BATCHES_A_TURN = 64

_log = logging.getLogger("dicomstore.compaction")


class Compaction:
    """Any number of processes may run it; a lock lets one of them work.

    Args:
        copy: copies a blob and returns the locator of the copy.
        delete: deletes blobs.
        sparse: yields the blobs to move; nothing while another process reads it.
    """

    def __init__(
        self,
        copy: Callable[[Locator], Awaitable[Locator]],
        delete: Callable[[Sequence[Locator]], Awaitable[None]],
        sparse: Callable[[], AsyncGenerator[Sequence[Locator]]],
    ) -> None:
        self._copy_of = copy
        self._delete = delete
        self._sparse = sparse
        self._unused: list[Locator] = []  # copies of a failed run

    async def turn(self, relocation: Relocation) -> bool:
        """See `BlobStore.compact`. Pauses for as long as it works."""
        await self._delete_unused()
        clock = asyncio.get_running_loop().time
        left, moved = _BATCHES_A_TURN, 0
        async with aclosing(self._sparse()) as batches:
            async for locators in batches:
                began = clock()
                count = await self._move(locators, relocation)
                moved += count
                left -= count > 0
                if not left:
                    break
                await asyncio.sleep(clock() - began)
        if moved:
            _log.info("moved blobs together count=%d", moved)
        return not left

    async def _move(self, locators: Sequence[Locator], relocation: Relocation) -> int:
        """Move the blobs that an instance references; return their number."""
        copies: dict[Locator, Locator] = {}
        try:
            copying = (self._copy(locator, copies) for locator in await relocation.referenced(locators))
            for failure in await asyncio.gather(*copying, return_exceptions=True):
                if failure is not None:
                    raise failure
        except BaseException:
            self._unused += copies.values()
            raise
        return await relocation.relocate(copies) if copies else 0

    async def _copy(self, locator: Locator, copies: dict[Locator, Locator]) -> None:
        """Copy a blob and add it to `copies`, unless it is damaged or has been deleted."""
        try:
            copies[locator] = await self._copy_of(locator)
        except DataLoss as loss:
            _log.warning("a blob can't be moved locator=%s reason=%s", locator, loss.reason)

    async def _delete_unused(self) -> None:
        if unused := list(self._unused):
            await self._delete(unused)
            del self._unused[: len(unused)]
