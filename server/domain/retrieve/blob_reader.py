"""Reading the bytes of stored instances: verified, whole or in parts, and as little-endian values.

All functions return iterators over pieces of at most about 1 MiB.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from common.telemetry.catalogue import BLOB_BYTES, BLOB_DAMAGED, BLOB_SECONDS
from common.telemetry.tracing import part
from server.dicom.elements.transfer_syntax import transfer_syntax
from server.dicom.part10.rewriter import inflate
from server.dicom.pixel_data import frames as pixels
from server.domain.damage import DamageRecord, of_bytes
from server.domain.flow.response_budget import ResponseBudget
from server.model.buffer import Buffer
from server.model.errors import DataLoss, OutOfRange, Reason, WrongState
from server.model.instance import StoredInstance
from server.ports.blobs import MAX_PIECE_BYTES, BlobStore

AS_STORED = "*"
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"

PIXELS = ("7FE00008", "7FE00009", "7FE00010")
"""The elements that contain frames: Float Pixel Data, Double Float Pixel Data, Pixel Data."""

_READ_SECONDS, _READ_BYTES, _DAMAGED = BLOB_SECONDS.of("read"), BLOB_BYTES.of("read"), BLOB_DAMAGED.of()

_MOST_AHEAD_BYTES = 64 << 20
"""Read ahead by a retrieval of many instances, if the blob store does so. At 1 GB/s, an object store that answers after
20 ms needs 20 MB of requests on their way, 10 to 20 MB that arrive, and what is read meanwhile."""

_ALL_AHEAD_BYTES = 80 << 20
"""Read ahead by all retrievals, as long as they are few. The store bounds their memory, whatever their number."""

_LEAST_AHEAD_BYTES = 16 << 20

_ANNOUNCED_BYTES = 8 << 20
"""So many are announced together, because the store fetches neighbours with one request."""

_FOLLOWING = 32
"""Instances after those that are announced, which the store may fetch with these: a request should not end within what
was stored together."""


class BlobReader:
    """Reads blobs in pieces whose size the response budget sets.

    damage: records missing and damaged bytes; None records nothing.
    """

    def __init__(self, blobs: BlobStore, budget: ResponseBudget, damage: DamageRecord | None = None) -> None:
        self._blobs = blobs
        self._budget = budget
        self._damage = damage

    def piece_bytes(self) -> int:
        """Return the current piece size."""
        return self._budget.piece_bytes()

    async def read(self, stored: StoredInstance, offset: int = 0, length: int | None = None) -> AsyncGenerator[Buffer]:
        """Read bytes as they are stored, from `offset` of the file. Pieces are verified before they are yielded.

        If the instance is known to be damaged, the whole range is read once before the first piece is yielded, so
        that the error is raised at the beginning.

        Raises:
            DataLoss: BLOB_MISSING, BLOB_DAMAGED; the damage is recorded.
            Unavailable: as `BlobStore.read`.
        """
        length = stored.size_bytes - offset if length is None else length
        if offset + length > stored.size_bytes:
            raise _damaged("The stored bytes of the instance are truncated.")

        try:
            if 0 < length <= self._budget.piece_bytes() and not stored.damage.is_of_bytes:
                started = time.perf_counter()
                with part("blob read", {"dicomstore.bytes": length}):
                    piece = await self._blobs.read_piece(stored.locator, offset, length, stored.crc32c)
                _READ_SECONDS.observe(time.perf_counter() - started)
                _READ_BYTES.value += length
                yield piece
                return
            if stored.damage.is_of_bytes:
                async for _ in self._pieces(stored, offset, length):
                    pass
            started = time.perf_counter()
            async for piece in self._pieces(stored, offset, length):
                _READ_SECONDS.observe(time.perf_counter() - started)
                _READ_BYTES.value += len(piece)
                yield piece
                started = time.perf_counter()
        except DataLoss as error:
            _DAMAGED.value += 1
            if self._damage is not None:
                await self._damage.found(stored, of_bytes(error))
            raise
        if self._damage is not None and stored.damage.is_of_bytes and length == stored.size_bytes:
            await self._damage.repaired(stored, stored.damage)  # damaged frames had the same cause

    def _pieces(self, stored: StoredInstance, offset: int, length: int) -> AsyncIterator[Buffer]:
        size = self._budget.piece_sizes(length)
        return self._blobs.read(stored.locator, offset, length, size, stored.crc32c)

    def read_ahead(self, instances: Sequence[StoredInstance]) -> "ReadAhead":
        """Return the read-ahead of instances that are read in this order."""
        return ReadAhead(self._blobs, instances, self.ahead_bytes)

    def ahead_bytes(self) -> int:
        """Return how much a retrieval reads ahead now: the less, the more responses there are."""
        share = _ALL_AHEAD_BYTES // max(self._budget.responses, 1)
        return max(_LEAST_AHEAD_BYTES, min(_MOST_AHEAD_BYTES, share))

    async def recorded_loss(self, stored: StoredInstance) -> DataLoss | None:
        """Return the recorded reason why the bytes of an instance cannot be sent; None if there is none.

        Missing bytes may be back, for instance after mounting a disk, so this checks whether they exist.

        Raises:
            Unavailable: as `BlobStore.size`.
        """
        if stored.damage.is_changed:
            return _damaged("The stored bytes of the instance have changed.")
        if not stored.damage.is_missing:
            return None
        try:
            exists = await self._blobs.size(stored.locator) == stored.size_bytes
        except DataLoss as error:
            return error
        return None if exists else _damaged("The stored bytes of the instance are truncated.")

    def values(self, stored: StoredInstance, start: int, offset: int, length: int, unit: int) -> AsyncIterator[Buffer]:
        """Read `length` bytes from `offset` of the value at `start`, little endian.

        unit: result of `swapped_bytes`.
        """
        if stored.transfer_syntax_uid == DEFLATED_LITTLE_ENDIAN:
            return part_of(inflate(self.read(stored)), start + offset, length)
        if unit == 1:
            return self.read(stored, start + offset, length)
        lead = offset % unit
        words = self.read(stored, start + offset - lead, -(-(lead + length) // unit) * unit)
        return part_of(pixels.swap_bytes(words, unit), lead, length)


class ReadAhead:
    """Announces instances to the blob store some time before they are read.

    Args:
        most_bytes: returns how much may be read ahead now.
    """

    def __init__(self, blobs: BlobStore, instances: Sequence[StoredInstance], most_bytes: Callable[[], int]) -> None:
        self._blobs = blobs
        self._instances = instances
        self._most_bytes = most_bytes
        self._announced = 0
        self._ahead_bytes = 0

    def reached(self, number: int) -> None:
        """Announce instances after the one with this number, from 0, which is read next."""
        if len(self._instances) > 1 and self._ahead_bytes + _ANNOUNCED_BYTES <= (most_bytes := self._most_bytes()):
            self._announce(number, most_bytes)
        if number < self._announced:
            self._ahead_bytes -= _ahead_bytes(self._instances[number])

    def _announce(self, number: int, most_bytes: int) -> None:
        if not number and not self._announced:  # alone: it must not wait until its neighbours have arrived, too
            self._blobs.read_ahead([self._instances[0].locator])
            self._ahead_bytes += _ahead_bytes(self._instances[0])
            self._announced = 1
        first = last = max(number, self._announced)
        while last < len(self._instances) and self._ahead_bytes < most_bytes:
            self._ahead_bytes += _ahead_bytes(self._instances[last])
            last += 1
        if last > first:
            self._blobs.read_ahead(
                [stored.locator for stored in self._instances[first:last]],
                [stored.locator for stored in self._instances[last : last + _FOLLOWING]],
            )
            self._announced = last


def _ahead_bytes(stored: StoredInstance) -> int:
    """Return how much of an instance is read ahead."""
    return min(stored.size_bytes, MAX_PIECE_BYTES)


def swapped_bytes(stored: StoredInstance, path: str, vr: str, bits_allocated: int = 0) -> int:
    """Return the word size of a value stored in big endian; 1 if it need not be swapped.

    bits_allocated: of pixel data, see `server.dicom.pixel_data.frames.word_bytes`.
    """
    syntax = transfer_syntax(stored.transfer_syntax_uid)
    is_big_endian = syntax.has_big_endian_pixels if path in PIXELS else syntax.is_big_endian
    return pixels.word_bytes(vr, bits_allocated) if is_big_endian else 1


def _damaged(message: str) -> DataLoss:
    return DataLoss(Reason.BLOB_DAMAGED, message)


def not_acceptable(stored: str, possible: Sequence[str] = ()) -> WrongState:
    """Return the error for an instance in transfer syntax `stored` that is also available in `possible`."""
    offered = [stored, *(uid for uid in possible if uid != stored)]
    return WrongState(
        Reason.NOT_ACCEPTABLE_TRANSFER_SYNTAX,
        f"The instance is stored in transfer syntax {stored}. None of the acceptable transfer syntaxes is available; "
        f"available are: {', '.join(offered)}.",
        stored=stored,
        possible=",".join(offered),
    )


def range_within(size_bytes: int, offset: int, length: int | None) -> tuple[int, int]:
    """Return offset and length of the satisfiable part of a range (RFC 9110 14.1.2)."""
    if offset < 0 or (length is not None and length < 1) or (offset >= size_bytes and offset > 0):
        raise OutOfRange(
            Reason.RANGE_NOT_SATISFIABLE, "The byte range lies outside the object.", size_bytes=str(size_bytes)
        )
    rest = size_bytes - offset
    return offset, rest if length is None else min(length, rest)


async def part_of(chunks: AsyncIterator[Buffer], offset: int, length: int | None) -> AsyncIterator[Buffer]:
    """Yield `length` bytes of a stream from `offset`, or all remaining ones."""
    async for chunk in chunks:
        if offset >= len(chunk):
            offset -= len(chunk)
            continue
        piece = chunk[offset:] if length is None else chunk[offset : offset + length]
        offset = 0
        if length is None:
            yield piece
            continue
        length -= len(piece)
        yield piece
        if not length:
            return
    if length:
        raise DataLoss(Reason.BLOB_DAMAGED, "The stored bytes of the instance are truncated.")


async def chained(first: Buffer, rest: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
    """Yield `first`, then the rest."""
    yield first
    async for chunk in rest:
        yield chunk
