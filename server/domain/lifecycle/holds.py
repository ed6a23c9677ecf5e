"""Holds: setting, releasing and listing them (docs/api.md, Holds). The index refuses changes of what is on hold."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from server.domain.access import Access
from server.domain.limits import check_reason
from server.domain.limits import page_size as checked_page_size
from server.domain.resources import not_found
from server.domain.search import page_token
from server.model.access import Action
from server.model.call import Call
from server.model.errors import InvalidRequest, NotFound, Reason
from server.model.ids import Address
from server.model.lifecycle.hold import Hold
from server.ports.index import InstanceIndex
from server.ports.lifecycle.holds import Holds as HoldRecord

MAX_NAME_LENGTH = 64


class Holds:
    """Sets, releases and lists holds.

    on_released: called after a hold has been released.
    """

    def __init__(
        self,
        *,
        holds: HoldRecord,
        index: InstanceIndex,
        access: Access,
        now: Callable[[], datetime],
        on_released: Callable[[], None],
    ) -> None:
        self._holds = holds
        self._index = index
        self._access = access
        self._now = now
        self._on_released = on_released

    async def set(self, call: Call, address: Address, *, name: str, reason: str) -> Hold:
        """Set a hold on a study, series or instance, or replace the one with this name; return it.

        Raises:
            InvalidRequest: INVALID_FIELD, the address is a partition, or the name or reason is not valid.
            NotFound: STUDY_NOT_FOUND, SERIES_NOT_FOUND, INSTANCE_NOT_FOUND.
            and as `Access.permit`.
        """
        address.require_study()
        if len(name) > MAX_NAME_LENGTH or not name.isprintable():
            message = f"The name of a hold has at most {MAX_NAME_LENGTH} printable characters."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="name")
        check_reason(reason, required=True)
        call.audit.note(hold=name, reason=reason)
        address = await self._access.permit(call, Action.ADMINISTER, address)
        hold = Hold(address, name, reason, call.principal.id, self._now())
        if not await self._holds.set(hold):
            raise await not_found(self._index, address)
        call.audit.items = 1
        return hold

    async def release(self, call: Call, address: Address, *, name: str, reason: str = "") -> Hold:
        """Release the hold with this name on exactly this resource, and return it.

        Raises:
            InvalidRequest: INVALID_FIELD, the address is a partition, or the reason is not valid.
            NotFound: HOLD_NOT_FOUND.
            and as `Access.permit`.
        """
        address.require_study()
        check_reason(reason)
        call.audit.note(hold=name, **({"reason": reason} if reason else {}))
        address = await self._access.permit(call, Action.ADMINISTER, address)
        hold = await self._holds.release(address, name)
        if hold is None:
            raise NotFound(Reason.HOLD_NOT_FOUND, "The specified hold does not exist.")
        call.audit.items = 1
        self._on_released()
        return hold

    async def list(self, call: Call, scope: Address, *, page_size: int, token: str) -> tuple[Sequence[Hold], str]:
        """Return a page of holds, newest first, and the token of the next page, empty for the last one.

        Access to the whole partition is required: authors and reasons are not for the recipient of a share link.

        Args:
            scope: a partition; or a study, series or instance: holds on it, on its parts, and on what contains it.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_PAGE_TOKEN.
            and as `Access.permit`.
        """
        size = checked_page_size(page_size)
        permitted = await self._access.permit(call, Action.READ, Address(scope.partition))
        scope = replace(scope, partition=permitted.partition)
        call.audit.address = scope
        pages = repr(("holds", scope)).encode()
        before = page_token.read(token, pages) if token else None
        found = await self._holds.list(scope, before, size + 1)
        following = page_token.make(found[size - 1][0], pages) if len(found) > size else ""
        call.audit.items = min(len(found), size)
        return [hold for _, hold in found[:size]], following
