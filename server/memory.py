"""How the C library's allocator gives memory back to the system (mallopt(3))."""

import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8  # from malloc.h


def tune_malloc(*, mmap_threshold_bytes: int, trim_threshold_bytes: int, arenas: int = 0) -> None:
    """Set how glibc allocates; others have no mallopt and need none.

    Args:
        mmap_threshold_bytes: buffers of this size and above go back to the system when they are freed.
        trim_threshold_bytes: free memory at the end of the heap, above which that goes back.
        arenas: most heaps of threads; 0 leaves it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_MMAP_THRESHOLD, mmap_threshold_bytes)
    mallopt(_TRIM_THRESHOLD, trim_threshold_bytes)
    if arenas:
        mallopt(_ARENA_MAX, arenas)


def return_frames() -> None:
    """Let the memory of large frames go back to the system when they are freed.

    Left to itself, glibc keeps up to 64 MB after it has freed the first large buffer. Arrays of a CT slice (2 MiB as
    float64) stay: faulting new pages in for each costs two thirds of its rendering.
    """
    tune_malloc(mmap_threshold_bytes=8 << 20, trim_threshold_bytes=32 << 20, arenas=2)
