"""The audit trail as local files below one directory. All functions block, except `exclusive`.

writers/<writer>/       see `log_writer`
processes/<number>      see `processes`
checkpoints/            see `checkpoints`
<name>.position         how far an export has come
"""

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

from server.adapters.blobs.audit_trail import processes
from server.adapters.blobs.audit_trail.checkpoints import CheckpointList
from server.adapters.blobs.audit_trail.keys import SigningKey
from server.adapters.blobs.audit_trail.log_lines import Line, LogFile, first_number, last_line, lines, log_files
from server.adapters.blobs.audit_trail.log_writer import LOCK, LogWriter
from server.adapters.blobs.audit_trail.place import Checkpoints
from server.adapters.blobs.disk.file_lock import lock_if_free
from server.adapters.blobs.disk.reserve import Reserve
from server.adapters.blobs.disk.threads import as_errors_of_the_store, sync_directory
from server.model.audit.trail import AuditTrailSettings, WriterId
from server.ports.outbox import ProcessNumber


class FilePlace:
    """Place (see `place`) below `<root>/audit`."""

    flush_seconds = 0.2

    def __init__(self, root: Path) -> None:
        self._root = root / "audit"
        self._writers = self._root / "writers"
        self._reserve = Reserve(root)

    def snapshot(self) -> "FilePlace":
        """See the protocol."""
        return self

    def writers(self) -> list[WriterId]:
        """See the protocol."""
        try:
            return [path.name for path in self._writers.iterdir() if path.is_dir()]
        except FileNotFoundError:
            return []

    def has_files(self, writer: WriterId) -> bool:
        """See the protocol."""
        return (self._writers / writer).exists()

    def files(self, writer: WriterId) -> list[Path]:
        """See the protocol."""
        return log_files(self._writers / writer)

    def other_names(self, writer: WriterId) -> list[str]:
        """See the protocol."""
        try:
            found = list((self._writers / writer).iterdir())
        except FileNotFoundError:
            return []
        return [path.name for path in found if not (path.name.startswith(LOCK) or first_number(path))]

    def first_time(self, file: LogFile) -> str | None:
        """See the protocol."""
        first = next(lines(file), None)
        return first.first.time if isinstance(first, Line) else None

    def ends_before(self, file: LogFile, time: str) -> bool:
        """See the protocol."""
        last = last_line(file)
        return last is not None and last.last.time < time

    def has_ended(self, writer: WriterId) -> bool:
        """See the protocol."""
        try:
            fd = lock_if_free(self._writers / writer / LOCK, create=False)
        except FileNotFoundError:
            return False
        if fd is None:
            return False
        os.close(fd)
        return True

    def checkpoints(self, key: SigningKey | None = None) -> CheckpointList:
        """See the protocol."""
        return CheckpointList(self._root / "checkpoints", key)

    def writer(
        self, checkpoints: Checkpoints, settings: AuditTrailSettings, facts: Mapping[str, object]
    ) -> LogWriter:  # fmt: skip
        """See the protocol."""
        return LogWriter(self._root, checkpoints, settings, self._reserve, facts)

    def prepare(self) -> None:
        """See the protocol."""
        self._reserve.draw()
        self._root.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def taken_over(self, writer: WriterId) -> Iterator[bool]:
        """See the protocol."""
        try:
            fd = lock_if_free(self._writers / writer / LOCK, create=False)
        except FileNotFoundError:
            fd = None
        try:
            yield fd is not None
        finally:
            if fd is not None:
                os.close(fd)

    def cut_off(self, file: LogFile, size_bytes: int) -> None:
        """See the protocol."""
        assert isinstance(file, Path)
        os.truncate(file, size_bytes)

    def remove(self, writer: WriterId, files: Sequence[LogFile]) -> None:
        """See the protocol."""
        for file in files:
            (self._writers / writer / file.name).unlink(missing_ok=True)

    def remove_writer(self, writer: WriterId) -> None:
        """See the protocol."""
        directory = self._writers / writer
        for path in directory.iterdir():
            path.unlink(missing_ok=True)
        directory.rmdir()

    def process(self) -> AbstractContextManager[ProcessNumber]:
        """See the protocol."""
        return processes.running_process(self._root)

    def process_has_ended(self, process: ProcessNumber) -> bool:
        """See the protocol."""
        return processes.has_ended(self._root, process)

    def load(self, name: str) -> bytes | None:
        """See the protocol."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def save(self, name: str, data: bytes) -> None:
        """See the protocol."""
        path = self._root / name
        with open(path.with_suffix(".new"), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path.with_suffix(".new"), path)
        sync_directory(self._root)

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncIterator[bool]:
        """See the protocol."""
        with as_errors_of_the_store():
            self._root.mkdir(parents=True, exist_ok=True)
            fd = lock_if_free(self._root / f".{name}-lock")
        try:
            yield fd is not None
        finally:
            if fd is not None:
                os.close(fd)
