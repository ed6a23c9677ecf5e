"""The steps of an export: count the instances, copy them, write what describes them, and forget them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Protocol, TypeVar

from server.dicom.media.directory_records import keys_of
from server.domain.operations.exporting.directory import directory_of
from server.domain.operations.exporting.places import ExportPolicy, check, destination_of, without_credentials
from server.domain.operations.exporting.sources import Position, Sources, source_of
from server.domain.operations.types import OperationType, Prepared, Progress, Step
from server.domain.retrieve.instances import OpenInstance
from server.domain.retrieve.transfer_syntax_choice import Acceptable, acceptable
from server.model.access import Action
from server.model.buffer import Buffer
from server.model.errors import DicomStoreError, Exhausted, InvalidRequest, NotFound, Reason, Unavailable
from server.model.ids import Address, PartitionName
from server.model.instance import StoredInstance
from server.model.lifecycle.export import Credentials, ExportedFile
from server.model.operation import Json, Operation, OperationError, OperationState, OperationUpdate
from server.ports.index import InstanceIndex
from server.ports.lifecycle.exports import Destination, DestinationError, Destinations, ExportedFiles
from server.ports.operations import Operations

NAME = "export"
BATCH = 100
"""Most instances that one transaction records."""

_AT_ONCE = 4
"""Number of files that are written at the same time, each with a part of 8 MiB in memory."""

_CHECK_SECONDS = 15.0
"""Time for the check of a destination at the start, for which the client waits."""

_ALIVE_SECONDS = 15.0
_GIVE_UP_SECONDS = 3600.0
"""Time for which an unreachable destination is tried."""

_PAGE = 500
_MAX_SOURCES = 20_000

T = TypeVar("T")


class Secrets(Protocol):
    """Encrypts credentials for the time of an operation."""

    def seal(self, operation_id: str, credentials: Credentials) -> str:
        """Return encrypted credentials; empty for none. Raises: Unavailable, the key cannot be used."""
        ...

    def unseal(self, operation_id: str, secret: str) -> Credentials:
        """Return credentials. Raises: InvalidRequest, they were encrypted with another key; Unavailable."""
        ...


class Opener(Protocol):
    """Reads stored instances; see `server.domain.retrieve.instances.RetrieveInstances`."""

    async def open_stored(self, stored: StoredInstance, acceptable: Acceptable) -> OpenInstance:
        """Return an instance in an acceptable form."""
        ...


class Export:
    """Performs the steps.

    Args:
        is_enabled: False refuses all exports.
        transfer_syntaxes: those into which instances can be transcoded.
    """

    def __init__(
        self,
        *,
        files: ExportedFiles,
        record: Operations,
        index: InstanceIndex,
        sources: Sources,
        opener: Opener,
        destinations: Callable[[], Awaitable[Destinations]],
        secrets: Secrets,
        policy: ExportPolicy,
        now: Callable[[], datetime],
        transfer_syntaxes: Sequence[str],
        is_enabled: bool = True,
    ) -> None:
        self._files = files
        self._record = record
        self._index = index
        self._sources = sources
        self._opener = opener
        self._destinations = destinations
        self._secrets = secrets
        self._policy = policy
        self._now = now
        self._transfer_syntaxes = transfer_syntaxes
        self._is_enabled = is_enabled
        self.type = OperationType(
            name=NAME,
            request_message="ExportRequest",
            result_message="ExportResult",
            steps=(
                Step("count", self._count),
                Step("copy", self._copy),
                Step("describe", self._describe),
                Step("conclude", self._conclude),
            ),
            check=self._checked,
            prepare=self._prepare,
            clean_up=self._clean_up,
            start_action=Action.EXPORT,
            partition=partition_of,
            audited=audited,
        )

    # -- start -----------------------------------------------------------------------------------------------------

    def _checked(self, request: Json) -> Json:
        if not self._is_enabled:
            raise NotFound(Reason.EXPORT_DISABLED, "Exports are disabled.")
        # Sources are stored with the partition of the operation, which is resolved.
        sources = [{**source, "partition": request["partition"]} for source in request.get("sources", ())]
        if len({source.get("partition", "") for source in request.get("sources", ())}) > 1:
            raise _invalid("sources", "All sources must be of one partition.")
        if len(sources) > _MAX_SOURCES:
            raise _invalid("sources", f"An export has at most {_MAX_SOURCES} sources.")
        request = {**request, "sources": sources} if sources else request
        _ = source_of(request)
        place, credentials = destination_of(request)
        check(place, credentials, self._policy)
        syntax = request.get("transfer_syntax_uid", "")
        if syntax and syntax not in self._transfer_syntaxes:
            raise _invalid("transfer_syntax_uid", "Instances cannot be transcoded to this transfer syntax.")
        return request

    async def _prepare(self, operation_id: str, request: Json) -> Prepared:
        """Check the search and the destination, by writing an empty list of errors."""
        await self._sources.check(source_of(request))
        place, credentials = destination_of(request)
        secret = self._secrets.seal(operation_id, credentials)
        try:
            destinations = await self._destinations()
            async with asyncio.timeout(_CHECK_SECONDS), destinations.open(place, credentials) as destination:
                await destination.write(f"{operation_id}/errors.log", _pieces())
        except DestinationError as error:
            raise _invalid("destination", error.message) from None
        except TimeoutError:
            raise _invalid("destination", "The destination cannot be reached (no response).") from None
        return Prepared(without_credentials(request, place), secret)

    # -- steps -----------------------------------------------------------------------------------------------------

    async def _count(self, operation: Operation) -> Progress:
        """Count the instances of some sources."""
        total, following = await self._sources.count(source_of(operation.request), int(operation.cursor or 0))
        result = operation.result or {"error_href": self._url(operation, "errors.log")}
        return Progress(
            cursor="" if following is None else str(following),
            total=operation.total + total,
            result=result,
            is_last=following is None,
        )

    async def _copy(self, operation: Operation) -> Progress:
        """Copy some instances, and record them in the transaction that moves the cursor."""
        if not operation.cursor:
            return Progress(Position(progressed=self._now().timestamp()).encoded())
        position = Position.of(operation.cursor)
        batch = await self._sources.batch(source_of(operation.request), position, BATCH)
        errors = [
            OperationError(self._now(), _MISSING[_depth(address)], "The source does not exist.", address)
            for address in batch.missing
        ]
        files: list[ExportedFile] = []
        if batch.instances:
            copied = await self._kept_alive(
                operation, position.progressed, self._copied(operation, batch.instances, position.number)
            )
            if copied is None:
                return Progress(operation.cursor)
            files = [one for one in copied if isinstance(one, ExportedFile)]
            errors += [one for one in copied if isinstance(one, OperationError)]
        number = position.number + len(batch.instances)
        following = replace(batch.following, number=number, progressed=self._now().timestamp())
        progress = Progress(
            cursor=following.encoded(),
            done=len(files) + len(errors),
            failed=len(errors),
            errors=errors,
            result=_counted(
                operation.result,
                exported=len(files),
                skipped=len(errors),
                exported_bytes=sum(file.written.size_bytes for file in files),
            ),
            is_last=batch.is_last,
        )
        keeps = not operation.request.get("without_manifest") or operation.request.get("dicomdir")
        return replace(progress, store=lambda id_, update: self._files.add(id_, files if keeps else (), update))

    async def _copied(
        self, operation: Operation, instances: Sequence[StoredInstance], number: int
    ) -> list[ExportedFile | OperationError]:
        async with self._opened(operation) as destination:
            limit = asyncio.Semaphore(_AT_ONCE)

            async def copy(number: int, stored: StoredInstance) -> ExportedFile | OperationError:
                async with limit:
                    return await self._file(operation, destination, stored, number)

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(copy(at, stored)) for at, stored in enumerate(instances, number + 1)]
            return [task.result() for task in tasks]

    async def _file(
        self, operation: Operation, destination: Destination, stored: StoredInstance, number: int
    ) -> ExportedFile | OperationError:
        """Copy an instance; return the error if it cannot be read or transcoded."""
        request = operation.request
        has_directory = bool(request.get("dicomdir"))
        path = f"DICOM/{number // 1_000_000:06d}/{number // 1000 % 1000:03d}/{number:08d}"
        if not has_directory:
            path = f"results/{stored.id.study}/{stored.id.series}/{stored.id.instance}.dcm"
        try:
            patient, keys = "", ""
            if has_directory:
                dicom_json = await self._index.dicom_json(stored.id, stored.version)
                if dicom_json is None:
                    raise NotFound(Reason.INSTANCE_NOT_FOUND, "The instance has been deleted.")
                patient, keys = keys_of(dicom_json, stored.sop_class_uid)
            syntax = request.get("transfer_syntax_uid", "")
            opened = await self._opener.open_stored(stored, acceptable([syntax] if syntax else ()))
            async with aclosing(opened.chunks) as pieces:
                written = await destination.write(f"{operation.id}/{path}", pieces)
        except (Unavailable, Exhausted):
            raise
        except DicomStoreError as error:
            return OperationError(self._now(), error.reason, error.message, stored.id.address)
        return ExportedFile(
            patient,
            stored.id.study,
            stored.id.series,
            number,
            stored.id.instance,
            stored.version,
            stored.sop_class_uid,
            opened.transfer_syntax_uid,
            path,
            written,
            keys,
        )

    async def _describe(self, operation: Operation) -> Progress:
        """Write the list of errors, the manifest and the DICOMDIR."""
        if not operation.cursor:
            return Progress(str(self._now().timestamp()))
        described = await self._kept_alive(operation, float(operation.cursor), self._described(operation))
        if described is None:
            return Progress(operation.cursor)
        hrefs = {}
        if not operation.request.get("without_manifest"):
            hrefs["manifest_href"] = self._url(operation, "manifest.jsonl")
        if operation.request.get("dicomdir"):
            hrefs["dicomdir_href"] = self._url(operation, "DICOMDIR")
        return Progress(result={**operation.result, **hrefs}, is_last=True)

    async def _described(self, operation: Operation) -> bool:
        request = operation.request
        async with self._opened(operation) as destination:
            if operation.failed:
                await destination.write(f"{operation.id}/errors.log", self._error_lines(operation.id))
            if not request.get("without_manifest"):
                lines = _lines(self._pages(operation.id))
                await destination.write(f"{operation.id}/manifest.jsonl", lines)
            if request.get("dicomdir"):
                directory = directory_of(operation.id, self._pages(operation.id))
                async with aclosing(directory) as pieces:
                    await destination.write(f"{operation.id}/DICOMDIR", pieces)
            await destination.clean_up(operation.id)
        return True

    async def _conclude(self, operation: Operation) -> Progress:
        """Forget the files."""
        return Progress(is_last=not await self._files.remove(operation.id, 10 * _PAGE))

    async def _clean_up(self, operation: Operation) -> None:
        """Write the list of errors of a cancelled operation, and remove incomplete files, if that is possible."""
        with suppress(DestinationError, DicomStoreError):
            async with self._opened(operation) as destination:
                if operation.failed:
                    await destination.write(f"{operation.id}/errors.log", self._error_lines(operation.id))
                await destination.clean_up(operation.id)
        while await self._files.remove(operation.id, 10 * _PAGE):
            pass

    # -- parts -----------------------------------------------------------------------------------------------------

    async def _pages(self, operation_id: str) -> AsyncIterator[Sequence[ExportedFile]]:
        after = None
        while page := await self._files.list(operation_id, after, _PAGE):
            yield page
            after = page[-1].key

    async def _error_lines(self, operation_id: str) -> AsyncIterator[Buffer]:
        after = 0
        while page := await self._record.errors(operation_id, after=after, limit=_PAGE):
            yield b"".join(map(_error_line, (error for _, error in page)))
            after = page[-1][0]

    @asynccontextmanager
    async def _opened(self, operation: Operation) -> AsyncIterator[Destination]:
        place, _ = destination_of(operation.request)
        credentials = self._secrets.unseal(operation.id, operation.secret) if operation.secret else {}
        async with (await self._destinations()).open(place, credentials) as destination:
            yield destination

    async def _kept_alive(self, operation: Operation, since: float, work: Awaitable[T]) -> T | None:
        """Do a part of a step that may take long; None if the operation has been cancelled or continued elsewhere.

        Raises:
            Unavailable: the destination, or what is read, may be available later.
            InvalidRequest: the destination cannot be used, or has not been reachable for long.
        """
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=_ALIVE_SECONDS))[0]:
                with suppress(Unavailable, Exhausted):
                    if not await self._is_current(operation):
                        return None
            return task.result()
        except BaseExceptionGroup as group:
            raise self._failure(_first(group), since) from None
        except DestinationError as error:
            raise self._failure(error, since) from None
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _is_current(self, operation: Operation) -> bool:
        """Record that an operation is in progress; return False if it need not be continued."""
        now = self._now()

        def touch(current: Operation) -> OperationUpdate | None:
            is_same = (current.step, current.cursor) == (operation.step, operation.cursor)
            if current.state is not OperationState.RUNNING or not is_same:
                return None
            return OperationUpdate(replace(current, updated=now))

        current = await self._record.update(operation.id, touch)
        return current is not None and current.updated == now

    def _failure(self, error: BaseException, since: float) -> BaseException:
        if not isinstance(error, DestinationError):
            return error
        if error.may_pass and self._now().timestamp() - since < _GIVE_UP_SECONDS:
            return Unavailable(Reason.STORAGE_UNAVAILABLE, error.message)
        return InvalidRequest(Reason.INVALID_FIELD, error.message, field="destination")

    def _url(self, operation: Operation, path: str) -> str:
        place, _ = destination_of(operation.request)
        return f"{place.url}/{operation.id}/{path}"


def partition_of(request: Json) -> PartitionName:
    """Return the partition of a request."""
    first: Json = next(iter(request.get("sources", ())), {})
    return PartitionName(request.get("partition", "") or first.get("partition", ""))


def audited(request: Json) -> Json:
    """Return a request for the audit trail: without credentials, and without what cannot be parsed."""
    try:
        place, _ = destination_of(request)
    except DicomStoreError:
        return {name: value for name, value in request.items() if name in _AUDITED}
    return {name: value for name, value in request.items() if name in _AUDITED} | {"destination": place.url}


_AUDITED = ("sources", "query", "everything", "partition", "transfer_syntax_uid", "dicomdir")
_MISSING = (Reason.STUDY_NOT_FOUND, Reason.SERIES_NOT_FOUND, Reason.INSTANCE_NOT_FOUND)


def _depth(address: Address) -> int:
    return (address.series is not None) + (address.instance is not None)


def _counted(result: Json, **counts: int) -> Json:
    return {**result, **{name: int(result.get(name, 0)) + count for name, count in counts.items()}}


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that says most about a failure: a final one of the destination, or another one of it."""
    every = list(_flat(group))
    of_destination = sorted(
        (error for error in every if isinstance(error, DestinationError)), key=lambda error: error.may_pass
    )
    return next(iter(of_destination), every[0])


def _flat(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _flat(one)
    else:
        yield error


async def _pieces(*pieces: bytes) -> AsyncIterator[Buffer]:
    for piece in pieces:
        yield piece


async def _lines(pages: AsyncIterator[Sequence[ExportedFile]]) -> AsyncIterator[Buffer]:
    async for page in pages:
        yield b"".join(map(_manifest_line, page))


def _manifest_line(file: ExportedFile) -> bytes:
    line = {
        "path": file.path,
        "studyInstanceUid": file.study,
        "seriesInstanceUid": file.series,
        "sopInstanceUid": file.instance,
        "version": file.version,
        "sopClassUid": file.sop_class_uid,
        "transferSyntaxUid": file.transfer_syntax_uid,
        "sizeBytes": file.written.size_bytes,
        "sha256": file.written.sha256.hex(),
    }
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _error_line(error: OperationError) -> bytes:
    address = error.address
    uids = (address.study, address.series, address.instance) if address else ()
    line = {
        "timestamp": error.time.isoformat(),
        "identifier": "/".join(uid for uid in uids if uid),
        "error": error.message,
    }
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_FIELD, message, field=field)
