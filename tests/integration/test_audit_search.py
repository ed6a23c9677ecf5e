"""AuditService: search, watch and verification of the audit trail."""

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import audit_service_pb2 as pb
from dicomstore.v1 import audit_service_pb2_grpc
from dicomstore.v1 import search_service_pb2 as search
from google.protobuf.timestamp_pb2 import Timestamp

from server.domain.audit_search.filters import AuditFilter, Matcher
from tests.audit import audited
from tests.core import CoreClient, reason_of, ref_of, store_requests
from tests.data import part10
from tests.integration.conftest import a_core
from tests.unit.server.domain.audit_search.audit_schema import check


def stub_of(core: CoreClient) -> Any:
    return audit_service_pb2_grpc.AuditServiceStub(core.channel)


async def found(core: CoreClient, form: int = pb.AUDIT_FORM_UNSPECIFIED, limit: int = 0, **wanted: Any) -> list[Any]:
    request = pb.SearchAuditEventsRequest(filter=pb.AuditFilter(**wanted), form=form, limit=limit)
    return [event async for page in stub_of(core).SearchAuditEvents(request) for event in page.events]


async def test_records_are_found_by_what_they_say(core: CoreClient) -> None:
    first, second = await core.stored(
        part10(StudyInstanceUID="1.2", SOPInstanceUID="1.2.1"), part10(StudyInstanceUID="1.3", SOPInstanceUID="1.3.1")
    )
    await core.retrieve(ref_of(first))
    await core.delete(ref_of(second))
    with pytest.raises(grpc.aio.AioRpcError):
        await core.search_stub.Search(search.SearchRequest(), metadata=(("x-request-id", "mine"),))
    await audited(core.data, kind="executed", request="mine")

    async def kinds(**wanted: Any) -> list[tuple[str, str]]:
        records = [json.loads(event.data) for event in await found(core, **wanted)]
        return [(record["kind"], record["subtype"]) for record in records]

    # An outcome is a record of its own if the trail was written just before the call ended, or there are several.
    assert [subtype for _, subtype in await kinds(study_instance_uid="1.2")] == ["store", "retrieve"]
    assert await kinds(sop_instance_uid="1.3.1", action="delete") == [("executed", "delete")]
    assert await kinds(study_instance_uid="1.2", sop_instance_uid="1.3.1") == []
    assert await kinds(action="write", outcome="success") == [("executed", "store")]
    assert {subtype for _, subtype in await kinds(outcome="stored")} == {"store"}
    assert await kinds(outcome="failure") == [("executed", "query")]
    assert await kinds(outcome="INVALID_FIELD") == [("executed", "query")]
    assert await kinds(request_id="mine") == [("executed", "query")]
    assert await kinds(principal="nobody") == []
    assert await kinds(principal="dicomstore:core") == [("event", "application-start")]
    assert len(await found(core, limit=2)) == 2
    times = [event.time.ToJsonString() for event in await found(core)]
    assert times == sorted(times)
    first = times.index(times[3])  # the record of a checkpoint has the time of the following one
    middle = Timestamp()
    middle.FromJsonString(times[first])
    later = await found(core, start_time=middle)
    assert [event.time.ToJsonString() for event in later][: len(times) - first] == times[first:]
    assert len(await found(core, end_time=middle)) == first
    [record] = await audited(core.data, kind="executed", filter={"request": "mine"})
    assert record["action"] == "audit"


@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_contain_each_record_once_in_the_requested_order(core: CoreClient, newest_first: bool) -> None:
    for number in range(1, 4):
        await core.stored(part10(SOPInstanceUID=f"1.{number}"))
    await audited(core.data, 3, kind="executed", subtype="store")
    wanted = pb.AuditFilter(action="store")
    whole = [(event.writer, event.number) for event in await found(core, action="store")]
    request = pb.SearchAuditEventsRequest(filter=wanted, limit=2, newest_first=newest_first)
    paged: list[tuple[str, int]] = []
    while pages := [page async for page in stub_of(core).SearchAuditEvents(request)]:
        paged += [(event.writer, event.number) for page in pages for event in page.events]
        request.page_token = pages[-1].next_page_token
    assert paged == (whole[::-1] if newest_first else whole)
    request.filter.action = "delete"
    for invalid in (
        request,
        pb.SearchAuditEventsRequest(page_token="x"),
        pb.SearchAuditEventsRequest(newest_first=True),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub_of(core).SearchAuditEvents(invalid).read()
        assert reason_of(refused.value) in ("INVALID_PAGE_TOKEN", "INVALID_FIELD")


async def test_records_are_sent_in_the_requested_form(tmp_path: Path) -> None:
    async with a_core(tmp_path, trusted_facades="127.0.0.1") as core:
        of_http = (
            ("x-dicomstore-client", "192.0.2.7"),
            ("x-dicomstore-method", "POST"),
            ("x-dicomstore-uri", "http://archive/v2/studies"),
            ("x-ms-azuredicom-audit-reason", "tumour board"),
        )
        async for _ in core.store_stub.StoreInstances(store_requests([part10()]), metadata=of_http):
            pass
        await audited(core.data, kind="executed", subtype="store")
        azure = [json.loads(event.data) for event in await found(core, pb.AUDIT_FORM_AZURE, action="store")]
        assert len(await found(core, pb.AUDIT_FORM_AZURE, limit=1, action="store")) == 2  # those of one record
        assert len(await found(core, pb.AUDIT_FORM_DICOM, limit=1, action="store")) == 1
        entries = [(entry["ActionType"], entry.get("StatusCode")) for entry in azure]
        assert entries == [("Executing", None), ("Executed", 200)]
        assert azure[0]["Time"] < azure[1]["Time"]
        assert {entry["CorrelationId"] for entry in azure} == {azure[0]["CorrelationId"]}
        for entry in azure:
            assert entry["RequestUri"] == "http://archive/v2/studies"
            assert entry["CallerIpAddress"] == "192.0.2.7"
            assert entry["CustomHeaders"] == {"X-MS-AZUREDICOM-AUDIT-REASON": "tumour board"}
        events = [
            code.get("originalText")
            for event in await found(core, pb.AUDIT_FORM_DICOM, action="store")
            for code in check(event.data).iterfind("EventIdentification/EventID")
        ]
        assert events[-1] == "DICOM Instances Transferred"  # if it took a second, after "Begin Transferring"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await found(core, 9)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_watch_sends_new_records_of_all_processes(tmp_path: Path) -> None:
    async with a_core(tmp_path) as core, a_core(tmp_path) as other:
        await core.stored(part10(SOPInstanceUID="1.1"))
        await audited(tmp_path, kind="executed", subtype="store")
        watch = stub_of(core).WatchAuditEvents(pb.WatchAuditEventsRequest(filter=pb.AuditFilter(action="store")))
        assert not (await watch.read()).events  # it is alive
        await other.stored(part10(SOPInstanceUID="1.2"))
        seen: list[str] = []
        async with asyncio.timeout(10):
            while "executed" not in seen:
                seen += [json.loads(event.data)["kind"] for event in (await watch.read()).events]
        assert [kind for kind in seen if kind not in ("executing", "outcome")] == ["executed"]  # it may take a second
        watch.cancel()
        timed = pb.WatchAuditEventsRequest(filter=pb.AuditFilter(start_time=Timestamp(seconds=1)))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub_of(core).WatchAuditEvents(timed).read()


async def test_a_verification_finds_a_changed_record(tmp_path: Path) -> None:
    async with a_core(tmp_path) as core:
        await core.stored(part10())
    async with a_core(tmp_path) as core:
        intact = await stub_of(core).VerifyAuditTrail(pb.VerifyAuditTrailRequest())
        assert intact.is_intact
        assert intact.checkpoint
        again = pb.VerifyAuditTrailRequest(trusted_key=intact.public_key, checkpoint=intact.checkpoint)
        assert (await stub_of(core).VerifyAuditTrail(again)).is_intact
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub_of(core).VerifyAuditTrail(pb.VerifyAuditTrailRequest(trusted_key="no key"))
        assert reason_of(refused.value) == "INVALID_FIELD"
        path = min((tmp_path / "audit" / "writers").glob("*/*.log"), key=lambda path: path.stat().st_mtime_ns)
        path.write_bytes(path.read_bytes().replace(b'"stored"', b'"Stored"'))
        found = await stub_of(core).VerifyAuditTrail(pb.VerifyAuditTrailRequest())
    assert not found.is_intact
    assert [finding.kind for finding in found.findings] == ["record changed"]


def test_a_principal_limited_to_partitions_finds_only_their_records() -> None:
    matcher = Matcher(AuditFilter(), {"ward"})
    assert matcher.matches(b'{"n":1,"partition":"ward"}')
    assert matcher.matches(b'{"n":1,"partition":"other"}') is None
    assert matcher.matches(b'{"n":1}') is None
