"""The forms of audit records on export: Azure's entries and DICOM audit messages."""

import base64
from typing import Any

import orjson
import pytest

from server.domain.audit_search.azure_entries import AzureEntries
from server.domain.audit_search.dicom_messages import DicomMessages
from server.domain.audit_search.filters import AuditFilter, Matcher
from tests.unit.server.domain.audit_search.audit_schema import check

TIME = "2026-01-31T10:00:00.500000Z"


def record(kind: str = "executed", rpc: str = "RetrieveService/RetrieveInstances", **members: Any) -> dict[str, Any]:
    common = {
        "n": 7,
        "time": TIME,
        "kind": kind,
        "call": 3,
        "request": "r1",
        "principal": "jane",
        "action": "read",
        "subtype": "retrieve",
        "rpc": rpc,
        "peer": "inproc",
        "client": "192.0.2.7",
        "method": "GET",
        "uri": "http://archive/v2/studies/1.2",
    }
    end = {"code": "OK", "items": 1, "ms": 500.0} if kind == "executed" else {}
    return common | end | members


EVENT = {"n": 1, "time": TIME, "kind": "event", "principal": "dicomstore:core", "action": "administer"}
INSTANCES = [
    ["1.2", "1.2.1", "1.2.1.1", "1.2.840.10008.5.1.4.1.1.2", "stored", 10],
    ["1.2", "1.2.1", "1.2.1.2", "1.2.840.10008.5.1.4.1.1.2", "identical", 10],
    ["1.3", "1.3.1", "1.3.1.1", "1.2.840.10008.5.1.4.1.1.2", "INVALID_INSTANCE", 0],
]
UPLOAD = {"action": "write", "subtype": "store", "rpc": "StoreService/StoreInstances"}


@pytest.mark.parametrize(
    ("source", "event", "action", "type_", "outcome", "roles", "objects"),
    [
        (record(study="1.2"), "110104", "R", None, "0", ["110153", "110152"], ["1.2"]),
        (record("executing", study="1.2"), "110102", "E", None, "0", ["110153", "110152"], ["1.2"]),
        (record("executing", **UPLOAD), "110102", "E", None, "0", ["110153", "110152"], []),
        (record("outcome", **UPLOAD, instances=INSTANCES), "110104", "C", None, "4", ["110153", "110152"], ["1.2"]),
        (
            record(**UPLOAD, instances=INSTANCES[:1], outcomes=True),
            "110104",
            "C",
            None,
            "0",
            ["110153", "110152"],
            ["1.2"],
        ),
        (record(subtype="retrieve-metadata", study="1.2"), "110103", "R", None, "0", [], ["1.2"]),
        (
            record(subtype="query", rpc="SearchService/Search"),
            "110112",
            "E",
            None,
            "0",
            ["110153", "110152"],
            ["1.2.840.10008.5.1.4.1.2.2.1"],
        ),
        (
            record(subtype="query-workitem", rpc="WorkitemService/SearchWorkitems"),
            "110112",
            "E",
            None,
            "0",
            ["110153", "110152"],
            ["1.2.840.10008.5.1.4.34.6.3"],
        ),
        *(
            (record(subtype=subtype, workitem="1.9"), "110111", action, None, "0", [], ["urn:oid:1.9"])
            for subtype, action in (
                ("add-workitem", "C"),
                ("retrieve-workitem", "R"),
                ("update-workitem", "U"),
                ("change-state-workitem", "U"),
                ("cancel-workitem", "U"),
            )
        ),
        (record(subtype="add-workitem", code="INVALID_ARGUMENT"), "110111", "C", None, "8", [], []),
        (record(action="delete", subtype="delete", study="1.2"), "110105", "D", None, "0", [], ["1.2"]),
        (record(action="delete", subtype="delete", study="1.2", series="1"), "110103", "D", None, "0", [], ["1.2"]),
        (record(code="UNAUTHENTICATED", reason="UNAUTHENTICATED"), "110114", "E", "110122", "8", [], []),
        (
            record(code="PERMISSION_DENIED", reason="PERMISSION_DENIED"),
            "110113",
            "E",
            "110132",
            "8",
            [],
            ["http://archive/v2/studies/1.2"],
        ),
        (record(code="NOT_FOUND", reason="STUDY_NOT_FOUND", study="9"), "110104", "R", None, "8", None, ["9"]),
        (record(action="audit", rpc="AuditService/SearchAuditEvents"), "110101", "R", None, "0", [], None),
        (record(action="manageExtendedQueryTags", subtype="x"), "110113", "E", "110131", "0", [], None),
        (record(action="administer", subtype="create-token"), "110113", "E", "110137", "0", [], None),
        ({**EVENT, "subtype": "application-start"}, "110100", "E", "110120", "0", ["110150"], []),
        ({**EVENT, "subtype": "application-stop"}, "110100", "E", "110121", "0", ["110150"], []),
        ({"n": 1, "time": TIME, "kind": "lost", "records": 3}, "110113", "E", "110133", "8", [], []),
    ],
)
def test_a_record_becomes_a_valid_dicom_audit_message(
    source: dict[str, Any],
    event: str,
    action: str,
    type_: str | None,
    outcome: str,
    roles: list[str] | None,
    objects: list[str] | None,
) -> None:
    message = DicomMessages("archive-1").of(source)
    assert message is not None
    root = check(message)
    [identification] = root.findall("EventIdentification")
    assert identification.attrib == {
        "EventActionCode": action,
        "EventDateTime": TIME,
        "EventOutcomeIndicator": outcome,
    }
    assert [code.get("csd-code") for code in root.iterfind("EventIdentification/EventID")] == [event]
    assert [code.get("csd-code") for code in root.iterfind("EventIdentification/EventTypeCode")] == (
        [type_] if type_ else []
    )
    if roles is not None:
        assert [code.get("csd-code") for code in root.iterfind("ActiveParticipant/RoleIDCode")] == roles
    if objects is not None:
        found = [one.get("ParticipantObjectID") for one in root.iterfind("ParticipantObjectIdentification")]
        assert found == objects


def test_stored_instances_are_listed_by_study_and_sop_class() -> None:
    message = DicomMessages().of(record("outcome", **UPLOAD, instances=INSTANCES))
    assert message is not None
    [sop_class] = check(message).iterfind("ParticipantObjectIdentification/ParticipantObjectDescription/SOPClass")
    assert sop_class.attrib == {"UID": "1.2.840.10008.5.1.4.1.1.2", "NumberOfInstances": "2"}
    assert [instance.get("UID") for instance in sop_class] == ["1.2.1.1", "1.2.1.2"]


def test_a_workitem_is_an_instance_of_its_sop_class() -> None:
    message = DicomMessages().of(record(subtype="update-workitem", workitem="1.9"))
    assert message is not None
    [sop_class] = check(message).iterfind("ParticipantObjectIdentification/ParticipantObjectDescription/SOPClass")
    assert sop_class.attrib == {"UID": "1.2.840.10008.5.1.4.34.6.1", "NumberOfInstances": "1"}
    assert [instance.get("UID") for instance in sop_class] == ["1.9"]


def test_a_query_has_the_uri_as_received() -> None:
    uri = "http://archive/v2/studies?PatientID=1"
    message = DicomMessages().of(record(subtype="query", rpc="SearchService/Search", uri=uri))
    assert message is not None
    [query] = check(message).iterfind("ParticipantObjectIdentification/ParticipantObjectQuery")
    assert base64.b64decode(query.text or "") == uri.encode()


def test_characters_that_xml_does_not_allow_are_replaced() -> None:
    message = DicomMessages().of(record(study="1.2", principal='a\x00b\ud800<&">', name="\x1b"))
    assert message is not None
    clients = [one for one in check(message).iterfind("ActiveParticipant") if one.get("UserIsRequestor") == "true"]
    assert clients[0].get("UserID") == 'a\ufffdb\ufffd<&">'


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:4711", "192.0.2.1"),
        ("ipv6:[2001:db8::1]:4711", "2001:db8::1"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1"),
        ("inproc", None),
    ],
)
def test_the_network_address_of_the_client_is_that_of_its_peer(peer: str, address: str | None) -> None:
    source = record(study="1.2", peer=peer)
    del source["client"]
    message = DicomMessages("archive-1").of(source)
    assert message is not None
    [client] = [one for one in check(message).iterfind("ActiveParticipant") if one.get("UserIsRequestor") == "true"]
    assert client.get("NetworkAccessPointID") == address
    assert {entry["CallerIpAddress"] for entry in AzureEntries().of(source)} == {address or ""}
    assert Matcher(AuditFilter(client=address or "inproc")).matches(orjson.dumps(source)) == (
        source if address else None
    )


@pytest.mark.parametrize("subtype", ["operation", "partition", "get-extended-query-tag"])
def test_accesses_that_ps315_does_not_describe_have_no_message(subtype: str) -> None:
    assert DicomMessages().of(record(subtype=subtype)) is None


def test_a_call_has_two_entries_of_azure() -> None:
    source = record(
        headers={"x-ms-azuredicom-audit-ward": "3"}, claims={"oid": "17"}, roles=["globalReader"], study="1.2"
    )
    executing, executed = AzureEntries("https://issuer", "dicom").of(source)
    assert executing == {
        "ActionType": "Executing",
        "EventType": "AuditEvent",
        "Time": "2026-01-31T10:00:00.000000Z",
        "Audience": "dicom",
        "Authority": "https://issuer",
        "RequestUri": "http://archive/v2/studies/1.2",
        "Action": "retrieve",
        "CorrelationId": "r1",
        "CallerIpAddress": "192.0.2.7",
        "Claims": {"oid": "17", "sub": "jane", "roles": ["globalReader"]},
        "CustomHeaders": {"X-MS-AZUREDICOM-AUDIT-WARD": "3"},
    }
    assert executed == {**executing, "ActionType": "Executed", "Time": TIME, "StatusCode": 200}


def test_a_change_has_one_entry_for_each_record() -> None:
    entries = AzureEntries()
    assert [entry["ActionType"] for entry in entries.of(record("executing", **UPLOAD))] == ["Executing"]
    assert [entry["ActionType"] for entry in entries.of(record(**UPLOAD, begun=True))] == ["Executed"]
    assert list(entries.of(record("outcome", **UPLOAD, instances=INSTANCES))) == []
    assert list(entries.of({**EVENT, "subtype": "application-start"})) == []


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"subtype": "delete"}, 204),
        ({**UPLOAD, "failed": 1, "items": 1}, 202),
        ({**UPLOAD, "failed": 1, "items": 0}, 409),
        ({"code": "UNAUTHENTICATED"}, 401),
        ({"code": "PERMISSION_DENIED"}, 403),
        ({"code": "NOT_FOUND", "reason": "STUDY_NOT_FOUND"}, 404),
        ({"code": "FAILED_PRECONDITION", "reason": "NOT_ACCEPTABLE_TRANSFER_SYNTAX"}, 406),
        ({"code": "RESOURCE_EXHAUSTED", "reason": "STORAGE_FULL"}, 507),
        ({"code": "INTERNAL"}, 500),
    ],
)
def test_the_status_of_an_entry_is_that_of_http(members: dict[str, Any], status: int) -> None:
    assert [entry.get("StatusCode") for entry in AzureEntries().of(record(**members))] == [None, status]
