"""Directories that are opened without following links, so that nobody can exchange one for a link in between."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import ELOOP

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def opened_directory(root: str, names: Sequence[str], *, creates: bool = False) -> Iterator[int]:
    """Open a directory below another one, whose path has no links; yields a descriptor for parameters `dir_fd`.

    Args:
        names: of the directories on the way.
        creates: missing ones below the root are created.

    Raises:
        OSError: ELOOP or ENOTDIR, there is a link on the way.
    """
    descriptor = os.open(root, _DIRECTORY)
    try:
        if os.readlink(f"/proc/self/fd/{descriptor}") != root:
            raise OSError(ELOOP, os.strerror(ELOOP))
        for name in names:
            if creates:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o750, dir_fd=descriptor)
                    os.fsync(descriptor)
            below = os.open(name, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)
