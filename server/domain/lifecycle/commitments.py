"""Storage commitment (PS3.18 chapter 13; docs/api.md, Storage commitment)."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from crc32c import crc32c as crc32c_of

from server.domain.access import Access
from server.domain.damage import DamageRecord, of_bytes
from server.domain.read_only import ReadOnlyState
from server.model.access import Action
from server.model.call import Call
from server.model.damage import Damage
from server.model.errors import AlreadyExists, DataLoss, InvalidRequest, NotFound, Reason
from server.model.ids import Address, PartitionName, Uid
from server.model.instance import StoredInstance
from server.model.lifecycle.commitment import Commitment, FailureReason, Failures, Reference
from server.ports.blobs import BlobStore
from server.ports.index import InstanceIndex
from server.ports.lifecycle.commitments import CommitmentRecord

MAX_REFERENCES = 10_000
"""Maximum number of references in a request."""

MAX_IMMEDIATE = 200
"""Number of references up to which a request is verified during the call."""

MAX_IMMEDIATE_BYTES = 64 << 20
"""Bytes of the referenced instances up to which a request is verified during the call."""

_PAGE = 200
_POLL_SECONDS = 1.0


class Verifier:
    """Compares the bytes in the blob store with the checksums in the index, for referenced instances."""

    def __init__(self, *, index: InstanceIndex, blobs: BlobStore, damage: DamageRecord) -> None:
        self._index = index
        self._blobs = blobs
        self._damage = damage

    async def size(self, partition: PartitionName, references: Sequence[Reference]) -> int:
        """Return the number of bytes to be read for references."""
        found = await self._index.find_by_uid(partition, {reference.instance for reference in references})
        return sum(stored.size_bytes for stored in found)

    async def failures(self, partition: PartitionName, references: Sequence[Reference]) -> Failures:
        """Verify instances, a page of references at a time.

        Raises:
            Unavailable: as the index and the blob store; nothing is known about the instances then.
        """
        failures: dict[int, FailureReason] = {}
        for start in range(0, len(references), _PAGE):
            page = references[start : start + _PAGE]
            found = await self._index.find_by_uid(partition, {reference.instance for reference in page})
            by_uid: dict[Uid, list[StoredInstance]] = {}
            for stored in found:
                by_uid.setdefault(stored.id.instance, []).append(stored)
            for position, reference in enumerate(page, start):
                reason = await self._failure(reference, by_uid.get(reference.instance, ()))
                if reason is not None:
                    failures[position] = reason
        return failures

    async def _failure(self, reference: Reference, found: Iterable[StoredInstance]) -> FailureReason | None:
        """Return why an instance is not committed; None if it is."""
        there = [
            stored
            for stored in found
            if reference.study in (None, stored.id.study) and reference.series in (None, stored.id.series)
        ]
        if not there:
            return FailureReason.NO_SUCH_OBJECT_INSTANCE
        of_class = [stored for stored in there if stored.sop_class_uid == reference.sop_class_uid]
        if not of_class:
            return FailureReason.CLASS_INSTANCE_CONFLICT
        for stored in of_class:
            if not await self._is_intact(stored):
                return FailureReason.PROCESSING_FAILURE
        return None

    async def _is_intact(self, stored: StoredInstance) -> bool:
        """Read an instance; one that was moved or replaced meanwhile is read at its new place."""
        try:
            crc32c, size_bytes = 0, 0
            async for piece in self._blobs.read_unverified(stored.locator):
                crc32c = crc32c_of(piece, crc32c)
                size_bytes += len(piece)
                await asyncio.sleep(0)
            damage = Damage(is_changed=True)
            is_intact = (size_bytes, crc32c) == (stored.size_bytes, stored.crc32c)
        except DataLoss as error:
            is_intact, damage = False, of_bytes(error)
        if is_intact:
            return True
        current = await self._index.find(stored.id.address, limit=1)
        if current and current[0].locator != stored.locator:
            return await self._is_intact(current[0])
        if current:
            await self._damage.found(stored, damage)
        return False


class Commitments:
    """Accepts requests, verifies them, and returns results.

    Small requests are verified during the call. Larger ones are recorded, and verified by `run`, which one process at a
    time does.

    retention: time for which finished requests are kept.
    """

    def __init__(
        self,
        *,
        access: Access,
        record: CommitmentRecord,
        verifier: Verifier,
        now: Callable[[], datetime],
        retention: timedelta,
        read_only: ReadOnlyState,
    ) -> None:
        self._access = access
        self._record = record
        self._verifier = verifier
        self._now = now
        self._retention = retention
        self._read_only = read_only

    async def request(
        self, call: Call, partition: PartitionName, transaction_uid: Uid, references: Sequence[Reference]
    ) -> Commitment:
        """Request storage commitment; return the result, or the unfinished request.

        Raises:
            InvalidRequest: INVALID_FIELD, no or too many references.
            AlreadyExists: COMMITMENT_ALREADY_EXISTS.
            and as `Access.permit`, the index and the blob store.
        """
        if not 1 <= len(references) <= MAX_REFERENCES:
            message = f"A request has 1 to {MAX_REFERENCES} references."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="references")
        call.audit.note(transaction=transaction_uid)
        call.audit.items = len(references)
        address = await self._access.permit(call, Action.READ, Address(partition))
        partition = address.partition
        if await self._known(partition, transaction_uid) is not None:
            raise _in_use()
        is_small = (
            len(references) <= MAX_IMMEDIATE and await self._verifier.size(partition, references) <= MAX_IMMEDIATE_BYTES
        )
        failures = await self._verifier.failures(partition, references) if is_small else None
        now = self._now()
        commitment = Commitment(partition, transaction_uid, now, call.principal.id, references, failures)
        if not await self._record.add(commitment, now - self._retention):
            raise _in_use()
        return commitment

    async def get(self, call: Call, partition: PartitionName, transaction_uid: Uid) -> Commitment:
        """Return a request with its result.

        Raises:
            NotFound: COMMITMENT_NOT_FOUND, there is none, or it has expired.
            and as `Access.permit`.
        """
        call.audit.note(transaction=transaction_uid)
        address = await self._access.permit(call, Action.READ, Address(partition))
        found = await self._known(address.partition, transaction_uid)
        if found is None:
            message = "There is no storage commitment request with this transaction UID."
            raise NotFound(Reason.COMMITMENT_NOT_FOUND, message)
        return found

    async def _known(self, partition: PartitionName, transaction_uid: Uid) -> Commitment | None:
        """Return a request that has not expired."""
        found = await self._record.get(partition, transaction_uid)
        is_expired = found is not None and found.failures is not None and found.created < self._now() - self._retention
        return None if is_expired else found

    async def run(self) -> None:
        """Verify accepted requests until cancelled or the archive is read-only. Raises: as the record, `Verifier`."""
        while not self._read_only.cause:
            commitment = await self._record.oldest_unfinished()
            if commitment is None:
                await asyncio.sleep(_POLL_SECONDS)
            else:
                await self._verify(commitment)

    async def _verify(self, commitment: Commitment) -> None:
        failures = await self._verifier.failures(commitment.partition, commitment.references)
        await self._record.finish(commitment.partition, commitment.transaction_uid, failures)


def _in_use() -> AlreadyExists:
    return AlreadyExists(Reason.COMMITMENT_ALREADY_EXISTS, "The transaction UID is in use.")
