"""Transfers between the archive and other systems (docs/dimse.md), for clients and for gateways."""

import asyncio
import re
import secrets
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from common.telemetry.tracing import sampled_trace
from server.domain.access import Access
from server.domain.limits import page_size as size_of
from server.domain.search import page_token
from server.domain.signal import Signal, wait
from server.model.access import Action
from server.model.call import Call
from server.model.errors import Exhausted, InvalidRequest, NotFound, Reason, WrongState
from server.model.ids import NO_PARTITION, Address, PartitionName
from server.model.lifecycle.transfer import (
    RETRIABLE,
    CommitmentReport,
    Notification,
    Pull,
    Send,
    Transfer,
    TransferOutcome,
    TransferProgress,
    TransferState,
    TransferWork,
)
from server.ports.lifecycle.transfers import TransferRecord

LEASE = timedelta(seconds=60)
"""Time until a transfer of a gateway that does not report can be claimed by another one."""

MAX_UNFINISHED = 100_000
"""Number of unfinished transfers of an archive."""

_MAX_RESOURCES = 1000
_MAX_KEYS = 50
_MAX_KEYS_LENGTH = 10_000
_MAX_CLAIMED = 100
_MAX_WAIT_SECONDS = 60
_POLL_SECONDS = 1.0
_RESPONSE_SECONDS = 1.0
"""Time that a response may take to reach its client."""

_MAX_REQUEST_ID_LENGTH = 128
_MAX_CURSOR_LENGTH = 256
_LEASE_BYTES = 16
_ID = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PROBLEM = re.compile(r"[A-Z0-9_]{0,64}")
_KEYWORD = re.compile(r"[A-Za-z0-9]{1,64}")
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")


class Transfers:
    """Creates, lists, cancels and retries transfers, and leases them to gateways.

    Args:
        retention: time for which finished transfers are kept.
        max_attempts: number of failed attempts after which a transfer is a dead letter.
    """

    def __init__(
        self,
        *,
        access: Access,
        record: TransferRecord,
        now: Callable[[], datetime],
        retention: timedelta,
        max_attempts: int,
    ) -> None:
        self._access = access
        self._record = record
        self._now = now
        self._retention = retention
        self._max_attempts = max_attempts
        self._changed = Signal()
        self._is_closing = False

    def close(self) -> None:
        """Let all calls that wait for transfers respond."""
        self._is_closing = True
        self._changed.notify()

    async def create(
        self,
        call: Call,
        partition: PartitionName,
        remote: str,
        work: TransferWork | None,
        *,
        request_id: str = "",
        rule: str = "",
        claim: bool = False,
    ) -> Transfer:
        """Record a transfer, and return it.

        Args:
            work: addresses in it may have any partition.
            request_id: if a request with this id has created one, that is returned.
            claim: lease the new transfer to the caller.

        Raises:
            InvalidRequest: INVALID_FIELD.
            Exhausted: TOO_MANY_TRANSFERS.
            and as `Access.permit`.
        """
        call.audit.note(**_facts(remote, work, rule))
        also = Action.WRITE if isinstance(work, Pull) else None
        permitted = await self._access.permit(call, Action.EXPORT, Address(partition), by_share_link=False, also=also)
        _check_names(remote, rule, request_id)
        now = self._now()
        transfer = Transfer(
            id=uuid.uuid4().hex,
            partition=permitted.partition,
            remote=remote,
            work=_checked(work, permitted.partition),
            creator=call.principal.id,
            created=now,
            updated=now,
            due=now,
            rule=rule,
            trace=sampled_trace(),
        )
        if claim:
            transfer = self._leased(transfer, now)
        added = await self._record.add(transfer, request_id, MAX_UNFINISHED, now - self._retention)
        if added is None:
            raise Exhausted(Reason.TOO_MANY_TRANSFERS, f"{MAX_UNFINISHED} transfers are unfinished; retry later.")
        self._changed.notify()
        call.audit.note(transfer=added.id)
        return added if added.id == transfer.id else replace(added, lease="")

    async def get(self, call: Call, transfer_id: str) -> Transfer:
        """Return a transfer. Raises NotFound (TRANSFER_NOT_FOUND)."""
        call.audit.note(transfer=transfer_id)
        partitions = self._access.permit_partitions(call, Action.READ)
        transfer = await self._find(transfer_id)
        if transfer is None or not (partitions is None or transfer.partition in partitions):
            raise _unknown()
        return transfer

    async def list(
        self,
        call: Call,
        *,
        page_size: int,
        token: str,
        states: Collection[TransferState] = (),
        remote: str = "",
        partition: PartitionName = NO_PARTITION,
    ) -> tuple[Sequence[Transfer], str]:
        """Return a page of transfers, newest first, and the token of the next page, empty for the last one.

        Args:
            states, remote, partition: filters; empty means all.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_PAGE_TOKEN.
            and with a partition as `Access.permit`.
        """
        if partition:
            permitted = await self._access.permit(call, Action.READ, Address(partition), by_share_link=False)
            partitions: Collection[PartitionName] | None = (permitted.partition,)
        else:
            partitions = self._access.permit_partitions(call, Action.READ)
        size = size_of(page_size)
        query = f"transfers {sorted(set(states))} {remote} {partition}".encode()
        before = page_token.read(token, query) if token else None
        found = await self._record.list(
            partitions=partitions, states=states, remote=remote, before=before, limit=size + 1
        )
        following = page_token.make(found[size - 1][0], query) if len(found) > size else ""
        return [transfer for _, transfer in found[:size]], following

    async def cancel(self, call: Call, transfer_id: str) -> Transfer:
        """Cancel a transfer, unless it has succeeded; return it. Raises NotFound (TRANSFER_NOT_FOUND)."""
        await self._permit(call, transfer_id)
        now = self._now()
        return _found(await self._record.change(transfer_id, lambda transfer: transfer.canceled(now)))

    async def retry(self, call: Call, transfer_id: str) -> Transfer:
        """Begin a transfer that failed, was cancelled or waits again, and return it.

        Raises:
            NotFound: TRANSFER_NOT_FOUND.
            WrongState: TRANSFER_NOT_FAILED.
        """
        await self._permit(call, transfer_id)
        now = self._now()

        def change(transfer: Transfer) -> Transfer:
            if transfer.state not in RETRIABLE:
                message = "The transfer is running or has succeeded."
                raise WrongState(Reason.TRANSFER_NOT_FAILED, message)
            return transfer.retried(now)

        transfer = _found(await self._record.change(transfer_id, change))
        self._changed.notify()
        return transfer

    async def claim(self, call: Call, limit: int, wait_seconds: int = 0) -> Sequence[Transfer]:
        """Lease transfers that are due to a gateway.

        If none is due, wait for one: those that this process creates or retries are found at once, those that become
        due or come from another process within a second.

        Args:
            wait_seconds: longest time to wait. The method returns before the deadline of the call.

        Raises:
            InvalidRequest: INVALID_FIELD.
            Forbidden: PERMISSION_DENIED, the gateway needs the action export in the whole archive.
        """
        await self._access.permit_archive(call, Action.EXPORT)
        if not 1 <= limit <= _MAX_CLAIMED:
            raise _invalid("max_transfers", f"max_transfers must be between 1 and {_MAX_CLAIMED}.")
        if not 0 <= wait_seconds <= _MAX_WAIT_SECONDS:
            raise _invalid("wait_seconds", f"wait_seconds must be between 0 and {_MAX_WAIT_SECONDS}.")
        clock = asyncio.get_running_loop().time
        end = clock() + wait_seconds
        if call.deadline is not None:
            end = min(end, call.deadline - _RESPONSE_SECONDS)
        while True:
            changed = self._changed.next()  # taken before the query, so that no notification is missed
            claimed = await self._claim(limit)
            left = end - clock()
            if claimed or left <= 0 or self._is_closing:
                return claimed
            await wait(changed, min(left, _POLL_SECONDS))

    async def report(
        self,
        call: Call,
        transfer_id: str,
        lease: str,
        *,
        progress: TransferProgress | None = None,
        cursor: str | None = None,
        outcome: TransferOutcome | None = None,
    ) -> bool:
        """Renew a lease, and record progress and the end of an attempt; return False if the lease is lost.

        Args:
            progress, cursor: None: as before.

        Raises: as `claim`.
        """
        await self._access.permit_archive(call, Action.EXPORT)
        if cursor is not None and len(cursor) > _MAX_CURSOR_LENGTH:
            raise _invalid("cursor", f"A cursor has at most {_MAX_CURSOR_LENGTH} characters.")
        if outcome is not None and not _PROBLEM.fullmatch(outcome.problem):
            raise _invalid("outcome.problem", "A problem has at most 64 of A-Z, 0-9 and '_'.")
        now, is_leased = self._now(), False

        def change(transfer: Transfer) -> Transfer | None:
            nonlocal is_leased
            is_leased = transfer.state is TransferState.RUNNING and secrets.compare_digest(transfer.lease, lease)
            if not is_leased:
                return None
            renewed = transfer.renewed(now, LEASE, progress, cursor)
            return renewed if outcome is None else renewed.attempted(outcome, now, self._max_attempts)

        if _ID.fullmatch(transfer_id) and lease.isascii():
            await self._record.change(transfer_id, change)
        return is_leased

    async def _claim(self, limit: int) -> Sequence[Transfer]:
        now = self._now()
        claimed = await self._record.claim(now, limit, lambda transfer: self._leased(transfer, now))
        return [transfer for transfer in claimed if transfer.state is TransferState.RUNNING]

    def _leased(self, transfer: Transfer, now: datetime) -> Transfer:
        return transfer.claimed(secrets.token_hex(_LEASE_BYTES), now, LEASE, self._max_attempts)

    async def _find(self, transfer_id: str) -> Transfer | None:
        return await self._record.find(transfer_id) if _ID.fullmatch(transfer_id) else None

    async def _permit(self, call: Call, transfer_id: str) -> None:
        """Permit a change of a transfer, also if its partition has been deleted."""
        call.audit.note(transfer=transfer_id)
        transfer = await self._find(transfer_id)
        if transfer is None:
            self._access.permit_partitions(call, Action.EXPORT)
            raise _unknown()
        await self._access.permit(
            call,
            Action.EXPORT,
            Address(transfer.partition),
            partition_may_be_new=True,
            by_share_link=False,
            is_resolved=True,
        )


def _check_names(remote: str, rule: str, request_id: str) -> None:
    if not _NAME.fullmatch(remote):
        raise _invalid("remote", "remote must be 1 to 64 letters, digits, '.', '_' or '-'.")
    if rule and not _NAME.fullmatch(rule):
        raise _invalid("rule", "rule must be at most 64 letters, digits, '.', '_' or '-'.")
    if len(request_id) > _MAX_REQUEST_ID_LENGTH:
        raise _invalid("request_id", f"A request_id has at most {_MAX_REQUEST_ID_LENGTH} characters.")


def _checked(work: TransferWork | None, partition: PartitionName) -> TransferWork:
    """Return what to transfer, in a partition."""
    match work:
        case None:
            raise _invalid("work", "What to transfer is required.")
        case Notification():
            return Notification(_checked_resource(work.study, partition))
        case CommitmentReport():
            if work.ae_title and not _AE_TITLE.fullmatch(work.ae_title):
                raise _invalid("commitment_report.ae_title", "An AE title has 1 to 16 printable characters.")
            return work
        case Pull():
            _check_keys(work.keys)
            if bool(work.resources) == bool(work.keys):
                raise _invalid("pull", "A pull has either resources or keys.")
        case Send():
            if not work.resources:
                raise _invalid("send", "A send has at least one resource.")
    if len(work.resources) > _MAX_RESOURCES:
        raise _invalid("resources", f"At most {_MAX_RESOURCES} resources are possible.")
    return replace(work, resources=tuple(_checked_resource(one, partition) for one in work.resources))


def _checked_resource(resource: Address, partition: PartitionName) -> Address:
    resource.require_study()
    return replace(resource, partition=partition)


def _check_keys(keys: Mapping[str, str]) -> None:
    length = sum(len(name) + len(value) for name, value in keys.items())
    if len(keys) > _MAX_KEYS or length > _MAX_KEYS_LENGTH:
        raise _invalid("keys", f"At most {_MAX_KEYS} search keys and {_MAX_KEYS_LENGTH} characters are possible.")
    if not all(_KEYWORD.fullmatch(name) for name in keys):
        raise _invalid("keys", "A search key is the keyword of an attribute.")


def _facts(remote: str, work: TransferWork | None, rule: str) -> dict[str, object]:
    """Return what the audit trail says about a new transfer: of search keys the names, not the values."""
    facts: dict[str, object] = {"remote": remote[:64], "work": type(work).__name__.lower()}
    if rule:
        facts["rule"] = rule[:64]
    match work:
        case Pull() if work.keys:
            facts["keys"] = [name for name in work.keys if _KEYWORD.fullmatch(name)][:_MAX_KEYS]
        case Pull() | Send():
            facts["studies"] = sorted({one.study for one in work.resources if one.study})[:_MAX_KEYS]
        case Notification():
            facts["studies"] = [work.study.study]
        case CommitmentReport():
            facts["transaction"] = work.transaction[:64]
    return facts


def _found(transfer: Transfer | None) -> Transfer:
    if transfer is None:
        raise _unknown()
    return transfer


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_FIELD, message, field=field)


def _unknown() -> NotFound:
    return NotFound(Reason.TRANSFER_NOT_FOUND, "The specified transfer does not exist.")
