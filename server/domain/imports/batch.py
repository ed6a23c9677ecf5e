"""Some files of an import, which are stored by one upload."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple

from server.domain.flow.ingest_budget import IngestBudget
from server.domain.imports.request import ImportJob, digest_of
from server.domain.store.receive import PROCESSING_FAILURE, Stored, StoreResult
from server.domain.store.upload import Destination, Upload, UploadHeader, UploadMessage, UploadPiece
from server.model.buffer import Buffer
from server.model.call import Call
from server.model.errors import DicomStoreError, Exhausted, InvalidRequest, Reason, Unavailable
from server.model.ids import Address
from server.ports.imports import Gone, ImportedFile, ImportedFiles, Source, SourceFault, SourceFile

_LOOKED_UP = 100
_PAGE = 500
_GROUP_FILES = 32
_GROUP_BYTES = 1 << 20
_GROUPS_AHEAD = 4
_MAX_MESSAGE_BYTES = 2 << 20

_OUTAGES = {
    Reason.STORAGE_FULL: Exhausted,
    Reason.BUSY: Exhausted,
    Reason.STORAGE_UNAVAILABLE: Unavailable,
    Reason.DATABASE_UNAVAILABLE: Unavailable,
    Reason.ARCHIVE_READ_ONLY: Unavailable,
    Reason.SHUTTING_DOWN: Unavailable,
    Reason.QUOTA_EXCEEDED: InvalidRequest,
    Reason.PARTITION_BEING_DELETED: InvalidRequest,
}
"""Failures that are no fault of a file, with the class of the error that ends the batch: others are retried."""

Entry = SourceFile | tuple[str, SourceFault]


class Failure(NamedTuple):
    """A file that could not be imported.

    code: Failure Reason (0008,1197).
    attributes: tags of invalid attributes.
    is_readable: the file could be read, so that it can be copied.
    """

    name: str
    file: SourceFile | None
    reason: Reason
    message: str
    code: int
    attributes: Sequence[str] = ()
    is_readable: bool = True


class Listing:
    """The files of a source from a position on; kept between the calls of a step, which may stop anywhere."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.position = ""
        self._waiting: deque[Entry] = deque()

    def seek(self, position: str) -> None:
        """Continue after a position."""
        if position != self.position:
            self._waiting.clear()
            self.position = position

    async def take(self, count: int) -> Sequence[Entry]:
        """Return the next entries and move the position behind them; nothing at the end. Raises: as `Source.page`."""
        if not self._waiting:
            self._waiting.extend(await self.source.page(self.position, _PAGE))
        taken = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
        if taken:
            self.position = name_of(taken[-1])
        return taken

    def give_back(self, entries: Iterable[Entry], position: str) -> None:
        """Return the last taken entries; `position` is the one before them."""
        self._waiting.extendleft(reversed(list(entries)))
        self.position = position


def name_of(entry: Entry) -> str:
    """Return the name of an entry."""
    return entry.name if isinstance(entry, SourceFile) else entry[0]


class Batch:
    """Stores files from the position of a listing on, for some time.

    is_last: the listing has ended.
    stored, identical: files whose instance was stored now, or before.
    known: files that were imported before.
    failures: of other files.
    stored_bytes: size of the stored instances.

    Args:
        operation_id: files that have failed in this operation are not tried again.
        unchanged_since: files that were changed later are left for a later pass; None takes them.
    """

    def __init__(
        self,
        job: ImportJob,
        listing: Listing,
        files: ImportedFiles,
        *,
        operation_id: str,
        unchanged_since: float | None,
        seconds: float,
    ) -> None:
        self._job = job
        self._listing = listing
        self._files = files
        self._operation_id = operation_id
        self._unchanged_since = unchanged_since
        self._end = time.monotonic() + seconds
        self._sent: dict[int, SourceFile] = {}
        self._faults: dict[int, SourceFault] = {}
        self._number = 0
        self.next_files: deque[SourceFile] = deque()
        self.is_last = False
        self.stored: list[SourceFile] = []
        self.identical: list[SourceFile] = []
        self.known: list[SourceFile] = []
        self.failures: list[Failure] = []
        self.stored_bytes = 0
        self._outage: DicomStoreError | None = None

    async def run(self, call: Call, store: Destination, budget: IngestBudget, address: Address) -> None:
        """Store the files. Each is durable and visible, or has failed, when this returns.

        Raises:
            Unavailable, Exhausted: a failure that is no fault of a file; the batch must be repeated.
            InvalidRequest: the import cannot continue. And as `Upload.run`.
        """
        header = UploadHeader(address, False, self._job.mode, self._job.duplicates, self._job.reason)
        upload = Upload(call, store, budget, _MAX_MESSAGE_BYTES)
        async with aclosing(self._messages(header)) as messages, aclosing(upload.run(messages)) as results:
            async for some in results:
                for number, result in some:
                    self._add(self._sent.pop(number), result, self._faults.pop(number, None))
        if self._outage is not None:
            raise self._outage

    def _add(self, file: SourceFile, result: StoreResult, fault: SourceFault | None) -> None:
        if isinstance(result, Stored):
            (self.identical if result.identical else self.stored).append(file)
            self.stored_bytes += 0 if result.identical else result.size_bytes
        elif fault is not None:
            self._add_fault(file.name, file, fault)
        elif result.identical:
            self.identical.append(file)
        elif kind := _OUTAGES.get(result.reason):
            self._outage = kind(result.reason, result.message)
        else:
            attributes = [finding.path for finding in result.findings]
            failure = Failure(file.name, file, result.reason, result.message, result.failure_reason, attributes)
            self.failures.append(failure)

    def _add_fault(self, name: str, file: SourceFile | None, fault: SourceFault) -> None:
        failure = Failure(name, file, Reason.SOURCE_UNREADABLE, str(fault), PROCESSING_FAILURE, is_readable=False)
        self.failures.append(failure)

    async def _messages(self, header: UploadHeader) -> AsyncGenerator[UploadMessage]:
        """Read the files, some ahead, and yield them as messages in their order."""
        yield UploadMessage(header, ())
        reading: deque[tuple[Sequence[SourceFile], asyncio.Task[Sequence[Buffer | SourceFault | Gone]]]] = deque()
        try:
            async with aclosing(self._groups()) as groups:
                async for group in groups:
                    if group[0].size_bytes <= _GROUP_BYTES:
                        reading.append((group, asyncio.create_task(_read(self._listing.source, group))))
                        if len(reading) < _GROUPS_AHEAD:
                            continue
                        yield await self._message(*reading.popleft())
                        continue
                    while reading:
                        yield await self._message(*reading.popleft())
                    async for message in self._large(group[0]):
                        yield message
            while reading:
                yield await self._message(*reading.popleft())
        finally:
            for _, task in reading:
                task.cancel()

    async def _groups(self) -> AsyncGenerator[Sequence[SourceFile]]:
        """Yield the files to store: a large one, or several small ones, together."""
        is_first = True
        while is_first or time.monotonic() < self._end:
            position = self._listing.position
            entries = await self._listing.take(_LOOKED_UP)
            if not entries:
                self.is_last = True
                return
            files = [entry for entry in entries if isinstance(entry, SourceFile)]
            known = await self._files.known([self._job.key_of(file.name) for file in files])
            group: list[SourceFile] = []
            group_bytes = 0
            for number, entry in enumerate(entries):
                if not isinstance(entry, SourceFile):
                    self._add_fault(entry[0], None, entry[1])
                elif self._is_wanted(entry, known):
                    if group and (len(group) == _GROUP_FILES or group_bytes + entry.size_bytes > _GROUP_BYTES):
                        yield group
                        is_first = False
                        group, group_bytes = [], 0
                        if time.monotonic() >= self._end:
                            self._listing.give_back(
                                entries[number:], name_of(entries[number - 1]) if number else position
                            )
                            return
                    group.append(entry)
                    group_bytes += entry.size_bytes
            if group:
                yield group
                is_first = False

    def _is_wanted(self, file: SourceFile, known: Mapping[bytes, ImportedFile]) -> bool:
        since = self._unchanged_since
        if since is not None and file.changed is not None and file.changed.timestamp() > since:
            return False
        before = known.get(self._job.key_of(file.name))
        if before is None or before.etag != digest_of(file):
            return True
        if before.failed_in is None:
            self.known.append(file)
            return False
        return before.failed_in != self._operation_id

    def _begin(self, file: SourceFile) -> int:
        self._number += 1
        self._sent[self._number] = file
        self.next_files.append(file)
        return self._number

    async def _message(
        self, group: Sequence[SourceFile], reading: "asyncio.Task[Sequence[Buffer | SourceFault | Gone]]"
    ) -> UploadMessage:
        pieces = []
        for file, content in zip(group, await reading, strict=True):
            if isinstance(content, SourceFault):
                self._add_fault(file.name, file, content)
            elif not isinstance(content, Gone):
                pieces.append(UploadPiece(self._begin(file), content, True, False, len(content), None))
        return UploadMessage(None, pieces)

    async def _large(self, file: SourceFile) -> AsyncGenerator[UploadMessage]:
        number: int | None = None
        try:
            async with aclosing(self._listing.source.read(file)) as pieces:
                async for piece in pieces:
                    if number is None:
                        number = self._begin(file)
                    yield UploadMessage(None, [UploadPiece(number, piece, False, False, file.size_bytes, None)])
        except (SourceFault, Gone) as error:
            fault = error if isinstance(error, SourceFault) else SourceFault("The file was removed while it was read.")
            if number is not None:
                self._faults[number] = fault
                yield UploadMessage(None, [UploadPiece(number, b"", True, True, None, None)])
            elif isinstance(error, SourceFault):
                self._add_fault(file.name, file, fault)
            return
        assert number is not None, "a large file has a piece"
        yield UploadMessage(None, [UploadPiece(number, b"", True, False, None, None)])


async def _read(source: Source, group: Sequence[SourceFile]) -> Sequence[Buffer | SourceFault | Gone]:
    return await source.contents(group)
