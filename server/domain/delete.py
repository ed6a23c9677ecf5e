"""Deleting studies, series and instances (PS3.18 has no such transaction; docs/api.md describes it)."""

from collections.abc import Callable
from datetime import datetime, timedelta

from server.domain.access import Access
from server.model.access import Action
from server.model.call import Call
from server.model.ids import Address
from server.ports.index import InstanceIndex


class Delete:
    """Deletes instances: invisible at once, erased by `server.domain.upkeep.garbage` after the retention time."""

    def __init__(
        self,
        *,
        index: InstanceIndex,
        access: Access,
        now: Callable[[], datetime],
        deadline_now: Callable[[], datetime],
        retention: timedelta,
        on_change: Callable[[], None],
    ) -> None:
        self._index = index
        self._access = access
        self._now = now
        self._deadline_now = deadline_now
        self._retention = retention
        self._on_change = on_change

    async def delete(self, call: Call, address: Address) -> int:
        """Delete a study, series or instance; return the number of deleted instances, 0 if there were none.

        Raises:
            InvalidRequest: INVALID_FIELD, the address is a partition.
            and as `Access.permit`.
        """
        address.require_study()
        address = await self._access.permit(call, Action.DELETE, address)
        erase_after = self._deadline_now() + self._retention
        deleted = await self._index.delete(address, self._now(), erase_after, author=call.principal.id)
        call.audit.items = deleted
        if deleted:
            self._on_change()
        return deleted
