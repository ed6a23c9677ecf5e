"""Operation type `import`: stores the files of a folder or a bucket, or adopts those of a folder in place.

Each call of the step stores files for a moment, by the same upload as a client's. Then it writes records of failures,
and deletes what is to be deleted. At last the index records, in one transaction, which files were imported and where
the operation continues. Files of an interrupted call are read again and are identical. Items are files.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from server.domain.audit.recorder import AuditRecorder
from server.domain.audit.recorder import Source as AuditSource
from server.domain.flow.ingest_budget import IngestBudget
from server.domain.imports.batch import Batch, Failure, Listing
from server.domain.imports.in_place import AdoptingStore
from server.domain.imports.request import ImportJob, digest_of, invalid, is_within, job_of, place_in, shown
from server.domain.operations import lifecycle
from server.domain.operations.types import OperationType, Prepared, Progress, Step
from server.domain.partition_names import PartitionNames
from server.domain.store.receive import Store
from server.domain.store.upload import Destination
from server.model.access import Action, Grant
from server.model.audit.call_audit import CallAudit
from server.model.call import Call, Principal
from server.model.errors import DicomStoreError, Reason, Unavailable
from server.model.ids import NO_PARTITION, Address, PartitionName
from server.model.operation import Json, Operation, OperationError, OperationUpdate
from server.ports.blobs import BlobStore
from server.ports.imports import (
    Gone,
    ImportedBatch,
    ImportedFile,
    ImportedFiles,
    Source,
    SourceFault,
    SourceFile,
    Sources,
)

NAME = "import"
RPC = "OperationService/Import"
"""The name of a call of the step in the audit trail."""

_STEP_SECONDS = 1.5
_COUNT_SECONDS = 3.0
_HEARTBEAT_SECONDS = 20.0
"""A call that stores a large file tells others so often that the operation is not stuck."""

_PAUSE_FACTOR = 9
_MAX_LISTINGS = 4

_log = logging.getLogger("dicomstore.imports")


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Position: the number of the pass over the source, from 1, when it began, and the last file that was processed.

    `began` is in seconds since 1970.
    """

    number: int = 0
    began: float = 0.0
    after: str = ""

    def encoded(self) -> str:
        return json.dumps([self.number, self.began, self.after])

    @classmethod
    def of(cls, text: str) -> "_Cursor":
        return cls(*json.loads(text)) if text else cls()


class Import:
    """Performs the steps.

    Args:
        permitted: canonical URLs of the folders and prefixes that may be imported, with all below.
        own: canonical URLs of the buckets of the archive itself, which are never permitted.
        adopted: the folders that may be adopted in place, by name.
        has_partitions: data partitions are enabled.
        on_change: awaited after instances have been stored.
    """

    def __init__(
        self,
        *,
        files: ImportedFiles,
        sources: Sources,
        store: Store,
        blobs: BlobStore,
        budget: Callable[[], IngestBudget],
        partitions: PartitionNames,
        recorder: AuditRecorder | None,
        permitted: Sequence[str],
        own: Sequence[str],
        adopted: Mapping[str, Path],
        has_partitions: bool,
        now: Callable[[], datetime],
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        self._files = files
        self._sources = sources
        self._store = store
        self._blobs = blobs
        self._budget = budget
        self._partitions = partitions
        self._recorder = recorder
        self._permitted = permitted
        self._own = own
        self._adopted = adopted
        self._has_partitions = has_partitions
        self._now = now
        self._on_change = on_change
        self._listings: dict[str, Listing] = {}
        self.type = OperationType(
            name=NAME,
            request_message="ImportRequest",
            result_message="ImportResult",
            steps=(Step("import", self._step),),
            check=self._checked,
            prepare=self._prepared,
            partition=lambda request: PartitionName(request.get("partition", "")),
            may_create_partition=lambda request: request.get("create_partition", False),
            start_action=Action.ADMINISTER,
        )

    def _checked(self, request: Json) -> Json:
        job = job_of(request)
        if job.in_place:
            if place_in(self._adopted, job.source) is None:
                raise invalid("source", "It must be in one of the folders of setting adopted_folders.")
        else:
            self._require_permitted(job.source, "source")
        if job.errors:
            self._require_permitted(job.errors, "errors")
        return request

    def _require_permitted(self, url: str, field: str) -> None:
        if not any(is_within(url, one) for one in self._permitted):
            raise invalid(field, "It must be in one of the folders and prefixes of setting import_sources.")
        if any(is_within(url, one) or is_within(one, url) for one in self._own):
            raise invalid(field, "It contains data of the archive itself, or is within it.")

    async def _prepared(self, _: str, request: Json) -> Prepared:
        if request.get("create_partition", False):
            await self._partitions.create_missing(PartitionName(request["partition"]))
        return Prepared(request)

    async def _step(self, operation: Operation) -> Progress:
        """Import files for a moment. The progress is stored here, in the transaction of the record of files."""
        job = job_of(self._checked(operation.request))
        cursor = _Cursor.of(operation.cursor)
        try:
            listing = await self._listing(operation.id, job)
        except Unavailable as error:
            if cursor.number:  # a share that is not mounted at the moment
                raise
            raise invalid("source", error.message) from error
        if not cursor.number:
            cursor = replace(cursor, number=1, began=time.time())
            total = 0 if job.continuous else await listing.source.count(_COUNT_SECONDS)
            operation = replace(operation, total=total)
        listing.seek(cursor.after)
        batch = Batch(
            job,
            listing,
            self._files,
            operation_id=operation.id,
            unchanged_since=time.time() - job.settle_seconds if job.continuous else None,
            seconds=_STEP_SECONDS,
        )
        try:
            async with self._heartbeat(operation.id), self._recorded(operation.id, job) as call:
                await batch.run(call, self._destination(job, batch), self._budget(), self._address(job))
            if batch.is_last and listing.position and not job.delete_source:
                await _require_files(listing.source)
        except BaseException:
            self._listings.pop(operation.id, None)
            raise
        if batch.stored:
            await self._on_change()
        return await self._conclude(operation, job, cursor, listing.position, batch)

    async def _conclude(
        self, operation: Operation, job: ImportJob, cursor: _Cursor, position: str, batch: Batch
    ) -> Progress:
        moved = await self._write_errors(operation, job, batch)
        done = [*batch.stored, *batch.identical]
        to_delete = [*done, *batch.known, *moved] if job.delete_source else []
        remaining = await self._listings[operation.id].source.delete(to_delete) if to_delete else to_delete
        removed = set(to_delete) - set(remaining)
        rows = [ImportedFile(job.key_of(file.name), digest_of(file), None) for file in done if file not in removed]
        for failure in batch.failures:
            if failure.file is not None and failure.file not in removed:
                key, digest = job.key_of(failure.name), digest_of(failure.file)
                rows.append(ImportedFile(key, digest, operation.id))
        imported = ImportedBatch(rows, [job.key_of(file.name) for file in removed])
        skipped = 0 if job.continuous else len(batch.known)
        following, resumes = replace(cursor, after=position), None
        if batch.is_last:
            following = _Cursor(cursor.number + 1, time.time())
            took = time.time() - cursor.began
            if job.continuous:
                resumes = self._now() + timedelta(seconds=max(job.interval_seconds, _PAUSE_FACTOR * took))
        counts = {
            "stored": len(batch.stored),
            "identical": len(batch.identical),
            "skipped": skipped,
            "failed": len(batch.failures),
            "stored_bytes": batch.stored_bytes,
            "removed": len(removed),
            "passes": int(batch.is_last),
        }
        progress = Progress(
            following.encoded(),
            done=len(done) + len(batch.failures) + skipped,
            failed=len(batch.failures),
            total=operation.total,
            errors=[
                OperationError(self._now(), one.reason, one.message, item=shown(one.name)) for one in batch.failures
            ],
            is_last=batch.is_last and not job.continuous,
            resumes=resumes,
        )
        now = self._now()

        def update(current: Operation) -> OperationUpdate | None:
            result = {name: int(current.result.get(name, 0)) + count for name, count in counts.items()}
            return lifecycle.advanced(self.type, operation, replace(progress, result=result), current, now)

        await self._files.record(operation.id, imported, update)
        if batch.is_last:
            self._listings.pop(operation.id, None)
        return progress

    async def _listing(self, operation_id: str, job: ImportJob) -> Listing:
        found = self._listings.get(operation_id)
        if found is None:
            while len(self._listings) >= _MAX_LISTINGS:
                self._listings.pop(next(iter(self._listings)))
            found = self._listings[operation_id] = Listing(
                await self._sources.open(job.source, exact=job.in_place, is_emptied=job.delete_source)
            )
        return found

    def _destination(self, job: ImportJob, batch: Batch) -> Destination:
        if not job.in_place:
            return self._store
        place = place_in(self._adopted, job.source)
        assert place is not None, "the request was checked"
        folder, below = place
        return AdoptingStore(self._store, self._blobs, folder, lambda: below + batch.next_files.popleft().name)

    def _address(self, job: ImportJob) -> Address:
        return Address(job.partition if self._has_partitions else NO_PARTITION)

    @asynccontextmanager
    async def _recorded(self, operation_id: str, job: ImportJob) -> AsyncIterator[Call]:
        """Record a call of the step like a call of the client who has started the operation, in the audit trail."""
        grant = Grant(frozenset({Action.WRITE}), Address(job.partition))
        principal = Principal(job.author, grants=(grant,))
        if self._recorder is None:
            yield Call(operation_id, principal, audit=CallAudit())
            return
        record = self._recorder.call(RPC, Action.WRITE.value, AuditSource(peer="inproc"))
        record.note(operation=operation_id)
        call = Call(operation_id, principal, audit=record)
        code, reason = "OK", ""
        try:
            yield call
        except DicomStoreError as error:
            code, reason = "FAILED", error.reason.value
            raise
        except BaseException:
            code = "CANCELLED"
            raise
        finally:
            await record.complete(call, code, reason, is_cancelled=code == "CANCELLED")

    @asynccontextmanager
    async def _heartbeat(self, operation_id: str) -> AsyncIterator[None]:
        async def beat() -> None:
            while True:
                await asyncio.sleep(_HEARTBEAT_SECONDS)
                now = self._now()
                with suppress(DicomStoreError):
                    await self._files.record(
                        operation_id,
                        ImportedBatch(()),
                        lambda current: OperationUpdate(replace(current, updated=now)),  # noqa: B023
                    )

        task = asyncio.create_task(beat())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _write_errors(self, operation: Operation, job: ImportJob, batch: Batch) -> Collection[SourceFile]:
        """Write the records of failures, and copies of the files that are to be moved; return these files."""
        moved: list[SourceFile] = []
        if not (job.errors and batch.failures):
            return moved
        errors = await self._sources.open_errors(job.errors)
        source = self._listings[operation.id].source
        for failure in batch.failures:
            record = orjson.dumps(_record_of(failure, operation, job, self._now()), option=orjson.OPT_INDENT_2)
            is_moved = job.delete_source and failure.is_readable and failure.file is not None
            try:
                content = source.read(failure.file) if is_moved and failure.file is not None else None
                await errors.add(failure.name, record, content)
            except (SourceFault, Gone):  # changed or removed meanwhile
                await errors.add(failure.name, record, None)
                continue
            if is_moved and failure.file is not None:
                moved.append(failure.file)
        return moved


async def _require_files(source: Source) -> None:
    """Check that a source that has had files is not empty at its end. Raises: Unavailable."""
    if not await source.page("", 1):
        message = "The source is empty, which it was not before: it may not be mounted."
        raise Unavailable(Reason.STORAGE_UNAVAILABLE, message)


def _record_of(failure: Failure, operation: Operation, job: ImportJob, now: datetime) -> Mapping[str, object]:
    """Return the record of a failure. It has no values of attributes."""
    file = failure.file
    return {
        "timestamp": now.isoformat(),
        "operation": operation.id,
        "source": f"{job.source}/{shown(failure.name)}",
        "etag": file.etag if file else "",
        "sizeBytes": file.size_bytes if file else 0,
        "failureReason": failure.code,
        "reason": failure.reason.value,
        "message": failure.message,
        "attributes": list(failure.attributes),
    }
