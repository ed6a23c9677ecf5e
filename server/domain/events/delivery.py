"""Delivery of events to webhooks (docs/events.md).

What has been sent is a position in the change feed for each webhook, and a row for each event that could not be sent
yet. So a receiver that is out of order for days costs no memory, and delays no other one.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from common.telemetry.tracing import CLIENT, Span, following
from server.domain.read_only import ReadOnlyState
from server.domain.signal import Signal, wait
from server.model.errors import DicomStoreError
from server.model.events.webhook import Event, EventPosition, Health, Undelivered, Webhook
from server.ports.events.webhooks import Attempt, Deliveries, NewEvents, Outcome, Sender, Webhooks

MAX_PAUSE = timedelta(minutes=15)
"""Longest time until the next attempt."""

MAX_WAITING = 100_000
"""Number of undelivered events of a webhook from which on no new ones are tried; these wait in the change feed."""

DOWN_AFTER = 5
"""Number of failed attempts in succession after which the receiver counts as out of order. Then one event after the
other is tried, and new events wait in the change feed."""

_FIRST_PAUSE = timedelta(seconds=5)
_PAGE = 50
_AT_ONCE = 4
_AT_ONCE_AGAIN = 2
_IN_SUCCESSION = 100
_SAVED = 1000
_POLL_SECONDS = 1.0
_EVER = timedelta(days=36_500)
_log = logging.getLogger("dicomstore.webhooks")


class Delivery:
    """Delivers events to all webhooks. One process at a time does so, see `Lease`.

    Args:
        holder: of the lease; without it, nothing is recorded.
        retry: an event that could not be delivered for this time becomes a dead letter.
        changed: announces new events and changes of webhooks.
        spread: returns a random number between two others, for the pauses between attempts.
    """

    def __init__(
        self,
        *,
        webhooks: Webhooks,
        deliveries: Deliveries,
        sender: Sender,
        holder: str,
        now: Callable[[], datetime],
        retry: timedelta,
        read_only: ReadOnlyState,
        changed: Signal,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._webhooks = webhooks
        self._deliveries = deliveries
        self._sender = sender
        self._holder = holder
        self._now = now
        self._retry = retry
        self._read_only = read_only
        self._spread = spread
        self._changed = changed

    async def run(self) -> None:
        """Deliver until cancelled or the archive is read-only."""
        running: dict[str, tuple[Receiver, asyncio.Task[None]]] = {}
        try:
            while not self._read_only.cause:
                try:
                    present = {webhook.id: webhook for webhook in await self._webhooks.list()}
                except DicomStoreError as error:
                    _log.warning("webhooks cannot be read reason=%s", error.reason)
                else:
                    await self._adjust(running, present)
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            await _cancel(task for _, task in running.values())

    def receiver(self, webhook: Webhook) -> "Receiver":
        """Return the delivery to one webhook."""
        return Receiver(
            webhook, self._deliveries, self._sender, self._holder, self._now, self._retry, self._spread, self._changed
        )

    async def _adjust(
        self, running: dict[str, tuple["Receiver", asyncio.Task[None]]], present: dict[str, Webhook]
    ) -> None:
        """Run a task for each webhook that exists and is enabled."""
        wanted = {webhook_id: webhook for webhook_id, webhook in present.items() if webhook.is_enabled}
        await _cancel(task for webhook_id, (_, task) in running.items() if webhook_id not in wanted)
        for webhook_id in running.keys() - wanted.keys():
            del running[webhook_id]
        for webhook_id, webhook in wanted.items():
            if webhook_id in running:
                running[webhook_id][0].webhook = webhook
            else:
                receiver = self.receiver(webhook)
                running[webhook_id] = (receiver, asyncio.create_task(receiver.run()))


class Receiver:
    """Delivers events to one webhook. Other parameters as for `Delivery`.

    webhook: may be replaced when an administrator has changed it.
    """

    def __init__(
        self,
        webhook: Webhook,
        deliveries: Deliveries,
        sender: Sender,
        holder: str,
        now: Callable[[], datetime],
        retry: timedelta,
        spread: Callable[[float, float], float],
        changed: Signal,
    ) -> None:
        self.webhook = webhook
        self._health = webhook.health
        self._deliveries = deliveries
        self._sender = sender
        self._holder = holder
        self._now = now
        self._retry = retry
        self._spread = spread
        self._changed = changed

    async def run(self) -> None:
        """Deliver until cancelled. Failures are logged and retried."""
        await asyncio.gather(self._repeat(self.send_new), self._repeat(self.send_again))

    async def _repeat(self, step: Callable[[], Awaitable[bool]]) -> None:
        while True:
            changed = self._changed.next()
            try:
                may_be_more = await step()
            except DicomStoreError as error:
                _log.warning("webhook is delayed webhook=%s reason=%s", self.webhook.id, error.reason)
                may_be_more = False
            except Exception:  # noqa: BLE001 - other webhooks are not affected
                _log.exception("webhook is delayed by an unexpected fault webhook=%s", self.webhook.id)
                may_be_more = False
            if not may_be_more:
                await wait(changed, _POLL_SECONDS)

    @property
    def is_down(self) -> bool:
        """Whether the receiver counts as out of order."""
        return self._health.failures >= DOWN_AFTER

    async def send_new(self) -> bool:
        """Send some events that have not been tried; return whether there may be more.

        Those of different studies are sent at the same time. When one fails, it and the later ones of its study wait.
        """
        limit = _PAGE
        if self.is_down:
            if await self._deliveries.due(self.webhook.id, self._now() + _EVER, 1):
                return False
            limit = 1
        found = await self._deliveries.new(self.webhook.id, limit, MAX_WAITING)
        if found is None or not (found.events or found.to.sequence - found.before.sequence >= _SAVED):
            return False
        failed: dict[EventPosition, Attempt | None] = {}
        places = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._send_first(events, failed, places) for events in _by_study(found)))
        failed |= {event.position: None for event in found.events if event.study in found.blocked}
        is_recorded = await self._deliveries.handled(
            self._holder, self.webhook.id, found, failed, self._health, self._now()
        )
        return is_recorded and not self.is_down

    async def _send_first(
        self, events: Sequence[Event], failed: dict[EventPosition, Attempt | None], places: asyncio.Semaphore
    ) -> None:
        """Send events of a study; add to `failed` those that have not been delivered."""
        async with places:
            waits = False
            for event in events:
                if waits or self.is_down:
                    failed[event.position] = None
                    continue
                attempt = await self._attempt(Undelivered(event))
                if attempt.problem:
                    failed[event.position] = attempt
                    waits = attempt.next is not None

    async def send_again(self) -> bool:
        """Send some events that could not be delivered and are due; return whether there may be more."""
        due = await self._deliveries.due(self.webhook.id, self._now(), 1 if self.is_down else _PAGE)
        places = asyncio.Semaphore(_AT_ONCE_AGAIN)
        await asyncio.gather(*(self._send_study_again(first, places) for first in due))
        return bool(due)

    async def _send_study_again(self, first: Undelivered, places: asyncio.Semaphore) -> None:
        """Send events of a study, one after the other, until one fails."""
        async with places:
            undelivered: Undelivered | None = first
            for _ in range(_IN_SUCCESSION):
                if undelivered is None:
                    return
                was_down = self.is_down
                event = undelivered.event
                attempt = await self._attempt(undelivered)
                undelivered = await self._deliveries.attempted(
                    self._holder, self.webhook.id, event, attempt, self._health
                )
                if was_down and not attempt.problem:
                    await self._deliveries.recovered(self._holder, self.webhook.id, self._now())
                if self.is_down:
                    return

    async def _attempt(self, undelivered: Undelivered) -> Attempt:
        """Send an event once."""
        at = self._now()
        outcome = await self._send(undelivered.event, at)
        if not outcome.problem:
            if self._health.failures:
                _log.info("webhook works again webhook=%s failures=%d", self.webhook.id, self._health.failures)
            self._health = Health(succeeded=at)
            return Attempt(at)
        if not self._health.failures:
            _log.warning("webhook failed webhook=%s problem=%s", self.webhook.id, outcome.problem)
        self._health = Health(self._health.failures + 1, outcome.problem, self._health.succeeded)
        now = self._now()
        if now - (undelivered.first_attempt or at) >= self._retry:
            _log.warning(
                "event is a dead letter webhook=%s event=%s problem=%s",
                self.webhook.id,
                undelivered.event.id,
                outcome.problem,
            )
            return Attempt(at, outcome.problem)
        return Attempt(at, outcome.problem, now + self._pause(undelivered.attempts, outcome))

    async def _send(self, event: Event, at: datetime) -> Outcome:
        with following("webhook", event.trace, {"dicomstore.event.type": event.type.value}, CLIENT) as span:
            try:
                outcome = await self._sender.send(self.webhook, event, at)
            except Exception:  # noqa: BLE001 - it is one more failed attempt
                _log.exception("webhook failed with an unexpected fault webhook=%s", self.webhook.id)
                outcome = Outcome("INTERNAL")
            if isinstance(span, Span) and outcome.problem:
                span.fault = outcome.problem
            return outcome

    def _pause(self, attempts: int, outcome: Outcome) -> timedelta:
        """Return the time until the next attempt: it doubles with each one, and is random, so that many events do not
        come at once."""
        longest = min(_FIRST_PAUSE * (1 << min(attempts, 20)), MAX_PAUSE)
        wanted = timedelta(seconds=min(outcome.retry_seconds or 0, MAX_PAUSE.total_seconds()))
        return max(longest * self._spread(0.5, 1), wanted)


def _by_study(found: NewEvents) -> list[list[Event]]:
    """Return the events of studies without earlier undelivered events, by study, each in order."""
    free = sorted((event for event in found.events if event.study not in found.blocked), key=lambda event: event.study)
    return [list(events) for _, events in groupby(free, key=lambda event: event.study)]


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    cancelled = list(tasks)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)
