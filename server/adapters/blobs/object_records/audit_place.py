"""The audit trail on an object store: `Place` of the audit trail. All functions block, except `exclusive`.

audit/writers/<writer>/    see `audit_writer`
audit/running/<writer>     the process of a writer
audit/processes/<number>   the process of a number for the outbox
audit/checkpoints/         see `audit_checkpoints`
audit/<name>               positions of exports
"""

import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, timedelta
from functools import lru_cache
from io import BytesIO
from typing import BinaryIO, Literal

from server.adapters.blobs.audit_trail.keys import SigningKey
from server.adapters.blobs.audit_trail.log_lines import Line, LogFile, file_name, last_line, lines
from server.adapters.blobs.audit_trail.place import Checkpoints
from server.adapters.blobs.disk.threads import DiskThreads
from server.adapters.blobs.object_records.audit_checkpoints import ObjectCheckpoints
from server.adapters.blobs.object_records.audit_names import (
    CHECKPOINTS,
    PROCESSES,
    RUNNING,
    WRITERS,
    LogName,
    joined_name,
    parsed,
    prefix_of,
)
from server.adapters.blobs.object_records.audit_writer import ObjectLogWriter
from server.adapters.blobs.objects.client import Exists, Listed, NotFound, ObjectClient
from server.adapters.blobs.objects.lease import ProcessLease
from server.adapters.blobs.objects.locks import ObjectLock
from server.model.audit.trail import AuditTrailSettings, WriterId
from server.model.errors import DicomStoreError
from server.ports.outbox import MAX_PROCESS, ProcessNumber

_CLOCKS_DIFFER = timedelta(hours=1)
"""Most that the clock of a node may differ from that of the service."""

_MAX_JOINED_BYTES = 2 << 20
_CACHED_OBJECTS = 4
_random = random.SystemRandom()


class LogObject:
    """LogFile (see `audit_trail.log_lines`): one object, which never changes. It is read as a whole."""

    def __init__(self, read: Callable[[str], bytes], found: Listed, facts: LogName) -> None:
        self._read = read
        self.object_name = found.name
        self.size_bytes = found.size_bytes
        self.modified = found.last_modified
        self.facts = facts
        self.name = file_name(facts.first)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LogObject) and other.object_name == self.object_name

    def __hash__(self) -> int:
        return hash(self.object_name)

    def open(self, mode: Literal["rb"], buffering: int) -> BinaryIO:
        """See the protocol."""
        try:
            return BytesIO(self._read(self.object_name))
        except NotFound as error:
            raise FileNotFoundError(self.object_name) from error


class ObjectPlace:
    """Place (see `audit_trail.place`).

    Args:
        listing: all objects of writers, of a snapshot.
    """

    flush_seconds = 1.0

    def __init__(
        self,
        client: ObjectClient,
        lease: ProcessLease,
        threads: DiskThreads,
        listing: Mapping[WriterId, list[Listed]] | None = None,
    ) -> None:
        self._client = client
        self._lease = lease
        self._threads = threads
        self._listing = listing
        self._read = lru_cache(_CACHED_OBJECTS)(lambda name: client.get(name)[0])

    def snapshot(self) -> "ObjectPlace":
        """See the protocol: one listing of all objects."""
        listing: dict[WriterId, list[Listed]] = {}
        for found in self._client.names(WRITERS):
            listing.setdefault(found.name.removeprefix(WRITERS).partition("/")[0], []).append(found)
        return ObjectPlace(self._client, self._lease, self._threads, listing)

    def writers(self) -> list[WriterId]:
        """See the protocol."""
        if self._listing is not None:
            return list(self._listing)
        return [folder.removeprefix(WRITERS).rstrip("/") for folder in self._client.folders(WRITERS)]

    def has_files(self, writer: WriterId) -> bool:
        """See the protocol."""
        return bool(self._listed(writer)) or self._process_of(writer) is not None

    def files(self, writer: WriterId) -> list[LogObject]:
        """See the protocol."""
        files = []
        for found in self._listed(writer):
            facts = parsed(_name(found))
            if facts is not None and found.size_bytes:
                files.append(LogObject(self._read, found, facts))
        return list(_not_replaced(files))

    def other_names(self, writer: WriterId) -> list[str]:
        """See the protocol: also a joined object whose name does not fit its records."""
        unknown = [_name(found) for found in self._listed(writer) if parsed(_name(found)) is None]
        return unknown + [file.object_name for file in self.files(writer) if not _is_named_rightly(file)]

    def first_time(self, file: LogFile) -> str | None:
        """See the protocol."""
        assert isinstance(file, LogObject)
        if file.facts.time:
            return file.facts.time
        first = next(lines(file), None)
        return first.first.time if isinstance(first, Line) else None

    def ends_before(self, file: LogFile, time: str) -> bool:
        """See the protocol: an object is written after its last record got its time."""
        assert isinstance(file, LogObject)
        written = (file.modified.astimezone(UTC) + _CLOCKS_DIFFER).isoformat().replace("+00:00", "Z")
        if written < time:
            return True
        last = last_line(file)
        return last is not None and last.last.time < time

    def has_ended(self, writer: WriterId) -> bool:
        """See the protocol."""
        process = self._process_of(writer)
        return process is None or not self._lease.exists(process)

    def checkpoints(self, key: SigningKey | None = None) -> ObjectCheckpoints:
        """See the protocol."""
        return ObjectCheckpoints(self._client, CHECKPOINTS, key)

    def writer(
        self, checkpoints: Checkpoints, settings: AuditTrailSettings, facts: Mapping[str, object]
    ) -> ObjectLogWriter:
        """See the protocol."""
        return ObjectLogWriter(self._client, self._lease, checkpoints, settings, facts)

    def prepare(self) -> None:
        """See the protocol: nothing needs to be created."""

    @contextmanager
    def taken_over(self, writer: WriterId) -> Iterator[bool]:
        """See the protocol. An empty object after the last record lets a write fail that is still in progress."""
        process = self._process_of(writer)
        if process is not None and not self._lease.ended([process]):
            yield False
            return
        while True:
            files = self.files(writer)
            last = last_line(files[-1]) if files else None
            try:
                self._client.create(prefix_of(writer) + file_name(last.last.number + 1 if last else 1), b"")
                break
            except Exists:
                continue
        yield True
        with suppress(DicomStoreError, Exists, NotFound, FileNotFoundError):
            self._join(writer, files)
        self._client.delete([RUNNING + writer])

    def cut_off(self, file: LogFile, size_bytes: int) -> None:
        """See the protocol: an object has no unused space."""

    def remove(self, writer: WriterId, files: Sequence[LogFile]) -> None:
        """See the protocol."""
        self._client.delete([file.object_name for file in files if isinstance(file, LogObject)])

    def remove_writer(self, writer: WriterId) -> None:
        """See the protocol."""
        self._client.delete([found.name for found in self._client.names(prefix_of(writer))])

    @contextmanager
    def process(self) -> Iterator[ProcessNumber]:
        """See the protocol. Removes the records of ended processes."""
        for found in list(self._client.names(PROCESSES)):
            if self.process_has_ended(int(_name(found))):
                self._client.delete([found.name])
        while True:
            number = _random.randint(1, MAX_PROCESS)
            try:
                self._client.create(f"{PROCESSES}{number}", self._lease.id.encode())
                break
            except Exists:
                continue
        try:
            yield number
        finally:
            with suppress(DicomStoreError):
                self._client.delete([f"{PROCESSES}{number}"])

    def process_has_ended(self, process: ProcessNumber) -> bool:
        """See the protocol."""
        try:
            id_ = self._client.get(f"{PROCESSES}{process}")[0].decode("ascii", "replace")
        except NotFound:
            return True
        return bool(self._lease.ended([id_]))

    def load(self, name: str) -> bytes | None:
        """See the protocol."""
        try:
            return self._client.get(f"audit/{name}")[0]
        except NotFound:
            return None

    def save(self, name: str, data: bytes) -> None:
        """See the protocol."""
        self._client.put(f"audit/{name}", data)

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncIterator[bool]:
        """See the protocol."""
        lock = ObjectLock(self._client, self._lease, f"audit-{name}")
        token = await self._threads.run(lock.acquire)
        try:
            yield token is not None
        finally:
            if token is not None:
                await self._threads.run(lambda: lock.release(token))

    def _process_of(self, writer: WriterId) -> str | None:
        try:
            return self._client.get(RUNNING + writer)[0].decode("ascii", "replace")
        except NotFound:
            return None

    def _listed(self, writer: WriterId) -> list[Listed]:
        if self._listing is not None:
            return self._listing.get(writer, [])
        return list(self._client.names(prefix_of(writer)))

    def _join(self, writer: WriterId, files: Sequence[LogObject]) -> None:
        """Replace small objects of an ended process by larger ones."""
        for group in _groups(files):
            time, last = self.first_time(group[0]), last_line(group[-1])
            if len(group) > 1 and time is not None and last is not None:
                texts = [file.open("rb", 0).read() for file in group]
                name = joined_name(writer, group[0].facts.first, last.last.number, time)
                self._client.create(name, b"".join(texts))
                self._client.delete([file.object_name for file in group])


def _name(found: Listed) -> str:
    return found.name.rpartition("/")[2]


def _not_replaced(files: Iterable[LogObject]) -> Iterator[LogObject]:
    """Yield objects in order, without those whose records are in another one."""
    end = 0
    for file in sorted(files, key=lambda file: (file.facts.first, -file.facts.last)):
        if file.facts.first > end:
            yield file
            end = max(end, file.facts.last)


def _groups(files: Sequence[LogObject]) -> Iterator[Sequence[LogObject]]:
    group: list[LogObject] = []
    for file in files:
        if group and sum(member.size_bytes for member in group) + file.size_bytes > _MAX_JOINED_BYTES:
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _is_named_rightly(file: LogObject) -> bool:
    """Return whether the name of a joined object, by which records are found, says what its records are."""
    if not file.facts.last:
        return True
    first, last = next(lines(file), None), last_line(file)
    if not isinstance(first, Line) or last is None:
        return True  # the verification of the records reports it
    return file.facts == LogName(first.first.number, last.last.number, first.first.time)
