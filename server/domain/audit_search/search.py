"""Search, observation and verification of the audit trail, for clients.

The files are read on threads, a bounded number of records at a time.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from server.domain.access import Access
from server.domain.audit_search import paging
from server.domain.audit_search.azure_entries import AzureEntries
from server.domain.audit_search.dicom_messages import DicomMessages
from server.domain.audit_search.filters import AuditFilter, Matcher
from server.model.access import Action
from server.model.audit.trail import StoredRecord, Verification
from server.model.call import Call
from server.model.errors import InvalidRequest, Reason, Unavailable
from server.ports.audit import AuditTrail

_SCANNED = 5000
"""Records that are read in one run on a thread."""

_SENT = 200
MAX_NEWEST = 200
"""Maximum limit of a search for the newest records, which are all in memory at once."""

_POLL_SECONDS = 0.5
_ALIVE_SECONDS = 30.0

_log = logging.getLogger("dicomstore.audit")


class AuditEvent(NamedTuple):
    """A record in the requested form."""

    record: StoredRecord
    data: bytes


class AuditForms:
    """The forms of records: "json", "azure" and "dicom"."""

    def __init__(self, azure: AzureEntries, dicom: DicomMessages) -> None:
        self._azure = azure
        self._dicom = dicom

    def of(self, form: str, record: Mapping[str, Any], data: bytes) -> Iterator[bytes]:
        """Yield a record in a form: none, one or several texts."""
        match form:
            case "azure":
                yield from map(orjson.dumps, self._azure.of(record))
            case "dicom":
                message = self._dicom.of(record)
                if message is not None:
                    yield message
            case _:
                yield data


class AuditSearch:
    """Reads the audit trail for clients."""

    def __init__(self, access: Access, trail: AuditTrail, forms: AuditForms) -> None:
        self._access = access
        self._trail = trail
        self._forms = forms
        self._is_closing = False

    def close(self) -> None:
        """End all watches."""
        self._is_closing = True

    async def search(
        self,
        call: Call,
        wanted: AuditFilter,
        form: str,
        limit: int,
        *,
        page_token: str = "",
        newest_first: bool = False,
    ) -> AsyncIterator[Sequence[AuditEvent]]:
        """Yield the records that match, oldest first unless `newest_first`.

        Args:
            limit: maximum number of records that have this form, each with all its events; 0 is no limit.
            page_token: of `paging.token_after`, to continue there.

        Raises:
            Forbidden: PERMISSION_DENIED.
            InvalidRequest: INVALID_FIELD, the newest records without a limit; INVALID_PAGE_TOKEN.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        call.audit.note(filter=wanted.facts)
        matcher = Matcher(wanted, self._access.permit_partitions(call, Action.AUDIT))
        position = paging.read_token(page_token, wanted) if page_token else None
        if newest_first:
            if not 0 < limit <= MAX_NEWEST:
                message = f"The newest records require a limit from 1 to {MAX_NEWEST}."
                raise InvalidRequest(Reason.INVALID_FIELD, message, field="limit")
            newest = await asyncio.to_thread(self._newest, wanted, matcher, form, limit, position)
            call.audit.items += len(newest)
            for first in range(0, len(newest), _SENT):
                yield [event for events in newest[first : first + _SENT] for event in events]
            return
        records = self._records(wanted, position)
        left = limit or None
        is_more = True
        while is_more and left != 0:
            events, count, is_more = await asyncio.to_thread(self._some, records, matcher, form, left)
            left = None if left is None else left - count
            call.audit.items += count
            if events:
                yield events

    async def watch(self, call: Call, wanted: AuditFilter, form: str) -> AsyncIterator[Sequence[AuditEvent]]:
        """Yield records as they are written; nothing, from time to time, to show that the watch is alive.

        Raises:
            Forbidden: PERMISSION_DENIED.
            InvalidRequest: INVALID_FIELD, the filter has a time.
            Unavailable: STORAGE_UNAVAILABLE, SHUTTING_DOWN.
        """
        call.audit.note(filter=wanted.facts)
        matcher = Matcher(wanted, self._access.permit_partitions(call, Action.AUDIT))
        if wanted.start or wanted.end:
            raise InvalidRequest(Reason.INVALID_FIELD, "A watch has no start or end time.", field="filter")
        clock = asyncio.get_running_loop().time
        tail = await asyncio.to_thread(self._trail.tail, None)
        alive_at = clock()
        while not self._is_closing:
            records = await asyncio.to_thread(tail.poll, _SCANNED)
            events, count, _ = await asyncio.to_thread(self._some, iter(records), matcher, form, None)
            call.audit.items += count
            if events or clock() >= alive_at:
                yield events
                alive_at = clock() + _ALIVE_SECONDS
            if not records:
                await asyncio.sleep(_POLL_SECONDS)
        raise Unavailable(Reason.SHUTTING_DOWN, "The server is shutting down.")

    async def verify(self, call: Call, *, trusted_key: str, checkpoint: str) -> tuple[Verification, str]:
        """Verify the whole audit trail; return the result and the public key in PEM format.

        Raises:
            Forbidden: PERMISSION_DENIED.
            InvalidRequest: INVALID_FIELD.
            Unavailable: STORAGE_UNAVAILABLE.
        """
        await self._access.permit_archive(call, Action.AUDIT)
        found = await asyncio.to_thread(self._trail.verify, trusted_key=trusted_key, checkpoint=checkpoint)
        if not found.is_intact:
            _log.error("the audit trail was changed or is damaged findings=%d", len(found.findings))
        return found, await asyncio.to_thread(self._trail.public_key)

    def _records(self, wanted: AuditFilter, position: paging.Position | None) -> Iterator[StoredRecord]:
        """Return the records of the period of a search, in order; those after a position."""
        if position is None:
            return self._trail.records(wanted.start, wanted.end)
        records = self._trail.records(max(wanted.start, position.time), wanted.end)
        return (record for record in records if paging.Position.of(record) > position)

    def _newest(
        self, wanted: AuditFilter, matcher: Matcher, form: str, limit: int, position: paging.Position | None
    ) -> list[list[AuditEvent]]:
        """Return the events of the newest records before a position, newest record first."""
        first = next(self._trail.records(wanted.start, wanted.end), None)
        if first is None:
            return []
        end = wanted.end or paging.including(paging.as_text(datetime.now(UTC)))
        if position is not None:
            end = min(end, paging.including(position.time))
        found: list[list[AuditEvent]] = []
        for period in paging.periods_before(end, first.time):
            of_period: deque[list[AuditEvent]] = deque(maxlen=limit - len(found))
            for record in self._trail.records(*period):
                if position is not None and paging.Position.of(record) >= position:
                    continue
                values = matcher.matches(record.data)
                if values is not None:
                    events = [AuditEvent(record, text) for text in self._forms.of(form, values, record.data)]
                    of_period += [events] if events else []
            found += reversed(of_period)
            if len(found) == limit:
                break
        return found

    def _some(
        self, records: Iterator[StoredRecord], matcher: Matcher, form: str, limit: int | None
    ) -> tuple[list[AuditEvent], int, bool]:
        """Return some events, the number of their records, and whether there are more records to read."""
        events: list[AuditEvent] = []
        count = 0
        for _ in range(_SCANNED):
            record = next(records, None)
            if record is None:
                return events, count, False
            values = matcher.matches(record.data)
            if values is None:
                continue
            found = [AuditEvent(record, text) for text in self._forms.of(form, values, record.data)]
            count += bool(found)
            events += found
            if count == limit or len(events) >= _SENT:
                break
        return events, count, True
