"""Processes that have records in the outbox: whether they run. All functions block.

processes/<number>   locked as long as the process runs
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.adapters.blobs.disk.file_lock import lock_if_free
from server.ports.outbox import MAX_PROCESS, ProcessNumber

_random = random.SystemRandom()


@contextmanager
def running_process(root: Path) -> Iterator[ProcessNumber]:
    """Register this process; yields its number, which no running process has.

    Removes the files of ended processes. Raises: OSError.
    """
    directory = root / "processes"
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.iterdir():
        _remove_if_free(path)
    fd = None
    while fd is None:  # another process may take it for one of an ended process before it is locked
        number = _random.randint(1, MAX_PROCESS)
        path = directory / str(number)
        fd = lock_if_free(path)
        if fd is not None and not path.exists():
            os.close(fd)
            fd = None
    try:
        yield number
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def has_ended(root: Path, process: ProcessNumber) -> bool:
    """Return whether a process has ended; that of another storage has. Raises: OSError."""
    try:
        fd = lock_if_free(root / "processes" / str(process), create=False)
    except FileNotFoundError:
        return True
    if fd is None:
        return False
    os.close(fd)
    return True


def _remove_if_free(path: Path) -> None:
    try:
        fd = lock_if_free(path, create=False)
    except FileNotFoundError:
        return
    if fd is not None:
        path.unlink(missing_ok=True)
        os.close(fd)
