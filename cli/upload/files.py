"""Finds files in folders and puts small ones together, without ever holding a list of all of them."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PIECE_BYTES = 2**20
"""Most data bytes of one message; the contract allows 2 MiB."""

BATCH_FILES = 64
"""Most files of one message, so that outcomes and progress come in small steps."""

PREFIX_BYTES = 132
"""A Part 10 file has 128 bytes of anything, then DICM (PS3.10 section 7.1)."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to send. One that is `named` by the user is sent whatever it looks like; the core has the last word."""

    path: Path
    size_bytes: int
    named: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A path that could not be looked at."""

    path: Path
    message: str


Batch = tuple[LocalFile, ...]
"""Files that travel in one message, or one file that needs several."""


def looks_like_dicom(prefix: bytes) -> bool:
    """Say whether a file that begins with `prefix` is a DICOM Part 10 file."""
    return prefix[128:PREFIX_BYTES] == b"DICM"


def is_index_file(path: Path) -> bool:
    """Say whether this is the index of a DICOM medium, which is a Part 10 file but no instance (PS3.10 section 8.6)."""
    return path.name.upper() == "DICOMDIR"


def walk(paths: Iterable[Path]) -> Iterator[LocalFile | Unreadable]:
    """Yield the named files, and all files below the named folders, in the order the file system has them.

    Links to files are followed; links to folders only when named, so that a loop of links ends.
    What is neither file nor folder is left out, unless named.
    """
    for path in paths:
        try:
            if path.is_dir():
                yield from _walk_folder(path)
            elif path.is_file():
                yield LocalFile(path, path.stat().st_size, named=True)
            else:
                yield Unreadable(path, "is neither a file nor a folder" if path.exists() else "does not exist")
        except OSError as error:
            yield Unreadable(path, error.strerror or str(error))


def _walk_folder(folder: Path) -> Iterator[LocalFile | Unreadable]:
    try:
        entries = os.scandir(folder)
    except OSError as error:
        yield Unreadable(folder, error.strerror or str(error))
        return
    with entries:
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk_folder(Path(entry.path))
                elif entry.is_file():
                    yield LocalFile(Path(entry.path), entry.stat().st_size)
            except OSError as error:
                yield Unreadable(Path(entry.path), error.strerror or str(error))


def batches(found: Iterable[LocalFile | Unreadable]) -> Iterator[Batch | Unreadable]:
    """Yield neighbours that together fit one message; a larger file comes alone."""
    batch: list[LocalFile] = []
    size_bytes = 0
    for item in found:
        if isinstance(item, Unreadable):
            yield item
            continue
        if batch and (size_bytes + item.size_bytes > PIECE_BYTES or len(batch) == BATCH_FILES):
            yield tuple(batch)
            batch, size_bytes = [], 0
        batch.append(item)
        size_bytes += item.size_bytes
    if batch:
        yield tuple(batch)
