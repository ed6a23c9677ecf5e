"""The record of webhooks, and of what has been sent to them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from server.model.events.webhook import Backlog, Event, EventPosition, Handled, Health, Undelivered, Webhook


class Webhooks(Protocol):
    """The record of webhooks, as administrators see it.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database cannot be reached.
    """

    async def add(self, webhook: Webhook, limit: int) -> bool:
        """Record a webhook, which gets the events from now on; return False if there are `limit` webhooks."""
        ...

    async def list(self) -> Sequence[Webhook]:
        """Return all, in order of creation."""
        ...

    async def find(self, webhook_id: str) -> Webhook | None:
        """Return one; None if it does not exist."""
        ...

    async def replace(self, webhook: Webhook) -> bool:
        """Set what administrators can change; return whether the webhook exists."""
        ...

    async def remove(self, webhook_id: str) -> bool:
        """Remove one with its undelivered events; return whether it existed."""
        ...

    async def backlogs(self) -> Mapping[str, Backlog]:
        """Return the numbers of undelivered events by webhook; those without any may be missing."""
        ...

    async def dead(self, webhook_id: str, after: EventPosition, limit: int) -> Sequence[Undelivered]:
        """Return dead events after a position, in order."""
        ...

    async def retry(self, webhook_id: str, positions: Collection[EventPosition] | None, now: datetime) -> int:
        """Send dead events again, some or all, before the waiting events of their studies; return their number."""
        ...

    async def forget(self, webhook_id: str, positions: Collection[EventPosition] | None) -> int:
        """Remove dead events, some or all; return their number."""
        ...

    async def forget_dead(self, before: datetime) -> int:
        """Remove the events of all webhooks that died before this time; return their number."""
        ...


@dataclass(frozen=True, slots=True)
class NewEvents:
    """Events that have not been handled, in order.

    before, to: what has been handled before and after these.
    blocked: studies with earlier events that could not be delivered.
    """

    events: Sequence[Event]
    before: Handled
    to: Handled
    blocked: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of an attempt to deliver an event.

    problem: why it failed; empty if it succeeded.
    next: when to try again; None if it succeeded or the archive gives up.
    """

    at: datetime
    problem: str = ""
    next: datetime | None = None


class Deliveries(Protocol):
    """The record of what has been sent to webhooks.

    Calls that change it have no effect, and return False or None, if `holder` does not hold the lease `LEASE`.
    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database cannot be reached.
    """

    async def new(self, webhook_id: str, limit: int, max_waiting: int) -> NewEvents | None:
        """Return the next events that the webhook gets; None if it is gone, disabled, or has `max_waiting`
        undelivered events."""
        ...

    async def handled(
        self,
        holder: str,
        webhook_id: str,
        found: NewEvents,
        failed: Mapping[EventPosition, Attempt | None],
        health: Health,
        now: datetime,
    ) -> bool:
        """Record that events have been handled.

        Args:
            failed: those that have not been delivered, with the attempt; None if there was none.
        """
        ...

    async def due(self, webhook_id: str, now: datetime, limit: int) -> Sequence[Undelivered]:
        """Return undelivered events that are to be tried again, each the first one of its study, longest due first."""
        ...

    async def attempted(
        self, holder: str, webhook_id: str, event: Event, attempt: Attempt, health: Health
    ) -> Undelivered | None:
        """Record an attempt to deliver an event of `due`.

        Return the next event of its study, which is due now, if this one was delivered or given up.
        """
        ...

    async def recovered(self, holder: str, webhook_id: str, now: datetime) -> None:
        """Make all events that wait for another attempt due, because the receiver works again."""
        ...


LEASE = "background"
"""The lease of the process that does the background work of the archive, such as sending events to webhooks."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a receiver answered.

    problem: empty if it accepted the event, see `Webhook.problem` in the contract.
    retry_seconds: when the receiver wants the next attempt, if it said so.
    """

    problem: str = ""
    retry_seconds: float | None = None


class Sender(Protocol):
    """Sends events."""

    async def send(self, webhook: Webhook, event: Event, at: datetime) -> Outcome:
        """Send one event, signed with the secrets of the webhook and this time."""
        ...
