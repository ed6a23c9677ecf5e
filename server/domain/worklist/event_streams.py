"""Streams of events: those of a subscriber (PS3.18 section 11.13), and those of a worklist."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import orjson

from server.dicom.worklist import reports
from server.dicom.worklist.filters import matches
from server.dicom.worklist.search_keys import search_values
from server.domain.access import Access
from server.domain.worklist.event_hub import EventHub, Listener
from server.domain.worklist.filters import WorkitemFilter, conditions_of, values_of
from server.model.access import Action
from server.model.call import Call
from server.model.errors import DicomStoreError, Exhausted, InvalidRequest, Reason, Unavailable
from server.model.ids import Address, PartitionName
from server.model.search.query import Condition
from server.model.worklist.event import EventKind, LoggedEvent
from server.model.worklist.subscription import (
    Checkpoint,
    SubscriberState,
    parse_ae_title,
    unknown_checkpoint,
)
from server.model.worklist.workitem import WorkitemMatch, WorkitemQuery
from server.ports.worklist.subscriptions import EventLog, SubscriptionRecord
from server.ports.worklist.workitems import WorkitemRecord

DEFAULT_CHECKPOINT_SECONDS = 15.0

_PAGE = 100
_PAGE_BYTES = 256 << 10
_INITIAL_PAGE = 50
_SEARCH_SECONDS = 1.0
"""Interval at which an AE title is looked for that another process may have made a subscriber."""

_WRITE_SECONDS = 1.0

_log = logging.getLogger("dicomstore.worklist.events")


class Acknowledgements:
    """What subscribers have acknowledged to this process. It is written once a second for all of them."""

    def __init__(self, record: SubscriptionRecord, now: Callable[[], datetime]) -> None:
        self._record = record
        self._now = now
        self._latest: dict[tuple[PartitionName, str], Checkpoint] = {}

    def add(self, partition: PartitionName, ae_title: str, checkpoint: Checkpoint) -> None:
        """Note that a subscriber has received all events up to a checkpoint."""
        if checkpoint.is_after(self._latest.get((partition, ae_title), Checkpoint(0))):
            self._latest[partition, ae_title] = checkpoint

    def latest(self, partition: PartitionName, ae_title: str, recorded: Checkpoint) -> Checkpoint:
        """Return the last checkpoint of a subscriber, given that in the record."""
        noted = self._latest.get((partition, ae_title), recorded)
        return noted if noted.is_after(recorded) else recorded

    async def run(self) -> None:
        """Write until cancelled. Failures are logged and retried."""
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write what is not written yet."""
        if not self._latest:
            return
        written = dict(sorted(self._latest.items()))  # in one order, so that processes do not wait for each other
        try:
            await self._record.acknowledge(written, self._now())
        except DicomStoreError as error:
            if error.reason is not Reason.ARCHIVE_READ_ONLY:
                _log.warning("acknowledgements of events are delayed reason=%s", error.reason)
                return
        for subscriber, checkpoint in written.items():
            if self._latest.get(subscriber) == checkpoint:
                del self._latest[subscriber]


@dataclass(frozen=True, slots=True)
class Received:
    """A message to a subscriber: events, and how far it has received them all."""

    events: Sequence[LoggedEvent]
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Watched:
    """A message to a watch; fields as in `WatchWorkitemsResponse` of workitem_event_service.proto."""

    events: Sequence[LoggedEvent]
    position: int
    events_removed: bool = False
    ignored_attributes: tuple[str, ...] = ()


class EventStreams:
    """Sends events to clients."""

    def __init__(
        self,
        *,
        access: Access,
        subscriptions: SubscriptionRecord,
        workitems: WorkitemRecord,
        log: EventLog,
        hub: EventHub,
        acknowledgements: Acknowledgements,
    ) -> None:
        self._access = access
        self._subscriptions = subscriptions
        self._workitems = workitems
        self._log = log
        self._hub = hub
        self._acknowledgements = acknowledgements

    async def acknowledge(self, call: Call, partition: PartitionName, ae_title: str, checkpoint: str) -> None:
        """Note that a subscriber has received all events up to a checkpoint.

        Raises:
            InvalidRequest: INVALID_FIELD.
            and as `Access.permit`.
        """
        ae_title, received = parse_ae_title(ae_title), Checkpoint.parse(checkpoint)
        partition = await self._permitted(call, partition, Action.WRITE)
        if received.position > self._hub.position and received.position > (await self._log.state()).last:
            raise unknown_checkpoint()  # recorded, it would hide all events up to there from the subscriber
        self._acknowledgements.add(partition, ae_title, received)

    async def receive(
        self, call: Call, partition: PartitionName, ae_title: str, checkpoint_seconds: float
    ) -> AsyncIterator[Received]:
        """Yield the events of a subscriber that it has not acknowledged, then new ones; a first message at once, later
        ones without events after each `checkpoint_seconds`.

        Raises:
            InvalidRequest: INVALID_FIELD.
            Unavailable: SHUTTING_DOWN.
            and as `Access.permit`, `WorkitemRecord.search`.
        """
        ae_title = parse_ae_title(ae_title)
        call.audit.note(subscriber=ae_title)
        partition = await self._permitted(call, partition, Action.WRITE)
        pace = _Pace(checkpoint_seconds)
        state: SubscriberState | None = None
        at = Checkpoint(0)
        is_new = False
        with self._hub.listener() as listener:
            await self._hub.route(listener, (partition, ae_title))
            while not self._hub.is_closing:
                if state is None or pace.is_due:  # a subscriber may have been removed and added again
                    listener.calm()
                    found = await self._subscriptions.find(partition, ae_title)
                    if found is not None and (state is None or found.key != state.key):
                        await self._hub.route(listener, found.key)
                        listener.fall_behind()
                        # Another call may have acknowledged events of a subscriber that this one has waited for.
                        at = Checkpoint(0)
                        if not is_new:
                            at = self._acknowledgements.latest(partition, ae_title, found.acknowledged)
                    elif found is None and state is not None:
                        await self._hub.route(listener, (partition, ae_title))
                    state, is_new = found, found is None
                if state is not None:
                    async for message in self._new(listener, state, at):
                        at = message.checkpoint
                        call.audit.items += len(message.events)
                        yield message
                        pace.sent()
                if pace.is_due:
                    yield Received([], at)
                    pace.sent()
                if state is None:
                    await listener.wait(min(_SEARCH_SECONDS, pace.left))
                elif not listener.is_behind:
                    await listener.wait(pace.left)
        raise _shutting_down()

    async def watch(
        self,
        call: Call,
        partition: PartitionName,
        filter_: WorkitemFilter,
        after_position: int | None,
        checkpoint_seconds: float,
    ) -> AsyncIterator[Watched]:
        """Yield the events of changes in a partition after a position (None: from now on), with present data sets.

        Messages as in `receive`; the first one has no events.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_QUERY, UNSUPPORTED_ATTRIBUTE (when strict).
            Unavailable: SHUTTING_DOWN.
            and as `Access.permit`.
        """
        partition = await self._permitted(call, partition, Action.READ)
        if after_position is not None and after_position < 0:
            message = "after_position must not be negative."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="after_position")
        ignored: dict[str, None] = {}
        conditions = conditions_of(filter_.stored(ignored))
        pace = _Pace(checkpoint_seconds)
        with self._hub.listener() as listener:
            await self._hub.route(listener, partition)
            state = await self._log.state()
            at = state.last if after_position is None else after_position
            are_removed = at < state.removed
            if at > state.last:  # of the log of an index that was lost
                at, are_removed = 0, True
            yield Watched([], at, are_removed, tuple(ignored))
            pace.sent()
            while not self._hub.is_closing:
                async for events in self._changes(listener, partition, at):
                    at = events[-1].position
                    if found := [event for event in events if _matches(conditions, event)]:
                        call.audit.items += len(found)
                        yield Watched(found, at)
                        pace.sent()
                if pace.is_due:
                    yield Watched([], at)
                    pace.sent()
                if not listener.is_behind:
                    await listener.wait(pace.left)
        raise _shutting_down()

    async def _new(self, listener: Listener, state: SubscriberState, at: Checkpoint) -> AsyncIterator[Received]:
        """Yield the events of a subscriber after a checkpoint: those that wait, or from the log if it is behind."""
        if not listener.is_behind:
            waiting = [event for event in listener.take() if event.position > at.position]
            async for message in self._messages(waiting, at):
                yield message
            return
        listener.restart()
        while page := await self._log.of_subscriber(state.key, at.position, _PAGE, _PAGE_BYTES):
            async for message in self._messages(page, at):
                at = message.checkpoint
                yield message

    async def _messages(self, events: Sequence[LoggedEvent], at: Checkpoint) -> AsyncIterator[Received]:
        """Yield events in messages; `INITIAL_WORKLIST` as the state reports for which it stands."""
        single: list[LoggedEvent] = []
        for event in events:
            if event.kind is not EventKind.INITIAL_WORKLIST:
                single.append(event)
                continue
            if single:
                at = Checkpoint(single[-1].position)
                yield Received(single, at)
                single = []
            before = at.initial if at.position == event.position - 1 else None
            async for message in self._initial(event, before):
                at = message.checkpoint
                yield message
        if single:
            yield Received(single, Checkpoint(single[-1].position))

    async def _initial(self, event: LoggedEvent, before: int | None) -> AsyncIterator[Received]:
        """Yield the present states of all workitems of an `INITIAL_WORKLIST`, newest first.

        Only one page is in memory, and the next one is read when the client has taken it. With a filter for which a
        search takes too long, all workitems are read and compared with it, so that the events after it are not held up.

        Args:
            event: the event, with the key of the newest workitem.
            before: only workitems with a smaller key; None: all.
        """
        conditions = conditions_of(event.information)
        before = event.workitem_key + 1 if before is None else before
        has_more, searches = True, True
        while has_more:
            query = WorkitemQuery(event.partition, conditions if searches else (), _INITIAL_PAGE, after=before)
            try:
                page = await self._workitems.search(query)
            except Exhausted as error:
                if error.reason is not Reason.SEARCH_TOO_LONG or not query.conditions:
                    raise
                searches = False
                continue
            has_more = page.has_more
            found = await asyncio.to_thread(_states, event, page.matches, () if searches else conditions)
            if has_more:
                before = page.matches[-1].key
            yield Received(found, Checkpoint(event.position - 1, before) if has_more else Checkpoint(event.position))

    async def _changes(
        self, listener: Listener, partition: PartitionName, position: int
    ) -> AsyncIterator[Sequence[LoggedEvent]]:
        """Yield the events of changes in a partition after a position, as `_new`."""
        if not listener.is_behind:
            if waiting := [event for event in listener.take() if event.position > position]:
                yield waiting
            return
        listener.restart()
        while page := await self._log.in_partition(partition, position, _PAGE, _PAGE_BYTES, with_data_sets=True):
            position = page[-1].position
            yield page

    async def _permitted(self, call: Call, partition: PartitionName, action: Action) -> PartitionName:
        permitted = await self._access.permit(call, action, Address(partition), by_share_link=False)
        return permitted.partition


class _Pace:
    """When the next message is due on an idle stream. The first one is at once."""

    def __init__(self, seconds: float) -> None:
        """Raises: InvalidRequest, INVALID_FIELD."""
        if seconds < 1:
            message = "checkpoint_interval must be at least 1 s."
            raise InvalidRequest(Reason.INVALID_FIELD, message, field="checkpoint_interval")
        self._seconds = seconds
        self._clock = asyncio.get_running_loop().time
        self._due = self._clock()

    @property
    def is_due(self) -> bool:
        return self._clock() >= self._due

    @property
    def left(self) -> float:
        """Seconds until it is due."""
        return max(self._due - self._clock(), 0.01)

    def sent(self) -> None:
        """Note that a message was sent."""
        self._due = self._clock() + self._seconds


def _states(
    event: LoggedEvent, workitems: Sequence[WorkitemMatch], conditions: Sequence[Condition]
) -> list[LoggedEvent]:
    """Return the present states of those workitems that satisfy conditions, for which an `INITIAL_WORKLIST` stands."""
    return [
        replace(
            event,
            workitem_key=workitem.key,
            workitem=workitem.uid,
            kind=EventKind.INITIAL,
            information=reports.state_report(data_set).information,
        )
        for workitem in workitems
        for data_set in [orjson.loads(workitem.data_set)]
        if not conditions or matches(conditions, search_values(data_set))
    ]


def _matches(conditions: Sequence[Condition], event: LoggedEvent) -> bool:
    return not conditions or (event.data_set is not None and matches(conditions, values_of(event.data_set)))


def _shutting_down() -> Unavailable:
    return Unavailable(Reason.SHUTTING_DOWN, "The server is shutting down.")
