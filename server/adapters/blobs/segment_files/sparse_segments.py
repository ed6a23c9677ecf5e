"""Finds segments whose live blobs should be moved, so that the files can be removed.

Deleting frees whole filesystem blocks at best. Headers, parts of blocks, and everything where the filesystem can't
punch holes remain; and each start of a process leaves a segment that may be nearly empty.

A segment whose blobs have all been moved remains until its old copies are erased, hours later. A file in `emptied/`
with the name of the segment and its time of modification records this across restarts.
"""

import logging
import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from server.adapters.blobs.disk.file_lock import lock_if_free
from server.adapters.blobs.disk.threads import sync_directory
from server.adapters.blobs.segment_files.appending import SEGMENT_BYTES, Appender
from server.adapters.blobs.segment_files.segments import SUFFIX, live_bytes, path_of

_SMALL_BYTES = SEGMENT_BYTES // 8
_MANY = 8
_EXAMINED_A_CALL = 50
_SPARE_BYTES = 64 << 20
"""Old copies may take this much disk space, and as much again as everything else in segments."""

_BLOCK_BYTES = 512  # of st_blocks, see stat(2)
_log = logging.getLogger("dicomstore.blobs")


@dataclass(slots=True)
class _State:
    """The state of a segment at a time of modification."""

    mtime_ns: int
    live_bytes: int = 0
    is_sparse: bool = False
    is_small: bool = False


class SparseSegments:
    """Examines segments; unchanged ones are not examined again. All functions block."""

    def __init__(self, directory: Path, appender: Appender) -> None:
        self._directory = directory
        self._appender = appender
        self._markers = directory / "emptied"
        self._states: dict[str, _State] = {}

    def lock(self) -> int | None:
        """Return a descriptor to close when done; None if another process holds the lock."""
        return lock_if_free(self._directory / ".compacting")

    def find(self) -> list[str]:
        """Return sparse segments that no process appends to; and small ones, if there are many.

        A segment is sparse if less than half of it is live. Returns as many as can be moved without their old copies
        taking more disk space than everything else in segments, plus 64 MiB. Removes segments without live records.
        Examines at most 50 segments per call, because headers are read one by one.
        """
        found = self._segments()
        emptied = self._emptied(found)
        unmoved = {
            name: _State(found[name].st_mtime_ns)
            for name, mtime_ns in emptied.items()
            if mtime_ns == found[name].st_mtime_ns
        }
        self._states = unmoved | {name: state for name, state in self._states.items() if name in found}
        changed = [name for name in found if self._is_changed(name, found[name].st_mtime_ns)]
        left = _EXAMINED_A_CALL
        for name in sorted(changed, key=lambda name: found[name].st_mtime_ns):
            if left and not self._appender.is_in_use(name):
                self._examine(name)
                left -= 1
        small = [name for name, state in self._states.items() if state.is_small]
        sparse = [name for name, state in self._states.items() if state.is_sparse]
        old_copies = sum(_disk_bytes(found[name]) for name in emptied)
        left_bytes = sum(map(_disk_bytes, found.values())) - 2 * old_copies + _SPARE_BYTES
        return self._fitting(sparse + small if len(small) >= _MANY else sparse, left_bytes)

    def _fitting(self, segments: Sequence[str], left_bytes: int) -> list[str]:
        """Return the first segments whose live blobs take at most `left_bytes` together."""
        fitting = []
        for name in segments:
            left_bytes -= self._states[name].live_bytes
            if left_bytes < 0:
                break
            fitting.append(name)
        return fitting

    def _is_changed(self, segment: str, mtime_ns: int) -> bool:
        return segment not in self._states or self._states[segment].mtime_ns != mtime_ns

    def _segments(self) -> dict[str, os.stat_result]:
        """Return all segments and their sizes and times."""
        found = {}
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    with suppress(FileNotFoundError):  # removed in between
                        found[entry.name.removesuffix(SUFFIX)] = entry.stat()
        return found

    def _emptied(self, segments: Collection[str]) -> dict[str, int]:
        """Return the segments with only old copies, and their recorded time of modification."""
        emptied = {}
        self._markers.mkdir(exist_ok=True)
        with os.scandir(self._markers) as entries:
            for entry in entries:
                if entry.name in segments:
                    emptied[entry.name] = entry.stat().st_mtime_ns
                else:
                    Path(entry.path).unlink(missing_ok=True)
        return emptied

    def emptied(self, segment: str) -> None:
        """Record that all referenced blobs have been moved out of a segment."""
        if segment not in self._states:
            return
        mtime_ns = self._states[segment].mtime_ns
        self._states[segment] = _State(mtime_ns)
        marker = self._markers / segment
        marker.touch()
        os.utime(marker, ns=(mtime_ns, mtime_ns))

    def _examine(self, segment: str) -> None:
        """Sum up the records of a segment; remove it if none is live."""
        path = path_of(self._directory, segment)
        try:
            file = FileIO(path)
        except FileNotFoundError:  # removed in between
            self._states.pop(segment, None)
            return
        with file:
            found = os.fstat(file.fileno())
            alive = live_bytes(file.fileno())
        if alive == 0:
            path.unlink(missing_ok=True)
            sync_directory(self._directory)
            self._states.pop(segment, None)
            return
        state = self._states[segment] = _State(found.st_mtime_ns)
        if alive is None:
            _log.warning("a segment with a damaged header is skipped segment=%s", segment)
            return
        state.live_bytes = alive
        occupied = min(found.st_size, _disk_bytes(found))  # all of it without holes
        state.is_sparse = 2 * alive < occupied
        state.is_small = not state.is_sparse and found.st_size < _SMALL_BYTES


def _disk_bytes(found: os.stat_result) -> int:
    return found.st_blocks * _BLOCK_BYTES
