"""Memory of processes that handle pixels."""

from common.process.malloc import tune_malloc


def return_frames() -> None:
    """Return the memory of large frames to the system when they are freed.

    By default, glibc keeps up to 64 MB after the first large buffer was freed. Arrays of a CT slice (2 MiB as float64)
    are kept: page faults for new ones take two thirds of its rendering time.
    """
    tune_malloc(mmap_threshold_bytes=8 << 20, trim_threshold_bytes=32 << 20, arenas=2)
