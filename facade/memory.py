"""Steady memory: glibc keeps freed megabyte buffers and few heaps, so buffers need not be faulted in each time."""

import ctypes

# From malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX.
_OPTIONS = {-3: 32 << 20, -1: 64 << 20, -8: 2}


def keep_steady() -> None:
    """Set this process up; other C libraries have no mallopt and need none. Measured in docs/performance.md."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in _OPTIONS.items():
            mallopt(option, value)
