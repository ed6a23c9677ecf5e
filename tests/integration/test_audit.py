"""Recording in the audit trail: every call, before effects and before acknowledgements."""

import asyncio
import errno
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import access_options_pb2 as access
from dicomstore.v1 import extended_query_tag_service_pb2_grpc
from dicomstore.v1 import search_service_pb2 as search
from dicomstore.v1.delete_service_pb2 import DeleteInstancesRequest
from dicomstore.v1.partition_service_pb2 import ListPartitionsRequest
from dicomstore.v1.resources_pb2 import DUPLICATE_POLICY_NEW_VERSION, Address

from server.adapters.blobs.audit_trail.log_writer import LogWriter
from server.adapters.blobs.disk.reserve import Reserve
from server.bootstrap import maintenance
from server.bootstrap.working import working
from server.domain.audit.subtypes import NOT_RECORDED, subtype_of
from tests.audit import audit_records, audited, recorded_instances
from tests.core import CoreClient, reason_of, ref_of, settings_for, stream_reason
from tests.data import part10
from tests.integration import test_access
from tests.integration.conftest import a_core

CHANGES = {
    access.ACTION_WRITE,
    access.ACTION_DELETE,
    access.ACTION_MANAGE_EXTENDED_QUERY_TAGS,
    access.ACTION_ADMINISTER,
}
STARTS = ("StartOperation", "CreateTransfer")
"""Ends of names of rpcs that change something although their action is not one of these."""

# The first one changes nothing; the changes of the second one are recorded in the transactions that make them.
WITHOUT_BEGINNING = {"DeleteService.DeleteInstances", "ShareService.ListShareLinks", "StoreService.StoreInstances"}


async def test_every_rpc_has_a_record_with_its_principal_action_and_address(tmp_path: Path) -> None:
    async with a_core(tmp_path, partitions=True) as core:
        await core.stored(test_access.IMAGE, address=test_access.STUDY, create_partition=True)
        for name, (_, request) in test_access.EXPECTED.items():
            await test_access.call(core.channel, test_access.METHODS[f"dicomstore.v1.{name}"], request)
    for name, (address, _) in test_access.EXPECTED.items():
        full = f"dicomstore.v1.{name}"
        rpc = name.replace(".", "/")
        declared = test_access.DECLARED[full]
        records = audit_records(tmp_path, request=full)
        if rpc in NOT_RECORDED:
            assert not records
            continue
        begins = [record for record in records if record["kind"] == "executing"]
        [end] = [record for record in records if record["kind"] == "executed"]
        changes = declared in CHANGES and name not in WITHOUT_BEGINNING
        is_long = not changes and end["ms"] > 500  # on a busy machine
        assert is_long or len(begins) == (changes or name.endswith(STARTS)), name
        for record in (*begins, end):
            assert record["principal"] == "anonymous"
            assert record["rpc"] == rpc
            assert record["subtype"] == subtype_of(rpc)
            assert record["action"] in (test_access.ACTIONS.get(declared), "of_operation_type", "authenticated")
            assert record["peer"].startswith("ipv4:127.0.0.1:")
            stated = {key: value for key, _, value in (part.partition("=") for part in address.split())}
            for key, value in stated.items():
                assert record.get(key, "*" if key == "partition" else "-") == value, name
        assert {"code", "items", "ms"} <= end.keys()


async def test_a_search_is_recorded_with_its_keys_and_number_of_matches(core: CoreClient) -> None:
    [stored] = await core.stored(part10(PatientName="Doe^Jane"))
    request = search.SearchRequest(
        level=search.QUERY_LEVEL_STUDY, terms=[search.Term(attribute="PatientName", values=["doe*"])]
    )
    await core.search_stub.Search(request)
    [record] = await audited(core.data, kind="executed", subtype="query")
    assert record["search"] == {"level": "study", "keys": [["PatientName", "doe*"]]}
    assert (record["code"], record["items"]) == ("OK", 1)
    await core.retrieve(ref_of(stored))
    [record] = await audited(core.data, kind="executed", subtype="retrieve")
    assert (record["items"], record["bytes"], record["instance"]) == (
        1,
        stored.size_bytes,
        stored.id.sop_instance_uid,
    )
    assert not any("Jane" in str(record) for record in audit_records(core.data))


async def test_an_upload_is_recorded_with_each_outcome(core: CoreClient) -> None:
    files = [part10(SOPInstanceUID=f"1.2.3.{number}") for number in range(3)]
    outcomes = await core.store(*files, b"not DICOM")
    [end] = await audited(core.data, kind="executed", subtype="store")
    records = audit_records(core.data, subtype="store")
    instances = [instance for record in records for instance in record.get("instances", ())]
    assert sorted(instance[2] for instance in instances) == ["", "1.2.3.0", "1.2.3.1", "1.2.3.2"]
    assert [instance[4] for instance in instances].count("stored") == 3
    assert [instance[4] for instance in instances].count("UNREADABLE_INSTANCE") == 1
    assert len(outcomes) == 4
    assert (end["code"], end["items"]) == ("OK", 3)
    assert {record["call"] for record in records} == {end["call"]}


async def test_a_new_version_is_recorded_as_a_replacement_and_not_as_a_new_instance(core: CoreClient) -> None:
    for name in ("one", "two", "two"):
        await core.store(part10(SOPInstanceUID="1.2.3", PatientName=name), duplicates=DUPLICATE_POLICY_NEW_VERSION)
    await audited(core.data, kind="executed", subtype="store", count=3)
    assert [one[4] for one in recorded_instances(core.data, subtype="store")] == ["stored", "replaced", "identical"]
    ended = [record for record in audit_records(core.data, subtype="store") if record["kind"] == "executed"]
    assert [record["items"] for record in ended] == [1, 1, 1]


async def test_an_upload_waits_for_the_audit_trail_only_if_it_creates_its_partition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_core(tmp_path, partitions=True) as core:
        ward, other = Address(partition="ward"), Address(partition="other")
        await core.stored(part10(SOPInstanceUID="1.1"), address=ward, create_partition=True)
        is_writable = threading.Event()
        write = LogWriter._write

        def delayed(self: LogWriter, text: bytes) -> None:
            is_writable.wait()
            write(self, text)

        monkeypatch.setattr(LogWriter, "_write", delayed)
        try:
            await core.stored(part10(SOPInstanceUID="1.2"), address=ward, create_partition=True)
            creating = asyncio.create_task(
                core.stored(part10(SOPInstanceUID="1.3"), address=other, create_partition=True)
            )
            await core.stored(part10(SOPInstanceUID="1.4"), address=ward, create_partition=True)
            partitions = (await core.partition_stub.ListPartitions(ListPartitionsRequest())).partitions
            assert "other" not in [partition.name for partition in partitions]
        finally:
            is_writable.set()
        await creating
        [begin, *_] = audit_records(tmp_path, kind="executing", partition="other")
        assert begin["subtype"] == "store"


async def test_a_failed_call_is_recorded_with_its_reason(core: CoreClient) -> None:
    assert await stream_reason(core.retrieve_stub.RetrieveInstances(test_access.EXPECTED[RETRIEVE][1]))
    [record] = await audited(core.data, kind="executed", subtype="retrieve")
    assert (record["code"], record["reason"]) == ("FAILED_PRECONDITION", "PARTITIONS_DISABLED")


RETRIEVE = "RetrieveService.RetrieveInstances"
HTTP = (
    ("x-dicomstore-client", "192.0.2.7"),
    ("x-dicomstore-method", "GET"),
    ("x-dicomstore-uri", "http://archive/v2/studies?PatientID=1"),
    ("x-ms-azuredicom-audit-reason", "tumour board"),
)


@pytest.mark.parametrize("trusted", [True, False])
async def test_what_a_facade_says_about_its_client_is_recorded_if_it_is_trusted(tmp_path: Path, trusted: bool) -> None:
    async with a_core(tmp_path, trusted_facades="127.0.0.1" if trusted else "") as core:
        await core.search_stub.Search(search.SearchRequest(level=search.QUERY_LEVEL_STUDY), metadata=HTTP)
        [record] = await audited(core.data, kind="executed", subtype="query")
    said = {name: record.get(name) for name in ("client", "method", "uri", "headers")}
    assert said == {
        "client": "192.0.2.7" if trusted else None,
        "method": "GET" if trusted else None,
        "uri": "http://archive/v2/studies?PatientID=1" if trusted else None,
        "headers": {"x-ms-azuredicom-audit-reason": "tumour board"} if trusted else None,
    }


async def test_a_call_that_takes_long_is_recorded_while_it_runs(core: CoreClient) -> None:
    watch = test_access.METHODS["dicomstore.v1.ChangeFeedService.WatchChanges"]
    stream: Any = core.change_feed_stub.WatchChanges(test_access.message_factory.GetMessageClass(watch.input_type)())
    await audited(core.data, kind="executing", subtype="change-feed")
    stream.cancel()
    [end] = await audited(core.data, kind="executed", subtype="change-feed")
    assert end["code"] == "CANCELLED"


async def test_start_and_stop_are_recorded(tmp_path: Path) -> None:
    async with a_core(tmp_path):
        pass
    events = [record["subtype"] for record in audit_records(tmp_path, principal="dicomstore:core")]
    assert events == ["application-start", "application-stop"]


async def test_erasing_the_bytes_of_deleted_instances_is_recorded(tmp_path: Path) -> None:
    async with a_core(tmp_path, retention_hours=0, erase_interval_seconds=0.1) as core:
        [stored] = await core.stored(part10())
        await core.delete(ref_of(stored))
        records = await audited(core.data, 2, principal="dicomstore:garbage-collection")
    assert [record["kind"] for record in records] == ["executing", "executed"]
    assert (records[1]["code"], records[1]["items"]) == ("OK", 1)


async def refusal_of(core: CoreClient, file: bytes) -> str | None:
    """Store a file and return the reason why that fails: of the item, or of the call if the fault is known already."""
    try:
        [outcome] = await core.store(file)
    except grpc.aio.AioRpcError as error:
        return error.details()
    message: str = outcome.failed.message
    return message


@pytest.mark.parametrize("refuse_reads", [False, True])
async def test_without_an_audit_trail_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse_reads: bool
) -> None:
    async with a_core(tmp_path, audit_refuse_reads=refuse_reads) as core:
        [stored] = await core.stored(part10())
        write = LogWriter._write

        def full(self: LogWriter, text: bytes) -> None:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(LogWriter, "_write", full)
        monkeypatch.setattr(Reserve, "draw", lambda self: False)
        # Immediate erasure is recorded before; the records of uploads and other deletions until then are in the outbox.
        for erase_now in (True, False):
            request = DeleteInstancesRequest(resource=ref_of(stored), erase_now=erase_now)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await core.delete_stub.DeleteInstances(request)
            assert reason_of(refused.value) == "STORAGE_FULL"
        assert (
            await refusal_of(core, part10(SOPInstanceUID="1.9"))
            == "The audit trail cannot be written: the disk is full."
        )
        reading = search.SearchRequest(level=search.QUERY_LEVEL_INSTANCE)
        if refuse_reads:
            with pytest.raises(grpc.aio.AioRpcError):
                await core.search_stub.Search(reading)
        else:
            assert len((await core.search_stub.Search(reading)).matches) == 1
        monkeypatch.setattr(LogWriter, "_write", write)
        await core.stored(part10(SOPInstanceUID="1.9"))
        assert len((await core.search_stub.Search(reading)).matches) == 2
    lost = [record["records"] for record in audit_records(tmp_path, kind="lost")]
    assert lost
    assert sum(lost) >= (not refuse_reads)


async def test_the_worker_records_beginning_and_end_of_an_operation(tmp_path: Path) -> None:
    async with a_core(tmp_path) as core:
        stub = extended_query_tag_service_pb2_grpc.ExtendedQueryTagServiceStub(core.channel)
        await core.stored(part10(StationName="x"))
        added = await stub.AddExtendedQueryTags(test_access.EXPECTED["ExtendedQueryTagService.AddExtendedQueryTags"][1])
        async with working(settings_for(tmp_path)) as engine:
            assert engine is not None
            task = asyncio.create_task(engine.run())
            begin, end = await audited(tmp_path, 2, principal="dicomstore:operations")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert (begin["kind"], begin["operation"]) == ("executing", added.operation.id)
    assert (end["kind"], end["operation"], end["code"]) == ("executed", added.operation.id, "OK")


async def test_commands_of_the_operator_are_recorded(tmp_path: Path) -> None:
    async with a_core(tmp_path) as core:
        await core.stored(part10())
    await maintenance.migrate(settings_for(tmp_path))
    await maintenance.accept_clock(settings_for(tmp_path))
    await maintenance.recover(settings_for(tmp_path))
    records = [record for record in audit_records(tmp_path) if record.get("principal", "").startswith("operator:")]
    assert [(record["kind"], record["subtype"]) for record in records] == [
        (kind, command) for command in ("migrate", "accept-clock", "recover") for kind in ("executing", "executed")
    ]
