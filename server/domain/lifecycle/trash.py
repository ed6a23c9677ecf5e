"""Deleted instances until their bytes are erased: listing and restoring them (docs/api.md, Deleting)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from server.domain.access import Access
from server.domain.limits import page_size as checked_page_size
from server.domain.search import page_token
from server.model.access import Action
from server.model.call import Call
from server.model.ids import Address
from server.model.lifecycle.deletion import Deletion, DeletionQuery
from server.ports.index import InstanceIndex

_MARGIN = timedelta(minutes=5)
"""Instances that are due for erasure this soon are not restored: garbage collection must not erase what is visible."""


class Trash:
    """Lists deletions, and restores deleted instances.

    on_restored: called after instances have been restored.
    """

    def __init__(
        self,
        *,
        index: InstanceIndex,
        access: Access,
        now: Callable[[], datetime],
        deadline_now: Callable[[], datetime],
        on_restored: Callable[[], None],
    ) -> None:
        self._index = index
        self._access = access
        self._now = now
        self._deadline_now = deadline_now
        self._on_restored = on_restored

    async def undelete(self, call: Call, address: Address) -> int:
        """Restore the deleted instances of a study, series or instance; return their number.

        Raises:
            InvalidRequest: INVALID_FIELD, the address is a partition.
            and as `Access.permit`.
        """
        address.require_study()
        address = await self._access.permit(call, Action.DELETE, address)
        restored = await self._index.undelete(address, self._now(), self._deadline_now() + _MARGIN)
        call.audit.items = restored
        if restored:
            self._on_restored()
        return restored

    async def deletions(
        self, call: Call, query: DeletionQuery, *, page_size: int, token: str
    ) -> tuple[Sequence[Deletion], str]:
        """Return a page of deletions, newest first, and the token of the next page, empty for the last one.

        Access to the whole partition is required: authors and reasons are not for the recipient of a share link.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_PAGE_TOKEN.
            and as `Access.permit`.
        """
        size = checked_page_size(page_size)
        permitted = await self._access.permit(call, Action.READ, Address(query.scope.partition))
        query = replace(query, scope=replace(query.scope, partition=permitted.partition))
        call.audit.address = query.scope
        pages = repr(query).encode()
        before = page_token.read(token, pages) if token else None
        found = await self._index.deletions(query, before, size + 1)
        following = page_token.make(found[size - 1].key, pages) if len(found) > size else ""
        call.audit.items = min(len(found), size)
        return found[:size], following
