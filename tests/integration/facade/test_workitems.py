"""Workitems over HTTP: transactions, states and search (PS3.18 chapter 11, PS3.4 Annex CC)."""

import asyncio
import itertools
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.bootstrap.serving import running
from tests.core import settings_for
from tests.integration.facade.serving import serving
from tests.worklist import (
    OTHER_TRANSACTION,
    TRANSACTION,
    code,
    data_set,
    discontinued,
    performed,
    tag,
    workitem,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

_numbers = itertools.count(1)
STATES = ["SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"]
XML = {"Content-Type": "application/dicom+xml"}


def new_uid() -> str:
    return f"1.2.826.{next(_numbers)}"


class Worklist:
    """The requests of a client, in the forms of the standard."""

    def __init__(self, web: httpx.AsyncClient, base: str = "/v2") -> None:
        self.web = web
        self.base = base

    async def create(self, content: Any = None, query: str = "", **values: Any) -> httpx.Response:
        body = [workitem(**values)] if content is None else content
        return await self.web.post(f"{self.base}/workitems{query}", json=body)

    async def get(self, uid: str) -> dict[str, Any]:
        answer = await self.web.get(f"{self.base}/workitems/{uid}")
        assert answer.status_code == 200, answer.text
        [found] = answer.json()
        return dict(found)

    async def update(self, uid: str, content: dict[str, Any], query: str = "") -> httpx.Response:
        return await self.web.post(f"{self.base}/workitems/{uid}{query}", json=[content])

    async def state(self, uid: str, state: str | None, transaction: str | None = TRANSACTION) -> httpx.Response:
        content = data_set(TransactionUID=transaction, ProcedureStepState=state)
        return await self.web.put(f"{self.base}/workitems/{uid}/state", json=[content])

    async def cancel(self, uid: str, content: Any = None) -> httpx.Response:
        return await self.web.post(f"{self.base}/workitems/{uid}/cancelrequest", json=[content or {}])

    async def in_state(self, state: str) -> str:
        """Create a workitem and bring it to a state with `TRANSACTION`; return its UID."""
        uid = new_uid()
        assert (await self.create(query=f"?{uid}")).status_code == 201
        if state != "SCHEDULED":
            assert (await self.state(uid, "IN PROGRESS")).status_code == 200
        if state in ("COMPLETED", "CANCELED"):
            results = performed() if state == "COMPLETED" else discontinued()
            assert (await self.update(uid, results, f"?{TRANSACTION}")).status_code == 200
            assert (await self.state(uid, state)).status_code == 200
        return uid

    async def current(self, uid: str) -> str:
        return str((await self.get(uid))[tag("ProcedureStepState")]["Value"][0])

    async def search(self, query: str) -> list[str]:
        answer = await self.web.get(f"{self.base}/workitems?{query}")
        found = answer.json() if answer.status_code == 200 else []
        assert answer.status_code in (200, 204), answer.text
        return [match[tag("SOPInstanceUID")]["Value"][0] for match in found]


@pytest.fixture
def worklist(web_on_each_database: httpx.AsyncClient, request: pytest.FixtureRequest) -> Worklist:
    """Version 1 with PostgreSQL and version 2 with SQLite: requests are the same in both versions."""
    return Worklist(web_on_each_database, "/v1" if "postgres" in request.node.name else "/v2")


@pytest.mark.parametrize("base", ["/v1", "/v2"])
@pytest.mark.parametrize("form", ["?{}", "?workitem={}", "body"])
async def test_a_workitem_is_created_and_returned(worklist: Worklist, base: str, form: str) -> None:
    worklist.base, uid = base, new_uid()
    answer = await (worklist.create(SOPInstanceUID=uid) if form == "body" else worklist.create(query=form.format(uid)))
    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers["location"] == answer.headers["content-location"]
    assert answer.headers["location"].endswith(f"{base}/workitems/{uid}")
    found = await worklist.get(uid)
    assert tag("TransactionUID") not in found
    for keyword, value in {
        "SOPClassUID": "1.2.840.10008.5.1.4.34.6.1",
        "SOPInstanceUID": uid,
        "ProcedureStepState": "SCHEDULED",
        "WorklistLabel": "worklist",
    }.items():
        assert found[tag(keyword)]["Value"] == [value]
    assert found[tag("ScheduledProcedureStepModificationDateTime")]["Value"][0].endswith("+0000")
    assert (await worklist.create(query=f"?{uid}")).status_code == 409


async def test_a_workitem_can_be_created_at_its_own_url(worklist: Worklist) -> None:
    uid = new_uid()
    answer = await worklist.update(uid, workitem(ProcedureStepLabel="mine"))
    assert (answer.status_code, answer.headers["location"][-len(uid) :]) == (201, uid)
    assert (await worklist.get(uid))[tag("ProcedureStepLabel")]["Value"] == ["mine"]


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("SOPClassUID", "1.2.3", "1.2.840.10008.5.1.4.34.6.1"),
        ("ProcedureStepState", "COMPLETED", "SCHEDULED"),
        ("WorklistLabel", "neuro", "neuro"),
    ],
)
async def test_the_server_sets_some_attributes(worklist: Worklist, keyword: str, value: str, expected: str) -> None:
    uid = new_uid()
    assert (await worklist.create(query=f"?{uid}", **{keyword: value})).status_code == 201
    assert (await worklist.get(uid))[tag(keyword)]["Value"] == [expected]


async def test_invalid_requests_to_create_are_refused(worklist: Worklist) -> None:
    uid, url = new_uid(), f"{worklist.base}/workitems"
    assert (await worklist.create()).status_code == 400  # no UID
    assert (await worklist.create(query="?abc")).status_code == 400
    for of_worklist in ("1.2.840.10008.5.1.4.34.5", "1.2.840.10008.5.1.4.34.5.1"):
        assert (await worklist.create(query=f"?{of_worklist}")).status_code == 400
    assert (await worklist.create(query=f"?{uid}", SOPInstanceUID="1.2")).status_code == 400
    assert (await worklist.create([], query=f"?{uid}")).status_code == 400
    assert (await worklist.create([workitem("InputReadinessState")], query=f"?{uid}")).status_code == 400
    assert (await worklist.create(query=f"?{uid}", TransactionUID="1.2")).status_code == 400
    for headers, content, status in (
        ({"Content-Type": "text/plain"}, b"[]", 415),
        ({"Content-Type": "application/dicom+json"}, b"[{", 400),
        ({"Content-Type": "application/dicom+json"}, b"", 400),
        ({"Content-Type": "application/dicom+json", "Accept": "image/png"}, b"[{}]", 406),
        ({"Content-Type": "application/dicom+json"}, b" " * (1 << 20) + b"[]", 413),
        ({"Content-Type": "application/dicom+json", "Content-Encoding": "gzip"}, b"[{}]", 415),
    ):
        assert (await worklist.web.post(url, headers=headers, content=content)).status_code == status
    assert (await worklist.web.get(f"{url}/{uid}")).status_code == 404


async def test_retrieving_needs_a_uid_and_an_acceptable_format(worklist: Worklist) -> None:
    uid = await worklist.in_state("SCHEDULED")
    url = f"{worklist.base}/workitems/"
    assert (await worklist.web.get(f"{url}abc")).status_code == 400
    assert (await worklist.web.get(f"{url}1.2.3.4")).status_code == 404
    assert (await worklist.web.get(url + uid, headers={"Accept": "image/png"})).status_code == 406
    answer = await worklist.web.get(url + uid, headers={"Accept": "application/dicom+xml"})
    assert answer.headers["content-type"] == "application/dicom+xml"
    assert f'<Value number="1">{uid}</Value>' in answer.text


@pytest.mark.parametrize("accept", ["application/dicom+xml", "application/xml", "text/xml"])
async def test_workitems_are_retrieved_and_found_in_xml_by_any_of_its_names(worklist: Worklist, accept: str) -> None:
    uid = await worklist.in_state("SCHEDULED")
    for path in (f"/{uid}", f"?SOPInstanceUID={uid}"):
        answer = await worklist.web.get(f"{worklist.base}/workitems{path}", headers={"Accept": accept})
        assert answer.status_code == 200, path
        assert f'<Value number="1">{uid}</Value>' in answer.text


async def test_xml_is_accepted_everywhere(worklist: Worklist) -> None:
    uid = await worklist.in_state("SCHEDULED")
    content = workitem(PatientName="Doe^Jane=山田^花子", ScheduledStationNameCodeSequence=[code()])
    del content[tag("TransactionUID")]
    assert (await worklist.update(uid, data_set(ProcedureStepLabel="as XML"))).status_code == 200
    url = f"{worklist.base}/workitems"
    document = await worklist.web.get(f"{url}/{uid}", headers={"Accept": "application/dicom+xml"})
    copy, empty = new_uid(), '<DicomAttribute tag="00081195" vr="UI"/></NativeDicomModel>'
    name = "<PersonName number='1'><Alphabetic><FamilyName>Doe</FamilyName><GivenName>Jane</GivenName></Alphabetic>"
    named = f'<DicomAttribute tag="00100010" vr="PN">{name}</PersonName></DicomAttribute>'
    body = document.text.replace(uid, copy).replace("</NativeDicomModel>", named + empty)
    created = await worklist.web.post(f"{url}?{copy}", content=body.encode(), headers=XML)
    assert created.status_code == 201, created.text
    expected = await worklist.get(uid) | data_set(SOPInstanceUID=copy, PatientName="Doe^Jane")
    found = await worklist.get(copy)
    for one in (expected, found):
        del one[tag("ScheduledProcedureStepModificationDateTime")]
    assert found == expected
    state = (
        f'<NativeDicomModel><DicomAttribute tag="00081195" vr="UI"><Value number="1">{TRANSACTION}</Value>'
        '</DicomAttribute><DicomAttribute tag="00741000" vr="CS"><Value number="1">IN PROGRESS</Value>'
        "</DicomAttribute></NativeDicomModel>"
    )
    assert (await worklist.web.put(f"{url}/{copy}/state", content=state.encode(), headers=XML)).status_code == 200
    assert await worklist.current(copy) == "IN PROGRESS"


# Current state; requested state; whether the Transaction UID is that of the workitem; status; code.
TRANSITIONS = [
    ("SCHEDULED", "IN PROGRESS", True, 200, ""),
    ("SCHEDULED", "COMPLETED", True, 400, "C301"),
    ("SCHEDULED", "CANCELED", True, 400, "C301"),
    ("IN PROGRESS", "IN PROGRESS", True, 400, "C302"),
    ("IN PROGRESS", "IN PROGRESS", False, 400, "C301"),
    ("IN PROGRESS", "COMPLETED", False, 400, "C301"),
    ("IN PROGRESS", "CANCELED", False, 400, "C301"),
    ("COMPLETED", "IN PROGRESS", True, 400, "C300"),
    ("COMPLETED", "COMPLETED", True, 200, "B306"),
    ("COMPLETED", "CANCELED", True, 400, "C300"),
    ("COMPLETED", "COMPLETED", False, 400, "C301"),
    ("COMPLETED", "IN PROGRESS", False, 400, "C301"),
    ("COMPLETED", "CANCELED", False, 400, "C301"),
    ("CANCELED", "IN PROGRESS", True, 400, "C300"),
    ("CANCELED", "COMPLETED", True, 400, "C300"),
    ("CANCELED", "CANCELED", True, 200, "B304"),
    ("CANCELED", "CANCELED", False, 400, "C301"),
    ("CANCELED", "IN PROGRESS", False, 400, "C301"),
    ("CANCELED", "COMPLETED", False, 400, "C301"),
]


@pytest.mark.parametrize(("current", "wanted", "is_owner", "status", "expected"), TRANSITIONS)
async def test_changes_of_state(
    worklist: Worklist, current: str, wanted: str, is_owner: bool, status: int, expected: str
) -> None:
    uid = await worklist.in_state(current)
    answer = await worklist.state(uid, wanted, TRANSACTION if is_owner else OTHER_TRANSACTION)
    assert answer.status_code == status, answer.text
    warning = answer.headers.get("warning", "")
    assert expected in warning
    assert warning.startswith("299 ") == bool(expected)
    if status == 200 and expected:
        assert warning.endswith(f""": "The workitem instance is already in the final state '{wanted}'. {expected}.\"""")
    assert TRANSACTION not in answer.text + str(answer.headers)
    if status == 200:
        assert answer.headers["content-location"].endswith(f"/workitems/{uid}")
    elif current != "SCHEDULED" or wanted != "IN PROGRESS":
        assert f"can not transition to '{wanted}' state: {expected}." in answer.text
    assert await worklist.current(uid) == (wanted if status == 200 else current)


@pytest.mark.parametrize("current", STATES)
async def test_nothing_becomes_scheduled(worklist: Worklist, current: str) -> None:
    uid = await worklist.in_state(current)
    assert (await worklist.state(uid, "SCHEDULED")).status_code == 400


@pytest.mark.parametrize(("state", "transaction"), [("IN PROGRESS", None), (None, "1.2"), ("completed", "1.2")])
async def test_a_change_of_state_needs_both_attributes(
    worklist: Worklist, state: str | None, transaction: str | None
) -> None:
    uid = await worklist.in_state("SCHEDULED")
    assert (await worklist.state(uid, state, transaction)).status_code == 400


@pytest.mark.parametrize("state", ["IN PROGRESS", "COMPLETED", "CANCELED"])
async def test_an_unknown_workitem_changes_nothing(worklist: Worklist, state: str) -> None:
    assert (await worklist.state("1.2.3.4", state)).status_code == 404
    assert (await worklist.update("1.2.3.4", data_set(ProcedureStepLabel="x"))).status_code == 404
    answer = await worklist.cancel("1.2.3.4")
    assert (answer.status_code, answer.text) == (404, "The workitem instance is not found.")


@pytest.mark.parametrize("state", ["COMPLETED", "CANCELED"])
async def test_a_final_state_has_requirements(worklist: Worklist, state: str) -> None:
    uid = await worklist.in_state("IN PROGRESS")
    answer = await worklist.state(uid, state)
    assert answer.status_code == 400
    assert "C304" in answer.text
    assert await worklist.current(uid) == "IN PROGRESS"


async def test_the_server_adds_the_time_of_a_cancellation(worklist: Worklist) -> None:
    uid = await worklist.in_state("CANCELED")
    [progress] = (await worklist.get(uid))[tag("ProcedureStepProgressInformationSequence")]["Value"]
    assert progress[tag("ProcedureStepCancellationDateTime")]["Value"]


@pytest.mark.parametrize(
    ("current", "status", "expected"),
    [
        ("SCHEDULED", 202, ""),
        ("IN PROGRESS", 409, "cannot be contacted"),
        ("COMPLETED", 409, "already COMPLETED"),
        ("CANCELED", 409, "The UPS is already in the requested state of CANCELED."),
    ],
)
@pytest.mark.parametrize("path", ["cancelrequest", "cancelrequest/WORKSTATION"])
async def test_requests_for_cancellation(
    worklist: Worklist, current: str, status: int, expected: str, path: str
) -> None:
    uid = await worklist.in_state(current)
    answer = await worklist.web.post(f"{worklist.base}/workitems/{uid}/{path}")
    assert answer.status_code == status
    assert expected in answer.headers.get("warning", "")
    assert expected in answer.text
    assert await worklist.current(uid) == ("CANCELED" if status == 202 else current)


async def test_a_cancellation_records_its_reason(worklist: Worklist) -> None:
    uid = await worklist.in_state("SCHEDULED")
    reason = data_set(
        ReasonForCancellation="wrong patient",
        ProcedureStepDiscontinuationReasonCodeSequence=[code("110514", "DCM", "Incorrect worklist entry selected")],
        ContactURI="tel:+1",
        ContactDisplayName="Reading room",
        PatientID="ignored",
    )
    assert (await worklist.cancel(uid, reason)).status_code == 202
    found = await worklist.get(uid)
    [progress] = found[tag("ProcedureStepProgressInformationSequence")]["Value"]
    assert progress[tag("ReasonForCancellation")]["Value"] == ["wrong patient"]
    [stated] = progress[tag("ProcedureStepDiscontinuationReasonCodeSequence")]["Value"]
    assert stated[tag("CodeValue")]["Value"] == ["110514"]
    [contact] = progress[tag("ProcedureStepCommunicationsURISequence")]["Value"]
    assert contact[tag("ContactURI")]["Value"] == ["tel:+1"]
    assert progress[tag("ProcedureStepCancellationDateTime")]["Value"]
    assert tag("PatientID") not in found
    assert (await worklist.state(uid, "CANCELED", "")).status_code == 400


@pytest.mark.parametrize("state", ["SCHEDULED", "IN PROGRESS"])
async def test_a_request_for_cancellation_with_an_invalid_code_is_refused(worklist: Worklist, state: str) -> None:
    uid = await worklist.in_state(state)
    item = code("110514", "DCM", "Incorrect worklist entry selected")
    for content in (
        data_set(ProcedureStepDiscontinuationReasonCodeSequence=[{k: v for k, v in item.items() if k != "00080104"}]),
        data_set(ProcedureStepDiscontinuationReasonCodeSequence=[item | data_set(CodeMeaning=None)]),
        data_set(ReasonForCancellation="x" * 10_241),
    ):
        answer = await worklist.cancel(uid, content)
        assert answer.status_code == 400, answer.text
        assert "CodeMeaning" in answer.text or "ReasonForCancellation" in answer.text
    assert await worklist.current(uid) == state
    assert (await worklist.cancel("1.2.3.4", content)).status_code == 400


# Current state; query; whether the Transaction UID is in the data set; status; code.
UPDATES = [
    ("SCHEDULED", "", False, 200, ""),
    ("SCHEDULED", f"?{TRANSACTION}", False, 400, "C301"),
    ("IN PROGRESS", f"?{TRANSACTION}", False, 200, ""),
    ("IN PROGRESS", f"?Transaction-uid={TRANSACTION}", False, 200, ""),
    ("IN PROGRESS", f"?transaction-uid={TRANSACTION}", False, 200, ""),
    ("IN PROGRESS", f"?transaction={TRANSACTION}", False, 200, ""),
    ("IN PROGRESS", "", True, 200, ""),
    ("IN PROGRESS", "", False, 400, "C301"),
    ("IN PROGRESS", f"?{OTHER_TRANSACTION}", False, 400, "C301"),
    ("IN PROGRESS", f"?{OTHER_TRANSACTION}", True, 400, ""),
    ("COMPLETED", f"?{TRANSACTION}", False, 400, "C306"),
    ("COMPLETED", "", False, 400, "C306"),
    ("CANCELED", f"?{TRANSACTION}", False, 400, "C304"),
]


@pytest.mark.parametrize(("current", "query", "in_body", "status", "expected"), UPDATES)
async def test_updates(worklist: Worklist, current: str, query: str, in_body: bool, status: int, expected: str) -> None:
    uid = await worklist.in_state(current)
    before = await worklist.get(uid)
    content = data_set(ProcedureStepLabel="new", **({"TransactionUID": TRANSACTION} if in_body else {}))
    answer = await worklist.update(uid, content, query)
    assert answer.status_code == status, answer.text
    assert expected in answer.headers.get("warning", "")
    after = await worklist.get(uid)
    if status == 200:
        assert answer.headers["content-location"].endswith(f"/workitems/{uid}")
        modified = tag("ScheduledProcedureStepModificationDateTime")
        assert after[modified] != before[modified]
        assert after == before | data_set(ProcedureStepLabel="new") | {modified: after[modified]}
    else:
        assert after == before
    assert tag("TransactionUID") not in after


@pytest.mark.parametrize("keyword", ["PatientID", "SOPInstanceUID", "ProcedureStepState", "ReferencedRequestSequence"])
async def test_an_update_changes_neither_patient_nor_state(worklist: Worklist, keyword: str) -> None:
    uid = await worklist.in_state("SCHEDULED")
    assert (await worklist.update(uid, data_set(**{keyword: None}))).status_code == 400


async def test_one_of_many_performers_claims_a_workitem(worklist: Worklist) -> None:
    uid = await worklist.in_state("SCHEDULED")
    answers = await asyncio.gather(*(worklist.state(uid, "IN PROGRESS", f"1.2.{one}") for one in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 11


async def test_the_form_of_dcm4chee_clients_is_accepted(worklist: Worklist) -> None:
    """One data set instead of an array, and the AE title of the requester in the path."""
    uid = new_uid()
    created = await worklist.web.post(f"{worklist.base}/workitems?workitem={uid}", json=workitem())
    assert created.status_code == 201
    claim = data_set(TransactionUID=TRANSACTION, ProcedureStepState="IN PROGRESS")
    answer = await worklist.web.put(f"{worklist.base}/workitems/{uid}/state/READER", json=claim)
    assert answer.status_code == 200
    assert await worklist.current(uid) == "IN PROGRESS"


REQUESTS = [("POST", "workitems?{}"), ("POST", "workitems/{}"), ("PUT", "workitems/{}/state")]
BODIES = [
    ("text/plain", b"[{}]", 415),
    ("application/dicom+json", b"", 400),
    ("application/dicom+json", b"[]", 400),
    ("application/dicom+json", b"[1]", 400),
    ("application/dicom+json", b"[{", 400),
    ("application/dicom+xml", b"<NativeDicomModel>", 400),
]


@pytest.mark.parametrize(("method", "path"), [*REQUESTS, ("POST", "workitems/{}/cancelrequest")])
async def test_malformed_bodies_are_refused(worklist: Worklist, method: str, path: str) -> None:
    uid = await worklist.in_state("SCHEDULED")
    before = await worklist.get(uid)
    url = f"{worklist.base}/{path.format(uid)}"
    for media_type, body, status in BODIES:
        if body or (method, path) in REQUESTS:  # a request for cancellation needs no body
            answer = await worklist.web.request(method, url, content=body, headers={"Content-Type": media_type})
            assert answer.status_code == status, (media_type, body, answer.text)
    assert await worklist.get(uid) == before


async def test_the_form_of_the_python_client_is_accepted(worklist: Worklist) -> None:
    """PUT for an update, and the Transaction UID in the query."""
    uid = await worklist.in_state("IN PROGRESS")
    url = f"{worklist.base}/workitems/{uid}"
    assert (await worklist.web.put(url, json=data_set(ProcedureStepLabel="x"))).status_code == 400
    answer = await worklist.web.put(f"{url}?transaction-uid={TRANSACTION}", json=data_set(ProcedureStepLabel="x"))
    assert answer.status_code == 200
    assert (await worklist.get(uid))[tag("ProcedureStepLabel")]["Value"] == ["x"]


async def test_only_the_first_data_set_of_a_body_is_used(worklist: Worklist) -> None:
    uid, other = new_uid(), new_uid()
    created = await worklist.create([workitem(SOPInstanceUID=uid), workitem(SOPInstanceUID=other)])
    assert created.status_code == 201
    url = f"{worklist.base}/workitems"
    assert (await worklist.web.get(f"{url}/{other}")).status_code == 404
    both = [data_set(ProcedureStepLabel="first"), data_set(WorklistLabel="second")]
    assert (await worklist.web.post(f"{url}/{uid}", json=both)).status_code == 200
    found = await worklist.get(uid)
    assert found[tag("ProcedureStepLabel")]["Value"] == ["first"]
    assert found[tag("WorklistLabel")]["Value"] == ["worklist"]


async def test_a_strict_client_sends_one_data_set_in_an_array_and_a_uid_of_the_standard(worklist: Worklist) -> None:
    uid, url = new_uid(), f"{worklist.base}/workitems"
    strict = {"Prefer": "handling=strict"}
    item = workitem(SOPInstanceUID=uid)
    for path, body in (
        ("", item),
        ("", [item, item]),
        (f"/{uid}", [item]),
        ("", [workitem(SOPInstanceUID=f"{uid}..2")]),
        (f"?workitem={uid}.02", [workitem()]),
    ):
        assert (await worklist.web.post(url + path, json=body, headers=strict)).status_code == 400, path
    assert (await worklist.web.post(url, json=[item], headers=strict)).status_code == 201
    change = data_set(ProcedureStepLabel="strict")
    assert (await worklist.web.post(f"{url}/{uid}", json=change, headers=strict)).status_code == 400
    assert (await worklist.web.post(f"{url}/{uid}", json=[change], headers=strict)).status_code == 200
    cancel = await worklist.web.post(f"{url}/{uid}/cancelrequest", headers=strict)
    assert cancel.status_code == 202
    assert (await worklist.create(query=f"?{uid}..2")).status_code == 201  # as UIDs of studies


async def test_the_server_sets_the_time_of_modification(worklist: Worklist) -> None:
    uid, name = new_uid(), "ScheduledProcedureStepModificationDateTime"
    assert (await worklist.create(query=f"?{uid}", **{name: "20000101"})).status_code == 201
    assert not (await worklist.get(uid))[tag(name)]["Value"][0].startswith("2000")


async def test_a_change_of_state_changes_no_other_attributes(worklist: Worklist) -> None:
    uid = await worklist.in_state("SCHEDULED")
    content = data_set(TransactionUID=TRANSACTION, ProcedureStepState="IN PROGRESS", ProcedureStepLabel="ignored")
    answer = await worklist.web.put(f"{worklist.base}/workitems/{uid}/state", json=[content | performed()])
    assert answer.status_code == 200
    found = await worklist.get(uid)
    assert found[tag("ProcedureStepLabel")]["Value"] == ["Detect nodules"]
    assert "Value" not in found[tag("UnifiedProcedureStepPerformedProcedureSequence")]


async def test_a_search_without_matches_has_no_content(worklist: Worklist) -> None:
    answer = await worklist.web.get(f"{worklist.base}/workitems?PatientID=nobody")
    assert (answer.status_code, answer.content) == (204, b"")


async def found_workitem(worklist: Worklist, label: str) -> str:
    uid = new_uid()
    answer = await worklist.create(
        query=f"?{uid}",
        ProcedureStepLabel=label,
        PatientName="Searched^Person",
        PatientID=f"{label}-id",
        StudyInstanceUID=f"{uid}.1",
        ScheduledProcedureStepStartDateTime="20240701120000",
        ScheduledStationNameCodeSequence=[code(label)],
        ScheduledStationClassCodeSequence=[code(label)],
        ScheduledStationGeographicLocationCodeSequence=[code(label)],
        ReferencedRequestSequence=[
            data_set(
                StudyInstanceUID=f"{uid}.1",
                AccessionNumber=label,
                IssuerOfAccessionNumberSequence=None,
                OrderPlacerIdentifierSequence=None,
                OrderFillerIdentifierSequence=None,
                RequestedProcedureID=label,
                RequestedProcedureDescription=None,
                RequestedProcedureCodeSequence=None,
            )
        ],
    )
    assert answer.status_code == 201, answer.text
    return uid


async def test_search_by_each_attribute_of_the_service(worklist: Worklist) -> None:
    label = f"L{next(_numbers)}"
    uid = await found_workitem(worklist, label)
    for query in (
        f"ProcedureStepLabel={label}",
        f"PatientID={label}-id",
        f"ReferencedRequestSequence.AccessionNumber={label}",
        f"ReferencedRequestSequence.RequestedProcedureID={label}",
        f"ScheduledStationNameCodeSequence.CodeValue={label}",
        f"ScheduledStationClassCodeSequence.CodeValue={label}",
        f"ScheduledStationGeographicLocationCodeSequence.CodeValue={label}",
        f"00404025.00080100={label}",
        f"StudyInstanceUID={uid}.1",
        f"PatientName=Searched^Person&PatientID={label}-id",
        f"PatientName=sear per&fuzzymatching=true&PatientID={label}-id",
        f"ScheduledProcedureStepStartDateTime=20240701&PatientID={label}-id",
        f"ScheduledProcedureStepStartDateTime=2024070100-20240702&PatientID={label}-id",
        f"ProcedureStepState=SCHEDULED&PatientID={label}-id",
    ):
        assert await worklist.search(query) == [uid], query
    for query in (f"ProcedureStepState=COMPLETED&PatientID={label}-id", "PatientID=nobody"):
        assert await worklist.search(query) == [], query


async def test_search_returns_default_included_or_all_attributes(worklist: Worklist) -> None:
    label = f"L{next(_numbers)}"
    uid = await found_workitem(worklist, label)
    assert (await worklist.state(uid, "IN PROGRESS")).status_code == 200
    url = f"{worklist.base}/workitems?PatientID={label}-id"
    [default] = (await worklist.web.get(url)).json()
    modified, comments = tag("ScheduledProcedureStepModificationDateTime"), tag("CommentsOnTheScheduledProcedureStep")
    assert {tag("PatientName"), tag("ProcedureStepState")} <= default.keys()
    assert not {modified, comments} & default.keys()
    [more] = (await worklist.web.get(f"{url}&includefield={modified}")).json()
    assert more.keys() == default.keys() | {modified}
    [everything] = (await worklist.web.get(f"{url}&includefield=all")).json()
    assert everything == await worklist.get(uid)
    answer = await worklist.web.get(url, headers={"Accept": 'multipart/related; type="application/dicom+xml"'})
    assert uid in answer.text


async def test_search_pages_and_refusals(worklist: Worklist) -> None:
    label = f"L{next(_numbers)}"
    uids = [await found_workitem(worklist, label) for _ in range(3)]
    url = f"{worklist.base}/workitems?ProcedureStepLabel={label}"
    first = await worklist.web.get(f"{url}&limit=2&totalcount=true")
    assert first.headers["x-total-count"] == "3"
    rest = await worklist.web.get(first.links["next"]["url"])
    assert [match[tag("SOPInstanceUID")]["Value"][0] for match in first.json() + rest.json()] == uids[::-1]
    assert await worklist.search(f"ProcedureStepLabel={label}&limit=1&offset=1") == [uids[1]]
    assert (await worklist.web.get(f"{url}&limit=0")).status_code == 400
    assert (await worklist.web.get(f"{url}&ScheduledProcedureStepStartDateTime=soon")).status_code == 400
    assert (await worklist.web.get(url, headers={"Accept": "image/png"})).status_code == 406
    ignored = await worklist.web.get(f"{url}&Rows=1")
    assert "Rows" in ignored.headers["warning"]
    strict = {"Prefer": "handling=strict"}
    assert (await worklist.web.get(f"{url}&Rows=1", headers=strict)).status_code == 400
    assert (await worklist.web.get(f"{url}&limit=500", headers=strict)).status_code == 400


async def test_workitems_of_partitions_are_separate(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, partitions=True)) as core, serving(core.address) as web:
        one, other = (Worklist(web, f"/v2/partitions/{name}") for name in ("Microsoft.Default", "ward"))
        uid = await one.in_state("SCHEDULED")
        assert (await one.get(uid))[tag("SOPInstanceUID")]["Value"] == [uid]
        assert (await web.get(f"/v2/workitems/{uid}")).status_code == 400
        assert (await web.get(f"/v2/partitions/ward/workitems/{uid}")).status_code == 400  # no such partition
        created = await other.create(query=f"?{uid}", ProcedureStepLabel="other")  # creates the partition
        assert created.status_code == 201
        assert created.headers["location"].endswith(f"/v2/partitions/ward/workitems/{uid}")
        assert (await one.get(uid))[tag("ProcedureStepLabel")]["Value"] != ["other"]
        assert (await one.search("ProcedureStepLabel=other"), await other.search("")) == ([], [uid])


def files_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


async def test_the_transaction_uid_is_in_no_log_audit_record_file_or_response(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="dicomstore")
    caplog.set_level(logging.DEBUG, logger="facade")
    settings = settings_for(tmp_path, trusted_facades="127.0.0.1")  # so that the audit trail has URIs
    async with running(settings) as core, serving(core.address) as web:
        worklist = Worklist(web)
        uid = await worklist.in_state("COMPLETED")
        await worklist.update(uid, data_set(ProcedureStepLabel="x"), f"?{TRANSACTION}")
        await worklist.state(uid, "CANCELED")
        everything = await web.get("/v2/workitems?includefield=all")
        assert TRANSACTION not in everything.text
        assert await worklist.search(f"TransactionUID={TRANSACTION}") == [uid]  # not searchable, so ignored
    assert TRANSACTION not in caplog.text
    assert not files_with(TRANSACTION, tmp_path)
    assert any("audit" in path.parts for path in files_with(f"/v2/workitems/{uid}", tmp_path))


async def test_options_describe_workitems(worklist: Worklist) -> None:
    answer = await worklist.web.options(f"{worklist.base}/workitems", headers={"Accept": "application/json"})
    described = json.dumps(answer.json())
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert "application/dicom+xml" in described
    assert "cancelrequest" in described
