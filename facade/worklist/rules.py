"""Rules that create workitems (docs/worklist.md)."""

from datetime import UTC
from typing import Any
from urllib.parse import urlencode

import orjson
from dicomstore.v1.search_service_pb2 import Term
from dicomstore.v1.webhook_service_pb2 import TextList
from dicomstore.v1.workitem_rule_service_pb2 import (
    CreateWorkitemRuleRequest,
    CreateWorkitemRuleResponse,
    DeleteWorkitemRuleRequest,
    GetWorkitemRuleRequest,
    GetWorkitemRuleResponse,
    ListWorkitemRulesRequest,
    ListWorkitemRulesResponse,
    StudyQuery,
    UpdateWorkitemRuleRequest,
    UpdateWorkitemRuleResponse,
    WorkitemRule,
)
from starlette.requests import Request
from starlette.responses import Response

from facade.channel import Core
from facade.errors import Refusal
from facade.request.addresses import urls_in
from facade.request.json_body import Fields, is_boolean, is_list_of_texts, is_text, json_body, typed_fields
from facade.request.query import parameters_in
from facade.request.search_query import Search, parse_search
from facade.serving.observe import call_metadata

_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}
_OF_NEW: Fields = {
    "label": (is_text, "a text"),
    "query": (is_text, "a text, the query of a search for studies"),
    "partitions": (is_list_of_texts, "a list of texts"),
    "template": (lambda value: isinstance(value, dict | list), "a data set in DICOM JSON"),
}
_OF_CHANGE: Fields = {**_OF_NEW, "enabled": (is_boolean, "a boolean")}


async def rules(request: Request) -> Response:
    """GET /workitemrules: all rules, in order of creation."""
    core: Core = request.app.state.core
    answer: ListWorkitemRulesResponse = await core.call(
        core.workitem_rules.ListWorkitemRules, ListWorkitemRulesRequest(), call_metadata(request)
    )
    return _response(list(map(_fields, answer.rules)))


async def create(request: Request) -> Response:
    """POST /workitemrules: create a rule."""
    wanted = CreateWorkitemRuleRequest(**_message_fields(typed_fields(await json_body(request), _OF_NEW)))
    core: Core = request.app.state.core
    answer: CreateWorkitemRuleResponse = await core.call(
        core.workitem_rules.CreateWorkitemRule, wanted, call_metadata(request)
    )
    location = f"{urls_in(request, '').base}/workitemrules/{answer.rule.id}"
    return _response(_fields(answer.rule), 201, Location=location)


async def rule(request: Request) -> Response:
    """GET /workitemrules/{rule}: a rule and its state."""
    wanted = GetWorkitemRuleRequest(id=request.path_params["rule"])
    core: Core = request.app.state.core
    answer: GetWorkitemRuleResponse = await core.call(
        core.workitem_rules.GetWorkitemRule, wanted, call_metadata(request)
    )
    return _response(_fields(answer.rule))


async def update(request: Request) -> Response:
    """PATCH /workitemrules/{rule}: change a rule."""
    fields = _message_fields(typed_fields(await json_body(request), _OF_CHANGE))
    if "partitions" in fields:
        fields["partitions"] = TextList(values=fields["partitions"])
    wanted = UpdateWorkitemRuleRequest(id=request.path_params["rule"], **fields)
    core: Core = request.app.state.core
    answer: UpdateWorkitemRuleResponse = await core.call(
        core.workitem_rules.UpdateWorkitemRule, wanted, call_metadata(request)
    )
    return _response(_fields(answer.rule))


async def delete(request: Request) -> Response:
    """DELETE /workitemrules/{rule}: remove a rule; its workitems remain."""
    wanted = DeleteWorkitemRuleRequest(id=request.path_params["rule"])
    core: Core = request.app.state.core
    await core.call(core.workitem_rules.DeleteWorkitemRule, wanted, call_metadata(request))
    return Response(status_code=204)


def _message_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a body as those of a message. Raises: Refusal, 400."""
    if "query" in fields:
        fields["query"] = _query(fields["query"])
    if "template" in fields:
        template = fields["template"]
        fields["template"] = orjson.dumps(template[0] if isinstance(template, list) and template else template)
    return fields


def _query(text: str) -> StudyQuery:
    """Return a query string of a search for studies, which has search keys and rules of matching only.

    Raises:
        Refusal: 400.
    """
    query = parse_search(parameters_in(text.removeprefix("?")), strict=False)
    matching = Search(terms=query.terms, fuzzy=query.fuzzy, matches_empty=query.matches_empty)
    if query != matching:
        problem = "It may have search keys, fuzzymatching and emptyvaluematching only."
        raise Refusal(400, f"The field 'query' in request body is invalid: {problem}")
    terms = [Term(attribute=name, values=values) for name, values in query.terms.items()]
    return StudyQuery(terms=terms, fuzzy_matching=query.fuzzy, empty_value_matching=query.matches_empty)


def _fields(value: WorkitemRule) -> dict[str, Any]:
    has_failed = value.HasField("last_failure_time")
    return {
        "id": value.id,
        "label": value.label,
        "query": _text_of(value.query),
        "partitions": list(value.partitions),
        "template": orjson.Fragment(value.template),
        "enabled": value.enabled,
        "created": value.create_time.ToDatetime(UTC),
        "creator": value.creator,
        "workitems": value.workitems,
        "waiting": value.waiting,
        "problem": value.problem or None,
        "lastFailure": value.last_failure_time.ToDatetime(UTC) if has_failed else None,
    }


def _text_of(query: StudyQuery) -> str:
    options = {"fuzzymatching": query.fuzzy_matching, "emptyvaluematching": query.empty_value_matching}
    pairs = [(term.attribute, value) for term in query.terms for value in term.values]
    return urlencode([*pairs, *((name, "true") for name, is_set in options.items() if is_set)], safe="*?,\\")


def _response(content: Any, status: int = 200, **headers: str) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), status, {**_HEADERS, **headers})
