"""Operation type `update`: changes attributes of stored instances, or reverts them to an earlier state.

Studies are processed one after the other. The new files of a study are written and staged, which changes nothing that
clients see; then all become the current versions in one transaction. If a file cannot be written, or an instance is on
hold, the study stays as it was. Items are instances.
"""

import asyncio
import json
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol

import orjson

from common.telemetry.tracing import sampled_trace
from server.dicom.elements.keywords import tags_of
from server.dicom.updating.changes import Changes, Refused, changes_of
from server.dicom.updating.description import changed_instance, reverted_instance
from server.dicom.updating.layouts import Layouts
from server.dicom.updating.originals import with_originals
from server.domain.operations import lifecycle
from server.domain.operations.rewriting import Rewriting
from server.domain.operations.types import OperationType, Progress, Step
from server.model.access import Action
from server.model.errors import DicomStoreError, Exhausted, InvalidRequest, NotFound, Reason, Unavailable, WrongState
from server.model.ids import Address, PartitionName, parse_address
from server.model.instance import Locator, NewInstance, StoredInstance
from server.model.lifecycle.update import ChangedFile, Content
from server.model.lifecycle.version import Provenance, VersionOrigin
from server.model.operation import Json, Operation, OperationError, OperationUpdate
from server.ports.blobs import BlobStore
from server.ports.index import InstanceIndex
from server.ports.lifecycle.updates import Updates
from server.ports.operations import Operations

NAME = "update"

PATIENT_AND_STUDY = tags_of(
    "PatientName PatientID IssuerOfPatientID TypeOfPatientID PatientBirthDate PatientBirthTime PatientSex "
    "QualityControlSubject OtherPatientIDs OtherPatientNames PatientBirthName PatientAge PatientSize PatientWeight "
    "PatientAddress PatientMotherBirthName MilitaryRank BranchOfService MedicalRecordLocator CountryOfResidence "
    "RegionOfResidence PatientTelephoneNumbers EthnicGroup Occupation PatientReligiousPreference "
    "PatientSpeciesDescription PatientBreedDescription BreedRegistrationNumber ResponsiblePerson ResponsiblePersonRole "
    "ResponsibleOrganization PatientComments ConfidentialityConstraintOnPatientDataDescription AccessionNumber "
    "ReferringPhysicianName StudyDescription"
)
"""The attributes that Azure's DICOM service updates."""

_RESTRICTED = "CHANGEABLE_ATTRIBUTES_PATIENT_AND_STUDY"
_PAGE = 500
_CONCURRENT = 64
"""These share a sync, during which as many others are edited."""

_STEP_SECONDS = 1.5
"""A call of the step does several parts, because a call costs as much as changing a hundred instances."""

_MAX_ERRORS = 100
_MAX_PASSES = 10
_MAX_MESSAGES = 5
_MAX_TEXTS = 100
_MAX_REASON_LENGTH = 500


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Position: the study, the target in it (after the last one follows the transaction), the last version read there,
    and the number of passes, because instances may change during one."""

    study: int = 0
    target: int = 0
    after: int = 0
    passes: int = 0

    def encoded(self) -> str:
        return json.dumps([self.study, self.target, self.after, self.passes])

    @classmethod
    def of(cls, text: str) -> "_Cursor":
        return cls(*json.loads(text)) if text else cls()


class NewBlobs(Protocol):
    """What happens to blobs that the index does not know; see `server.domain.store.commit.Committer`."""

    async def discard(self, locators: Sequence[Locator]) -> None:
        """Erase blobs that no instance refers to."""
        ...

    def abandon(self, locator: Locator) -> None:
        """Let a blob be erased later that was refused or never added."""
        ...

    def mark_in_doubt(self, locator: Locator) -> None:
        """Let the index be asked later about a blob that may be staged."""
        ...


class Update:
    """Performs the steps.

    Args:
        on_change: awaited after instances have been changed.
        modifying_system: name of this system in an Original Attributes Sequence; empty for none.
        max_targets: limit of the number of studies, series and instances of an operation.
    """

    def __init__(
        self,
        *,
        updates: Updates,
        index: InstanceIndex,
        blobs: BlobStore,
        new_blobs: NewBlobs,
        rewriting: Rewriting,
        operations: Operations,
        now: Callable[[], datetime],
        on_change: Callable[[], Awaitable[None]],
        max_targets: int,
        modifying_system: str = "",
    ) -> None:
        self._updates = updates
        self._index = index
        self._blobs = blobs
        self._new_blobs = new_blobs
        self._rewriting = rewriting
        self._operations = operations
        self._now = now
        self._on_change = on_change
        self._max_targets = max_targets
        self._modifying_system = modifying_system
        self.type = OperationType(
            name=NAME,
            request_message="UpdateRequest",
            result_message="UpdateResult",
            steps=(Step("update", self._step),),
            check=self._checked,
            clean_up=self._clean_up,
            is_exclusive=True,
            start_action=Action.WRITE,
            partition=partition_of,
            audited=_without_values,
        )

    def _checked(self, request: Json) -> Json:
        targets = targets_of(request)
        if not targets:
            raise _invalid("targets", "The required field 'StudyInstanceUids' is missing or empty.")
        if len(targets) > self._max_targets:
            raise _invalid("targets", f"An update has at most {self._max_targets} targets.")
        partitions = {target.get("partition", "") for target in request["targets"]}  # the request has a resolved one
        if len(partitions) > 1 or any(target.study is None for target in targets):
            raise _invalid("targets", "A target is a study, a series or an instance, all of one partition.")
        if len(request.get("reason", "")) > _MAX_REASON_LENGTH:
            raise _invalid("reason", f"A reason has at most {_MAX_REASON_LENGTH} characters.")
        if "revert_to" not in request:
            _ = changes_in(request)
        elif request.get("changes"):
            raise _invalid("revert_to", "An operation has either changes or an earlier state.")
        elif not request["revert_to"]:
            raise _invalid("revert_to", "A time or the id of an operation is required.")
        return request

    # -- steps -----------------------------------------------------------------------------------------------------

    async def _step(self, operation: Operation) -> Progress:
        """Do as much as fits into one call. Each part stores its progress itself, in the transaction of its effect."""
        cursor = _Cursor.of(operation.cursor)
        if not cursor.passes:
            cursor, operation = replace(cursor, passes=1), replace(operation, total=await self._total(operation))
        studies = _studies_in(operation.request)
        earlier = await self._earlier(operation)
        failed = int(operation.result.get("studies_failed", 0))
        end = time.monotonic() + _STEP_SECONDS
        while cursor.study < len(studies):
            targets = [target for target in targets_of(operation.request) if target.study == studies[cursor.study]]
            study = Address(targets[0].partition, targets[0].study)
            try:
                if cursor.target == len(targets):
                    following = await self._apply(operation, cursor, study, earlier)
                else:
                    page = await self._updates.contents(targets[cursor.target], cursor.after, _PAGE)
                    if not page:
                        cursor = replace(cursor, target=cursor.target + 1, after=0)
                        continue
                    following = replace(cursor, after=page[-1].stored.version)
                    following = await self._stage(operation, following, page, earlier)
            except _StudyFailed as error:
                following = await self._fail(operation, cursor, study, error)
                failed += 1
            if following is None:  # the operation or the instances have changed meanwhile
                return Progress(operation.cursor)
            cursor, operation = following, replace(operation, cursor=following.encoded())
            if time.monotonic() > end:
                return Progress(operation.cursor)
        if failed:
            raise InvalidRequest(Reason.INVALID_INSTANCE, f"{failed} of the studies could not be updated.")
        return Progress(operation.cursor, is_last=True)

    async def _earlier(self, operation: Operation) -> datetime | None:
        """Return the time of the state to revert to; None if there is none.

        Raises:
            NotFound: OPERATION_NOT_FOUND, there is no such operation of type `update` in the partition.
        """
        state = operation.request.get("revert_to")
        if state is None:
            return None
        if "time" in state:
            return datetime.fromisoformat(state["time"])
        before = await self._operations.get(state["before_operation"])
        if before is None or before.type != NAME or partition_of(before.request) != partition_of(operation.request):
            raise NotFound(Reason.OPERATION_NOT_FOUND, "The operation whose effect is to be reverted is not known.")
        return before.created

    async def _total(self, operation: Operation) -> int:
        states = [await self._index.state(target) for target in dict.fromkeys(targets_of(operation.request))]
        return sum(state.instance_count for state in states if state is not None)

    async def _stage(
        self, operation: Operation, following: _Cursor, page: Sequence[Content], earlier: datetime | None
    ) -> _Cursor | None:
        """Write and stage the new files of some instances; return the next position, None if nothing was done."""
        there = await self._updates.staged(operation.id, [content.stored.version for content in page])
        wanted = [content for content in page if content.stored.version not in there]
        update = self._advanced(operation, Progress(following.encoded(), done=len(wanted)))
        if earlier is None:
            before = [content.stored for content in wanted]
            layouts = None if self._modifying_system else Layouts()  # with it, each instance has changes of its own

            def rewrite(content: Content) -> Awaitable[ChangedFile]:
                return self._rewriting.rewrite(content, self._changes_of(content, operation), layouts)

            files = await self._write(wanted, rewrite)
        else:
            found = await self._updates.earlier([content.stored.version for content in wanted], earlier)
            wanted = [content for content in wanted if _differs(content.stored, found.get(content.stored.version))]
            sources = {content.stored.version: found[content.stored.version] for content in wanted}
            before = [replace(source, version=version) for version, source in sources.items()]
            files = await self._write(wanted, lambda content: self._rewriting.copy(sources[content.stored.version]))
        locators = [file.locator for file in files]
        staged = list(zip(before, files, strict=True))
        try:
            is_staged = await self._updates.stage(operation.id, staged, update)
        except BaseException as error:
            is_refused = isinstance(error, DicomStoreError) and not error.may_have_happened
            for locator in locators:
                (self._new_blobs.abandon if is_refused else self._new_blobs.mark_in_doubt)(locator)
            raise
        if not is_staged:
            await self._new_blobs.discard(locators)
            return None
        await self._blobs.settle(locators)
        return following

    def _changes_of(self, content: Content, operation: Operation) -> Changes:
        """Return the changes of an instance. Raises InvalidRequest (INVALID_INSTANCE)."""
        changes = changes_in(operation.request)
        if not self._modifying_system:
            return changes
        return with_originals(changes, content.dicom_json, operation.created, self._modifying_system)

    async def _write(
        self, wanted: Sequence[Content], write: Callable[[Content], Awaitable[ChangedFile]]
    ) -> list[ChangedFile]:
        """Write new files. Raises _StudyFailed with the errors of all that can't be written."""
        results: dict[int, ChangedFile | Exception] = {}
        coming = iter(enumerate(wanted))

        async def write_some(group: int) -> None:
            for _ in range(group):
                await asyncio.sleep(0)
            for number, content in coming:
                try:
                    results[number] = await write(content)
                except Exception as error:  # noqa: BLE001 - examined when all have ended
                    results[number] = error

        await asyncio.gather(
            *(write_some(number // _CONCURRENT) for number in range(min(2 * _CONCURRENT, len(wanted))))
        )
        in_order = [results[number] for number in range(len(wanted))]
        files = [result for result in in_order if isinstance(result, ChangedFile)]
        if len(files) == len(wanted):
            return files
        await self._new_blobs.discard([file.locator for file in files])
        errors = []
        for content, result in zip(wanted, in_order, strict=True):
            if isinstance(result, Exception):
                if not isinstance(result, DicomStoreError) or isinstance(result, Unavailable | Exhausted):
                    raise result
                errors.append(OperationError(self._now(), result.reason, result.message, content.stored.id.address))
        raise _StudyFailed(errors)

    async def _apply(
        self, operation: Operation, cursor: _Cursor, study: Address, earlier: datetime | None
    ) -> _Cursor | None:
        """Make all staged versions of a study the current ones; return the next position."""
        if cursor.passes > _MAX_PASSES:
            raise _StudyFailed([OperationError(self._now(), Reason.BUSY, "The study changes too often.", study)])
        origin = VersionOrigin.UPDATED if earlier is None else VersionOrigin.REVERTED
        provenance = Provenance(operation.request.get("author", ""), operation.request.get("reason", ""), origin)
        following = replace(cursor, study=cursor.study + 1, target=0, after=0, passes=1)
        again = replace(cursor, target=0, after=0, passes=cursor.passes + 1)

        trace = sampled_trace()

        def describe(content: Content, file: ChangedFile) -> NewInstance:
            if earlier is not None:
                described = reverted_instance(content, file, provenance)
            else:
                described = changed_instance(content, file, self._changes_of(content, operation), provenance)
            return replace(described, trace=trace) if trace else described

        def conclude(current: Operation, count: int) -> OperationUpdate | None:
            result = _counted(current.result, studies_processed=1, studies_updated=count > 0, instances_updated=count)
            return self._advanced(operation, Progress(following.encoded(), result=result))(current)

        try:
            applied = await self._updates.apply(
                operation.id,
                study,
                describe,
                self._now(),
                conclude,
                self._advanced(operation, Progress(again.encoded())),
                earlier,
            )
        except WrongState as error:
            raise _StudyFailed([OperationError(self._now(), error.reason, error.message, study)]) from error
        if applied.has_stale:
            return again
        if applied.count:
            await self._on_change()
        return following

    async def _fail(self, operation: Operation, cursor: _Cursor, study: Address, failed: "_StudyFailed") -> _Cursor:
        """Leave a study as it is, and continue with the next one."""
        messages = [f"Failed to update instances for study {study.study}."]
        for error in failed.errors[:_MAX_MESSAGES]:
            named = error.address.instance if error.address and error.address.instance else study.study
            messages.append(f"{named}: {error.message}")
        if len(failed.errors) > _MAX_MESSAGES:
            messages.append(f"and {len(failed.errors) - _MAX_MESSAGES} more")
        state = await self._index.state(study)
        following = replace(cursor, study=cursor.study + 1, target=0, after=0, passes=1)

        def update(current: Operation) -> OperationUpdate | None:
            result = _counted(current.result, studies_processed=1, studies_failed=1)
            before, omitted = current.result.get("errors", ()), int(current.result.get("errors_omitted", 0))
            shown = messages[: max(0, _MAX_TEXTS - len(before))]
            omitted += len(messages) - len(shown)
            result = {**result, "errors": [*before, *shown], "errors_omitted": omitted}
            progress = Progress(
                following.encoded(),
                failed=state.instance_count if state else 0,
                errors=failed.errors[:_MAX_ERRORS],
                result=result,
            )
            return self._advanced(operation, progress)(current)

        await self._updates.discard(operation.id, self._now(), update)
        return following

    def _advanced(self, before: Operation, progress: Progress) -> Callable[[Operation], OperationUpdate | None]:
        now = self._now()
        progress = replace(progress, total=before.total)
        return lambda current: lifecycle.advanced(self.type, before, progress, current, now)

    async def _clean_up(self, operation: Operation) -> None:
        await self._updates.discard(operation.id, self._now())


def _differs(current: StoredInstance, earlier: StoredInstance | None) -> bool:
    """Return whether an earlier version exists and has other content than the current one."""
    return earlier is not None and (earlier.size_bytes, earlier.crc32c) != (current.size_bytes, current.crc32c)


class _StudyFailed(Exception):
    """A study cannot be updated."""

    def __init__(self, errors: Sequence[OperationError]) -> None:
        super().__init__()
        self.errors = errors


def targets_of(request: Json) -> list[Address]:
    """Return the targets. Raises InvalidRequest (INVALID_UID)."""
    partition = request.get("partition", "")
    return [
        parse_address(partition or target.get("partition", ""), *(target.get(name, "") for name in _UIDS))
        for target in request.get("targets", ())
    ]


def _studies_in(request: Json) -> Sequence[str | None]:
    """Return the studies of the targets, each once, in order."""
    return list(dict.fromkeys(target.study for target in targets_of(request)))


_UIDS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")


def partition_of(request: Json) -> PartitionName:
    """Return the partition of the targets; empty without targets."""
    first: Mapping[str, Any] = next(iter(request.get("targets", ())), {})
    return PartitionName(request.get("partition", "") or first.get("partition", ""))


def changes_in(request: Json) -> Changes:
    """Return the changes. Raises InvalidRequest (INVALID_FIELD) with `attributes`: tag and message, one a line."""
    return _changes(request.get("changes", ""), request.get("attributes", "") == _RESTRICTED)


@lru_cache(maxsize=4)
def _changes(encoded: str, is_restricted: bool) -> Changes:
    try:
        data_set = orjson.loads(b64decode(encoded))
    except ValueError:
        raise _invalid("changes", "The changes are not a DICOM JSON data set.") from None
    try:
        return changes_of(data_set, lambda tag: not is_restricted or tag in PATIENT_AND_STUDY)
    except Refused as refused:
        faults = [f"{fault.tag} {fault.message}" for fault in refused.faults[:_MAX_ERRORS]]
        message = "Attributes cannot be changed as requested." if faults else "The data set has no attributes."
        raise InvalidRequest(Reason.INVALID_FIELD, message, field="changes", attributes="\n".join(faults)) from refused


def _without_values(request: Json) -> Json:
    """Return a request for the audit trail, which has no values of attributes."""
    return {name: value for name, value in request.items() if name not in ("changes", "reason")}


def _counted(result: Json, **counts: int) -> Json:
    return {**result, **{name: int(result.get(name, 0)) + int(count) for name, count in counts.items()}}


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_FIELD, message, field=field)
