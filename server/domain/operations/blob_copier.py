"""Copying the blobs of instances to the primary store, and verifying the copies."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from crc32c import crc32c as crc32c_of

from server.domain.operations.pace import Pace
from server.domain.operations.update import NewBlobs
from server.model.errors import DataLoss, Reason
from server.model.instance import Locator
from server.model.lifecycle.blob_move import StoredBlob
from server.ports.blobs import MAX_PIECE_BYTES, BlobStore, Tail

_SMALL_BYTES = 1 << 20
_CONCURRENT_SMALL, _CONCURRENT_LARGE = 16, 2


class Copies(NewBlobs, Protocol):
    """What happens to copies; see `server.domain.store.commit.Committer`."""

    async def resolve_in_doubt(self) -> None:
        """Erase abandoned copies, and decide about those in doubt. Raises: as the index and the blob store."""
        ...


class BlobCopier:
    """Copies blobs. Copies that are not returned are erased."""

    def __init__(self, blobs: BlobStore, new_blobs: Copies) -> None:
        self._blobs = blobs
        self._new_blobs = new_blobs
        self._small = asyncio.Semaphore(_CONCURRENT_SMALL)
        self._large = asyncio.Semaphore(_CONCURRENT_LARGE)

    async def copy(
        self, instances: Sequence[Sequence[StoredBlob]], pace: Pace
    ) -> list[dict[Locator, Locator] | DataLoss]:
        """Copy the blobs of instances; return for each the copies by old locator, or why there are none.

        Raises: as the blob store and the index. Then no copy is left.
        """
        copying = [asyncio.ensure_future(self._copied(blobs, pace)) for blobs in instances]
        try:
            return await asyncio.gather(*copying)
        except BaseException:
            for task in copying:
                task.cancel()
            for done in await asyncio.gather(*copying, return_exceptions=True):
                for copy in done.values() if isinstance(done, dict) else ():
                    self._new_blobs.abandon(copy)
            raise

    async def _copied(self, blobs: Sequence[StoredBlob], pace: Pace) -> dict[Locator, Locator] | DataLoss:
        """Copy the blobs of an instance, earlier versions first; return the copies by old locator, or why not."""
        copies: dict[Locator, Locator] = {}
        is_large = any(blob.size_bytes > _SMALL_BYTES for blob in blobs)
        try:
            async with self._large if is_large else self._small:
                for blob in blobs:
                    copies[blob.locator] = await self._copy(blob, copies, pace)
        except DataLoss as loss:
            await self._new_blobs.discard(list(copies.values()))
            return loss
        except BaseException:
            for copy in copies.values():
                self._new_blobs.abandon(copy)
            raise
        return copies

    async def _copy(self, blob: StoredBlob, copies: Mapping[Locator, Locator], pace: Pace) -> Locator:
        """Copy a blob and verify the copy.

        Raises:
            DataLoss: the blob is missing or damaged.
        """
        receipt, _ = await self._blobs.receipt(blob.locator)
        shared = await self._blobs.shared(blob.locator)
        base = None if shared is None else copies.get(shared.base)
        if shared is None or base is None:
            async with self._blobs.open_write(blob.size_bytes, receipt.partition) as writer:
                await self._pass_on(self._blobs.read_unverified(blob.locator), writer.write, pace)
                _require(writer.crc32c == blob.crc32c)
                copy = await writer.commit(receipt)
            written = blob.size_bytes
        else:
            before = 0
            async for piece in self._blobs.read(shared.base, 0, shared.offset, crc32c=shared.base_crc32c):
                before = crc32c_of(piece, before)
            async with self._blobs.open_write(partition=receipt.partition) as writer:
                own = self._blobs.read(blob.locator, 0, shared.own_bytes, crc32c=blob.crc32c)
                await self._pass_on(own, writer.write, pace)
                tail = Tail(base, shared.base_bytes, shared.base_crc32c, shared.offset, before)
                derived = await writer.commit_before(tail, receipt)
            copy, written = derived.locator, shared.own_bytes
        try:
            await self._verify(copy, blob, written)
        except BaseException:
            self._new_blobs.abandon(copy)
            raise
        return copy

    async def _verify(self, copy: Locator, blob: StoredBlob, written: int) -> None:
        """Read the bytes that were written again."""
        _, crc32c = await self._blobs.receipt(copy)
        _require((await self._blobs.size(copy), crc32c) == (blob.size_bytes, blob.crc32c))
        if written == blob.size_bytes:
            crc32c = 0
            async for piece in self._blobs.read_unverified(copy):
                crc32c = crc32c_of(piece, crc32c)
            _require(crc32c == blob.crc32c)
            return
        for start in range(0, written, MAX_PIECE_BYTES):
            await self._blobs.read_piece(copy, start, min(MAX_PIECE_BYTES, written - start), blob.crc32c)

    async def _pass_on(self, pieces: Any, write: Callable[[Any], Awaitable[None]], pace: Pace) -> None:
        async with aclosing(pieces):
            async for piece in pieces:
                await write(piece)
                await pace.spend(len(piece))


def _require(condition: bool) -> None:
    if not condition:
        raise DataLoss(Reason.BLOB_DAMAGED, "The stored bytes of the instance are truncated or have changed.")
