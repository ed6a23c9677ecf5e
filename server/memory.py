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


def return_frames() -> None:
    """Return the memory of large frames to the system when they are freed.

    By default, glibc keeps up to 64 MB after the first large buffer was freed. Arrays of a CT slice (2 MiB as float64)
    are kept: page faults for new ones take two thirds of its rendering time.
    """
    tune_malloc(mmap_threshold_bytes=8 << 20, trim_threshold_bytes=32 << 20, arenas=2)
