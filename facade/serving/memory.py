"""Tuning of memory management: glibc keeps freed large buffers, and the cyclic collector runs less often."""

import ctypes
import gc

# From malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX.
_OPTIONS = {-3: 32 << 20, -1: 64 << 20, -8: 2}

_COLLECT_AFTER = 20_000
"""New containers before a collection. Every search exceeds the default of 700 while all its objects are alive."""


def keep_steady() -> None:
    """Configure this process after all imports; C libraries without mallopt need no configuration.

    glibc then uses few arenas and keeps their large buffers, which avoids page faults (measured in
    docs/performance.md). The collector ignores objects created during start-up.
    """
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in _OPTIONS.items():
            mallopt(option, value)
