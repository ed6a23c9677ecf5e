"""Finds files in folders and groups small ones into batches, without a list of all files in memory."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PIECE_BYTES = 2**20
"""Maximum data bytes of a message; the contract allows 2 MiB."""

BATCH_FILES = 64
"""Maximum number of files in a message, so that outcomes and progress advance in small steps."""

PREFIX_BYTES = 132
"""Length of the preamble and the prefix DICM of a Part 10 file (PS3.10 section 7.1)."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to send. A file `named` on the command line is sent even if it does not look like DICOM."""

    path: Path
    size_bytes: int
    named: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A path that could not be read."""

    path: Path
    message: str


Batch = tuple[LocalFile, ...]
"""Files of one message, or one file that needs several messages."""


def looks_like_dicom(prefix: bytes) -> bool:
    """Return whether a file that starts with `prefix` is a DICOM Part 10 file."""
    return prefix[128:PREFIX_BYTES] == b"DICM"


def is_index_file(path: Path) -> bool:
    """Return whether this is a DICOMDIR, which is a Part 10 file but not an instance (PS3.10 section 8.6)."""
    return path.name.upper() == "DICOMDIR"


def walk(paths: Iterable[Path]) -> Iterator[LocalFile | Unreadable]:
    """Yield the named files, and all files below the named folders, in the order of the file system.

    Links to files are followed; links to folders only if named, to avoid loops. Other kinds of entries are ignored,
    unless named.
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
    """Yield batches of consecutive files that fit into one message; a larger file is a batch of its own."""
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
