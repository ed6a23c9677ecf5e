"""Erasing blobs. An object is deleted when no blob in it lives; until then, what is erased in it is recorded.

    erased/<generation>/<id>p    `@` and the time of the first erasure in a packed object, in microseconds since 1970;
                                 the offsets of its erased blobs, one a line; the CRC-32C of these lines. Numbers are
                                 hexadecimal. Replaced with a conditional write

All functions block, except `knows_erased`, `note_erased` and `remember`.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Sized
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from cachetools import LRUCache

from server.adapters.blobs.checksums import crc32c_of
from server.adapters.blobs.object_blobs.names import ObjectName, Place
from server.adapters.blobs.object_blobs.packed_object import (
    USUAL_END_BYTES,
    Entry,
    end_bytes,
    parse_count,
    parse_directory,
)
from server.adapters.blobs.objects.client import Changed, Exists, NotFound, ObjectClient
from server.adapters.blobs.records import missing
from server.model.errors import Reason, Unavailable

_READS = 5
"""Reads of a record whose checksum is wrong, before it counts as damaged: bytes may change on the way."""

_MAX_ENTRIES = 100_000
"""Entries of directories that are kept in memory, about 120 bytes each."""

_MAX_OFFSETS = 200_000
"""Offsets of erased blobs that are kept in memory, about 60 bytes each."""

_OF_AN_OBJECT = 5
"""What an object costs in memory besides, in entries or offsets."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_T = TypeVar("_T")


class Erased(NamedTuple):
    """What is erased in a packed object.

    offsets: of the erased blobs.
    since: time of the first erasure; None if it is not recorded.
    etag: of the record; empty if there is none.
    """

    offsets: frozenset[int] = frozenset()
    since: datetime | None = None
    etag: str = ""


class Erasure:
    """The erased blobs of packed objects, and their directories."""

    def __init__(self, client: ObjectClient) -> None:
        self._client = client
        self._lock = threading.Lock()  # of these two
        self._directories: LRUCache[ObjectName, Sequence[Entry]] = LRUCache(
            _MAX_ENTRIES, getsizeof=lambda entries: _cost(entries, _MAX_ENTRIES)
        )
        self._known: LRUCache[ObjectName, frozenset[int]] = LRUCache(
            _MAX_OFFSETS, getsizeof=lambda offsets: _cost(offsets, _MAX_OFFSETS)
        )

    def remember(self, name: ObjectName, entries: Sequence[Entry]) -> None:
        """Remember the directory of an object that this process has written."""
        with self._lock:
            self._directories[name] = entries

    def knows_erased(self, place: Place) -> bool:
        """Return whether this process has erased a blob, as far as it remembers."""
        with self._lock:  # a lookup changes the order of use
            return place.name.is_packed and place.offset in self._known.get(place.name, ())

    def note_erased(self, places: Iterable[Place]) -> None:
        """Remember blobs that another process has erased."""
        with self._lock:
            for place in places:
                if place.name.is_packed:
                    self._known[place.name] = self._known.get(place.name, frozenset()) | {place.offset}

    def require_live(self, place: Place) -> None:
        """Check that a blob was not erased. Raises: DataLoss, BLOB_MISSING; as `ObjectClient`."""
        if place.name.is_packed and place.offset in self.erased(place.name).offsets:
            raise missing()

    def erase(self, places: Iterable[Place]) -> None:
        """Erase blobs durably; those that do not exist are ignored. Raises: as `ObjectClient`."""
        dead: list[str] = []
        offsets: defaultdict[ObjectName, set[int]] = defaultdict(set)
        for place in places:
            if place.name.is_packed:
                offsets[place.name].add(place.offset)
            else:
                dead.append(place.name.path)
        records: list[str] = []
        for name, some in offsets.items():
            if self._erase_in(name, some):
                dead.append(name.path)
                records.append(name.erased_path)
        self._client.delete(dead)  # first: without the record, its blobs would live again
        self._client.delete(records)

    def live(self, name: ObjectName, size_bytes: int | None = None) -> list[Entry] | None:
        """Return the blobs of a packed object that live; None if there is no object.

        size_bytes: of the object, if it is known.

        Raises:
            Unavailable: also when the directory is damaged.
        """
        entries = self.directory(name, size_bytes)
        if entries is None:
            return None
        erased = self.erased(name).offsets
        return [entry for entry in entries if entry.offset not in erased]

    def directory(self, name: ObjectName, size_bytes: int | None = None) -> Sequence[Entry] | None:
        """Return all blobs of a packed object. Parameters and errors: as `live`."""
        with self._lock:
            entries: Sequence[Entry] | None = self._directories.get(name)
        if entries is not None:
            return entries
        try:
            size = self._client.size(name.path) if size_bytes is None else size_bytes
            entries = _read(lambda: self._directory_of(name, size))
        except NotFound:
            return None
        self.remember(name, entries)
        return entries

    def erased(self, name: ObjectName) -> Erased:
        """Return what is erased in a packed object. Raises: as `ObjectClient`."""
        try:
            found = _read(lambda: self._record_of(name))
        except NotFound:
            return Erased()
        with self._lock:
            self._known[name] = found.offsets
        return found

    def forget(self, name: ObjectName) -> None:
        """Delete an object without live blobs, and the record of its erased ones."""
        self._client.delete([name.path])
        self._client.delete([name.erased_path])

    def _erase_in(self, name: ObjectName, offsets: set[int]) -> bool:
        """Record erased blobs of an object; return whether none is left, which is not recorded."""
        entries = self.directory(name)
        if entries is None:
            return False
        every = {entry.offset for entry in entries}
        offsets &= every
        if not offsets:
            return False
        total = frozenset(offsets)
        while total < every:
            before = self.erased(name)
            total |= before.offsets
            if total == before.offsets:
                return False
            if total == every:
                break
            record = _record(total, before.since or datetime.now(UTC))
            try:
                if before.etag:
                    self._client.replace(name.erased_path, record, before.etag)
                else:
                    self._client.create(name.erased_path, record)
            except (Changed, Exists):  # another process has erased some meanwhile
                continue
            break
        with self._lock:
            self._known[name] = total
        return total == every

    def _directory_of(self, name: ObjectName, size_bytes: int) -> list[Entry] | None:
        length = min(size_bytes, USUAL_END_BYTES)
        end = self._client.get_range(name.path, size_bytes - length, length)
        count = parse_count(end)
        if count is not None and length < end_bytes(count) <= size_bytes:
            length = end_bytes(count)
            end = self._client.get_range(name.path, size_bytes - length, length)
        return parse_directory(end, size_bytes)

    def _record_of(self, name: ObjectName) -> Erased | None:
        data, etag = self._client.get(name.erased_path)
        return _parsed(data, etag)


def _read(work: Callable[[], _T | None]) -> _T:
    for _ in range(_READS):
        if (found := work()) is not None:
            return found
    raise Unavailable(Reason.STORAGE_UNAVAILABLE, "A record of the object store is damaged.")


def _record(offsets: Iterable[int], since: datetime) -> bytes:
    lines = (f"@{(since - _EPOCH) // _MICROSECOND:x}", *(f"{offset:x}" for offset in sorted(offsets)))
    text = "".join(f"{line}\n" for line in lines).encode("ascii")
    return text + b"%08x\n" % crc32c_of(text)


def _parsed(data: bytes, etag: str) -> Erased | None:
    """Return what a record says; None if it is damaged. One without a time is from an earlier version."""
    text, check = data[:-9], data[-9:]
    if check != b"%08x\n" % crc32c_of(text):
        return None
    lines = text.split()
    since = None
    if lines and lines[0].startswith(b"@"):
        since = _EPOCH + int(lines.pop(0)[1:], 16) * _MICROSECOND
    return Erased(frozenset(int(line, 16) for line in lines), since, etag)


def _cost(kept: Sized, most: int) -> int:
    return min(len(kept) + _OF_AN_OBJECT, most)
