"""The workitem that a rule creates for a study."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from server.dicom.worklist.rules import check_new
from server.dicom.worklist.templates import MAX_REFERENCES, STUDY_ATTRIBUTES, Reference, from_template
from server.domain.search.request import SearchRequest, Term
from server.domain.search.search import Search
from server.domain.worklist.workitems import date_time, new_workitem
from server.model.events.study_event import StudyEvent
from server.model.ids import Address, PartitionName, Uid
from server.model.search.query import Level
from server.model.worklist.workitem import Workitem
from server.model.worklist.workitem_rule import StudyQuery, WorkitemRule
from server.ports.index import InstanceIndex

_PAGE = 500
_STUDY_UID = "0020000D"
_EXAMPLE: Mapping[str, Any] = {_STUDY_UID: {"vr": "UI", "Value": ["1.2.3"]}}
_EXAMPLE_INPUT = [Reference("1.2.3.4", "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5")]


def search_of(query: StudyQuery, partition: PartitionName) -> SearchRequest:
    """Return the search of a rule. It is strict: a search key that is ignored would match too many studies."""
    return SearchRequest(
        level=Level.STUDY,
        scope=Address(partition),
        terms=tuple(Term(attribute, values) for attribute, values in query.terms.items()),
        fuzzy_matching=query.fuzzy_matching,
        empty_value_matching=query.empty_value_matching,
        include_attributes=STUDY_ATTRIBUTES,
        page_size=1,
        strict=True,
    )


def check_template(template: Mapping[str, Any]) -> None:
    """Check that workitems from a template meet the requirements. Raises: InvalidRequest, INVALID_WORKITEM."""
    check_new(from_template(template, _EXAMPLE, _EXAMPLE_INPUT, date_time(datetime.now(UTC))))


class RuleWorkitems:
    """Applies rules to studies, without recording it."""

    def __init__(self, search: Search, index: InstanceIndex) -> None:
        self._search = search
        self._index = index

    async def of(self, rule: WorkitemRule, event: StudyEvent, now: datetime) -> Workitem | None:
        """Return the workitem that a rule creates for the present state of a study; None if it does not match.

        Raises:
            DicomStoreError: as `Search.study`; INVALID_WORKITEM.
        """
        found = await self._search.study(search_of(rule.definition.query, event.partition), event.study)
        if found is None:
            return None
        study = orjson.loads(found) | {_STUDY_UID: {"vr": "UI", "Value": [event.study]}}
        references = await self._references(Address(event.partition, event.study))
        if not references:
            return None  # it has been deleted
        template = orjson.loads(rule.definition.template)
        data_set = from_template(template, study, references, date_time(event.time))
        return new_workitem(rule.workitem_uid(event), data_set, now)

    async def _references(self, study: Address) -> list[Reference]:
        """Return references to all instances, ordered by series; if there are too many, one for each series."""
        found: list[Reference] = []
        firsts: dict[Uid, Reference] = {}
        after = 0
        while instances := await self._index.find(study, after, _PAGE):
            after = instances[-1].version
            for one in instances:
                reference = Reference(one.id.series, one.sop_class_uid, one.id.instance)
                firsts.setdefault(one.id.series, reference)
                if len(found) <= MAX_REFERENCES:
                    found.append(reference)
        if len(found) > MAX_REFERENCES:
            found = list(firsts.values())[:MAX_REFERENCES]
        order = {series: number for number, series in enumerate(firsts)}
        return sorted(found, key=lambda one: order[Uid(one.series)])
