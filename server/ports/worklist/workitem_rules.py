"""The record of rules that create workitems, and of the events to which they have been applied."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from server.model.events.study_event import StudyEvent
from server.model.worklist.workitem import Workitem
from server.model.worklist.workitem_rule import RuleEvents, RuleFailure, WorkitemRule
from server.ports.worklist.workitems import Reporter, unreported


class WorkitemRules(Protocol):
    """The record of rules. Each call is one transaction.

    All calls raise Unavailable (DATABASE_UNAVAILABLE) when the database cannot be reached.
    """

    async def add(self, rule: WorkitemRule, limit: int) -> bool:
        """Record a rule, which applies to the events from now on; return False if there are `limit` rules."""
        ...

    async def list(self) -> Sequence[WorkitemRule]:
        """Return all, in order of creation."""
        ...

    async def due(self, now: datetime) -> Sequence[WorkitemRule]:
        """Return the enabled rules for which there are new events, or waiting ones that are due, in order."""
        ...

    async def find(self, rule_id: str) -> WorkitemRule | None:
        """Return one; None if it does not exist."""
        ...

    async def replace(self, rule: WorkitemRule, now: datetime) -> bool:
        """Set definition and `is_enabled`, and make all waiting events due; return whether the rule exists."""
        ...

    async def remove(self, rule_id: str) -> bool:
        """Remove one; return whether it existed."""
        ...

    async def events(self, rule_id: str, now: datetime, limit: int, max_waiting: int) -> RuleEvents:
        """Return events of stable studies to which the rule is to be applied, at most `limit` of each kind.

        There are no new ones while `max_waiting` events wait, and none if the rule does not exist or is disabled.
        """
        ...

    async def applied(
        self,
        rule_id: str,
        event: StudyEvent,
        workitem: Workitem | None,
        *,
        is_new: bool,
        report: Reporter = unreported,
    ) -> bool:
        """Record that a rule has been applied to an event, and add the workitem with its events; None if the study does
        not match.

        Return False, without an effect, if this has been recorded before or the rule does not exist any more. The
        partition of a deleted study may be deleted as well: then there is no workitem.
        """
        ...

    async def failed(self, rule_id: str, event: StudyEvent, failure: RuleFailure, *, is_new: bool) -> None:
        """Record that a rule could not be applied to an event, which waits. No effect where `applied` has none."""
        ...

    async def advance(self, rule_id: str, until: int) -> None:
        """Record that a rule has been applied to all new events up to a number."""
        ...
