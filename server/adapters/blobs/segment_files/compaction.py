"""Moves live blobs out of files or objects that hold erased ones, so that these can be removed.

A blob is copied, the index is updated, and the old copy is deleted later, when no reader can use it any more. The index
is the authority: after a crash a copy is either referenced by it, or yielded by `recover` and quarantined.

All blobs that an instance refers to can be moved: those of earlier versions, and of deleted instances until they are
erased. A blob with which others share bytes is moved together with these, which refer to it by its locator.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing

from common.telemetry.tracing import BLOBS, following
from server.model.errors import DataLoss
from server.model.instance import Locator
from server.ports.blobs import Relocation, SharedBytes

_BATCHES_A_TURN = 64
_SECONDS_A_TURN = 60

_log = logging.getLogger("dicomstore.compaction")


class Compaction:
    """Any number of processes may run it; a lock lets one of them work.

    Args:
        copy: copies a blob and returns the locator of the copy; a derived one may refer to a copy of its base.
        shared: see `BlobStore.shared`.
        delete: deletes blobs.
        sparse: yields the blobs to move; nothing while another process reads it. A batch may be empty: then much was
            examined without finding any.
    """

    def __init__(
        self,
        copy: Callable[[Locator, Locator | None], Awaitable[Locator]],
        shared: Callable[[Locator], Awaitable[SharedBytes | None]],
        delete: Callable[[Sequence[Locator]], Awaitable[None]],
        sparse: Callable[[], AsyncGenerator[Sequence[Locator]]],
    ) -> None:
        self._copy_of = copy
        self._shared = shared
        self._delete = delete
        self._sparse = sparse
        self._unused: list[Locator] = []  # copies of a failed run

    async def turn(self, relocation: Relocation) -> bool:
        """See `BlobStore.compact`. Pauses for as long as it works."""
        await self._delete_unused()
        clock = asyncio.get_running_loop().time
        end = clock() + _SECONDS_A_TURN
        left, moved, has_more = _BATCHES_A_TURN, 0, False
        async with aclosing(self._sparse()) as batches:
            async for locators in batches:
                began = clock()
                if locators:
                    with following("move blobs", "", {BLOBS: len(locators)}):
                        count = await self._move(locators, relocation)
                else:
                    count = 0
                moved += count
                left -= count > 0
                has_more = not left or clock() >= end
                if has_more:
                    break
                await asyncio.sleep(clock() - began)
        if moved:
            _log.info("moved blobs together count=%d", moved)
        return has_more

    async def _move(self, locators: Sequence[Locator], relocation: Relocation) -> int:
        """Move the blobs that instances refer to; return their number."""
        instances = await relocation.instances(locators)
        copies: list[dict[Locator, Locator]] = [{} for _ in instances]
        try:
            copying = (self._copy(blobs, set(locators), some) for blobs, some in zip(instances, copies, strict=True))
            for failure in await asyncio.gather(*copying, return_exceptions=True):
                if failure is not None:
                    raise failure
        except BaseException:
            self._unused += (copy for some in copies for copy in some.values())
            raise
        moves = [
            {locator: some.get(locator, locator) for locator in blobs}
            for blobs, some in zip(instances, copies, strict=True)
            if some
        ]
        return await relocation.relocate(moves) if moves else 0

    async def _copy(
        self, blobs: Sequence[Locator], wanted: Collection[Locator], copies: dict[Locator, Locator]
    ) -> None:
        """Copy the wanted blobs of an instance, and those that share bytes with them, and add them to `copies`.

        Nothing is copied if one of them is damaged or missing, as when its erasure has begun meanwhile.
        """
        failing = ""
        try:
            bases: dict[Locator, Locator] = {}
            for failing in blobs if len(blobs) > 1 else ():
                if (shared := await self._shared(failing)) is not None:
                    bases[failing] = shared.base
            for failing in sorted(blobs, key=lambda locator: locator in bases):
                base = copies.get(bases.get(failing, ""))
                if failing in wanted or base is not None:
                    copies[failing] = await self._copy_of(failing, base)
        except DataLoss as loss:
            _log.warning("a blob can't be moved locator=%s reason=%s", failing, loss.reason)
            self._unused += copies.values()
            copies.clear()

    async def _delete_unused(self) -> None:
        if unused := list(self._unused):
            await self._delete(unused)
            del self._unused[: len(unused)]
