"""Whether instances can currently be stored, from refusals of recent uploads and from probes."""

import asyncio
import logging

from server.model.errors import DicomStoreError, Reason
from server.ports.blobs import BlobStore
from server.ports.index import InstanceIndex

_REFUSALS = frozenset({Reason.STORAGE_FULL, Reason.STORAGE_UNAVAILABLE, Reason.DATABASE_UNAVAILABLE})

_log = logging.getLogger("dicomstore.health")


class Writing:
    """Tracks whether writing works, so that health agrees with the responses to uploads.

    Args:
        blobs, index: probed by `check`.
        low_bytes: a warning is logged when free space falls below it; 0 disables the warning.
    """

    def __init__(self, blobs: BlobStore, index: InstanceIndex, low_bytes: int) -> None:
        self._blobs = blobs
        self._index = index
        self._low_bytes = low_bytes
        self._is_low = False
        self._was_refused = False
        self._refused_bytes = 0
        self.noticed = asyncio.Event()
        """Set when an upload was refused; the health probe clears it."""

    def refused(self, error: DicomStoreError, size_bytes: int) -> None:
        """Record that an instance was refused after `size_bytes` of it. Errors of the instance itself are ignored."""
        if error.reason in _REFUSALS:
            self._refused_bytes = max(self._refused_bytes, size_bytes)
            self._was_refused = True
            self.noticed.set()

    async def check(self) -> None:
        """Check that blobs can be written; after a refusal, that a blob of the refused size fits.

        Raises:
            Exhausted: STORAGE_FULL.
            Unavailable: STORAGE_UNAVAILABLE, DATABASE_UNAVAILABLE.
        """
        await self._warn_when_low()
        await self._blobs.check_writing(self._refused_bytes)
        if self._was_refused:
            await self._index.check_writing()
            self._was_refused, self._refused_bytes = False, 0

    async def _warn_when_low(self) -> None:
        free_bytes = await self._blobs.free_bytes()
        is_low = free_bytes < self._low_bytes
        if is_low and not self._is_low:
            _log.warning("disk space is low free_bytes=%d warn_free_bytes=%d", free_bytes, self._low_bytes)
        self._is_low = is_low
