"""The audit trail below one directory: opening, sealing the records of ended processes, retention."""

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson

from common.process.release import release
from server.adapters.blobs.audit_trail import keys, reading, verification
from server.adapters.blobs.audit_trail.chain import Writer
from server.adapters.blobs.audit_trail.file_place import FilePlace
from server.adapters.blobs.audit_trail.group_commit import GroupCommit
from server.adapters.blobs.audit_trail.list_state import ForeignKey, WriterState
from server.adapters.blobs.audit_trail.log_lines import LogFile, Scan, first_number, last_line, scan, used_bytes
from server.adapters.blobs.audit_trail.place import Checkpoints, Place
from server.adapters.blobs.disk.threads import as_errors_of_the_store
from server.model.audit.trail import AuditTrailSettings, Positions, StoredRecord, Verification, WriterId
from server.model.errors import DicomStoreError, InvalidRequest, Reason
from server.ports.audit import AuditTail, OnRows, WrongAuditKey
from server.ports.outbox import ProcessNumber

_SYSTEM = "dicomstore"


class ChainedAuditTrail:
    """AuditTrail (see `server.ports.audit`) at a place."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @asynccontextmanager
    async def open(self, settings: AuditTrailSettings) -> AsyncIterator["GroupCommitLog"]:
        """See the port."""
        writing = _Writing(self._place, settings)
        writer = await asyncio.to_thread(writing.first_writer)
        commit = GroupCommit(writing.new_writer, writing.upkeep, flush_seconds=self._place.flush_seconds)
        for event in writing.events:
            commit.append(event)
        writing.record = commit.append_from_thread
        commit.start(writer)
        try:
            yield GroupCommitLog(commit)
        finally:
            await commit.close()

    @contextmanager
    def process(self) -> Iterator[ProcessNumber]:
        """See the port."""
        with ExitStack() as stack:
            with as_errors_of_the_store():
                process = stack.enter_context(self._place.process())
            yield process

    def has_ended(self, process: ProcessNumber) -> bool:
        """See the port."""
        with as_errors_of_the_store():
            return self._place.process_has_ended(process)

    def replace_key(self, old: Path, new: AuditTrailSettings) -> None:
        """See the port."""
        before = keys.load_or_create(old) if old.exists() else None
        with as_errors_of_the_store():
            self._place.checkpoints(keys.signing_key(new)).replace_key(before)

    def public_key(self) -> str:
        """See the port."""
        with as_errors_of_the_store():
            known = self._place.checkpoints().state().keys
        return keys.public_pem(known[-1]).decode() if known else ""

    def records(self, start: str = "", end: str = "") -> Iterator[StoredRecord]:
        """See the port."""
        with as_errors_of_the_store():
            yield from reading.records(self._place, start, end)

    def tail(self, positions: Positions | None) -> AuditTail:
        """See the port."""
        with as_errors_of_the_store():
            return _Tail(
                reading.Tail.at_end(self._place) if positions is None else reading.Tail(self._place, positions)
            )

    def verify(self, *, trusted_key: str = "", checkpoint: str = "") -> Verification:
        """See the port."""
        try:
            public = keys.public_in(trusted_key.encode()) if trusted_key else ""
        except ValueError as error:
            message = "The trusted key is not a public Ed25519 key in PEM format."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="trusted_key") from error
        with as_errors_of_the_store():
            return verification.verify(self._place, trusted_key=public, checkpoint=checkpoint)

    def load_position(self, name: str) -> Positions | None:
        """See the port."""
        with as_errors_of_the_store():
            return _position(self._place, name)

    def save_position(self, name: str, positions: Positions) -> None:
        """See the port."""
        with as_errors_of_the_store():
            self._place.save(f"{name}.position", orjson.dumps(dict(positions)))

    def exclusive(self, name: str) -> AbstractAsyncContextManager[bool]:
        """See the port."""
        return self._place.exclusive(name)


class FileAuditTrail(ChainedAuditTrail):
    """AuditTrail below `<root>/audit`."""

    def __init__(self, root: Path) -> None:
        super().__init__(FilePlace(root))


def _position(place: Place, name: str) -> Positions | None:
    text = place.load(f"{name}.position")
    if text is None:
        return None
    try:
        found = orjson.loads(text)
    except ValueError:  # sending records again is allowed, skipping some is not
        return {}
    return {str(writer): int(number) for writer, number in found.items()}


class GroupCommitLog:
    """AuditLog (see `server.ports.audit`)."""

    def __init__(self, commit: GroupCommit) -> None:
        self._commit = commit
        self.room = commit.room
        self.expedite = commit.expedite
        self.append = commit.append
        self.append_deferred = commit.append_deferred
        self.hold = commit.hold
        self.is_held = commit.is_held
        self.release = commit.release

    @property
    def on_rows(self) -> OnRows:
        """See the port."""
        return self._commit.on_rows

    @on_rows.setter
    def on_rows(self, function: OnRows) -> None:
        self._commit.on_rows = function

    @property
    def failure(self) -> DicomStoreError | None:
        """See the port."""
        return self._commit.failure

    @property
    def is_backlogged(self) -> bool:
        """See the port."""
        return self._commit.is_backlogged

    def append_durably(self, record: bytes, *, may_use_reserve: bool = False, soon: bool = False) -> Awaitable[None]:
        """See the port."""
        return self._commit.append_durably(record, may_use_reserve=may_use_reserve, soon=soon)


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

    def __init__(self, place: Place, settings: AuditTrailSettings) -> None:
        self._place = place
        self._settings = settings
        self._checkpoints: Checkpoints
        self.events: list[bytes] = []
        self.record: Callable[[bytes], None] = self.events.append
        """Appends a record about the upkeep. Until it is replaced, `events` has the records."""

    def first_writer(self) -> Writer:
        """Seal the records of ended processes, and begin to write. Raises: WrongAuditKey, DicomStoreError."""
        self._checkpoints = self._place.checkpoints(keys.signing_key(self._settings))
        with as_errors_of_the_store():
            return self.new_writer()

    def new_writer(self) -> Writer:
        """Begin to write, from the reserve of the disk if necessary. Raises: OSError, WrongAuditKey."""
        self._place.prepare()
        try:
            self._take_over()
            writer = self._place.writer(self._checkpoints, self._settings, _facts())
            writer.enter()
        except ForeignKey as error:
            key = (
                f"the one in {self._settings.key_file}: restore that file, set secret_key or audit_key as on the other "
                "machines of the archive"
            )
            if self._settings.key_seed:
                key = "the one that follows from secret_key: correct that setting"
            raise WrongAuditKey(
                f"The audit trail is signed with the key {keys.fingerprint(error.public)}, which is not {key}, or run "
                "`dicomstore audit replace-key`."
            ) from None
        return writer

    def upkeep(self) -> None:
        """Seal the records of processes that ended, and remove old files. Raises: OSError."""
        self._take_over()
        if self._settings.retention is not None:
            limit = datetime.now(UTC) - self._settings.retention
            self._remove_before(limit.isoformat(timespec="microseconds").replace("+00:00", "Z"))

    def _take_over(self) -> None:
        for writer, expected in sorted(self._checkpoints.state().writers.items()):
            if expected.has_ended or not self._place.has_files(writer):
                continue
            with self._place.taken_over(writer) as has_ended:
                if has_ended:
                    self._seal(writer)

    def _seal(self, writer: WriterId) -> None:
        expected = self._checkpoints.state().writers[writer]
        if expected.has_ended:
            return
        sealed = _sealed_end(self._place, self._place.files(writer), expected)
        if sealed is None:  # the list of checkpoints contradicts the files: a verification reports it
            self.record(_upkeep_record("security-alert", writer=writer))
            return
        n, digest, torn_bytes = sealed
        self._checkpoints.append(
            {"event": "taken over", "writer": writer, "n": n, "digest": digest, "torn_bytes": torn_bytes}
        )

    def _remove_before(self, limit: str) -> None:
        place = self._place.snapshot()
        for writer, state in sorted(self._checkpoints.state().writers.items()):
            files = place.files(writer)
            old = _files_before(place, files, limit, has_ended=state.has_ended)
            while old and not self._is_exported(writer, old[-1]):
                old.pop()
            if not old:
                if state.is_removed and place.has_files(writer):
                    place.remove_writer(writer)
                continue
            last = last_line(old[-1])
            if last is None:
                continue
            number, time = last.last.number, last.last.time
            if number > state.removed_n:
                self._checkpoints.append(
                    {"event": "removed", "writer": writer, "n": number, "digest": last.digest.hex()}
                )
                self.record(_upkeep_record("remove-audit-records", writer=writer, through=number, time=time))
            place.remove(writer, old)
            if state.has_ended and number >= state.n:
                place.remove_writer(writer)

    def _is_exported(self, writer: WriterId, file: LogFile) -> bool:
        last = last_line(file)
        positions = [_position(self._place, name) or {} for name in self._settings.exports]
        return last is not None and all(found.get(writer, 0) >= last.last.number for found in positions)


def _sealed_end(place: Place, files: Sequence[LogFile], expected: WriterState) -> tuple[int, str, int] | None:
    """Return number and digest of the last valid record, and the number of bytes after it; None if records are missing.

    Only the files after the last checkpoint are read. Unused space is cut off.
    """
    if not files:
        return (expected.n, expected.digest, 0) if expected.n == expected.removed_n else None
    earlier = [path for path in files if first_number(path) <= max(expected.n, 1)]
    state: Scan | None = None
    for path in files[len(earlier) - 1 if earlier else 0 :]:
        before = state
        if before is not None and first_number(path) != before.number + 1:
            return None
        for state in scan(path, before):
            if state.contradicts(expected.n, expected.digest):
                return None
    if state is None or state.number < expected.n:
        return None
    used = used_bytes(files[-1])
    place.cut_off(files[-1], used)
    return state.number, state.digest.hex(), used - state.end


def _files_before(place: Place, files: Sequence[LogFile], limit: str, *, has_ended: bool) -> list[LogFile]:
    """Return the files whose records are all older; the file of a running process that is being written is not."""
    old = []
    for index, file in enumerate(files):
        if index + 1 < len(files):
            following = place.first_time(files[index + 1])
            is_old = following is not None and following < limit
        else:
            is_old = has_ended and place.ends_before(file, limit)
        if not is_old:
            break
        old.append(file)
    return old


def _facts() -> dict[str, object]:
    return {"host": platform.node(), "pid": os.getpid(), "program": f"{_SYSTEM} {release()}"}


def _upkeep_record(subtype: str, **facts: object) -> bytes:
    return orjson.dumps(
        {"kind": "event", "principal": f"{_SYSTEM}:audit", "subtype": subtype, "action": "administer", **facts}
    )
