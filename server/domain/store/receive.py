"""Receiving instances (PS3.18 10.5).

The bytes of an instance go to the blob store and to the reader as they arrive, so only the header is held in memory. At
its end the instance is validated, its blob made durable, and its rows committed; only then its outcome is returned.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from common.telemetry.catalogue import BLOB_BYTES, BLOB_SECONDS, STORED_BYTES, STORED_INSTANCES
from common.telemetry.tracing import part, sampled_trace
from server.dicom.elements.external_metadata import ExternalAttribute, labels_of
from server.dicom.ingest.reader import Description, InstanceReader
from server.domain.access import Access
from server.domain.damage import DamageRecord, of_bytes
from server.domain.limits import check_reason, expiry_time
from server.domain.partition_names import PartitionNames
from server.domain.partitions import DuplicatePolicies
from server.domain.store.commit import Committer
from server.domain.store.commit_order import CommitOrder
from server.domain.store.external_metadata import ExternalMetadata
from server.domain.store.quota import Quota, Quotas
from server.domain.store.writability import Writing
from server.model.access import Action
from server.model.audit.call_audit import CallAudit
from server.model.buffer import Buffer
from server.model.call import Call
from server.model.errors import (
    Aborted,
    AlreadyExists,
    DataLoss,
    DicomStoreError,
    Exhausted,
    InvalidRequest,
    Reason,
    Unavailable,
)
from server.model.ids import Address, InstanceId, PartitionName, Uid, Version
from server.model.instance import (
    AddOutcome,
    AlreadyStored,
    Faulty,
    Finding,
    Locator,
    NewInstance,
    OnHold,
    PartitionGone,
    StoredInstance,
    ValidationMode,
)
from server.model.lifecycle.version import NO_PROVENANCE, Provenance
from server.model.partition import DuplicatePolicy
from server.model.receipt import Receipt
from server.model.search.query_tag import NewTag, TagFault
from server.model.security.share_link import link_of
from server.ports.blobs import BlobStore, BlobWriter, most_piece_bytes
from server.ports.lifecycle.labels import LabelRecord

# Failure Reason (0008,1197) and Warning Reason (0008,1196) values: PS3.18 Annex I, docs/conformance.md.
PROCESSING_FAILURE = 272
CANNOT_UNDERSTAND = 43264
DUPLICATE = 45070
DATA_SET_DOES_NOT_MATCH = 45063
ATTRIBUTES_INVALID = 1

_COMMIT_SECONDS, _WRITTEN_BYTES = BLOB_SECONDS.of("commit"), BLOB_BYTES.of("written")
_RESULTS = {name: STORED_INSTANCES.of(name) for name in ("stored", "replaced", "identical", "failed")}
_STORED_BYTES = STORED_BYTES.of()

_FAILURE_REASONS = {
    Reason.UNREADABLE_INSTANCE: CANNOT_UNDERSTAND,
    Reason.INVALID_INSTANCE: CANNOT_UNDERSTAND,
    Reason.STUDY_MISMATCH: CANNOT_UNDERSTAND,
    Reason.TRANSFER_DAMAGED: CANNOT_UNDERSTAND,
    Reason.INSTANCE_ALREADY_EXISTS: DUPLICATE,
}


@dataclass(frozen=True, slots=True)
class StoreTarget:
    """The target of all instances of a call.

    audit: has to be begun before an instance becomes visible.
    provenance: of the instances.
    duplicates: treatment of instances whose UIDs are stored already with other content.
    quota: limit of the stored bytes of the partition; None if there is none.
    external: external metadata of the studies; None if the client sends none.
    expires: when the studies of the instances are deleted; None does not change their expiry.
    """

    partition: PartitionName
    expected_study: Uid | None
    mode: ValidationMode
    audit: CallAudit
    provenance: Provenance
    duplicates: DuplicatePolicy
    quota: Quota | None = None
    external: ExternalMetadata | None = None
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """The instance is durable and visible."""

    id: InstanceId
    sop_class_uid: str
    transfer_syntax_uid: str
    version: Version
    size_bytes: int
    warning_reason: int
    findings: tuple[Finding, ...]
    first_value_only: bool
    identical: bool = False
    """The instance was stored before with the same bytes; nothing has changed."""
    replaced: Version | None = None
    """The version that was the current one before; None if the instance is new."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The instance was not stored. UIDs are as read, or empty."""

    reason: Reason
    message: str
    failure_reason: int
    study_uid: str = ""
    series_uid: str = ""
    sop_uid: str = ""
    sop_class_uid: str = ""
    findings: tuple[Finding, ...] = ()
    identical: bool = False


StoreResult = Stored | Failed

MakeReceipt = Callable[[PartitionName], Receipt]
"""Returns a receipt with the current time for an instance in a partition."""


class ReceiverBlobs(Protocol):
    """The part of `BlobStore` that a receiver needs."""

    def open_write(
        self, size_hint: int | None = None, partition: PartitionName | None = None
    ) -> AbstractAsyncContextManager[BlobWriter]:
        """See `BlobStore`."""
        ...

    def read(
        self,
        locator: Locator,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: Callable[[], int] = most_piece_bytes,
        crc32c: int | None = None,
    ) -> AsyncIterator[Buffer]:
        """See `BlobStore`."""
        ...


class Store:
    """Stores instances."""

    def __init__(
        self,
        *,
        blobs: BlobStore,
        committer: Committer,
        writing: Writing,
        access: Access,
        partitions: PartitionNames,
        receipt: MakeReceipt,
        max_instance_bytes: int,
        max_header_bytes: int,
        damage: DamageRecord,
        quotas: Quotas,
        policies: DuplicatePolicies,
        labels: LabelRecord,
        now: Callable[[], datetime],
        accepts_identical: bool = True,
    ) -> None:
        self._labels = labels
        self._now = now
        self._quotas = quotas
        self._policies = policies
        self._blobs = blobs
        self._damage = damage
        self._committer = committer
        self._writing = writing
        self._access = access
        self._partitions = partitions
        self._receipt = receipt
        self._max_instance_bytes = max_instance_bytes
        self._max_header_bytes = max_header_bytes
        self._accepts_identical = accepts_identical

    async def target(
        self,
        call: Call,
        address: Address,
        *,
        create_partition: bool,
        mode: ValidationMode,
        duplicates: DuplicatePolicy | None = None,
        reason: str = "",
        external: Sequence[ExternalAttribute] = (),
        expires_after: timedelta | None = None,
    ) -> StoreTarget:
        """Check the target of a call.

        Args:
            address: a partition or study. With a study, instances of other studies fail.
            duplicates: None means the policy of the partition; for share links, which may only add instances, REJECT.
            reason: for the history of the instances.
            external: external metadata of the studies.
            expires_after: time after which the studies of the instances are deleted, which the principal must be
                allowed to do.

        Raises:
            InvalidRequest: INVALID_FIELD, the address is a series or an instance, or the reason or time is invalid;
                INVALID_LABEL.
            Forbidden: PERMISSION_DENIED, a share link with NEW_VERSION or external metadata, or expiry without
                permission to delete.
            Exhausted: QUOTA_EXCEEDED.
            and as `Access.permit`.
        """
        if address.series is not None:
            message = "Instances are stored in a partition or a study."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="series_instance_uid")
        check_reason(reason)
        if reason:
            call.audit.note(reason=reason)
        labels = labels_of(external)
        expires = None
        if expires_after is not None:
            expires = expiry_time(self._receipt(address.partition).time, expires_after, "header.expires_after")
            call.audit.note(expires=expires.isoformat())
        address = await self._access.permit(
            call,
            Action.WRITE,
            address,
            partition_may_be_new=create_partition,
            waits=False,
            by_share_link=duplicates is not DuplicatePolicy.NEW_VERSION and not labels,
            also=None if expires_after is None else Action.DELETE,
        )
        quota = self._quotas.of(address.partition)
        if quota is not None:
            await quota.require_room()
        if create_partition:
            await self._partitions.create_missing(address.partition)
        if duplicates is None:
            is_link = link_of(call.principal) is not None
            duplicates = DuplicatePolicy.REJECT if is_link else await self._policies.of(address.partition)
        provenance = Provenance(call.principal.id, reason)
        target = StoreTarget(
            address.partition, address.study, mode, call.audit, provenance, duplicates, quota, expires=expires
        )
        if not labels:
            return target
        metadata = ExternalMetadata(self._labels, address.partition, labels, self._now)
        await metadata.check()
        return replace(target, external=metadata)

    def receive(
        self, target: StoreTarget, declared_size_bytes: int | None = None, blobs: "ReceiverBlobs | None" = None
    ) -> "Receiver":
        """Return the receiver of one instance, which the caller must `close` in any case.

        Its bytes go to `blobs`; by default they are stored.
        """
        reader = InstanceReader(target.mode, self._max_header_bytes)
        return Receiver(
            blobs or self._blobs,
            self._committer,
            self._writing,
            self._damage,
            reader,
            target,
            declared_size_bytes,
            receipt=self._receipt,
            max_instance_bytes=self._max_instance_bytes,
            accepts_identical=self._accepts_identical,
        )


class Receiver:
    """Receives one instance; `size_bytes` is the number of bytes received so far.

    After a failure the remaining bytes are only counted, and `finish` returns the failure.
    """

    def __init__(
        self,
        blobs: "ReceiverBlobs",
        committer: Committer,
        writing: Writing,
        damage: DamageRecord,
        reader: InstanceReader,
        target: StoreTarget,
        declared_size_bytes: int | None,
        *,
        receipt: MakeReceipt,
        max_instance_bytes: int,
        accepts_identical: bool,
    ) -> None:
        self._blobs = blobs
        self._committer = committer
        self._writing = writing
        self._damage = damage
        self._reader = reader
        self._target = target
        self._declared_size_bytes = declared_size_bytes
        self._receipt = receipt
        self._max_instance_bytes = max_instance_bytes
        self._accepts_identical = accepts_identical
        self._opened: AbstractAsyncContextManager[BlobWriter] | None = None
        self._writer: BlobWriter | None = None
        self._failure: DicomStoreError | None = None
        self._passed_bytes = 0
        self.size_bytes = 0

    @property
    def header_bytes(self) -> int:
        """Number of received bytes held until the end, which are all except bulk values; 0 after a failure."""
        return 0 if self._failure is not None else self._reader.header_bytes

    async def write(self, data: Buffer) -> None:
        """Process the next bytes; returns when more can be accepted. Does not raise for errors of the instance."""
        if self._failure is not None:
            self._passed_bytes += len(data)
            return
        if not data:
            return
        self.size_bytes += len(data)
        try:
            if self.size_bytes > self._max_instance_bytes:
                raise Exhausted(
                    Reason.INSTANCE_TOO_LARGE, f"The instance is larger than {self._max_instance_bytes} bytes."
                )
            self._reader.feed_some(data)
            await self._catch_up()
            if self._writer is None:
                opened = self._blobs.open_write(self._declared_size_bytes, self._target.partition)
                self._writer = await opened.__aenter__()
                self._opened = opened
            await self._writer.write(data)
        except DicomStoreError as error:
            await self._fail(error)

    async def finish(self, crc32c: int | None = None, order: CommitOrder | None = None) -> StoreResult:
        """Validate the instance, make it durable and visible, and return its result.

        With an `order`, it becomes visible after the instance before it, whichever is durable first.
        """
        description: Description | None = None
        try:
            if self._failure is not None:
                raise self._failure
            self._check_transfer(crc32c)
            self._reader.end_some()
            await self._catch_up()
            description = self._reader.finish()
            self._check_content(description)
            result = await self._within_quota(description, order or CommitOrder())
            if self._target.external is not None and isinstance(result, Stored):
                await self._target.external.attach(result.id.study)
            _count(result)
            return result
        except DicomStoreError as error:
            failure = self._truncation_or(error)
            self._writing.refused(failure, self.size_bytes)
            _RESULTS["failed"].value += 1
            return _failed(failure, description)
        finally:
            await self.close()

    async def abort(self) -> StoreResult:
        """Discard the instance."""
        await self.close()
        return _failed(Aborted(Reason.ITEM_ABORTED, "The client aborted the upload of the instance."), None)

    async def close(self) -> None:
        """Release all resources; uncommitted bytes are discarded."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.__aexit__(None, None, None)

    async def _catch_up(self) -> None:
        """Let the reader process the bytes it has, in steps between which other tasks run."""
        while self._reader.is_behind:
            await asyncio.sleep(0)
            self._reader.proceed()

    async def _fail(self, error: DicomStoreError) -> None:
        self._failure = error
        await self.close()  # now: the client may continue to send gigabytes of a failed instance

    def _truncation_or(self, failure: DicomStoreError) -> DicomStoreError:
        """Return the failure; UNREADABLE_INSTANCE if a value length exceeds the size of the instance."""
        if failure.reason is Reason.HEADER_TOO_LARGE and self._reader.is_cut_off_at(
            self.size_bytes + self._passed_bytes
        ):
            return InvalidRequest(Reason.UNREADABLE_INSTANCE, "The data set ends within its last element.")
        return failure

    def _check_transfer(self, crc32c: int | None) -> None:
        if self._declared_size_bytes is not None and self._declared_size_bytes != self.size_bytes:
            raise InvalidRequest(Reason.TRANSFER_DAMAGED, "The instance size does not match the declared size.")
        if crc32c is not None and crc32c != (self._writer.crc32c if self._writer else 0):
            raise InvalidRequest(Reason.TRANSFER_DAMAGED, "The bytes received do not match their checksum.")

    def _check_content(self, description: Description) -> None:
        if description.errors:
            raise _invalid()
        expected = self._target.expected_study
        if expected is not None and expected != description.study_uid:
            raise InvalidRequest(Reason.STUDY_MISMATCH, _MISMATCH.message)

    async def _within_quota(self, description: Description, order: CommitOrder) -> StoreResult:
        quota = self._target.quota
        if quota is None:
            return await self._commit(description, order)
        await quota.reserve(self.size_bytes)
        is_stored = False
        try:
            result = await self._commit(description, order)
            is_stored = isinstance(result, Stored) and not result.identical
        finally:
            quota.end(self.size_bytes, is_stored=is_stored)
        return result

    async def _commit(self, description: Description, order: CommitOrder) -> StoreResult:
        assert self._writer is not None, "an empty instance is unreadable"
        self._target.audit.expedite()  # it is written while the blob is
        with self._committer.coming():
            started = time.perf_counter()
            with part("blob commit", {"dicomstore.bytes": self.size_bytes}):
                locator = await self._writer.commit(self._receipt(self._target.partition))
            _COMMIT_SECONDS.observe(time.perf_counter() - started)
            _WRITTEN_BYTES.value += self.size_bytes
            instance = new_instance(
                description,
                partition=self._target.partition,
                size_bytes=self.size_bytes,
                crc32c=self._writer.crc32c,
                locator=locator,
                must_be_indexed=self._target.mode is not ValidationMode.LENIENT,
                provenance=self._target.provenance,
                may_replace=self._target.duplicates is DuplicatePolicy.NEW_VERSION,
                expires=self._target.expires,
            )
            try:
                await self._target.audit.begun()  # usually durable already: it was written beside the blob
                await order.wait()
            except (asyncio.CancelledError, DicomStoreError):
                self._committer.abandon(instance.locator)
                raise
            added = self._committer.add(instance, self._target.audit)
        order.release()
        return await self._result(await added, instance, description)

    async def _result(self, outcome: AddOutcome, instance: NewInstance, description: Description) -> StoreResult:
        """Return the result of adding an instance, and erase its blob if it was not added."""
        if isinstance(outcome, Faulty):
            await self._committer.discard([instance.locator])
            found = tuple(_finding(tag, fault) for tag, fault in outcome.faults)
            return _failed(_invalid(), replace(description, errors=found))
        if isinstance(outcome, OnHold | PartitionGone):
            await self._committer.discard([instance.locator])
            return _failed(outcome.error, description)
        if isinstance(outcome, AlreadyStored):
            try:
                result = await self._stored_before(outcome.existing, instance, description)
            except asyncio.CancelledError:
                self._committer.abandon(instance.locator)
                raise
            if result is not None:
                return result
            different = replace(instance, differs_from=outcome.existing.version)
            return await self._result(await self._committer.add(different, self._target.audit), different, description)
        return self._stored(description, instance.id, outcome.version, replaced=outcome.replaced)

    async def _stored_before(
        self, existing: StoredInstance, new: NewInstance, description: Description
    ) -> StoreResult | None:
        """Return the result for an identity that is stored already, and erase the new blob; None if it may replace the
        stored one, which is different or damaged.

        If the stored bytes are missing or damaged, the result is a failure: "stored" would not be true.
        """
        result: StoreResult
        try:
            identical = await self._is_identical(existing, new)
        except DataLoss as loss:
            await self._damage.found(existing, of_bytes(loss))
            if new.may_replace:
                return None
            result = _failed(_STORED_DAMAGED, description)
        except Unavailable as error:  # the comparison was not possible
            result = _failed(error, description)
        else:
            if new.may_replace and not identical:
                return None
            if identical and (self._accepts_identical or new.may_replace):
                result = self._stored(description, existing.id, existing.version, identical=True)
            else:
                result = _failed(_SAME_BYTES if identical else _OTHER_BYTES, description, identical=identical)
        await self._committer.discard([new.locator])
        return result

    def _stored(
        self,
        description: Description,
        instance_id: InstanceId,
        version: Version,
        *,
        identical: bool = False,
        replaced: Version | None = None,
    ) -> Stored:
        return Stored(
            id=instance_id,
            sop_class_uid=description.sop_class_uid,
            transfer_syntax_uid=description.transfer_syntax_uid,
            version=version,
            size_bytes=self.size_bytes,
            warning_reason=_warning_reason(description),
            findings=description.findings,
            first_value_only=description.has_multiple_values,
            identical=identical,
            replaced=replaced,
        )

    async def _is_identical(self, existing: StoredInstance, new: NewInstance) -> bool:
        """Compare all bytes, because equal checksums alone do not prove that the content is identical.

        Raises:
            DataLoss: the stored bytes are missing or damaged.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        if (existing.size_bytes, existing.crc32c) != (new.size_bytes, new.crc32c):
            return False
        stored = self._blobs.read(existing.locator, crc32c=existing.crc32c)
        return await _equal(stored, self._blobs.read(new.locator))


def _count(result: StoreResult) -> None:
    """Count the result of an instance in the metrics."""
    if isinstance(result, Failed):
        _RESULTS["failed"].value += 1
    elif result.identical:
        _RESULTS["identical"].value += 1
    else:
        _RESULTS["stored" if result.replaced is None else "replaced"].value += 1
        _STORED_BYTES.value += result.size_bytes


_OTHER_BYTES = AlreadyExists(
    Reason.INSTANCE_ALREADY_EXISTS, "An instance with these UIDs is already stored, with different content."
)
_SAME_BYTES = AlreadyExists(Reason.INSTANCE_ALREADY_EXISTS, "The instance is already stored, with identical content.")
_STORED_DAMAGED = AlreadyExists(
    Reason.INSTANCE_ALREADY_EXISTS,
    "The instance is already stored, but its stored bytes are missing or damaged: delete it, then store it again.",
)
_MISMATCH = Finding(
    path="0020000D",
    keyword="StudyInstanceUID",
    vr="UI",
    message="The StudyInstanceUid in the payload differs from the requested StudyInstanceUid.",
)


def _invalid() -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_INSTANCE, "The instance failed validation.")


def new_instance(
    description: Description,
    *,
    partition: PartitionName,
    size_bytes: int,
    crc32c: int,
    locator: Locator,
    must_be_indexed: bool,
    provenance: Provenance = NO_PROVENANCE,
    may_replace: bool = False,
    expires: datetime | None = None,
) -> NewInstance:
    """Return the index entry of an instance whose blob is at `locator`."""
    return NewInstance(
        id=InstanceId(
            partition, Uid(description.study_uid), Uid(description.series_uid), Uid(description.sop_uid)
        ),  # valid: the reader reports invalid ones as errors
        sop_class_uid=description.sop_class_uid,
        transfer_syntax_uid=description.transfer_syntax_uid,
        size_bytes=size_bytes,
        crc32c=crc32c,
        locator=locator,
        dicom_json=description.dicom_json,
        study=description.study,
        series=description.series,
        instance=description.instance,
        pixels=description.pixels,
        bulk=description.bulk,
        must_be_indexed=must_be_indexed,
        invalid_tags=description.invalid_tags,
        is_mislabelled=description.is_mislabelled,
        provenance=provenance,
        may_replace=may_replace,
        expires=expires,
        trace=sampled_trace(),
    )


def _warning_reason(description: Description) -> int:
    if description.is_implicit:
        return DATA_SET_DOES_NOT_MATCH
    return ATTRIBUTES_INVALID if description.findings else 0


def _failed(error: DicomStoreError, description: Description | None, identical: bool = False) -> Failed:
    failure_reason = _FAILURE_REASONS.get(error.reason, PROCESSING_FAILURE)
    if description is None:
        return Failed(error.reason, error.message, failure_reason)
    findings: tuple[Finding, ...] = ()
    if error.reason is Reason.INVALID_INSTANCE:
        findings = description.errors
    elif error.reason is Reason.STUDY_MISMATCH:
        findings = (_MISMATCH,)
    return Failed(
        error.reason,
        error.message,
        failure_reason,
        study_uid=description.study_uid,
        series_uid=description.series_uid,
        sop_uid=description.sop_uid,
        sop_class_uid=description.sop_class_uid,
        findings=findings,
        identical=identical,
    )


async def _equal(one: AsyncIterator[Buffer], other: AsyncIterator[Buffer]) -> bool:
    """Compare two blobs of the same size; the blob store yields both in pieces of the same sizes."""
    async for piece in one:
        if bytes(piece) != bytes(await anext(other, b"")):  # comparing views goes value by value and is slower
            return False
    return await anext(other, None) is None


def _finding(tag: NewTag, fault: TagFault) -> Finding:
    """Return the finding of an instance that is refused because of its value for an extended query tag."""
    message = f"Dicom element '{tag.keyword or tag.tag}' failed validation for VR '{tag.vr}': {fault.message}"
    return Finding(tag.tag, tag.keyword, tag.vr, message)
