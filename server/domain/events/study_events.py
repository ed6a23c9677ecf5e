"""Events of studies: processing the change feed, and reading the events (docs/events.md)."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta

from server.domain.access import Access
from server.domain.events.study_states import StudyStates
from server.domain.read_only import ReadOnlyState
from server.domain.sequencer import Sequencer
from server.domain.signal import Signal, wait
from server.model.access import Action
from server.model.call import Call
from server.model.errors import DicomStoreError, InvalidRequest, Reason, Unavailable
from server.model.events.study_event import StudyEvent
from server.ports.events.study_events import StudyEvents as Record

_LATENESS = timedelta(seconds=2)
"""Longest expected time between the time of an entry, which its transaction takes at its start, and its commit.

Should one take longer, its study has events twice: from before and after the entry."""

_MOST = 1000
_PAGE = 100
_POLL_SECONDS = 1.0
DEFAULT_CHECKPOINT_SECONDS = 15.0

_log = logging.getLogger("dicomstore.events")


class StudyEventSource:
    """Processes the change feed. One process at a time does so, see `Lease`.

    Entries and events are recorded in one transaction that only succeeds if no other process has processed the same
    entries. So every event is recorded once, whatever process is killed when.

    Args:
        quiet: time without changes after which a study is quiet.
        processed: called after entries have been processed.
    """

    def __init__(
        self,
        *,
        record: Record,
        sequencer: Sequencer,
        quiet: timedelta,
        now: Callable[[], datetime],
        read_only: ReadOnlyState,
        processed: Callable[[], None] = lambda: None,
    ) -> None:
        self._record = record
        self._sequencer = sequencer
        self._quiet = quiet
        self._now = now
        self._read_only = read_only
        self._processed = processed

    async def run(self) -> None:
        """Process entries until cancelled or the archive is read-only. Failures are logged and retried."""
        while not self._read_only.cause:
            try:
                may_be_more = await self.process()
            except DicomStoreError as error:
                _log.warning("events of studies are delayed reason=%s", error.reason)
                may_be_more = False
            if not may_be_more:
                await asyncio.sleep(_POLL_SECONDS)

    async def process(self) -> bool:
        """Process some entries, and studies that are quiet; return whether there may be more."""
        until = self._now() - _LATENESS
        found = await self._record.unprocessed(_MOST, until - self._quiet)
        if any(state.time is not None and state.time + self._quiet <= until for state in found.states):
            # Entries that are committed already may be numbered only now.
            await self._sequencer.catch_up()
            found = await self._record.unprocessed(_MOST, until - self._quiet)
        states = StudyStates(found, self._quiet)
        states.process(found.entries)
        if found.is_complete:
            states.settle(until)
        if not states.changed:
            return False
        await self._record.processed(found.progress, states.progress, states.changed, states.events)
        self._processed()
        return not found.is_complete


class StudyEvents:
    """Reads the events of studies."""

    def __init__(self, access: Access, record: Record, changed: Signal) -> None:
        """`changed` announces that there may be new events."""
        self._access = access
        self._record = record
        self._changed = changed
        self._closing = False

    def close(self) -> None:
        """End all watches."""
        self._closing = True
        self._changed.notify()

    async def list(self, call: Call, after_number: int, limit: int) -> Sequence[StudyEvent]:
        """Return the events after a number in the permitted partitions, ascending.

        Raises:
            InvalidRequest: INVALID_FIELD.
        """
        permitted = self._access.permit_partitions(call, Action.READ)
        events = await self._record.list(_checked(after_number), limit, permitted)
        call.audit.items = len(events)
        return events

    async def watch(
        self, call: Call, after_number: int, checkpoint_seconds: float
    ) -> AsyncIterator[tuple[Sequence[StudyEvent], int]]:
        """Yield new events with the last number sent; a first checkpoint at once, later ones when idle.

        Raises:
            InvalidRequest: INVALID_FIELD.
            Unavailable: SHUTTING_DOWN.
        """
        permitted = self._access.permit_partitions(call, Action.READ)
        after = _checked(after_number)
        if checkpoint_seconds < 1:
            message = "checkpoint_interval must be at least 1 s."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="checkpoint_interval")
        clock = asyncio.get_running_loop().time
        due = clock()  # the first message is sent at once
        while not self._closing:
            changed = self._changed.next()
            events = await self._record.list(after, _PAGE, permitted)
            if events:
                after = events[-1].number
                call.audit.items += len(events)
            if events or clock() >= due:
                yield events, after
                due = clock() + checkpoint_seconds
            if not events:
                await wait(changed, min(_POLL_SECONDS, max(due - clock(), 0.01)))
        raise Unavailable(Reason.SHUTTING_DOWN, "The server is shutting down.")


def _checked(after_number: int) -> int:
    if after_number < 0:
        raise InvalidRequest(Reason.INVALID_FIELD, "after_number must not be negative.", field="after_number")
    return after_number
