"""WorkitemRuleService."""

from dicomstore.v1 import search_service_pb2, workitem_rule_service_pb2_grpc
from dicomstore.v1 import workitem_rule_service_pb2 as pb

from server.domain.worklist.workitem_rules import WorkitemRules
from server.model.worklist.workitem_rule import StudyQuery, WorkitemRule
from server.rpc import convert
from server.rpc.interceptors.call_context import Context


class WorkitemRuleServicer(workitem_rule_service_pb2_grpc.WorkitemRuleServiceServicer):
    """Implements WorkitemRuleService with `WorkitemRules`."""

    def __init__(self, rules: WorkitemRules) -> None:
        self._rules = rules

    async def CreateWorkitemRule(
        self, request: pb.CreateWorkitemRuleRequest, context: Context
    ) -> pb.CreateWorkitemRuleResponse:
        """See the contract."""
        rule = await self._rules.create(
            context.call,
            label=request.label,
            query=_query(request.query),
            partitions=request.partitions,
            template=request.template,
        )
        return pb.CreateWorkitemRuleResponse(rule=_message(rule))

    async def GetWorkitemRule(self, request: pb.GetWorkitemRuleRequest, context: Context) -> pb.GetWorkitemRuleResponse:
        """See the contract."""
        return pb.GetWorkitemRuleResponse(rule=_message(await self._rules.get(context.call, request.id)))

    async def ListWorkitemRules(
        self, request: pb.ListWorkitemRulesRequest, context: Context
    ) -> pb.ListWorkitemRulesResponse:
        """See the contract."""
        return pb.ListWorkitemRulesResponse(rules=map(_message, await self._rules.list(context.call)))

    async def UpdateWorkitemRule(
        self, request: pb.UpdateWorkitemRuleRequest, context: Context
    ) -> pb.UpdateWorkitemRuleResponse:
        """See the contract."""
        rule = await self._rules.update(
            context.call,
            request.id,
            label=request.label if request.HasField("label") else None,
            query=_query(request.query) if request.HasField("query") else None,
            partitions=request.partitions.values if request.HasField("partitions") else None,
            template=request.template if request.HasField("template") else None,
            enabled=request.enabled if request.HasField("enabled") else None,
        )
        return pb.UpdateWorkitemRuleResponse(rule=_message(rule))

    async def DeleteWorkitemRule(
        self, request: pb.DeleteWorkitemRuleRequest, context: Context
    ) -> pb.DeleteWorkitemRuleResponse:
        """See the contract."""
        await self._rules.delete(context.call, request.id)
        return pb.DeleteWorkitemRuleResponse()


def _query(query: pb.StudyQuery) -> StudyQuery:
    terms: dict[str, tuple[str, ...]] = {}
    for term in query.terms:
        terms[term.attribute] = (*terms.get(term.attribute, ()), *term.values)
    return StudyQuery(terms, query.fuzzy_matching, query.empty_value_matching)


def _message(rule: WorkitemRule) -> pb.WorkitemRule:
    definition, state = rule.definition, rule.state
    query = definition.query
    return pb.WorkitemRule(
        id=rule.id,
        label=definition.label,
        query=pb.StudyQuery(
            terms=[
                search_service_pb2.Term(attribute=attribute, values=values) for attribute, values in query.terms.items()
            ],
            fuzzy_matching=query.fuzzy_matching,
            empty_value_matching=query.empty_value_matching,
        ),
        partitions=sorted(definition.partitions),
        template=definition.template.encode(),
        enabled=rule.is_enabled,
        create_time=convert.timestamp(rule.created),
        creator=rule.creator,
        workitems=state.workitems,
        waiting=state.waiting,
        problem=state.problem,
        last_failure_time=convert.timestamp(state.failed) if state.failed else None,
    )
