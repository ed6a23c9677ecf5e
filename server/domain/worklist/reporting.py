"""What the record of workitems reports of a change."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import orjson

from server.dicom.worklist import reports
from server.dicom.worklist.search_keys import search_values
from server.domain.worklist.filters import included
from server.model.worklist.event import Event, EventType, Observers, Report
from server.model.worklist.workitem import Workitem, unreachable
from server.ports.worklist.workitems import Reporter

DataSet = Mapping[str, Any]


def report_new(before: Workitem | None, after: Workitem, observers: Observers) -> Report:
    """Report a new workitem to the record of workitems."""
    return reporter(after.modified, lambda _, new: reports.created(new))(before, after, observers)


def reporter(
    time: datetime,
    events: Callable[[DataSet, DataSet], tuple[Event, ...]],
    must_have_subscribers: Callable[[Workitem], bool] = lambda _: False,
) -> Reporter:
    """Return the function that reports a change to the record of workitems.

    Args:
        time: of the change.
        events: returns the events, given the data set before (empty for a new workitem) and after the change; both are
            the same object if nothing changed.
        must_have_subscribers: whether the change is refused unless the workitem has subscribers, among which its
            performer may be; given the workitem before the change.
    """

    def report(before: Workitem | None, after: Workitem, observers: Observers) -> Report:
        old: DataSet = {} if before is None else orjson.loads(before.data_set)
        new: DataSet = old if after is before else orjson.loads(after.data_set)
        earlier = matching = frozenset[str]()
        if observers.filters:
            if before is not None:
                earlier = included(observers.filters, search_values(old))
            matching = earlier | included(frozenset(observers.filters) - earlier, search_values(new))
        if before is not None and must_have_subscribers(before) and not (observers.has_subscribers or matching):
            raise unreachable()
        reported = events(old, new)
        initial = None
        if matching != earlier and not any(one.type is EventType.STATE_REPORT for one in reported):
            initial = reports.state_report(new)
        return Report(time, reported, matching, matching - earlier, initial)

    return report
