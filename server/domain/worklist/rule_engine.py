"""Applying rules for workitems to events of stable studies (docs/worklist.md)."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from server.domain.audit.recorder import RecordWork, unrecorded
from server.domain.read_only import ReadOnlyState
from server.domain.signal import Signal, wait
from server.domain.worklist.reporting import report_new
from server.domain.worklist.rule_workitems import RuleWorkitems
from server.model.errors import DicomStoreError, Unavailable
from server.model.events.study_event import StudyEvent
from server.model.worklist.workitem import Workitem
from server.model.worklist.workitem_rule import RuleEvent, RuleFailure, WorkitemRule
from server.ports.worklist.workitem_rules import WorkitemRules

PRINCIPAL = "dicomstore:workitem-rules"
"""Principal of the creations, in the audit trail."""

MAX_WAITING = 1000
"""Number of events of a rule that wait after a failure, from which on new ones wait in the record of study events."""

MAX_PAUSE = timedelta(hours=1)
"""Longest time until an event is tried again."""

_FIRST_PAUSE = timedelta(seconds=10)
_PAGE = 50
_POLL_SECONDS = 1.0
_log = logging.getLogger("dicomstore.workitem_rules")


class RuleEngine:
    """Applies the rules. One process at a time does so, see `Lease`.

    That a rule has been applied to an event, and the workitem, are recorded in one transaction that only succeeds once.
    So there is one workitem for each rule and event, whatever process is killed when.

    Args:
        changed: announces new events and changes of rules.
        created: called after a workitem has been created.
        work: records each creation in the audit trail.
    """

    def __init__(
        self,
        *,
        record: WorkitemRules,
        workitems: RuleWorkitems,
        now: Callable[[], datetime],
        read_only: ReadOnlyState,
        changed: Signal,
        created: Callable[[], None] = lambda: None,
        work: RecordWork = unrecorded,
    ) -> None:
        self._record = record
        self._workitems = workitems
        self._now = now
        self._read_only = read_only
        self._changed = changed
        self._created = created
        self._work = work

    async def run(self) -> None:
        """Apply rules until cancelled or the archive is read-only. Failures are logged and retried."""
        while not self._read_only.cause:
            changed = self._changed.next()
            try:
                may_be_more = await self.apply()
            except DicomStoreError as error:
                _log.warning("rules for workitems are delayed reason=%s", error.reason)
                may_be_more = False
            if not may_be_more:
                await wait(changed, _POLL_SECONDS)

    async def apply(self) -> bool:
        """Apply each rule to some events; return whether there may be more."""
        more = [await self._apply(rule) for rule in await self._record.due(self._now())]
        return any(more)

    async def _apply(self, rule: WorkitemRule) -> bool:
        found = await self._record.events(rule.id, self._now(), _PAGE, MAX_WAITING)
        for waiting in found.again:
            await self._apply_to(rule, waiting, is_new=False)
        for new in found.new:
            await self._apply_to(rule, new, is_new=True)
        if found.until:
            await self._record.advance(rule.id, found.until)
        return _PAGE in (len(found.again), len(found.new))

    async def _apply_to(self, rule: WorkitemRule, waiting: RuleEvent, *, is_new: bool) -> None:
        """Apply a rule to an event. Raises: Unavailable, what every rule needs cannot be reached."""
        event = waiting.event
        try:
            workitem = await self._workitems.of(rule, event, self._now())
            if workitem is not None:
                await self._create(rule, event, workitem, is_new=is_new)
            elif not is_new:
                await self._record.applied(rule.id, event, None, is_new=False)
        except Unavailable:
            raise
        except DicomStoreError as error:
            attribute = error.metadata.get("attribute", "")
            await self._fail(rule, waiting, f"{error.reason.value} {attribute}".strip(), is_new=is_new)
        except Exception:  # noqa: BLE001 - other rules and studies are not affected
            _log.exception("rule failed with an unexpected fault rule=%s", rule.id)
            await self._fail(rule, waiting, "INTERNAL", is_new=is_new)

    async def _create(self, rule: WorkitemRule, event: StudyEvent, workitem: Workitem, *, is_new: bool) -> None:
        facts = {"partition": event.partition, "study": event.study, "workitem": workitem.uid, "rule": rule.id}
        async with self._work(PRINCIPAL, "add-workitem", **facts):
            is_created = await self._record.applied(rule.id, event, workitem, is_new=is_new, report=report_new)
        if is_created:
            self._created()

    async def _fail(self, rule: WorkitemRule, waiting: RuleEvent, problem: str, *, is_new: bool) -> None:
        now = self._now()
        pause = min(_FIRST_PAUSE * (1 << min(waiting.attempts, 20)), MAX_PAUSE)
        if not rule.state.problem:
            _log.warning("rule failed rule=%s problem=%s", rule.id, problem)
        await self._record.failed(rule.id, waiting.event, RuleFailure(problem, now, now + pause), is_new=is_new)
