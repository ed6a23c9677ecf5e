"""Functions common to all services: start, health, reflection, capabilities, partitions, access log."""

import asyncio
import logging
import sqlite3
from pathlib import Path

import grpc
import pytest
from dicomstore.v1 import capabilities_service_pb2, delete_service_pb2
from dicomstore.v1 import partition_service_pb2 as partitions
from dicomstore.v1.retrieve_service_pb2 import RetrieveInstancesRequest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from server.bootstrap.serving import running
from server.opening import StartError
from server.rpc.services import SERVICES
from tests.core import CoreClient, Ref, reason_of, ref_of, settings_for
from tests.data import part10
from tests.integration.conftest import a_core


async def test_every_service_is_serving(core: CoreClient) -> None:
    stub = health_pb2_grpc.HealthStub(core.channel)
    for service in ("", "index", "blobs", "operations", "changes", *SERVICES):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_services(core: CoreClient) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(core.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    [answer] = [answer async for answer in stub.ServerReflectionInfo([request])]
    listed = {service.name for service in answer.list_services_response.service}
    assert listed >= {*SERVICES, "grpc.health.v1.Health"}


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
BROWSERS = {
    "a request": b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "HTTP/2 within a form": b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(PREFACE) + PREFACE,
    "an upgrade": b"GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n",
}


@pytest.mark.parametrize("sent", BROWSERS.values(), ids=list(BROWSERS))
async def test_the_grpc_interface_cannot_be_used_from_a_browser(core: CoreClient, sent: bytes) -> None:
    """Its host names need no check: the connection ends, whatever an HTTP/1.1 request contains."""
    host, _, port = core.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    async with asyncio.timeout(20):
        received = await reader.read()
    writer.close()
    assert b"HTTP/1" not in received
    assert len(received) < 100  # the settings of HTTP/2 only


async def test_capabilities_list_limits_and_features(core: CoreClient, partitioned_core: CoreClient) -> None:
    for client, enabled in ((core, False), (partitioned_core, True)):
        answer = await client.capabilities_stub.GetCapabilities(capabilities_service_pb2.GetCapabilitiesRequest())
        assert answer.features.partitions is enabled
        assert answer.limits.max_page_size == 200
        assert answer.limits.max_instance_bytes > 2**31


async def test_partitions_are_listed_created_and_found(partitioned_core: CoreClient) -> None:
    stub = partitioned_core.partition_stub
    created = await stub.CreatePartition(partitions.CreatePartitionRequest(name="clinic-1"))
    listed = await stub.ListPartitions(partitions.ListPartitionsRequest())
    assert [(partition.key, partition.name) for partition in listed.partitions] == [
        (1, "Microsoft.Default"),
        (created.partition.key, "clinic-1"),
    ]
    found = await stub.GetPartition(partitions.GetPartitionRequest(name="clinic-1"))
    assert found.partition == created.partition
    for call, reason in (
        (stub.CreatePartition(partitions.CreatePartitionRequest(name="clinic-1")), "PARTITION_ALREADY_EXISTS"),
        (stub.CreatePartition(partitions.CreatePartitionRequest(name="a b")), "INVALID_PARTITION_NAME"),
        (stub.GetPartition(partitions.GetPartitionRequest(name="nowhere")), "PARTITION_NOT_FOUND"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert reason_of(caught.value) == reason


async def test_partitions_cannot_be_disabled_again(tmp_path: Path) -> None:
    async with a_core(tmp_path, partitions=True) as core:
        await core.stored(part10(), address={"partition": "x"}, create_partition=True)
    with pytest.raises(StartError, match="cannot be disabled"):
        async with running(settings_for(tmp_path)):
            pass


async def test_a_core_refuses_to_start_on_a_database_without_its_schema(tmp_path: Path) -> None:
    settings = settings_for(tmp_path).model_copy(update={"migrate": False})
    tmp_path.joinpath("index.db").unlink()
    with pytest.raises(StartError, match="dicomstore migrate"):
        async with running(settings):
            pass


async def test_two_cores_cannot_listen_on_one_address(core: CoreClient, tmp_path: Path) -> None:
    settings = settings_for(tmp_path).model_copy(update={"grpc": core.address})
    with pytest.raises(StartError, match="Cannot listen"):
        async with running(settings):
            pass


async def test_an_unavailable_database_is_reported_and_loses_nothing(core: CoreClient) -> None:
    body = part10()
    [stored] = await core.stored(body)
    database = sqlite3.connect(core.data / "index.db")
    database.execute("ALTER TABLE studies RENAME TO elsewhere")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await core.delete(Ref(study_instance_uid="1.2"))
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
    assert "elsewhere" not in str(caught.value.details())
    database.execute("ALTER TABLE elsewhere RENAME TO studies")
    database.close()
    assert len(await core.changes()) == 1
    assert stored.version > 0


async def test_a_call_logs_one_line_with_its_request_id_and_no_attribute_values(
    core: CoreClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dicomstore.access")
    request = delete_service_pb2.DeleteInstancesRequest(resource=Ref(study_instance_uid="not a uid"))
    with pytest.raises(grpc.aio.AioRpcError):
        await core.delete_stub.DeleteInstances(request, metadata=[("x-request-id", "r-17")])
    [line] = [record.getMessage() for record in caplog.records if "DeleteInstances" in record.getMessage()]
    assert "code=INVALID_ARGUMENT reason=INVALID_UID" in line
    assert "request_id=r-17" in line
    assert "not a uid" not in line


async def test_a_response_that_is_cancelled_while_it_is_sent_logs_one_line_and_no_traceback(
    core: CoreClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dicomstore.access")
    [stored] = await core.stored(part10(frames=[bytes(1 << 15)] * 512))
    calls = []
    for _ in range(8):  # more than one, because gRPC raises only if the client cancels during a write
        call = core.retrieve_stub.RetrieveInstances(RetrieveInstancesRequest(resource=ref_of(stored)))
        await call.read()
        calls.append(call)
    for call in calls:
        call.cancel()

    async with asyncio.timeout(60):
        while sum("code=CANCELLED" in record.getMessage() for record in caplog.records) < len(calls):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await core.changes()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
