"""Steady memory: freed megabyte buffers are kept, and garbage is not looked for more often than it pays."""

import ctypes
import gc

# From malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX.
_OPTIONS = {-3: 32 << 20, -1: 64 << 20, -8: 2}

_COLLECT_AFTER = 20_000
"""New containers until cycles are looked for. The default of 700 is reached by every search, where all are alive."""


def keep_steady() -> None:
    """Set this process up, once all is imported; other C libraries have no mallopt and need none.

    glibc keeps few heaps and their large buffers, so that those need not be faulted in each time (measured in
    docs/performance.md). The collector leaves out what start-up made.
    """
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in _OPTIONS.items():
            mallopt(option, value)
