"""A filesystem of a few megabytes that tests can fill."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SmallDisk:
    """A mounted filesystem.

    path: its mount point as processes outside of the namespace see it.
    holder: a process in the user and mount namespaces of the mount.
    """

    path: Path
    holder: int


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Mount a tmpfs at a folder in a new user and mount namespace, which needs no root (unshare(1))."""
    folder.mkdir()
    script = 'mount -t tmpfs -o size="$1" none "$0" && echo mounted && exec cat'
    holder = subprocess.Popen(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script, str(folder), str(size_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == b"mounted\n"
        try:
            yield SmallDisk(Path(f"/proc/{holder.pid}/root{folder}"), holder.pid)
        finally:
            holder.stdin.close()


def fill(disk: Path) -> Path:
    """Fill the filesystem; return the file that does so."""
    path = disk / "filler"
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.flush()
    found = os.statvfs(disk)
    assert found.f_bavail == 0
    return path
