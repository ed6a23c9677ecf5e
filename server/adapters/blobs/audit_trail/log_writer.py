"""The log files of one process. Used by one thread; all functions block.

    writers/<id>/.lock          locked as long as the process runs
    writers/<id>/<number>.log   chained records, see `log_lines`; named by the number of the first one

A file grows in steps of zeros, so that a sync writes only records: if it also changed the size of the file, it would
have to commit a transaction of the file system, which costs more. The end of a file cuts off what is unused.

The list of checkpoints has the writer before its directory exists, so that an unknown directory is a finding.
"""

import errno
import fcntl
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import orjson

from server.adapters.blobs.audit_trail.chain import BrokenLogError, Chain, NewRecords, new_record
from server.adapters.blobs.audit_trail.log_lines import file_name
from server.adapters.blobs.audit_trail.place import Checkpoints
from server.adapters.blobs.disk.reserve import Reserve
from server.adapters.blobs.disk.threads import free_bytes, sync_directory
from server.model.audit.trail import AuditTrailSettings, WriterId

LOCK = ".lock"

_STEP_BYTES = 256 << 10
_FEW_BYTES = 4 << 20  # with less free space, files do not grow in advance
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class LogWriter:
    """Appends records to the files of this process.

    Args:
        root: directory of the audit trail.
        facts: of the process, for the first record of each file.
    """

    def __init__(
        self,
        root: Path,
        checkpoints: Checkpoints,
        settings: AuditTrailSettings,
        reserve: Reserve,
        facts: Mapping[str, object],
    ) -> None:
        self.id: WriterId = uuid.uuid4().hex
        self.directory = root / "writers" / self.id
        self._chain = Chain()
        self.sealed = 0  # number of the last record in a checkpoint
        self._checkpoints = checkpoints
        self._settings = settings
        self._reserve = reserve
        self._facts = facts
        self._lock_fd = self._fd = -1
        self._size = 0  # of the records
        self._allocated = 0  # size of the file
        self._created = 0.0
        self._last_checkpoint = ""  # not recorded yet

    @property
    def number(self) -> int:
        """The number of the last record."""
        return self._chain.number

    def enter(self) -> None:
        """Register this writer and create its directory. Raises: OSError, ForeignKey."""
        self._checkpoints.append({"event": "opened", "writer": self.id})
        self.directory.mkdir(parents=True)
        # It gets its name when it is locked: another process takes over a writer whose lock is free.
        unnamed = self.directory / f"{LOCK}-new"
        self._lock_fd = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        unnamed.rename(self.directory / LOCK)
        sync_directory(self.directory.parent)
        sync_directory(self.directory.parent.parent)

    def write(self, records: Sequence[NewRecords]) -> None:
        """Append records durably: all or none.

        Raises:
            BrokenLogError: the file may have some of them.
            OSError: the file has none of them.
        """
        if self._fd >= 0 and self._is_full():
            self._end_file()
        if self._fd < 0:
            self._begin_file(records[0].time)
        before = self._chain.state
        may_use_reserve = all(record.may_use_reserve for record in records)
        if self._last_checkpoint:
            seal = orjson.dumps({"kind": "checkpoint", "checkpoint": self._last_checkpoint})
            # Not a later time: times ascend.
            records = [new_record(seal, records[0].time), *records]
        text = b"".join(self._chain.lines(records))
        try:
            self._append(text, may_use_reserve=may_use_reserve)
        except BrokenLogError:
            raise
        except OSError:
            self._chain.state = before
            raise
        self._last_checkpoint = ""

    def checkpoint(self) -> None:
        """Seal all records. The next write records the checkpoint, so that its removal is detected. Raises: OSError."""
        if self.number > self.sealed:
            self._last_checkpoint = self._checkpoints.append(self._entry("checkpoint")).described
            self.sealed = self.number

    def close(self) -> None:
        """Seal all records as the last ones, and unlock the directory. Raises: OSError."""
        try:
            self._cut_off_unused()
            self._checkpoints.append(self._entry("closed"))
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Unlock the directory, for `take_over` to seal it."""
        for fd in (self._fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock_fd = -1

    def _entry(self, event: str) -> dict[str, object]:
        return {"event": event, "writer": self.id, "n": self.number, "digest": self._chain.digest.hex()}

    def _is_full(self) -> bool:
        age = time.monotonic() - self._created
        return self._size >= self._settings.file_bytes or age >= self._settings.file_age.total_seconds()

    def _begin_file(self, time_: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        path = self.directory / file_name(self.number + 1)
        before = self._chain.state
        first = {"kind": "file", "writer": self.id, "previous": self._chain.digest.hex(), **self._facts}
        self._fd, self._size, self._allocated = os.open(path, flags, 0o640), 0, 0
        self._created = time.monotonic()
        try:
            [line] = self._chain.lines([new_record(orjson.dumps(first), time_)])
            self._append(line, may_use_reserve=True)
            sync_directory(self.directory)
        except OSError:
            self._chain.state = before
            os.close(self._fd)
            self._fd = -1
            with suppress(OSError):
                path.unlink()
            raise

    def _end_file(self) -> None:
        self.checkpoint()
        self._cut_off_unused()
        os.close(self._fd)
        self._fd = -1

    def _cut_off_unused(self) -> None:
        if self._fd >= 0 and self._allocated > self._size:
            with suppress(OSError):  # readers ignore it
                os.ftruncate(self._fd, self._size)

    def _append(self, text: bytes, *, may_use_reserve: bool) -> None:
        try:
            self._write_in_advance(text)
        except BrokenLogError:
            raise
        except OSError as error:
            if error.errno not in _NO_ROOM or not may_use_reserve or not self._reserve.draw():
                raise
            self._write(text)
        try:
            os.fdatasync(self._fd)
        except OSError as error:  # the kernel may have dropped what it could not write
            raise BrokenLogError(error.errno, "a sync of the audit trail failed") from error
        self._size += len(text)

    def _write_in_advance(self, text: bytes) -> None:
        """Write text, with zeros for later records if the file has to grow and the disk has space for them."""
        end = self._size + len(text)
        if end > self._allocated and free_bytes(self.directory) >= _FEW_BYTES:
            grown = min(end // _STEP_BYTES * _STEP_BYTES + _STEP_BYTES, self._settings.file_bytes)
            try:
                self._write(text.ljust(grown - self._size, b"\0"))
                return
            except BrokenLogError:
                raise
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
        self._write(text)

    def _write(self, text: bytes) -> None:
        left, position = memoryview(text), self._size
        try:
            while left:
                written = os.pwrite(self._fd, left, position)
                left, position = left[written:], position + written
        except OSError:
            try:
                os.ftruncate(self._fd, self._size)
            except OSError as error:
                raise BrokenLogError(error.errno, "the audit trail cannot be truncated") from error
            self._allocated = self._size
            raise
        self._allocated = max(self._allocated, position)
