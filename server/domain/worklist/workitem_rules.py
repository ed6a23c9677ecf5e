"""Creating, changing and removing rules for workitems (docs/worklist.md)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from server.dicom.worklist.data_set import serialise
from server.dicom.worklist.templates import parse_template
from server.domain.access import Access
from server.domain.partition_names import PartitionNames
from server.domain.search.search import Search
from server.domain.signal import Signal
from server.domain.worklist.rule_workitems import check_template, search_of
from server.model.access import Action
from server.model.call import Call
from server.model.errors import Exhausted, InvalidRequest, NotFound, Reason
from server.model.ids import NO_PARTITION, PartitionName, parse_partition_name
from server.model.worklist.workitem_rule import RuleDefinition, StudyQuery, WorkitemRule, new_rule_id
from server.ports.worklist.workitem_rules import WorkitemRules as Record

MAX_RULES = 100
"""Number of rules of an archive."""

_MAX_LABEL_LENGTH = 128
_MAX_PARTITIONS = 100
_MAX_TERMS = 50
_MAX_QUERY_LENGTH = 10_000
_SHOWN = re.compile(r"[A-Za-z0-9._(),]{1,64}")


class WorkitemRules:
    """The rules, from the administrator's view. All operations require the action administer in the whole archive.

    Args:
        search: checks queries.
        changed: announces changes.
    """

    def __init__(
        self,
        *,
        access: Access,
        record: Record,
        partitions: PartitionNames,
        search: Search,
        now: Callable[[], datetime],
        changed: Signal,
    ) -> None:
        self._access = access
        self._record = record
        self._partitions = partitions
        self._search = search
        self._now = now
        self._changed = changed

    async def create(
        self, call: Call, *, label: str, query: StudyQuery, partitions: Sequence[str], template: bytes
    ) -> WorkitemRule:
        """Create a rule, and return it.

        Raises:
            InvalidRequest: INVALID_FIELD, INVALID_QUERY, UNSUPPORTED_ATTRIBUTE, INVALID_WORKITEM,
                INVALID_PARTITION_NAME.
            WrongState: PARTITIONS_DISABLED, TAG_QUERY_DISABLED.
            Exhausted: TOO_MANY_WORKITEM_RULES.
        """
        rule_id = new_rule_id()
        call.audit.note(rule=rule_id, **_facts(label, query, partitions, None))
        await self._access.permit_archive(call, Action.ADMINISTER)
        names = self._names(partitions)
        definition = RuleDefinition(_label(label), await self._query(query), names, _template(template))
        rule = WorkitemRule(rule_id, definition, True, call.principal.id, self._now())
        if not await self._record.add(rule, MAX_RULES):
            raise Exhausted(Reason.TOO_MANY_WORKITEM_RULES, f"An archive may have {MAX_RULES} rules.")
        self._changed.notify()
        return rule

    async def list(self, call: Call) -> Sequence[WorkitemRule]:
        """Return all rules, in order of creation."""
        await self._access.permit_archive(call, Action.ADMINISTER)
        return await self._record.list()

    async def get(self, call: Call, rule_id: str) -> WorkitemRule:
        """Return a rule. Raises NotFound (WORKITEM_RULE_NOT_FOUND)."""
        call.audit.note(rule=rule_id)
        await self._access.permit_archive(call, Action.ADMINISTER)
        return await self._found(rule_id)

    async def update(
        self,
        call: Call,
        rule_id: str,
        *,
        label: str | None = None,
        query: StudyQuery | None = None,
        partitions: Sequence[str] | None = None,
        template: bytes | None = None,
        enabled: bool | None = None,
    ) -> WorkitemRule:
        """Change a rule, and return it; None changes nothing.

        Raises:
            NotFound: WORKITEM_RULE_NOT_FOUND.
            and as `create`.
        """
        call.audit.note(rule=rule_id, **_facts(label, query, partitions, enabled))
        await self._access.permit_archive(call, Action.ADMINISTER)
        rule = await self._found(rule_id)
        definition = rule.definition
        if label is not None:
            definition = replace(definition, label=_label(label))
        if query is not None:
            definition = replace(definition, query=await self._query(query))
        if partitions is not None:
            definition = replace(definition, partitions=self._names(partitions))
        if template is not None:
            definition = replace(definition, template=_template(template))
        is_enabled = rule.is_enabled if enabled is None else enabled
        if not await self._record.replace(replace(rule, definition=definition, is_enabled=is_enabled), self._now()):
            raise _unknown()
        self._changed.notify()
        return await self._found(rule_id)

    async def delete(self, call: Call, rule_id: str) -> None:
        """Remove a rule; its workitems remain. Raises NotFound (WORKITEM_RULE_NOT_FOUND)."""
        call.audit.note(rule=rule_id)
        await self._access.permit_archive(call, Action.ADMINISTER)
        if not await self._record.remove(rule_id):
            raise _unknown()
        self._changed.notify()

    async def _found(self, rule_id: str) -> WorkitemRule:
        rule = await self._record.find(rule_id)
        if rule is None:
            raise _unknown()
        return rule

    async def _query(self, query: StudyQuery) -> StudyQuery:
        if len(query.terms) > _MAX_TERMS or _length(query.terms) > _MAX_QUERY_LENGTH:
            message = f"A query has at most {_MAX_TERMS} search keys and {_MAX_QUERY_LENGTH} characters."
            raise _invalid("query", message)
        await self._search.query_of(search_of(query, NO_PARTITION))
        return query

    def _names(self, partitions: Sequence[str]) -> frozenset[PartitionName]:
        if len(partitions) > _MAX_PARTITIONS:
            raise _invalid("partitions", f"At most {_MAX_PARTITIONS} partitions are possible.")
        names = frozenset(parse_partition_name(name, "partitions") for name in partitions)
        if names:
            self._partitions.require_enabled()
        return names


def _facts(
    label: str | None, query: StudyQuery | None, partitions: Sequence[str] | None, enabled: bool | None
) -> dict[str, object]:
    """Return what the audit trail says about a change: of a query only the attributes, not their values."""
    facts = {
        "label": label,
        "keys": None if query is None else [name for name in query.terms if _SHOWN.fullmatch(name)][:_MAX_TERMS],
        "partitions": None if partitions is None else list(partitions[:_MAX_PARTITIONS]),
        "enabled": enabled,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _label(label: str) -> str:
    if len(label) > _MAX_LABEL_LENGTH or not label.isprintable():
        raise _invalid("label", f"A label has at most {_MAX_LABEL_LENGTH} printable characters.")
    return label


def _template(dicom_json: bytes) -> str:
    template = parse_template(dicom_json)
    check_template(template)
    return serialise(template)


def _length(terms: Mapping[str, Sequence[str]]) -> int:
    return sum(len(name) + sum(map(len, values)) for name, values in terms.items())


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_FIELD, message, field=field)


def _unknown() -> NotFound:
    return NotFound(Reason.WORKITEM_RULE_NOT_FOUND, "The specified rule does not exist.")
