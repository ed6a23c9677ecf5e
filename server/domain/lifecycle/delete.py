"""Deleting studies, series and instances (PS3.18 has no such transaction; docs/api.md describes it)."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from server.domain.access import Access
from server.domain.audit.outbox import Outbox
from server.domain.limits import check_reason
from server.model.access import Action
from server.model.call import Call
from server.model.ids import Address
from server.ports.index import InstanceIndex


class Delete:
    """Deletes instances: invisible at once, erased by `server.domain.upkeep.garbage` after the retention time.

    on_change: called after instances have been deleted.
    on_erasable: called when instances are due for erasure.
    outbox: for the audit records of deletions; without one, they are recorded like other changes.
    """

    def __init__(
        self,
        *,
        index: InstanceIndex,
        access: Access,
        now: Callable[[], datetime],
        deadline_now: Callable[[], datetime],
        retention: timedelta,
        on_change: Callable[[], None],
        on_erasable: Callable[[], None],
        outbox: Outbox | None = None,
    ) -> None:
        self._index = index
        self._access = access
        self._now = now
        self._deadline_now = deadline_now
        self._retention = retention
        self._on_change = on_change
        self._on_erasable = on_erasable
        self._outbox = outbox

    async def delete(self, call: Call, address: Address, *, reason: str = "") -> int:
        """Delete a study, series or instance; return the number of deleted instances, 0 if there were none.

        Raises:
            InvalidRequest: INVALID_FIELD, the address is a partition, or the reason is too long.
            WrongState: ON_HOLD.
            and as `Access.permit`.
        """
        address = await self._permitted(call, address, reason, uses_outbox=True)
        await call.audit.begun()
        erase_after = self._deadline_now() + self._retention
        # A cancelled call does not end its transaction; the record of it is moved to the audit trail all the same.
        deletion = asyncio.ensure_future(self._deleted(call, address, erase_after, reason, self._outbox))
        return await asyncio.shield(deletion)

    async def erase(self, call: Call, address: Address, *, reason: str = "") -> tuple[int, int]:
        """Delete a resource without a retention time, and end that of its instances that were deleted earlier.

        Garbage collection starts at once. Returns the number of deleted instances, and that of instances that will be
        erased. Raises: as `delete`.
        """
        call.audit.note(erase="now")
        address = await self._permitted(call, address, reason)
        due = self._deadline_now()
        deleted = await self._deleted(call, address, due, reason)
        erased = deleted + await self._index.erase_now(address, due, reason=reason, author=call.principal.id)
        call.audit.items = erased
        if erased:
            self._on_erasable()
        return deleted, erased

    async def _permitted(self, call: Call, address: Address, reason: str, *, uses_outbox: bool = False) -> Address:
        address.require_study()
        check_reason(reason)
        if reason:
            call.audit.note(reason=reason)
        return await self._access.permit(call, Action.DELETE, address, waits=not uses_outbox)

    async def _deleted(
        self, call: Call, address: Address, erase_after: datetime, reason: str, outbox: Outbox | None = None
    ) -> int:
        author = call.principal.id
        transaction = partial(self._index.delete, address, self._now(), erase_after, reason=reason, author=author)
        if outbox is None:
            deleted = call.audit.items = await transaction()
        else:
            deleted = await outbox.delete(call.audit, lambda record_of: transaction(record_of=record_of))
        if deleted:
            self._on_change()
        return deleted
