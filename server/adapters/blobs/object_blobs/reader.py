"""Reading blobs of objects: verified ranges, through a cache on the local disk.

A small blob is fetched as a whole, with its trailer. A large one is fetched in parts of 1 MiB, and its trailer
separately. What a request returns is verified, and kept in memory until it was read and is cached; it is verified again
whenever it is read from the cache. Bytes that are wrong may have changed on the way, so they are fetched again before
the blob counts as damaged.

Without a cache nothing is read ahead.
"""

import asyncio
from array import array
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial

from cachetools import LRUCache

from server.adapters.blobs.checksums import BLOCK_BYTES, Checksums, crc32c_of
from server.adapters.blobs.disk.threads import PIECE_BYTES, DiskThreads
from server.adapters.blobs.object_blobs.cache import PartCache, Range
from server.adapters.blobs.object_blobs.erasure import Erasure
from server.adapters.blobs.object_blobs.names import ObjectName, Place
from server.adapters.blobs.object_blobs.packed_object import end_bytes
from server.adapters.blobs.object_blobs.received import Part, ReceivedParts
from server.adapters.blobs.objects.client import NotFound, ObjectClient
from server.adapters.blobs.objects.pacing import Starts
from server.adapters.blobs.records import (
    Blocks,
    Trailer,
    damaged,
    missing,
    parse_trailer,
    piece_of,
    read_verified,
    trailer_bytes,
    unknown_receipt,
)
from server.model.buffer import Buffer
from server.model.errors import DataLoss, DicomStoreError
from server.model.receipt import Receipt
from server.ports.blobs import most_piece_bytes

PART_BYTES = PIECE_BYTES
"""Size of a part of a large blob: what one request returns."""

_PARTS_IN_FILE = 16
"""Parts of a large blob in one file of the cache, which is removed as a whole. A packed object is one file."""

_READS = 5
_AHEAD_PARTS = 8
_JOINED_BYTES = 16 << 20
"""Neighbouring blobs are read ahead by one request up to this size: usually all of an object."""

_STARTED_BYTES_PER_SECOND = 2 << 30
"""Requests ahead start at this rate, so that what is read first arrives first, instead of all of it together."""

_THREADS = 16
_AHEAD_THREADS = 16
_MAX_BLOCKS = 1 << 20
_MAX_BLOBS = 1000


class ObjectReader:
    """Reads blobs, for one event loop. Keeps the checksums of recently read large ones: 4 MiB, of 1000 blobs."""

    def __init__(self, client: ObjectClient, erasure: Erasure, cache: PartCache, received_bytes: int) -> None:
        self._client = client
        self._erasure = erasure
        self._cache = cache
        self._received = ReceivedParts(cache, received_bytes, client.release_memory)
        self._threads = DiskThreads(_THREADS)
        self._ahead_threads = DiskThreads(_AHEAD_THREADS)
        self._background = DiskThreads(2, niceness=10)
        self._starts = Starts(_STARTED_BYTES_PER_SECOND)
        self._fetching: dict[Range, asyncio.Task[memoryview | None]] = {}
        self._kept: LRUCache[ObjectName, Blocks] = LRUCache(_MAX_BLOCKS, getsizeof=_kept_blocks)

    async def close(self) -> None:
        """Wait for requests in progress."""
        while self._fetching:
            await asyncio.wait(list(self._fetching.values()))
        for threads in (self._threads, self._ahead_threads, self._background):
            threads.close()
        await asyncio.to_thread(self._received.close)

    async def read(
        self,
        place: Place,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
        crc32c: int | None = None,
    ) -> AsyncGenerator[Buffer]:
        """See `BlobStore.read`."""
        if not place.name.is_packed:
            async with aclosing(self._read_large(place, offset, length, piece_bytes, crc32c)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        left = place.length - offset if length is None else length
        data = await self._small(place, offset, left, crc32c)  # so a blob that is deleted meanwhile is read to its end
        at = 0
        while at < left:
            size = piece_of(offset + at, left - at, piece_bytes())
            yield data[at : at + size]
            at += size

    async def read_piece(self, place: Place, offset: int, length: int, crc32c: int | None = None) -> Buffer:
        """See `BlobStore.read_piece`."""
        if place.name.is_packed:
            return await self._small(place, offset, length, crc32c)
        found = await self._blocks(place, crc32c)
        if offset + length > found.length or not found.is_of(crc32c):
            raise damaged()
        return await self._large(place, found, offset, length)

    async def read_unverified(self, place: Place) -> AsyncGenerator[bytes]:
        """See `BlobStore.read_unverified`."""
        await self._background.run(lambda: self._require_live(place))
        for start in range(0, place.length, PIECE_BYTES):
            size = min(PIECE_BYTES, place.length - start)
            data = await self._background.run(
                lambda: self._get(place, place.offset + start, size)  # noqa: B023 - awaited here
            )
            if len(data) < size:
                raise damaged()
            yield bytes(data)

    async def size(self, place: Place) -> int:
        """Return the number of stored bytes. Raises: as `BlobStore.size`."""

        def find() -> int:
            self._require_live(place)
            try:
                size = self._client.size(place.name.path)
            except NotFound:
                raise missing() from None
            end = place.offset + place.stored_bytes
            if size < end or (size != end and not place.name.is_packed):
                raise damaged()
            return place.length

        return await self._threads.run(find)

    async def receipt(self, place: Place) -> tuple[Receipt, int]:
        """Return the receipt, and the CRC-32C of the stored bytes. Raises: as `BlobStore.receipt`."""

        def find() -> Trailer | None:
            self._require_live(place)
            return self._trailer(place)

        found = await self._threads.run(find)
        if found is None:
            raise unknown_receipt()
        return found.receipt, found.crc32c

    def read_ahead(self, places: Sequence[Place], following: Iterable[Place] = ()) -> None:
        """Begin to fetch blobs into the cache; of large ones the first part.

        following: blobs that are read later, of which those are fetched that are neighbours of the others.
        """
        if not self._cache.is_enabled:
            return
        small: dict[ObjectName, list[Place]] = {}
        for place in places:
            if not place.name.is_packed:
                if place.length:
                    self._fetch_ahead([_part_key(place, 0)], partial(self._load_first, place))
            elif not self._is_received(_small_key(place)):
                small.setdefault(place.name, []).append(place)
        more: dict[ObjectName, dict[int, Place]] = {}
        for place in following:
            if place.name in small and not self._is_received(_small_key(place)):
                more.setdefault(place.name, {})[place.offset] = place
        for name, some in small.items():
            for group in _joined(some, more.get(name, {})):
                self._fetch_ahead([_small_key(place) for place in group], partial(self._load_joined, group))

    async def forget(self, places: Sequence[Place]) -> None:
        """Remove blobs from memory and from the cache."""
        keys: list[Range] = []
        for place in places:
            if place.name.is_packed:
                keys.append(_small_key(place))
            else:
                self._kept.pop(place.name, None)
                keys.append(_trailer_key(place))
                keys += (_part_key(place, part) for part in range(-(-place.length // PART_BYTES)))
        self._received.remove(keys)
        await self._threads.run(lambda: self._cache.remove(keys))

    # Small blobs

    async def _small(self, place: Place, offset: int, length: int, crc32c: int | None) -> memoryview:
        """Return a verified range of a blob in a packed object."""
        if self._erasure.knows_erased(place):
            raise missing()
        key = _small_key(place)
        if (running := self._fetching.get(key)) is not None:
            await _ended(running)
        if (received := self._received_small(place, offset, length, crc32c)) is not None:
            return received
        if key not in self._fetching and (data := self._cache.read_now(key)) is not None:
            with suppress(DataLoss):  # damaged, or only its neighbours are cached
                return _range_of(data, place, offset, length, crc32c)
        data = await self._fetched(key, lambda: self._load_small(place))
        received = self._received_small(place, offset, length, crc32c)
        return _range_of(data, place, offset, length, crc32c) if received is None else received

    def _received_small(self, place: Place, offset: int, length: int, crc32c: int | None) -> memoryview | None:
        """Return a range of a blob that was received and verified a moment ago, None if it was not."""
        key = _small_key(place)
        part = self._received.get(key)
        if part is None or crc32c not in (None, part.crc32c):
            return None
        if offset + length > place.length:
            raise damaged()
        if offset + length == place.length:
            self._received.was_read(key)
        return part.data[offset : offset + length]

    def _load_small(self, place: Place) -> memoryview:
        """Return a blob with its trailer, which may be damaged; blocks."""
        key = _small_key(place)
        data = self._cache.read(key)
        if data is not None and _intact(data, place) is not None:
            return data
        for _ in range(_READS):
            data = self._get(place, place.offset, place.stored_bytes)
            if (found := _intact(data, place)) is not None:
                self._received.add([Part(key, data, found.crc32c)], len(data))
                break
        assert data is not None
        return data

    def _load_joined(self, places: Sequence[Place]) -> None:
        """Fetch neighbouring blobs into the cache by one request; blocks. What is damaged is not cached."""
        keys = {_small_key(place): place for place in places}
        missing = self._cache.lacking([key for key in keys if self._received.get(key) is None])
        if not missing:
            return
        wanted = [keys[key] for key in missing]
        start, last = wanted[0].offset, wanted[-1]
        size = last.offset + last.stored_bytes - start
        # Also the end of the object, if they may be all of it: a server can send a whole file in half the time.
        end = end_bytes(len(places)) if not start and len(wanted) == len(places) else 0
        self._starts.wait(size)
        with self._received.arriving(size):
            data = self._get(last, start, size + end)[:size]
        parts = []
        for place in wanted:
            some = data[place.offset - start : place.offset - start + place.stored_bytes]
            if (found := _intact(some, place)) is not None:
                parts.append(Part(_small_key(place), some, found.crc32c))
        # Bytes between them that are cached already may be erased meanwhile: they must not be written again.
        self._received.add(parts, len(data), data if len(parts) == len(places) else None)

    def _is_received(self, key: Range) -> bool:
        """Return whether a part was received a moment ago, or is being fetched."""
        return key in self._fetching or self._received.get(key) is not None

    def _has(self, key: Range) -> bool:
        """Return whether a part was received a moment ago, or is cached; blocks."""
        return self._received.get(key) is not None or self._cache.has(key)

    # Large blobs

    async def _read_large(
        self, place: Place, offset: int, length: int | None, piece_bytes: Callable[[], int], crc32c: int | None
    ) -> AsyncGenerator[Buffer]:
        found = await self._blocks(place, crc32c)
        left = found.length - offset if length is None else length
        if offset + left > found.length or not found.is_of(crc32c):
            raise damaged()
        end = offset + left
        ahead = offset // PART_BYTES + 1  # the next part to read ahead
        while left > 0:
            size = piece_of(offset, left, piece_bytes())
            while ahead * PART_BYTES < end and ahead <= offset // PART_BYTES + _AHEAD_PARTS and self._cache.is_enabled:
                self._fetch_ahead(
                    [_part_key(place, ahead)],
                    partial(self._load_part_ahead, place, found, ahead),
                )
                ahead += 1
            yield await self._large(place, found, offset, size)
            offset += size
            left -= size

    async def _large(self, place: Place, found: Blocks, offset: int, length: int) -> Buffer:
        pieces: list[Buffer] = []
        for part in range(offset // PART_BYTES, -(-(offset + length) // PART_BYTES)):
            start = part * PART_BYTES
            begin, end = max(offset, start), min(offset + length, start + PART_BYTES)
            pieces.append(await self._part(place, found, part, begin, end - begin))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _part(self, place: Place, found: Blocks, part: int, offset: int, length: int) -> memoryview:
        """Return a verified range of one part."""
        key = _part_key(place, part)
        start = part * PART_BYTES
        if (running := self._fetching.get(key)) is not None:
            await _ended(running)
        if (received := self._received.get(key)) is not None:
            if offset + length == start + len(received.data):
                self._received.was_read(key)
            return received.data[offset - start : offset - start + length]
        if key not in self._fetching:
            with suppress(DataLoss):  # damaged, or only its neighbours are cached
                cached = read_verified(
                    lambda size, at: self._cache.read_now(Range(key.name, at, size)), 0, found, offset, length
                )
                if cached is not None:
                    return cached
        data = await self._fetched(key, lambda: self._load_part(place, found, part))
        view = read_verified(lambda size, at: data[at - start : at - start + size], 0, found, offset, length)
        assert view is not None, "memory reads always return data"
        return view

    def _load_part(self, place: Place, found: Blocks, part: int) -> memoryview:
        """Return a part, which may be damaged; blocks."""
        key = _part_key(place, part)
        start = part * PART_BYTES
        size = min(PART_BYTES, found.length - start)
        data = self._cache.read(key)
        if data is not None and _are_intact(data, found, start, size):
            return data
        for _ in range(_READS):
            data = self._get(place, start, size)
            if _are_intact(data, found, start, size):
                self._received.add([Part(key, data)], len(data))
                break
        assert data is not None
        return data

    def _load_part_ahead(self, place: Place, found: Blocks, part: int) -> None:
        if not self._has(_part_key(place, part)):
            self._load_part(place, found, part)

    def _load_first(self, place: Place) -> None:
        if not self._has(_part_key(place, 0)) and (found := self._cached_trailer(place)) is not None:
            self._load_part(place, found, 0)

    async def _blocks(self, place: Place, crc32c: int | None) -> Blocks:
        """Return the checksums of a large blob. Raises: DataLoss, BLOB_DAMAGED; as `ObjectClient`."""
        found: Blocks | None = self._kept.get(place.name)
        if found is None:
            data = self._cache.read_now(_trailer_key(place))
            found = None if data is None else parse_trailer(data.tobytes(), place.length)
            if found is None:
                found = await self._threads.run(lambda: self._find_blocks(place, crc32c))
            self._kept[place.name] = found
        return found

    def _find_blocks(self, place: Place, crc32c: int | None) -> Blocks:
        """As `_blocks`; blocks. If the trailer is damaged, the checksums are computed from bytes that have `crc32c`."""
        found = self._cached_trailer(place)
        if found is not None:
            return found
        checksums = Checksums()
        while crc32c is not None and checksums.length < place.length:
            piece = self._get(place, checksums.length, min(PIECE_BYTES, place.length - checksums.length))
            if not piece:
                break
            checksums.update(piece)
        if crc32c is None or checksums.whole != crc32c or checksums.length != place.length:
            raise damaged()
        return Blocks(place.length, crc32c, array("I", checksums.all_blocks))

    def _cached_trailer(self, place: Place) -> Trailer | None:
        key = _trailer_key(place)
        data = self._cache.read(key)
        found = None if data is None else parse_trailer(data.tobytes(), place.length)
        if found is None:
            found = self._trailer(place, key)
        return found

    # Requests

    def _trailer(self, place: Place, key: Range | None = None) -> Trailer | None:
        """Return the trailer of a blob, None if it is damaged, and cache it with a key; blocks."""
        for _ in range(_READS):
            data = self._get(place, place.offset + place.length, trailer_bytes(place.length)).tobytes()
            if (found := parse_trailer(data, place.length)) is not None:
                if key is not None:
                    self._cache.write(key.name, [(key.offset, data)])
                return found
        return None

    def _get(self, place: Place, offset: int, length: int) -> memoryview:
        try:
            return self._client.get_range(place.name.path, offset, length)
        except NotFound:
            raise missing() from None

    def _require_live(self, place: Place) -> None:
        self._erasure.require_live(place)
        if not place.length:
            self._get(place, place.offset, 1)

    async def _fetched(self, key: Range, load: Callable[[], memoryview]) -> memoryview:
        """Return the result of `load`, or of the same work in progress for another reader."""
        running = self._fetching.get(key)
        if running is not None:
            data = await _result(running)
            if data is not None:
                return data
        task = self._start([key], self._threads, load)
        data = await asyncio.shield(task)
        assert data is not None
        return data

    def _fetch_ahead(self, keys: Sequence[Range], load: Callable[[], object]) -> None:
        if any(key in self._fetching for key in keys):
            return

        def work() -> None:
            load()  # its result is in the cache

        self._start(keys, self._ahead_threads, work)

    def _start(
        self, keys: Sequence[Range], threads: DiskThreads, work: Callable[[], memoryview | None]
    ) -> "asyncio.Task[memoryview | None]":
        task = asyncio.get_running_loop().create_task(threads.run(work))
        for key in keys:
            self._fetching[key] = task

        def ended(_: object) -> None:
            for key in keys:
                if self._fetching.get(key) is task:
                    del self._fetching[key]
            if not task.cancelled():
                task.exception()  # who waits for it raises it; nobody may

        task.add_done_callback(ended)
        return task


async def _ended(task: "asyncio.Task[memoryview | None]") -> None:
    """Wait for the end of another reader's work."""
    with suppress(DicomStoreError):
        await asyncio.shield(task)


async def _result(task: "asyncio.Task[memoryview | None]") -> memoryview | None:
    """Return the result of another reader's work, None if it has none."""
    try:
        return await asyncio.shield(task)
    except DicomStoreError:
        return None


def _small_key(place: Place) -> Range:
    """Return where a blob of a packed object is cached, with its trailer."""
    return Range(f"{place.name.id}{place.name.generation}", place.offset, place.stored_bytes)


def _part_key(place: Place, part: int) -> Range:
    """Return where a part of a large blob is cached."""
    start = part * PART_BYTES
    return Range(_large_file(place, part), start, min(PART_BYTES, place.length - start))


def _trailer_key(place: Place) -> Range:
    """Return where the trailer of a large blob is cached."""
    return Range(_large_file(place, place.length // PART_BYTES), place.length, trailer_bytes(place.length))


def _large_file(place: Place, part: int) -> str:
    name = place.name
    return f"{name.id}{name.generation}-{part // _PARTS_IN_FILE:x}{name.kind}"


def _joined(places: Iterable[Place], following: Mapping[int, Place]) -> Iterable[Sequence[Place]]:
    """Yield groups of neighbours in one object. `following` are more blobs of it by offset, for the ends of groups."""
    left = {place.offset: place for place in sorted(places, key=lambda place: place.offset)}
    while left:
        group: list[Place] = []
        size, end = 0, next(iter(left))
        while (place := left.get(end) or following.get(end)) is not None:
            size += place.stored_bytes
            if group and size > _JOINED_BYTES:
                break
            left.pop(end, None)
            group.append(place)
            end += place.stored_bytes
        yield group


def _range_of(data: memoryview, place: Place, offset: int, length: int, crc32c: int | None) -> memoryview:
    """Return a verified range of a small blob, of which `data` are all stored bytes. Raises: DataLoss, BLOB_DAMAGED.

    crc32c: of the whole blob, from the index. It alone verifies the whole blob, even with a damaged trailer.
    """
    if offset + length > place.length:
        raise damaged()
    blob = data[: place.length]
    if crc32c is not None and length == place.length and length:
        if len(blob) == length and crc32c_of(blob) == crc32c:
            return blob
        raise damaged()
    found = parse_trailer(data[place.length :].tobytes(), place.length)
    if found is None or not found.is_of(crc32c):
        if crc32c is None or len(blob) < place.length or crc32c_of(blob) != crc32c:
            raise damaged()
        return blob[offset : offset + length]
    view = read_verified(lambda size, at: blob[at : at + size], 0, found, offset, length) if length else blob[:0]
    assert view is not None, "memory reads always return data"
    return view


def _intact(data: memoryview, place: Place) -> Trailer | None:
    """Return the trailer of a blob if all stored bytes are as they were written."""
    found = parse_trailer(data[place.length :].tobytes(), place.length)
    return found if found is not None and crc32c_of(data[: place.length]) == found.crc32c else None


def _are_intact(data: memoryview, found: Blocks, start: int, size: int) -> bool:
    """Return whether `data` are `size` bytes of a blob from `start`, the beginning of a block."""
    first = start // BLOCK_BYTES
    return len(data) == size and all(
        crc32c_of(data[at : at + BLOCK_BYTES]) == found.blocks[first + at // BLOCK_BYTES]
        for at in range(0, size, BLOCK_BYTES)
    )


def _kept_blocks(found: Blocks) -> int:
    return min(max(len(found.blocks), _MAX_BLOCKS // _MAX_BLOBS), _MAX_BLOCKS)
