"""Parameters of the C library's allocator (mallopt(3))."""

import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8  # from malloc.h


def tune_malloc(*, mmap_threshold_bytes: int, trim_threshold_bytes: int, arenas: int = 0) -> None:
    """Configure glibc's malloc; other C libraries have no mallopt and need no configuration.

    Args:
        mmap_threshold_bytes: buffers of at least this size are returned to the system when freed.
        trim_threshold_bytes: free memory at the end of the heap above this size is returned to the system.
        arenas: maximum number of heaps for threads; 0 keeps the default.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_MMAP_THRESHOLD, mmap_threshold_bytes)
    mallopt(_TRIM_THRESHOLD, trim_threshold_bytes)
    if arenas:
        mallopt(_ARENA_MAX, arenas)
