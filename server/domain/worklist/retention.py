"""Removing workitems in a final state, and events, after their retention times."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import groupby

from common.telemetry.tracing import following
from server.domain.audit.recorder import RecordWork
from server.domain.worklist.filters import filter_matches
from server.ports.worklist.subscriptions import EventLog
from server.ports.worklist.workitems import WorkitemRecord

_BATCH = 100
_EVENTS = 2_000

_log = logging.getLogger("dicomstore.housekeeping")


class WorklistRetention:
    """Removes what is past its retention time. A workitem with a deletion lock is kept (PS3.4 section CC.2.1.3).

    Args:
        workitems: time without changes after which a workitem in a final state is removed; None: never.
        events: time after which events are removed.
        now: the clock.
        work: records what is removed in the audit trail.
    """

    def __init__(
        self,
        *,
        record: WorkitemRecord,
        log: EventLog,
        workitems: timedelta | None,
        events: timedelta,
        now: Callable[[], datetime],
        work: RecordWork,
    ) -> None:
        self._record = record
        self._log = log
        self._workitems = workitems
        self._events = events
        self._now = now
        self._work = work

    async def remove(self) -> None:
        """Remove what is due. Raises: as the record."""
        while await self._log.remove(self._now() - self._events, _EVENTS):
            pass
        if self._workitems is not None and (count := await self._remove_workitems(self._now() - self._workitems)):
            _log.info("removed workitems count=%d", count)

    async def _remove_workitems(self, before: datetime) -> int:
        count = 0
        after: tuple[datetime, int] | None = None
        while True:
            found = await self._record.unlocked(before, after, _BATCH, filter_matches)
            for partition, group in groupby(found.workitems, lambda one: one.partition):
                some = list(group)
                facts = {"partition": partition, "workitems": [one.uid for one in some], "items": len(some)}
                work = self._work("garbage-collection", "remove-workitems", **facts)
                with following("remove workitems", "", {"dicomstore.workitems": len(some)}):
                    async with work as results:
                        removed = await self._record.remove([one.key for one in some], filter_matches)
                        results |= {"workitems": [one.uid for one in removed], "items": len(removed)}
                count += len(removed)
            after = found.next
            if after is None:
                return count
