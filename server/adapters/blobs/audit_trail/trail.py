"""The audit trail below one directory: opening, sealing the records of ended processes, retention."""

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import orjson

from server.adapters.blobs.audit_trail import keys, processes, reading, verification
from server.adapters.blobs.audit_trail.checkpoints import CheckpointList, ForeignKey, WriterState
from server.adapters.blobs.audit_trail.group_commit import GroupCommit
from server.adapters.blobs.audit_trail.keys import SigningKey
from server.adapters.blobs.audit_trail.log_lines import (
    Line,
    Scan,
    first_number,
    last_line,
    lines,
    log_files,
    scan,
    used_bytes,
)
from server.adapters.blobs.audit_trail.log_writer import LOCK, LogWriter
from server.adapters.blobs.disk.file_lock import lock_if_free
from server.adapters.blobs.disk.reserve import Reserve
from server.adapters.blobs.disk.threads import as_errors_of_the_store, sync_directory
from server.model.audit.trail import AuditTrailSettings, Positions, StoredRecord, Verification
from server.model.errors import DicomStoreError, InvalidRequest, Reason
from server.ports.audit import AuditTail, WrongAuditKey
from server.ports.outbox import ProcessNumber

_SYSTEM = "dicomstore"


class FileAuditTrail:
    """AuditTrail (see `server.ports.audit`) below `<root>/audit`."""

    def __init__(self, root: Path) -> None:
        self._root = root / "audit"
        self._reserve = Reserve(root)

    @asynccontextmanager
    async def open(self, settings: AuditTrailSettings) -> AsyncIterator["FileAuditLog"]:
        """See the port."""
        writing = _Writing(self._root, settings, self._reserve)
        writer = await asyncio.to_thread(writing.first_writer)
        commit = GroupCommit(writing.new_writer, writing.upkeep)
        for event in writing.events:
            commit.append(event)
        writing.record = commit.append_from_thread
        commit.start(writer)
        try:
            yield FileAuditLog(commit)
        finally:
            await commit.close()

    @contextmanager
    def process(self) -> Iterator[ProcessNumber]:
        """See the port."""
        with ExitStack() as stack:
            with as_errors_of_the_store():
                process = stack.enter_context(processes.running_process(self._root))
            yield process

    def has_ended(self, process: ProcessNumber) -> bool:
        """See the port."""
        with as_errors_of_the_store():
            return processes.has_ended(self._root, process)

    def replace_key(self, old: Path, new: Path) -> None:
        """See the port."""
        before = keys.load_or_create(old) if old.exists() else None
        with as_errors_of_the_store():
            CheckpointList(self._root / "checkpoints", keys.load_or_create(new)).replace_key(before)

    def public_key(self) -> str:
        """See the port."""
        with as_errors_of_the_store():
            known = CheckpointList(self._root / "checkpoints").state().keys
        return keys.public_pem(known[-1]).decode() if known else ""

    def records(self, start: str = "", end: str = "") -> Iterator[StoredRecord]:
        """See the port."""
        with as_errors_of_the_store():
            yield from reading.records(self._root, start, end)

    def tail(self, positions: Positions | None) -> AuditTail:
        """See the port."""
        with as_errors_of_the_store():
            return _Tail(reading.Tail.at_end(self._root) if positions is None else reading.Tail(self._root, positions))

    def verify(self, *, trusted_key: str = "", checkpoint: str = "") -> Verification:
        """See the port."""
        try:
            public = keys.public_in(trusted_key.encode()) if trusted_key else ""
        except ValueError as error:
            message = "The trusted key is not a public Ed25519 key in PEM format."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="trusted_key") from error
        with as_errors_of_the_store():
            return verification.verify(self._root, trusted_key=public, checkpoint=checkpoint)

    def load_position(self, name: str) -> Positions | None:
        """See the port."""
        with as_errors_of_the_store():
            return _position(self._root, name)

    def save_position(self, name: str, positions: Positions) -> None:
        """See the port."""
        path = self._root / f"{name}.position"
        with as_errors_of_the_store():
            with open(path.with_suffix(".new"), "wb") as file:
                file.write(orjson.dumps(dict(positions)))
                file.flush()
                os.fsync(file.fileno())
            os.replace(path.with_suffix(".new"), path)
            sync_directory(self._root)

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncIterator[bool]:
        """See the port."""
        with as_errors_of_the_store():
            self._root.mkdir(parents=True, exist_ok=True)
            fd = lock_if_free(self._root / f".{name}-lock")
        try:
            yield fd is not None
        finally:
            if fd is not None:
                os.close(fd)


def _position(root: Path, name: str) -> Positions | None:
    try:
        found = orjson.loads((root / f"{name}.position").read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:  # sending records again is allowed, skipping some is not
        return {}
    return {str(writer): int(number) for writer, number in found.items()}


class FileAuditLog:
    """AuditLog (see `server.ports.audit`)."""

    def __init__(self, commit: GroupCommit) -> None:
        self._commit = commit
        self.room = commit.room
        self.expedite = commit.expedite

    @property
    def failure(self) -> DicomStoreError | None:
        """See the port."""
        return self._commit.failure

    @property
    def is_backlogged(self) -> bool:
        """See the port."""
        return self._commit.is_backlogged

    def append(self, record: bytes, *, may_use_reserve: bool = False) -> None:
        """See the port."""
        self._commit.append(record, may_use_reserve=may_use_reserve)

    def append_durably(
        self, record: bytes, *, may_use_reserve: bool = False, soon: bool = False, later: bool = False
    ) -> Awaitable[None]:
        """See the port."""
        return self._commit.append_durably(record, may_use_reserve=may_use_reserve, soon=soon, later=later)


class _Tail:
    def __init__(self, tail: reading.Tail) -> None:
        self._tail = tail

    @property
    def positions(self) -> Positions:
        return self._tail.positions

    def poll(self, limit: int) -> Sequence[StoredRecord]:
        with as_errors_of_the_store():
            return self._tail.poll(limit)


class _Writing:
    """What the thread of this process does beside appending."""

    def __init__(self, root: Path, settings: AuditTrailSettings, reserve: Reserve) -> None:
        self._root = root
        self._settings = settings
        self._reserve = reserve
        self._key: SigningKey | None = None
        self.events: list[bytes] = []
        self.record: Callable[[bytes], None] = self.events.append
        """Appends a record about the upkeep. Until it is replaced, `events` has the records."""

    def first_writer(self) -> LogWriter:
        """Seal the records of ended processes, and begin to write. Raises: WrongAuditKey, DicomStoreError."""
        self._key = keys.load_or_create(self._settings.key_file)
        with as_errors_of_the_store():
            return self.new_writer()

    def new_writer(self) -> LogWriter:
        """Begin to write, from the reserve of the disk if necessary. Raises: OSError, WrongAuditKey."""
        self._reserve.draw()
        self._root.mkdir(parents=True, exist_ok=True)
        try:
            self._take_over()
            writer = LogWriter(self._root, self._checkpoints, self._settings, self._reserve, _facts())
            writer.enter()
        except ForeignKey as error:
            raise WrongAuditKey(
                f"The audit trail is signed with the key {keys.fingerprint(error.public)}, which is not the one in "
                f"{self._settings.key_file}: restore that file, or run `dicomstore audit replace-key`."
            ) from None
        return writer

    def upkeep(self) -> None:
        """Seal the records of processes that ended, and remove old files. Raises: OSError."""
        self._take_over()
        if self._settings.retention is not None:
            limit = datetime.now(UTC) - self._settings.retention
            self._remove_before(limit.isoformat(timespec="microseconds").replace("+00:00", "Z"))

    @property
    def _checkpoints(self) -> CheckpointList:
        return CheckpointList(self._root / "checkpoints", self._key)

    def _take_over(self) -> None:
        checkpoints = self._checkpoints
        for name, expected in sorted(checkpoints.state().writers.items()):
            directory = self._root / "writers" / name
            if expected.has_ended or not directory.exists():
                continue
            with suppress(FileNotFoundError):
                fd = lock_if_free(directory / LOCK, create=False)
                if fd is None:
                    continue
                try:
                    self._seal(checkpoints, directory)
                finally:
                    os.close(fd)

    def _seal(self, checkpoints: CheckpointList, directory: Path) -> None:
        expected = checkpoints.state().writers[directory.name]
        if expected.has_ended:
            return
        sealed = _sealed_end(directory, expected)
        if sealed is None:  # the list of checkpoints contradicts the files: a verification reports it
            self.record(_upkeep_record("security-alert", writer=directory.name))
            return
        n, digest, torn_bytes = sealed
        checkpoints.append(
            {"event": "taken over", "writer": directory.name, "n": n, "digest": digest, "torn_bytes": torn_bytes}
        )

    def _remove_before(self, limit: str) -> None:
        checkpoints = self._checkpoints
        for name, state in sorted(checkpoints.state().writers.items()):
            directory = self._root / "writers" / name
            files = log_files(directory)
            old = _files_before(files, limit, has_ended=state.has_ended)
            while old and not self._is_exported(old[-1]):
                old.pop()
            if not old:
                if state.is_removed and directory.exists():
                    _remove_directory(directory)
                continue
            last = last_line(old[-1])
            if last is None:
                continue
            if last.number > state.removed_n:
                checkpoints.append({"event": "removed", "writer": name, "n": last.number, "digest": last.digest.hex()})
                self.record(_upkeep_record("remove-audit-records", writer=name, through=last.number, time=last.time))
            for path in old:
                path.unlink(missing_ok=True)
            if state.has_ended and last.number >= state.n:
                _remove_directory(directory)

    def _is_exported(self, path: Path) -> bool:
        last = last_line(path)
        positions = [_position(self._root, name) or {} for name in self._settings.exports]
        return last is not None and all(found.get(path.parent.name, 0) >= last.number for found in positions)


def _sealed_end(directory: Path, expected: WriterState) -> tuple[int, str, int] | None:
    """Return number and digest of the last valid record, and the number of bytes after it; None if records are missing.

    Only the files after the last checkpoint are read. Unused space is cut off.
    """
    files = log_files(directory)
    if not files:
        return (expected.n, expected.digest, 0) if expected.n == expected.removed_n else None
    earlier = [path for path in files if first_number(path) <= max(expected.n, 1)]
    state: Scan | None = None
    for path in files[len(earlier) - 1 if earlier else 0 :]:
        before = state
        if before is not None and first_number(path) != before.number + 1:
            return None
        for state in scan(path, before):
            if state.number == expected.n and state.end and state.digest.hex() != expected.digest:
                return None
    if state is None or state.number < expected.n:
        return None
    used = used_bytes(files[-1])
    os.truncate(files[-1], used)
    return state.number, state.digest.hex(), used - state.end


def _files_before(files: list[Path], limit: str, *, has_ended: bool) -> list[Path]:
    """Return the files whose records are all older; the file of a running process that is being written is not."""
    old = []
    for index, path in enumerate(files):
        if index + 1 < len(files):
            following = next(lines(files[index + 1]), None)
            is_old = isinstance(following, Line) and following.time < limit
        else:
            last = last_line(path)
            is_old = has_ended and last is not None and last.time < limit
        if not is_old:
            break
        old.append(path)
    return old


def _remove_directory(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink(missing_ok=True)
    directory.rmdir()


def _facts() -> dict[str, object]:
    return {"host": platform.node(), "pid": os.getpid(), "program": f"{_SYSTEM} {version('dicomstore')}"}


def _upkeep_record(subtype: str, **facts: object) -> bytes:
    return orjson.dumps(
        {"kind": "event", "principal": f"{_SYSTEM}:audit", "subtype": subtype, "action": "administer", **facts}
    )
