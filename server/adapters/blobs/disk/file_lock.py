"""Locks on files, which the kernel releases when their process ends. All functions block."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is created if there is none. Waits for it. Raises: OSError."""
    fd = _opened(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def lock_if_free(path: Path, *, create: bool = True) -> int | None:
    """Lock a file. Return a descriptor, which unlocks it when closed, or None if another process holds the lock.

    Raises:
        FileNotFoundError: there is no such file and `create` is false, or no such directory.
        OSError
    """
    fd = _opened(path, create=create)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _opened(path: Path, *, create: bool = True) -> int:
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o640)
