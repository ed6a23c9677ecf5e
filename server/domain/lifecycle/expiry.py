"""Expiry of studies: setting it, and deleting the studies that have expired (docs/api.md, Expiry)."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from server.domain.access import Access
from server.domain.audit.recorder import RecordWork, unrecorded
from server.domain.limits import expiry_time
from server.domain.read_only import ReadOnlyState
from server.domain.resources import not_found
from server.model.access import Action
from server.model.call import Call
from server.model.errors import InvalidRequest, Reason
from server.model.ids import Address
from server.model.lifecycle.expiry import Expiry as StudyExpiry
from server.ports.index import InstanceIndex
from server.ports.lifecycle.expiries import Expiries

AUTHOR = "dicomstore:expiry"
"""Author of the deletions, in the list of deletions and in the audit trail."""

REASON = "expired"

_BATCH = 100
_POLL_SECONDS = 2.0
_log = logging.getLogger("dicomstore.expiry")


class Expiry:
    """Sets and returns when studies expire."""

    def __init__(
        self, *, expiries: Expiries, index: InstanceIndex, access: Access, deadline_now: Callable[[], datetime]
    ) -> None:
        self._expiries = expiries
        self._index = index
        self._access = access
        self._now = deadline_now

    async def set(self, call: Call, address: Address, expires: datetime | None) -> StudyExpiry | None:
        """Set the time at which a study is deleted, or, with None, that it does not expire; return it.

        Raises:
            InvalidRequest: INVALID_FIELD, the address is not that of a study, or the time is not in the future.
            NotFound: STUDY_NOT_FOUND.
            and as `Access.permit`.
        """
        _require_study(address)
        call.audit.note(expires="" if expires is None else expires.isoformat())
        now = self._now()
        if expires is not None:
            expiry_time(now, expires - now, "expire_time")
        address = await self._access.permit(call, Action.DELETE, address)
        expiry = None if expires is None else StudyExpiry(expires, call.principal.id, now)
        if not await self._expiries.set(address, expiry, now):
            raise await not_found(self._index, address)
        call.audit.items = 1
        return expiry

    async def get(self, call: Call, address: Address) -> StudyExpiry | None:
        """Return when a study expires; None if it does not.

        Raises:
            InvalidRequest: INVALID_FIELD, the address is not that of a study.
            NotFound: STUDY_NOT_FOUND.
            and as `Access.permit`.
        """
        _require_study(address)
        address = await self._access.permit(call, Action.READ, address)
        expiry = await self._expiries.get(address)
        if expiry is None and await self._index.state(address) is None:
            raise await not_found(self._index, address)
        return expiry


class ExpiryWorker:
    """Deletes the studies that have expired. Their instances are retained like others, and can be restored.

    One process at a time runs it. Each study is deleted in a transaction that checks that it is still due, so it is
    deleted once even if several processes do.

    Args:
        deadline_now: the clock of expiry.
        now: the time recorded for changes.
        on_change: called after instances have been deleted.
        work: records each deletion in the audit trail.
    """

    def __init__(
        self,
        *,
        expiries: Expiries,
        now: Callable[[], datetime],
        deadline_now: Callable[[], datetime],
        retention: timedelta,
        read_only: ReadOnlyState,
        on_change: Callable[[], None],
        work: RecordWork = unrecorded,
    ) -> None:
        self._expiries = expiries
        self._now = now
        self._deadline_now = deadline_now
        self._retention = retention
        self._read_only = read_only
        self._on_change = on_change
        self._work = work

    async def run(self) -> None:
        """Delete what has expired until cancelled or the archive is read-only. Raises: as the record."""
        while not self._read_only.cause:
            if not await self.expire():
                await asyncio.sleep(_POLL_SECONDS)

    async def expire(self) -> int:
        """Delete at most a batch of studies; return their number."""
        due_at = self._deadline_now()
        studies = await self._expiries.due(due_at, _BATCH)
        count = 0
        for study in studies:
            facts = {"partition": study.partition, "study": study.study, "note": REASON}
            async with self._work(AUTHOR, "delete", **facts):
                deleted = await self._expiries.expire(
                    study, due_at, self._now(), due_at + self._retention, author=AUTHOR, reason=REASON
                )
            if deleted:
                count += 1
                self._on_change()
        if count:
            _log.info("deleted expired studies count=%d", count)
        return count


def _require_study(address: Address) -> None:
    address.require_study()
    if address != replace(address, series=None, instance=None):
        message = "Only studies expire."
        raise InvalidRequest(Reason.INVALID_FIELD, message, field="series_instance_uid")
