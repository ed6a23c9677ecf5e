"""The list of checkpoints as files; see `list_state` for its entries. All functions block.

    checkpoints/.lock           held while a process appends
    checkpoints/<number>.list   entries, one a line

The last entry about a writer covers all earlier records, because these are chained; so old files of the list can be
removed, and `continued` proves that this was intended.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from server.adapters.blobs.audit_trail.keys import SigningKey
from server.adapters.blobs.audit_trail.list_state import (
    SUFFIX,
    Entry,
    ForeignKey,
    ListState,
    continuation,
    introduction,
    list_name,
    signed_lines,
)
from server.adapters.blobs.disk.file_lock import locked
from server.adapters.blobs.disk.threads import sync_directory

_FILE_BYTES = 4 << 20
_KEPT_FILES = 16


class CheckpointList:
    """The list below a directory.

    Args:
        key: signs the entries; None only reads.
    """

    def __init__(self, directory: Path, key: SigningKey | None = None) -> None:
        self._directory = directory
        self._key = key
        self._state = ListState()
        self._path: Path | None = None
        self._position = 0

    def append(self, *entries: Mapping[str, Any]) -> ListState:
        """Append entries durably; return the state, which the next call changes.

        Raises:
            OSError
            ForeignKey: the list is signed with another key.
        """
        assert self._key is not None, "only a list with a key can be appended to"
        self._directory.mkdir(parents=True, exist_ok=True)
        with locked(self._directory / ".lock"):
            state = self._refresh()
            if not state.keys:
                self._write([introduction(self._key)])
            elif state.keys[-1] != self._key.public:
                raise ForeignKey(state.keys[-1])
            if self._position > _FILE_BYTES:
                self._continue()
            self._write(entries)
            return state

    def replace_key(self, old: SigningKey | None) -> None:
        """Introduce the key of this object, signed by the key before if that is still known. Raises: OSError."""
        assert self._key is not None
        with locked(self._directory / ".lock"):
            state = self._refresh()
            if state.keys and state.keys[-1] != self._key.public:
                is_known = old is not None and old.public == state.keys[-1]
                self._write([introduction(self._key, old if is_known else None)])

    def state(self) -> ListState:
        """Return the state, without checking signatures. Raises: OSError."""
        if not self._directory.exists():
            return self._state
        with locked(self._directory / ".lock"):
            return self._refresh()

    def files(self) -> list[Path]:
        """Return the files in order."""
        try:
            found = [path for path in self._directory.iterdir() if path.suffix == SUFFIX and path.stem.isdecimal()]
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda path: int(path.stem))

    def _refresh(self) -> ListState:
        """Read what other processes have appended. An incomplete last line was never acknowledged; it is cut off."""
        files = self.files()
        if self._path is not None and files and files[-1] != self._path:
            self._path = None
        if self._path is None:
            if not files:
                return self._state
            self._path, self._position, self._state = files[-1], 0, ListState()
        with open(self._path, "rb+") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    file.truncate(self._position)
                    break
                entry = Entry(line)
                self._position += len(line)
                if not entry.problem:
                    self._state.apply(entry.values, entry.data)
        return self._state

    def _write(self, entries: Iterable[Mapping[str, Any]]) -> None:
        assert self._key is not None
        if self._path is None:
            self._path = self._directory / list_name(1)
        text = signed_lines(self._state, self._key, entries)
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            if os.fstat(fd).st_size == 0:
                sync_directory(self._directory)
            left = memoryview(text)
            position = self._position
            while left:
                written = os.pwrite(fd, left, position)
                left, position = left[written:], position + written
            os.fsync(fd)
            self._state.apply_lines(text)
        except OSError:
            self._path = None  # read again what the file has
            raise
        finally:
            os.close(fd)
        self._position = position

    def _continue(self) -> None:
        """Begin the next file with the state, and remove the oldest ones."""
        assert self._path is not None
        number = int(self._path.stem) + 1
        first_file = max(1, number - _KEPT_FILES + 1)
        entry = continuation(self._state, first_file)
        self._path, self._position = self._path.with_name(list_name(number)), 0
        self._write([entry])
        for path in self.files():
            if int(path.stem) < first_file:
                path.unlink(missing_ok=True)
