"""Frames of a write-ahead log that SQLite drops when it opens a database (sqlite.org/walformat.html).

A log is read up to the first frame with a wrong checksum; later frames are dropped silently. They are either remains of
an uncommitted transaction, or committed transactions lost because of a damaged frame.
"""

import os
import shutil
import struct
from pathlib import Path

_WAL_HEADER = struct.Struct(">IIIIIIII")  # magic, version, page size, checkpoint, salt 1, salt 2, checksum 1 and 2
_FRAME_HEADER = struct.Struct(">IIIIII")  # page, size after a commit, salt 1, salt 2, checksum 1 and 2
_MAGIC = (0x377F0682, 0x377F0683)
_VALID_FRAMES_AT = 16  # in the index of the log, the "-shm" file


def dropped_frames(database: Path) -> int:
    """Return the number of frames of the current log that SQLite does not use. A connection must have read from the
    database."""
    try:
        with open(f"{database}-shm", "rb") as index:
            index.seek(_VALID_FRAMES_AT)
            (valid,) = struct.unpack("=I", index.read(4))
        return max(0, _frames(Path(f"{database}-wal")) - int(valid))
    except (OSError, struct.error):
        return 0


def _frames(log: Path) -> int:
    """Count the frames of the log's current generation: those with its salts."""
    with open(log, "rb") as file:
        header = _WAL_HEADER.unpack(file.read(_WAL_HEADER.size))
        if header[0] not in _MAGIC:
            return 0
        page_bytes, salts, count = header[2], header[4:6], 0
        while True:
            frame = file.read(_FRAME_HEADER.size)
            if len(frame) < _FRAME_HEADER.size or _FRAME_HEADER.unpack(frame)[2:4] != salts:
                return count
            file.seek(page_bytes, os.SEEK_CUR)
            count += 1


def log_copy(database: Path) -> Path:
    """Return the path for the copy of a damaged log, which SQLite removes when it closes the database."""
    return Path(f"{database}-wal-damaged")


def copy_log(database: Path) -> None:
    """Copy the log, unless a copy exists already."""
    if not log_copy(database).exists():
        shutil.copyfile(f"{database}-wal", log_copy(database))
