"""Verified bytes that were received a moment ago: read from memory, while a thread writes them to the cache.

A retrieval reads them once, soon after they were read ahead; without this it would wait until they are written, and
read and verify them again. No retrieval waits for the disk: what was read before the thread came to write it is not
cached if its memory is needed.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import NamedTuple

from server.adapters.blobs.disk.threads import be_nice
from server.adapters.blobs.object_blobs.cache import PartCache, Range
from server.model.buffer import Buffer

RECEIVED_BYTES = 96 << 20
"""Memory for them: what retrievals read ahead, and objects of which they have read a part. When it is full of bytes
that were not read yet, the thread that received more writes these."""

_NICENESS = 10
_IDLE_SECONDS = 60.0
"""After so long without parts, written ones that were not read are dropped: probably no retrieval needs them."""


class Part(NamedTuple):
    """A part of an object.

    key: where it is cached.
    data: as it is cached, verified.
    crc32c: of a small blob, which is cached as a whole; None for a part of a large one.
    """

    key: Range
    data: memoryview
    crc32c: int | None = None


class _Response:
    """The parts that one request returned: views of one buffer, which stays as long as one of them does."""

    __slots__ = ("is_being_written", "is_written", "parts", "size_bytes", "unread", "whole")

    def __init__(self, parts: Sequence[Part], size_bytes: int, whole: Buffer | None) -> None:
        self.parts = {part.key: part for part in parts}
        self.whole = whole
        self.unread = set(self.parts)
        self.size_bytes = size_bytes
        self.is_written = False
        self.is_being_written = False

    @property
    def is_dispensable(self) -> bool:
        return self.is_written or not (self.unread or self.is_being_written)


class ReceivedParts:
    """The parts received last, for all threads of a process.

    Those that are written to the cache are dropped when they were read to their end, or when the memory is needed.
    When it is needed, those that were read are dropped, too, although they are not written yet. Nothing is kept if the
    cache is disabled.

    Args:
        max_bytes: of the buffers that are kept.
        release: returns unused memory to the system, and whether none is in use; called when no parts arrive.
        idle_seconds: after the last part.
    """

    def __init__(
        self,
        cache: PartCache,
        max_bytes: int,
        release: Callable[[], bool] = lambda: True,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self._cache = cache
        self._max_bytes = max_bytes
        self._release = release
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._parts: dict[Range, _Response] = {}
        self._responses: deque[_Response] = deque()
        self._size_bytes = 0
        self._arriving_bytes = 0
        self._unwritten: SimpleQueue[_Response | None] = SimpleQueue()
        self._writer: threading.Thread | None = None

    def add(self, parts: Sequence[Part], size_bytes: int, whole: Buffer | None = None) -> None:
        """Keep parts and have them written; blocks for the disk if there is no memory left.

        size_bytes: of the buffer they are views of.
        whole: this buffer, from the first part of one object to the last one, if all of it may be written at once.
        """
        if not self._cache.is_enabled or not parts:
            return
        response = _Response(parts, size_bytes, whole)
        with self._lock:
            self._make_room(size_bytes)
            is_kept = self._size_bytes + size_bytes <= self._max_bytes
            if is_kept:
                self._size_bytes += size_bytes
                self._responses.append(response)
                self._parts.update(dict.fromkeys(response.parts, response))
                if self._writer is None:
                    self._writer = threading.Thread(target=self._write, name="cache-writer", daemon=True)
                    self._writer.start()
        if is_kept:
            self._unwritten.put(response)
            return
        self._cache_all(parts, whole)

    @contextmanager
    def arriving(self, size_bytes: int) -> Iterator[None]:
        """Make room for bytes while they are being received, by dropping what can be dropped."""
        with self._lock:
            self._make_room(size_bytes)
            self._arriving_bytes += size_bytes
        try:
            yield
        finally:
            with self._lock:
                self._arriving_bytes -= size_bytes

    def get(self, key: Range) -> Part | None:
        """Return a part, or None."""
        response = self._parts.get(key)
        return None if response is None else response.parts.get(key)

    def was_read(self, key: Range) -> None:
        """Note that a part was read to its end: a retrieval needs it no more."""
        with self._lock:
            response = self._parts.get(key)
            if response is not None:
                response.unread.discard(key)
                self._drop_if_done(response)

    def remove(self, keys: Iterable[Range]) -> None:
        """Drop parts; those that are not written yet are not written."""
        with self._lock:
            for key in keys:
                response = self._parts.pop(key, None)
                if response is not None:
                    response.whole = None
                    response.parts.pop(key, None)
                    response.unread.discard(key)
                    self._drop_if_done(response)

    def close(self) -> None:
        """Write what is left and end the thread; blocks."""
        if self._writer is not None:
            self._unwritten.put(None)
            self._writer.join()

    def _make_room(self, size_bytes: int) -> None:
        while self._size_bytes + self._arriving_bytes + size_bytes > self._max_bytes:
            oldest = next((response for response in self._responses if response.is_dispensable), None)
            if oldest is None:
                return
            self._drop(oldest)

    def _drop_if_done(self, response: _Response) -> None:
        if response.is_written and not response.unread and response in self._responses:
            self._drop(response)

    def _drop(self, response: _Response) -> None:
        self._responses.remove(response)
        self._size_bytes -= response.size_bytes
        for key in response.parts:
            if self._parts.get(key) is response:
                del self._parts[key]
        response.parts, response.whole = {}, None  # the queue of unwritten ones may still refer to it

    def _write(self) -> None:
        be_nice(_NICENESS)
        while (response := self._next()) is not None:
            self._write_parts(response)
            del response  # not referenced while waiting

    def _next(self) -> _Response | None:
        """Return the next response to write, None at the end. Memory is released while there is none."""
        is_released = False
        while not is_released:
            with suppress(Empty):
                return self._unwritten.get(timeout=self._idle_seconds)
            with self._lock:
                for response in [one for one in self._responses if one.is_written]:
                    self._drop(response)
            is_released = self._release()
        return self._unwritten.get()

    def _write_parts(self, response: _Response) -> None:
        with self._lock:
            response.is_being_written = True
            parts, whole = list(response.parts.values()), response.whole
        self._cache_all(parts, whole)
        self._cache.remove(part.key for part in parts if part.key not in response.parts)  # removed meanwhile
        with self._lock:
            response.is_being_written, response.is_written = False, True
            self._drop_if_done(response)

    def _cache_all(self, parts: Sequence[Part], whole: Buffer | None) -> None:
        if whole is not None:
            self._cache.write(parts[0].key.name, [(parts[0].key.offset, whole)])
            return
        for name, some in groupby(parts, lambda part: part.key.name):
            self._cache.write(name, [(part.key.offset, part.data) for part in some])
