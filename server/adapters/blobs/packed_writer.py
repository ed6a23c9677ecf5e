"""Writing a blob whose size is not known yet."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from server.adapters.blobs.checksums import Checksums
from server.adapters.blobs.derived import DerivedBlobs
from server.adapters.blobs.disk.memory_allowance import Allowance
from server.adapters.blobs.files.store import FileBlobs
from server.adapters.blobs.files.writer import FileWriter
from server.adapters.blobs.records import trailer
from server.adapters.blobs.segment_files.appending import Appender
from server.model.buffer import Buffer
from server.model.instance import Locator
from server.model.receipt import Receipt
from server.ports.blobs import Derived, Tail

_SHARED_SYNC_BYTES = 64 << 10  # for smaller ones, sharing a sync is faster than an idle lane


class PackedWriter:
    """BlobWriter (see `server.ports.blobs`): gathers bytes in memory until the blob is too large for a segment.

    Use as an async context manager.

    Args:
        is_small: false if the blob is known to be too large.
    """

    def __init__(
        self,
        lanes: Sequence[Appender],
        files: FileBlobs,
        allowance: Allowance,
        small_bytes: int,
        derived: DerivedBlobs,
        *,
        is_small: bool,
    ) -> None:
        self._lanes = lanes
        self._files = files
        self._allowance = allowance
        self._small_bytes = small_bytes
        self._derived = derived
        self._is_small = is_small
        self._resources: AsyncExitStack | None = None  # of the separate file
        self._gathered: list[Buffer] = []
        self._gathered_bytes = 0
        self._file: FileWriter | None = None
        self._checksums = Checksums()

    async def __aenter__(self) -> "PackedWriter":
        """Enter."""
        if not self._is_small:
            try:
                await self.spill()
            except BaseException:
                await self._close()
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Discard the bytes unless they were committed."""
        await self._close()

    async def _close(self) -> None:
        self.let_go()
        if self._resources is not None:
            await self._resources.aclose()

    @property
    def crc32c(self) -> int:
        """See the port."""
        return self._checksums.whole

    @property
    def length(self) -> int:
        """See `OwnWriter`."""
        return self._checksums.length

    async def write(self, data: Buffer) -> None:
        """See the port."""
        self._checksums.update(data)
        if self._file is None:
            is_small = self._gathered_bytes + len(data) <= self._small_bytes
            if is_small and self._allowance.take(len(data)):
                self._gathered.append(data)
                self._gathered_bytes += len(data)
                return
            await self.spill()
        assert self._file is not None
        await self._file.write(data)

    async def spill(self) -> None:
        """Continue in a separate file."""
        self._resources = AsyncExitStack()
        self._file = await self._resources.enter_async_context(self._files.open_file(self._checksums))
        gathered, self._gathered = self._gathered, []
        self.let_go()
        for piece in gathered:
            await self._file.write(piece)

    async def commit(self, receipt: Receipt) -> Locator:
        """See the port."""
        return await self._commit(receipt, is_derived=False)

    async def commit_before(self, tail: Tail, receipt: Receipt) -> Derived:
        """See the port."""
        return await self._derived.commit(self, tail, receipt)

    async def commit_derived(self, receipt: Receipt) -> Locator:
        """See `OwnWriter`."""
        return await self._commit(receipt, is_derived=True)

    async def _commit(self, receipt: Receipt, *, is_derived: bool) -> Locator:
        if self._file is not None:
            return await self._file.commit(receipt, is_derived=is_derived)
        lane = self._lanes[0]
        if self._gathered_bytes > _SHARED_SYNC_BYTES:
            lane = min(self._lanes, key=lambda lane: lane.backlog_bytes)
        return await lane.append([*self._gathered, trailer(receipt, self._checksums)], is_derived=is_derived)

    def let_go(self) -> None:
        """Give back the memory allowance."""
        self._allowance.give_back(self._gathered_bytes)
        self._gathered_bytes = 0
