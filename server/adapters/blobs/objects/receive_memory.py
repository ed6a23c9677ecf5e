"""Memory that ranges of objects are received into.

It is one mapping whose pages are used again: new pages cost several times as much as receiving into them. What does not
fit is allocated as usual. The system gets the pages back with `release`.
"""

import ctypes
import mmap
import threading
import weakref
from collections import deque
from contextlib import suppress

from server.adapters.blobs.disk.direct import PAGE_BYTES, buffer_for

_UNIT_BYTES = 256 << 10
"""Sizes are multiples of it, so that what is given back fits for others."""

_Reference = weakref.ref[ctypes.Array[ctypes.c_char]]


class ReceiveMemory:
    """Memory for all threads of a process.

    Args:
        size_bytes: of the mapping, whose pages are taken from the system when they are first used.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes // _UNIT_BYTES * _UNIT_BYTES
        self._lock = threading.Lock()
        self._mapping: mmap.mmap | None = None
        self._free = {0: self._size_bytes}
        """The end of each free range by its start; no two adjoin."""
        self._taken: dict[int, tuple[_Reference, int, int]] = {}
        """Ranges in use, by the identity of the reference to their owner."""
        self._returned: deque[_Reference] = deque()

    def buffer_for(self, offset: int, length: int) -> memoryview:
        """Return memory as `direct.buffer_for`. It is used again when no view of it is left."""
        size = -(-(length + PAGE_BYTES) // _UNIT_BYTES) * _UNIT_BYTES
        found = None
        with self._lock, suppress(OSError):  # the system may refuse so large a mapping
            found = self._take(size)
        if found is None:
            return buffer_for(offset, length)
        start = offset % PAGE_BYTES
        return found[start : start + length]

    def release(self) -> bool:
        """Return the pages that are not in use to the system; return whether none is in use."""
        with self._lock:
            self._collect()
            if self._mapping is not None:
                for start, end in self._free.items():
                    self._mapping.madvise(mmap.MADV_DONTNEED, start, end - start)
            return not self._taken

    def _take(self, size: int) -> memoryview | None:
        """Return the first free range that is large enough, so that the same pages are used again. Raises: OSError."""
        self._collect()
        start = min((start for start, end in self._free.items() if end - start >= size), default=None)
        if start is None:
            return None
        if self._mapping is None:
            self._mapping = mmap.mmap(-1, self._size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        owner = (ctypes.c_char * size).from_buffer(self._mapping, start)  # lives as long as any view of it
        # The last view may end anywhere, also where this thread has the lock: so this only makes a note.
        reference = weakref.ref(owner, self._returned.append)
        self._taken[id(reference)] = (reference, start, start + size)
        end = self._free.pop(start)
        if start + size < end:
            self._free[start + size] = end
        return memoryview(owner).cast("B")

    def _collect(self) -> None:
        """Make those ranges free whose last view has ended."""
        while self._returned:
            _, start, end = self._taken.pop(id(self._returned.popleft()))
            end = self._free.pop(end, end)
            before = next((one for one, its_end in self._free.items() if its_end == start), start)
            self._free[before] = end
