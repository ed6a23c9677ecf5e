"""WorkitemRuleService as specified in the contract, and rules of a running core."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from dicomstore.v1 import (
    search_service_pb2,
    webhook_service_pb2,
    workitem_event_service_pb2_grpc,
    workitem_rule_service_pb2_grpc,
    workitem_service_pb2_grpc,
)
from dicomstore.v1 import workitem_event_service_pb2 as event_pb
from dicomstore.v1 import workitem_rule_service_pb2 as pb
from dicomstore.v1 import workitem_service_pb2 as workitem_pb

from server.domain.worklist import workitem_rules
from tests.audit import audit_records, audited
from tests.core import CoreClient, reason_of
from tests.data import part10
from tests.integration.conftest import a_core

TEMPLATE = orjson.dumps({"ProcedureStepLabel": {"vr": "LO", "Value": ["Lung CAD"]}})


def stub_of(core: CoreClient) -> Any:
    return workitem_rule_service_pb2_grpc.WorkitemRuleServiceStub(core.channel)


def query_of(**terms: str) -> pb.StudyQuery:
    return pb.StudyQuery(terms=[search_service_pb2.Term(attribute=key, values=[terms[key]]) for key in terms])


async def refused(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


async def test_a_rule_is_created_changed_and_removed(core: CoreClient) -> None:
    stub = stub_of(core)
    query = query_of(PatientName="Doe*", ModalitiesInStudy="CT")
    created = (
        await stub.CreateWorkitemRule(pb.CreateWorkitemRuleRequest(label="AI", query=query, template=TEMPLATE))
    ).rule
    assert (created.label, created.query, list(created.partitions), created.enabled) == ("AI", query, [], True)
    assert orjson.loads(created.template) == {"00741204": {"vr": "LO", "Value": ["Lung CAD"]}}
    assert (created.workitems, created.waiting, created.problem) == (0, 0, "")
    assert (await stub.GetWorkitemRule(pb.GetWorkitemRuleRequest(id=created.id))).rule == created
    changed = (await stub.UpdateWorkitemRule(pb.UpdateWorkitemRuleRequest(id=created.id, label="", enabled=False))).rule
    assert (changed.label, changed.enabled, changed.query, changed.template) == ("", False, query, created.template)
    every = (await stub.UpdateWorkitemRule(pb.UpdateWorkitemRuleRequest(id=created.id, query=pb.StudyQuery()))).rule
    assert list(every.query.terms) == []
    assert list((await stub.ListWorkitemRules(pb.ListWorkitemRulesRequest())).rules) == [every]
    [record] = await audited(core.data, kind="executed", rpc="WorkitemRuleService/CreateWorkitemRule")
    assert (record["rule"], record["label"], record["keys"]) == (created.id, "AI", ["PatientName", "ModalitiesInStudy"])
    assert not any("Doe" in str(record) for record in audit_records(core.data))
    await stub.DeleteWorkitemRule(pb.DeleteWorkitemRuleRequest(id=created.id))
    for gone in (
        stub.GetWorkitemRule(pb.GetWorkitemRuleRequest(id=created.id)),
        stub.UpdateWorkitemRule(pb.UpdateWorkitemRuleRequest(id=created.id)),
        stub.DeleteWorkitemRule(pb.DeleteWorkitemRuleRequest(id=created.id)),
    ):
        assert await refused(gone) == "WORKITEM_RULE_NOT_FOUND"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"label": "a\nb"}, "INVALID_FIELD"),
        ({"partitions": ["a b"]}, "INVALID_PARTITION_NAME"),
        ({"partitions": ["ward"]}, "PARTITIONS_DISABLED"),
        ({"query": query_of(StudyDate="yesterday")}, "INVALID_QUERY"),
        ({"query": query_of(PatientComments="x")}, "UNSUPPORTED_ATTRIBUTE"),
        ({"query": query_of(Modality="CT")}, "UNSUPPORTED_ATTRIBUTE"),
        ({"query": query_of(PatientID="x" * 10_000)}, "INVALID_FIELD"),
        ({"template": b""}, "INVALID_WORKITEM"),
        ({"template": b"{}"}, "INVALID_WORKITEM"),
        ({"template": orjson.dumps({"00741204": {"vr": "LO"}})}, "INVALID_WORKITEM"),
        (
            {"template": orjson.dumps(orjson.loads(TEMPLATE) | {"PatientID": {"vr": "LO", "Value": ["P-1"]}})},
            "INVALID_WORKITEM",
        ),
    ],
)
async def test_invalid_rules_are_refused(core: CoreClient, fields: Any, reason: str) -> None:
    stub = stub_of(core)
    request = pb.CreateWorkitemRuleRequest(**{"template": TEMPLATE, **fields})
    assert await refused(stub.CreateWorkitemRule(request)) == reason
    rule = (await stub.CreateWorkitemRule(pb.CreateWorkitemRuleRequest(template=TEMPLATE))).rule
    if "partitions" in fields:
        fields = {"partitions": webhook_service_pb2.TextList(values=fields["partitions"])}
    assert await refused(stub.UpdateWorkitemRule(pb.UpdateWorkitemRuleRequest(id=rule.id, **fields))) == reason
    assert (await stub.GetWorkitemRule(pb.GetWorkitemRuleRequest(id=rule.id))).rule == rule


async def test_the_number_of_rules_is_limited(core: CoreClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workitem_rules, "MAX_RULES", 1)
    request = pb.CreateWorkitemRuleRequest(template=TEMPLATE)
    await stub_of(core).CreateWorkitemRule(request)
    assert await refused(stub_of(core).CreateWorkitemRule(request)) == "TOO_MANY_WORKITEM_RULES"


async def test_a_running_core_creates_a_workitem_with_the_patient_and_the_input(tmp_path: Path) -> None:
    async with a_core(tmp_path, study_quiet_seconds=1) as core:
        query = query_of(PatientID="P-1")
        await stub_of(core).CreateWorkitemRule(pb.CreateWorkitemRuleRequest(query=query, template=TEMPLATE))
        await core.stored(part10(StudyInstanceUID="1.2", PatientID="P-1", AccessionNumber="A-1"))
        await core.stored(part10(StudyInstanceUID="1.3", PatientID="P-2"))
        rule = await _applied(core)
        assert (rule.workitems, rule.waiting) == (1, 0)
        worklist = workitem_service_pb2_grpc.WorkitemServiceStub(core.channel)
        request = workitem_pb.SearchWorkitemsRequest(include_all=True)
        request.terms.add(attribute="ReferencedRequestSequence.AccessionNumber", values=["A-1"])
        [match] = (await worklist.SearchWorkitems(request)).matches
        workitem = orjson.loads(match.dicom_json)
        assert workitem["00100020"]["Value"] == ["P-1"]
        assert workitem["00741000"]["Value"] == ["SCHEDULED"]
        [item] = workitem["00404021"]["Value"]
        assert item["0020000D"]["Value"] == ["1.2"]
        assert await _reported(core) == match.workitem_uid
        [record] = await audited(core.data, kind="executed", principal="dicomstore:workitem-rules")
        assert (record["study"], record["workitem"], record["rule"]) == ("1.2", match.workitem_uid, rule.id)


async def _reported(core: CoreClient) -> str:
    """Return the workitem of the first event."""
    events = workitem_event_service_pb2_grpc.WorkitemEventServiceStub(core.channel)
    watch = events.WatchWorkitems(event_pb.WatchWorkitemsRequest(after_position=0))
    async for message in watch:
        for one in message.events:
            watch.cancel()
            return str(one.event.workitem_uid)
    raise AssertionError("the watch has ended")


async def _applied(core: CoreClient) -> pb.WorkitemRule:
    """Return the only rule as soon as it has created a workitem."""
    while True:
        [rule] = (await stub_of(core).ListWorkitemRules(pb.ListWorkitemRulesRequest())).rules
        if rule.workitems:
            return rule
        await asyncio.sleep(0.02)
