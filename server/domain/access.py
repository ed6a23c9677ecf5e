"""Access control: the one place that decides whether a principal may perform an operation.

Every domain operation that a client can call asks `Access` exactly once, before any effect
(`tests/integration/test_access.py`): `permit` for an address, `permit_archive` for what belongs to the whole archive.
The grants of the principal, the partition, and the read-only state decide.
"""

import logging
from collections.abc import Collection
from dataclasses import replace

from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.model.access import READING, Action, Grant
from server.model.call import Call
from server.model.errors import Forbidden, InvalidRequest, NotFound, Reason
from server.model.ids import ARCHIVE, ORIGINAL, Address, PartitionName, Version
from server.model.security.share_link import link_of

_log = logging.getLogger("dicomstore.access.decision")


class Access:
    """Permits or refuses operations."""

    def __init__(self, partitions: PartitionNames, read_only: ReadOnlyState) -> None:
        self._partitions = partitions
        self._read_only = read_only

    async def permit(
        self,
        call: Call,
        action: Action,
        address: Address,
        *,
        partition_may_be_new: bool = False,
        narrow: bool = False,
        waits: bool = True,
        by_share_link: bool = True,
        version: Version | None = None,
        also: Action | None = None,
        is_resolved: bool = False,
    ) -> Address:
        """Return the address with its resolved partition if the principal may perform the action there.

        If the action changes something, it is in the audit trail, durably, when this returns.

        Args:
            address: as in the request: a partition, study, series or instance.
            partition_may_be_new: the operation creates the partition if it does not exist.
            narrow: the operation returns a list. If the principal's access is limited to a part of `address`, return
                that part.
            waits: False if the operation, apart from creating the partition, has only effects of transactions with a
                record in the outbox, and awaits `call.audit.begun` before each.
            by_share_link: False refuses principals of share links, who may only read current content and add to it.
            version: the operation reads a version of an instance; refuses them as well.
            also: another action that the principal must be allowed to perform there.
            is_resolved: the address is not from the request but stored, with its resolved partition.

        Raises:
            InvalidRequest: INVALID_FIELD, a version without an instance, or below 1.
            Forbidden: PERMISSION_DENIED, the principal may perform the action nowhere, or has a share link, or may not
                perform the other action there.
            NotFound: PARTITION_NOT_PERMITTED, it may not in this partition; STUDY_NOT_FOUND and so on, not on this
                study, series or instance.
            Unavailable: ARCHIVE_READ_ONLY, and the action changes something.
            and the partition reasons of `PartitionNames`, and as `CallAudit.begun`.
        """
        if version not in (None, ORIGINAL) and (address.instance is None or version < 1):
            message = "A version is a number from 1, and requires an instance."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="version")
        grants = self._grants(call, action, address)
        if (version is not None or not by_share_link) and link_of(call.principal):
            raise denied(action)
        partition = address.partition if is_resolved else self._partitions.named(address.partition)
        if partition != address.partition:
            address = replace(address, partition=partition)
        if not any(grant.covers(address) for grant in grants):
            address = _part_of(address, grants, narrow=narrow)
        if also is not None and not any(grant.covers(address) for grant in call.principal.grants_of(also)):
            raise denied(also)
        call.audit.address = address
        is_new = partition_may_be_new and not await self._partitions.exists(address.partition)
        if not partition_may_be_new:
            await self._partitions.require(address.partition)
        if action not in READING:
            waits = waits or is_new
            call.audit.begin(call, action, uses_outbox=not waits)
            if waits:
                await call.audit.begun()
        return address

    async def permit_archive(self, call: Call, action: Action) -> None:
        """Permit an operation on the whole archive.

        If the action changes something, it is in the audit trail, durably, when this returns.

        Raises:
            Forbidden: PERMISSION_DENIED, the principal may not perform the action in the whole archive.
            Unavailable: ARCHIVE_READ_ONLY, and the action changes something; and as `CallAudit.begun`.
        """
        if not any(grant.scope == ARCHIVE for grant in self._grants(call, action, ARCHIVE)):
            raise denied(action)
        if action not in READING:
            call.audit.begin(call, action)
            await call.audit.begun()

    def permit_partitions(self, call: Call, action: Action) -> frozenset[PartitionName] | None:
        """Return the partitions whose entries a list may contain; None means all.

        Raises:
            Forbidden: PERMISSION_DENIED, the principal may not perform the action in any whole partition.
        """
        grants = self._grants(call, action, ARCHIVE)
        if any(grant.scope == ARCHIVE for grant in grants):
            return None
        names = frozenset(grant.scope.partition for grant in grants if grant.scope.study is None)
        if not names:
            raise denied(action)
        return names

    def permit_anywhere(self, call: Call, action: Action) -> None:
        """Permit an operation that only tells whether the principal may perform an action at all.

        Raises:
            Forbidden: PERMISSION_DENIED.
        """
        if not self._decided(call, action, ARCHIVE):
            raise denied(action)

    def _grants(self, call: Call, action: Action, address: Address) -> Collection[Grant]:
        grants = self._decided(call, action, address)
        if not grants:
            raise denied(action)
        if action not in READING:
            self._read_only.require_writable()
        return grants

    def _decided(self, call: Call, action: Action, address: Address) -> Collection[Grant]:
        """Log the decision; return the grants of the action."""
        _log.debug(
            "access action=%s partition=%s study=%s series=%s instance=%s principal=%s request_id=%s",
            action.value,
            address.partition or "-",
            address.study or "-",
            address.series or "-",
            address.instance or "-",
            call.principal.id,
            call.request_id,
        )
        call.audit.accesses(call, address)
        return call.principal.grants_of(action)


def denied(action: Action) -> Forbidden:
    """Return the error for an action that the principal may not perform."""
    message = f"This requires permission for the action {action.value}."
    return Forbidden(Reason.PERMISSION_DENIED, message, action=action.value)


def _part_of(address: Address, grants: Collection[Grant], *, narrow: bool) -> Address:
    """Return the permitted part of an address that no grant covers, if `narrow`; raise NotFound otherwise."""
    within = [grant.scope for grant in grants if grant.scope.partition == address.partition]
    if not within:
        raise NotFound(Reason.PARTITION_NOT_PERMITTED, "The specified partition does not exist.")
    if narrow:
        whole = Grant(frozenset(), address)
        for scope in within:
            if whole.covers(scope):
                return scope
    if not any(scope.study == address.study for scope in within):
        raise NotFound(Reason.STUDY_NOT_FOUND, "The specified study was not found.")
    if not any(scope.series == address.series for scope in within):
        raise NotFound(Reason.SERIES_NOT_FOUND, "The specified series was not found.")
    raise NotFound(Reason.INSTANCE_NOT_FOUND, "The specified instance was not found.")
