"""Subscriptions to workitems, event channels and the stream of events (PS3.18 sections 11.10 to 11.13)."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from websockets.exceptions import InvalidStatus

from server.bootstrap.serving import running
from tests.core import settings_for
from tests.integration.facade.event_channels import opened, summary
from tests.integration.facade.serving import serving
from tests.integration.facade.test_change_stream import Events
from tests.integration.facade.test_workitems import Worklist, new_uid
from tests.integration.security.callers import bearer, create_token, operator_token, revoke
from tests.worklist import TRANSACTION, code, data_set, tag

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKLIST = "1.2.840.10008.5.1.4.34.5"
FILTERED = "1.2.840.10008.5.1.4.34.5.1"


@pytest.fixture
def worklist(web_on_each_database: httpx.AsyncClient) -> Worklist:
    return Worklist(web_on_each_database)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def no_subscriptions(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """End the subscriptions of a test, which would report what later ones do."""
    yield
    if "worklist" in request.fixturenames:
        web: httpx.AsyncClient = request.getfixturevalue("web_on_each_database")
        for subscriber in (await web.get("/v2/subscribers")).json():
            title = subscriber["aeTitle"]
            if not (subscriber.get("worklist") or subscriber["hasEarlierWorklist"] or subscriber["workitems"]):
                continue  # it has unsubscribed, and remains until it has its last events
            ended = await web.delete(f"/v2/workitems/{WORKLIST}/subscribers/{title}")
            assert ended.status_code in (200, 404)


async def pending(web: httpx.AsyncClient, ae_title: str) -> int:
    """Return the number of events that a subscriber has not acknowledged."""
    [subscriber] = [one for one in (await web.get("/v2/subscribers")).json() if one["aeTitle"] == ae_title]
    return int(subscriber["pendingEvents"])


async def acknowledged(web: httpx.AsyncClient, ae_title: str) -> None:
    """Wait until a subscriber has acknowledged all events."""
    async with asyncio.timeout(20):
        while await pending(web, ae_title):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.05)


async def subscribe(
    worklist: Worklist, uid: str, ae_title: str, query: str = "", status: int = 201, **headers: str
) -> httpx.Response:
    path = f"{worklist.base}/workitems/{uid}/subscribers/{ae_title}{query}"
    answer = await worklist.web.post(path, headers=headers)
    assert answer.status_code == status, answer.text
    return answer


@pytest.mark.parametrize("base", ["/v1", "/v2"])
async def test_a_subscriber_of_a_workitem_gets_its_changes(worklist: Worklist, base: str) -> None:
    worklist.base, title = base, f"ONE{base[1:]}"
    uid = await worklist.in_state("SCHEDULED")
    answer = await subscribe(worklist, uid, title)
    assert answer.content == b""
    channel_url = f"{base}/subscribers/{title}"
    assert answer.headers["content-location"] == f"ws{str(worklist.web.base_url)[4:].rstrip('/')}{channel_url}"
    async with opened(worklist.web, title, base) as channel:
        first = await channel.report()
        assert first["00000002"] == {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.34.6.1"]}
        assert first["00001000"] == {"vr": "UI", "Value": [uid]}
        assert first["00001002"] == {"vr": "US", "Value": [1]}
        assert first[tag("ProcedureStepState")] == {"vr": "CS", "Value": ["SCHEDULED"]}
        assert first[tag("InputReadinessState")] == {"vr": "CS", "Value": ["READY"]}
        [message_id] = first["00000110"]["Value"]
        assert first["00000110"]["vr"] == "US"
        assert 1 <= message_id <= 0xFFFF
        await worklist.state(uid, "IN PROGRESS")
        progress = data_set(ProcedureStepProgressInformationSequence=[data_set(ProcedureStepProgress="50")])
        await worklist.update(uid, progress, f"?{TRANSACTION}")
        assigned = data_set(ScheduledStationNameCodeSequence=[code()])
        await worklist.update(uid, assigned, f"?{TRANSACTION}")
        assert await channel.reports(3) == [f"{uid} 1 IN PROGRESS", f"{uid} 3", f"{uid} 5"]
        other = await worklist.in_state("SCHEDULED")
        await subscribe(worklist, other, title)
        assert await channel.reports(1) == [f"{other} 1 SCHEDULED"]


async def test_each_form_of_the_path_of_a_channel_is_accepted(worklist: Worklist) -> None:
    uid = await worklist.in_state("SCHEDULED")
    await subscribe(worklist, uid, "MY%20AE")
    for base, title in (("/v2", "MY%20AE"), ("/v1/ws", "MY%20AE"), ("/v2", "%20MY%20AE%20")):
        async with opened(worklist.web, title, base) as channel:
            await worklist.update(uid, data_set(InputReadinessState="READY"))
            await worklist.update(uid, data_set(InputReadinessState="INCOMPLETE"))
            report = await channel.report()
            assert report["00001000"]["Value"] == [uid]


async def test_a_subscriber_of_the_worklist_gets_new_workitems_until_it_suspends(worklist: Worklist) -> None:
    await subscribe(worklist, WORKLIST, "ALL")
    async with opened(worklist.web, "ALL") as channel:
        first = await worklist.in_state("SCHEDULED")
        assert await channel.reports(1) == [f"{first} 1 SCHEDULED"]
        answer = await worklist.web.post(f"/v2/workitems/{WORKLIST}/subscribers/ALL/suspend")
        assert (answer.status_code, answer.content) == (200, b"")
        await worklist.in_state("SCHEDULED")
        await worklist.state(first, "IN PROGRESS")
        assert await channel.reports(1) == [f"{first} 1 IN PROGRESS"]


@pytest.mark.parametrize(
    "query",
    [
        "?filter=ScheduledStationNameCodeSequence.CodeValue=CAD7,InputReadinessState=READY",
        "?filter=00404025.00080100=CAD7&filter=InputReadinessState=READY",
        "?ScheduledStationNameCodeSequence.CodeValue=CAD7&InputReadinessState=READY&deletionlock=false",
        "?filter=ScheduledStationNameCodeSequence.CodeValue%3DCAD7",
    ],
)
async def test_a_filter_selects_workitems(worklist: Worklist, query: str) -> None:
    answer = await subscribe(worklist, FILTERED, "CAD", query)
    assert "warning" not in answer.headers
    [subscriber] = [one for one in (await worklist.web.get("/v2/subscribers")).json() if one["aeTitle"] == "CAD"]
    assert len(subscriber["worklist"]["filter"]) == (1 if "%3D" in query else 2)
    async with opened(worklist.web, "CAD") as channel:
        await worklist.create(query=f"?{new_uid()}")
        await worklist.create(query=f"?{new_uid()}", ScheduledStationNameCodeSequence=[code("CAD8")])
        uid = new_uid()
        await worklist.create(query=f"?{uid}", ScheduledStationNameCodeSequence=[code("CAD7")])
        assert await channel.reports(2) == [f"{uid} 1 SCHEDULED", f"{uid} 5"]


@pytest.mark.parametrize("parameter", ["Deletion-Lock=true", "PatientID=1"])
async def test_parameters_that_a_single_subscription_does_not_support_are_named(
    worklist: Worklist, parameter: str
) -> None:
    uid = await worklist.in_state("SCHEDULED")
    answer = await worklist.web.post(f"{worklist.base}/workitems/{uid}/subscribers/A?{parameter}")
    assert answer.status_code == 400
    assert f"does not support these parameters: {parameter.partition('=')[0]}." in answer.text


async def test_attributes_of_a_filter_that_are_not_supported_are_named(worklist: Worklist) -> None:
    query = "?filter=PatientID=P1,NoSuchAttribute=1"
    answer = await subscribe(worklist, FILTERED, "CAD", query)
    assert answer.headers["warning"] == '299 dicomstore "These parameters were ignored: NoSuchAttribute."'
    await subscribe(worklist, FILTERED, "CAD", query, 400, Prefer="handling=strict")
    await subscribe(worklist, FILTERED, "CAD", "", 400, Prefer="handling=strict")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "{unknown}/subscribers/A", 404),
        ("DELETE", "{unknown}/subscribers/A", 404),
        ("POST", "x/subscribers/A", 400),
        ("POST", "{known}/subscribers/" + "A" * 17, 400),
        ("POST", "{known}/subscribers/%20", 400),
        ("POST", "{known}/subscribers/A?deletionlock=perhaps", 400),
        ("POST", "{known}/subscribers/A?filter=PatientID=1", 400),
        ("POST", f"{WORKLIST}/subscribers/A?filter=PatientID=1", 400),
        ("POST", f"{FILTERED}/subscribers/A?filter=PatientID", 400),
        ("POST", f"{FILTERED}/subscribers/A?filter==1", 400),
        ("POST", f"{FILTERED}/subscribers/A?filter=PatientID=1,=2", 400),
        ("POST", f"{FILTERED}/subscribers/A?filter=PatientID=1&labels=true", 400),
        ("POST", "{known}/subscribers/A/suspend", 404),
        ("GET", "{known}/subscribers/A", 405),
        ("DELETE", "{known}/subscribers/NOBODY", 404),
        ("POST", f"{WORKLIST}/subscribers/NOBODY/suspend", 404),
        ("POST", f"{FILTERED}/subscribers/NOBODY/suspend", 404),
        ("DELETE", f"{FILTERED}/subscribers/NOBODY", 404),
    ],
)
async def test_statuses_of_subscriptions(worklist: Worklist, method: str, path: str, status: int) -> None:
    known = await worklist.in_state("SCHEDULED") if "{known}" in path else ""
    path = path.format(known=known, unknown=new_uid())
    answer = await worklist.web.request(method, f"/v2/workitems/{path}")
    assert answer.status_code == status, answer.text


async def test_the_cancellation_of_a_scheduled_workitem_passes_in_progress(worklist: Worklist) -> None:
    uid = await worklist.in_state("SCHEDULED")
    await subscribe(worklist, uid, "CANCEL")
    async with opened(worklist.web, "CANCEL") as channel:
        assert await channel.reports(1) == [f"{uid} 1 SCHEDULED"]
        content = [data_set(ReasonForCancellation="not needed", ContactDisplayName="Doe")]
        answer = await worklist.web.post(f"/v2/workitems/{uid}/cancelrequest/REQUESTER", json=content)
        assert answer.status_code == 202
        request = await channel.report()
        assert summary(request) == f"{uid} 2"
        assert request[tag("RequestingAE")]["Value"] == ["REQUESTER"]
        assert request[tag("ReasonForCancellation")]["Value"] == ["not needed"]
        assert await channel.reports(2) == [f"{uid} 1 IN PROGRESS", f"{uid} 1 CANCELED"]


async def test_the_performer_of_a_workitem_is_asked_to_cancel_it(worklist: Worklist) -> None:
    uid = await worklist.in_state("IN PROGRESS")
    assert (await worklist.cancel(uid)).status_code == 409
    await subscribe(worklist, uid, "PERFORMER")
    async with opened(worklist.web, "PERFORMER") as channel:
        assert await channel.reports(1) == [f"{uid} 1 IN PROGRESS"]
        assert (await worklist.cancel(uid)).status_code == 202
        assert await channel.reports(1) == [f"{uid} 2"]
    assert await worklist.current(uid) == "IN PROGRESS"


async def test_a_deletion_lock_on_the_worklist_reports_each_present_workitem(worklist: Worklist) -> None:
    uids = {await worklist.in_state(state) for state in ("SCHEDULED", "IN PROGRESS", "COMPLETED")}
    await subscribe(worklist, WORKLIST, "LOCKED", "?deletionlock=true")
    async with opened(worklist.web, "LOCKED") as channel:
        found = set()
        while not uids <= found:
            found.add((await channel.report())["00001000"]["Value"][0])
    [subscriber] = [one for one in (await worklist.web.get("/v2/subscribers")).json() if one["aeTitle"] == "LOCKED"]
    assert subscriber["worklist"] == {"deletionLock": True, "filter": {}}


async def test_after_the_end_of_a_subscription_there_are_no_reports(worklist: Worklist) -> None:
    uid, other = await worklist.in_state("SCHEDULED"), await worklist.in_state("SCHEDULED")
    await subscribe(worklist, uid, "END")
    await subscribe(worklist, other, "END")
    async with opened(worklist.web, "END") as channel:
        await channel.reports(2)
        answer = await worklist.web.delete(f"/v2/workitems/{uid}/subscribers/END")
        assert (answer.status_code, answer.content) == (200, b"")
        await worklist.state(uid, "IN PROGRESS")
        await worklist.state(other, "IN PROGRESS")
        assert await channel.reports(1) == [f"{other} 1 IN PROGRESS"]


async def test_reports_wait_for_a_subscriber_and_are_sent_again_until_it_has_read_them(worklist: Worklist) -> None:
    uid = await worklist.in_state("SCHEDULED")
    await subscribe(worklist, uid, "AWAY")
    await worklist.state(uid, "IN PROGRESS")
    async with opened(worklist.web, "AWAY") as channel:
        assert await channel.reports(2) == [f"{uid} 1 SCHEDULED", f"{uid} 1 IN PROGRESS"]
    await acknowledged(worklist.web, "AWAY")
    assert (await worklist.cancel(uid)).status_code == 202
    async with opened(worklist.web, "AWAY") as channel:
        assert await channel.reports(1) == [f"{uid} 2"]


async def test_each_connection_of_a_subscriber_gets_all_reports(worklist: Worklist) -> None:
    uid = await worklist.in_state("SCHEDULED")
    async with opened(worklist.web, "TWICE") as one, opened(worklist.web, "TWICE") as two:
        await subscribe(worklist, uid, "TWICE")
        assert await one.reports(1) == await two.reports(1) == [f"{uid} 1 SCHEDULED"]


async def test_a_subscriber_that_reads_nothing_delays_nobody(worklist: Worklist) -> None:
    await subscribe(worklist, WORKLIST, "SLOW")
    await subscribe(worklist, WORKLIST, "FAST")
    async with opened(worklist.web, "SLOW", max_queue=1), opened(worklist.web, "FAST") as fast:
        uids = [new_uid() for _ in range(40)]
        await asyncio.gather(*(worklist.create(query=f"?{uid}") for uid in uids))
        found = [(await fast.report())["00001000"]["Value"][0] for _ in uids]
        assert sorted(found) == sorted(uids)


async def test_subscribers_belong_to_a_partition(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, partitions=True)) as core, serving(core.address) as web:
        one, two = (Worklist(web, f"/v2/partitions/{name}") for name in ("one", "two"))
        uids = [await worklist.in_state("SCHEDULED") for worklist in (one, two)]
        for worklist, uid in zip((one, two), uids, strict=True):
            answer = await subscribe(worklist, uid, "VIEWER")
            assert answer.headers["content-location"].endswith(f"{worklist.base}/subscribers/VIEWER")
            async with opened(web, "VIEWER", worklist.base) as channel:
                await worklist.state(uid, "IN PROGRESS")
                assert await channel.reports(2) == [f"{uid} 1 SCHEDULED", f"{uid} 1 IN PROGRESS"]
        for base in ("/v2", "/v2/partitions/unknown"):
            with pytest.raises(InvalidStatus) as refused:
                await opened(web, "VIEWER", base).__aenter__()
            assert refused.value.response.status_code == 400


async def test_channels_need_permission_and_end_with_the_credential(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with AsyncExitStack() as stack:
        settings = settings_for(tmp_path, auth_required=True, roles={"gateway": {"actions": ["write"]}})
        core = await stack.enter_async_context(running(settings))
        web = await stack.enter_async_context(serving(core.address))
        grpc_channel = await stack.enter_async_context(grpc.aio.insecure_channel(core.address))
        operator = bearer(operator_token(tmp_path))
        reader = await create_token(grpc_channel, "globalReader", by=operator)
        writer = await create_token(grpc_channel, "gateway", by=operator)
        web.headers["Authorization"] = operator[0][1]
        worklist = Worklist(web)
        uid = await worklist.in_state("SCHEDULED")
        await subscribe(worklist, uid, "READER")
        for token, status in (("", 401), ("invalid", 401), (reader.secret, 403)):
            with pytest.raises(InvalidStatus) as refused:
                await opened(web, "READER", headers={"Authorization": f"Bearer {token}"} if token else {}).__aenter__()
            assert refused.value.response.status_code == status
            assert refused.value.response.headers["www-authenticate"].startswith("Bearer ")
        async with opened(web, "READER", headers={"Authorization": f"Bearer {writer.secret}"}) as channel:
            assert await channel.reports(1) == [f"{uid} 1 SCHEDULED"]
            await revoke(grpc_channel, writer.token, operator)
            await worklist.state(uid, "IN PROGRESS")
            assert await channel.closed() == (1008, "UNAUTHENTICATED")
    assert writer.secret not in caplog.text
    assert "route=/{version}/subscribers/{aetitle} status=101" in caplog.text


async def test_no_report_is_lost_when_the_core_restarts(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    async with running(settings) as core, serving(core.address) as web:
        worklist = Worklist(web)
        uid = await worklist.in_state("SCHEDULED")
        await subscribe(worklist, uid, "RESTART")
        await worklist.state(uid, "IN PROGRESS")
        async with opened(web, "RESTART") as channel:
            assert await channel.reports(2) == [f"{uid} 1 SCHEDULED", f"{uid} 1 IN PROGRESS"]
        await acknowledged(web, "RESTART")
    async with running(settings) as core, serving(core.address) as web, opened(web, "RESTART") as channel:
        assert (await Worklist(web).cancel(uid)).status_code == 202
        assert await channel.reports(1) == [f"{uid} 2"]


EVENT_STREAM = {"Accept": "text/event-stream"}


class Stream:
    """The stream of workitem events."""

    def __init__(self, web: httpx.AsyncClient, query: str = "", base: str = "/v2", **headers: str) -> None:
        self._response = web.stream("GET", f"{base}/workitems/stream{query}", headers=EVENT_STREAM | headers)

    async def __aenter__(self) -> Events:
        response = await self._response.__aenter__()
        assert response.status_code == 200, await response.aread()
        events = Events(response)
        assert await events.next() == {"retry": "2000"}
        return events

    async def __aexit__(self, *error: Any) -> None:
        await self._response.__aexit__(*error)


@pytest.mark.parametrize("base", ["/v1", "/v2"])
async def test_the_stream_has_the_events_of_all_workitems_and_continues(worklist: Worklist, base: str) -> None:
    worklist.base = base
    async with Stream(worklist.web, "?includeWorkitem=true", base) as events:
        assert events.response.headers["content-type"] == "text/event-stream"
        assert await events.next() == ": heartbeat"
        uid = await worklist.in_state("IN PROGRESS")
        [created, claimed] = await events.changes(2)
    content = json.loads(claimed["data"])
    assert created["event"] == claimed["event"] == content["kind"] == "state_report"
    assert int(created["id"]) < int(claimed["id"]) == content["position"]
    assert content["workitemUid"] == uid
    assert summary(content["report"]) == f"{uid} 1 IN PROGRESS"
    assert content["workitem"] == await worklist.get(uid)
    async with Stream(worklist.web, "", base, **{"Last-Event-ID": created["id"]}) as events:
        [again] = await events.changes(1)
        assert "workitem" not in json.loads(again["data"])
    async with Stream(worklist.web, f"?lastEventId={created['id']}", base) as events:
        [once_more] = await events.changes(1)
    assert claimed["id"] == again["id"] == once_more["id"]


async def test_the_stream_may_select_workitems(worklist: Worklist) -> None:
    async with Stream(worklist.web, "?ScheduledStationNameCodeSequence.CodeValue=MR3") as events:
        await worklist.in_state("SCHEDULED")
        uid = new_uid()
        await worklist.create(query=f"?{uid}", ScheduledStationNameCodeSequence=[code("MR3")])
        found = await events.changes(2)
    assert [json.loads(one["data"])["workitemUid"] for one in found] == [uid, uid]
    assert [one["event"] for one in found] == ["state_report", "assigned"]


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("?lastEventId=x", {}, 400),
        ("", {"Last-Event-ID": "-1"}, 400),
        ("?includeWorkitem=perhaps", {}, 400),
        ("?NoSuchAttribute=1", {"Prefer": "handling=strict"}, 400),
        ("", {"Accept": "application/json"}, 406),
    ],
)
async def test_invalid_requests_for_the_stream_are_refused(
    worklist: Worklist, query: str, headers: dict[str, str], status: int
) -> None:
    answer = await worklist.web.get(f"/v2/workitems/stream{query}", headers=EVENT_STREAM | headers)
    assert answer.status_code == status, answer.text
