"""Every rpc checks access exactly once (server/domain/access.py)."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import extended_query_tag_service_pb2 as tags
from dicomstore.v1 import operation_service_pb2 as operations
from dicomstore.v1 import partition_service_pb2 as partitions
from dicomstore.v1 import retrieve_service_pb2 as retrieve
from dicomstore.v1 import search_service_pb2 as search
from dicomstore.v1 import store_service_pb2 as store
from dicomstore.v1.delete_service_pb2 import DeleteInstancesRequest
from dicomstore.v1.resources_pb2 import Address
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from server.adapters.sql.engine import open_database
from server.domain.access import Access, Action
from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.model.call import Call
from server.model.errors import Unavailable
from server.model.ids import DEFAULT_PARTITION, parse_address
from server.rpc.services import SERVICES
from tests.data import part10
from tests.integration.conftest import a_core

WARD = "ward"
STUDY = Address(partition=WARD, study_instance_uid="1.2")
INSTANCE = Address(partition=WARD, study_instance_uid="1.2", series_instance_uid="1.2.3", sop_instance_uid="1.2.3.4")
OF_STUDY = "partition=ward study=1.2 series=- instance=-"
OF_INSTANCE = "partition=ward study=1.2 series=1.2.3 instance=1.2.3.4"
OF_PARTITION = "partition=ward study=- series=- instance=-"
OF_ARCHIVE = "partition=* study=- series=- instance=-"
TAG = "StationName"
OPERATION = "0" * 32
HARMLESS = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.INVALID_ARGUMENT)
IMAGE = part10(
    StudyInstanceUID="1.2",
    SeriesInstanceUID="1.2.3",
    SOPInstanceUID="1.2.3.4",
    frames=[b"ab" * 8, b"cd" * 8],
    Rows=4,
    Columns=4,
)

METHODS = {
    method.full_name: method
    for service in SERVICES
    for method in descriptor_pool.Default().FindServiceByName(service).methods
}

EXPECTED: Mapping[str, tuple[str, str, Message | None]] = {
    "StoreService.StoreInstances": (
        "write",
        OF_STUDY,
        store.StoreInstancesRequest(header=store.StoreHeader(address=STUDY, create_partition=True)),
    ),
    "RetrieveService.RetrieveInstances": ("read", OF_STUDY, retrieve.RetrieveInstancesRequest(resource=STUDY)),
    "RetrieveService.RetrieveFrames": (
        "read",
        OF_INSTANCE,
        retrieve.RetrieveFramesRequest(instance=INSTANCE, frames=[2, 1, 2]),
    ),
    "RetrieveService.RetrieveBulkData": (
        "read",
        OF_INSTANCE,
        retrieve.RetrieveBulkDataRequest(instance=INSTANCE, path="7FE00010"),
    ),
    "RetrieveService.RetrieveAllBulkData": ("read", OF_STUDY, retrieve.RetrieveAllBulkDataRequest(resource=STUDY)),
    "RetrieveService.RetrieveMetadata": ("read", OF_STUDY, retrieve.RetrieveMetadataRequest(resource=STUDY)),
    "RetrieveService.RetrieveRendered": ("read", OF_STUDY, retrieve.RetrieveRenderedRequest(resource=STUDY)),
    "SearchService.Search": (
        "read",
        OF_PARTITION,
        search.SearchRequest(level=search.QUERY_LEVEL_SERIES, scope=Address(partition=WARD)),
    ),
    "DeleteService.DeleteInstances": ("delete", OF_STUDY, DeleteInstancesRequest(resource=STUDY)),
    "ChangeFeedService.ListChanges": ("read", OF_ARCHIVE, None),
    "ChangeFeedService.GetLatestChange": ("read", OF_ARCHIVE, None),
    "ChangeFeedService.WatchChanges": ("read", OF_ARCHIVE, None),
    "ExtendedQueryTagService.AddExtendedQueryTags": (
        "administer",
        OF_ARCHIVE,
        tags.AddExtendedQueryTagsRequest(tags=[{"path": TAG, "level": tags.TAG_LEVEL_SERIES}]),
    ),
    "ExtendedQueryTagService.ListExtendedQueryTags": ("read", OF_ARCHIVE, None),
    "ExtendedQueryTagService.GetExtendedQueryTag": (
        "read",
        OF_ARCHIVE,
        tags.GetExtendedQueryTagRequest(path=TAG),
    ),
    "ExtendedQueryTagService.UpdateExtendedQueryTag": (
        "administer",
        OF_ARCHIVE,
        tags.UpdateExtendedQueryTagRequest(path=TAG, query_status=tags.QUERY_STATUS_DISABLED),
    ),
    "ExtendedQueryTagService.DeleteExtendedQueryTag": (
        "administer",
        OF_ARCHIVE,
        tags.DeleteExtendedQueryTagRequest(path=TAG),
    ),
    "ExtendedQueryTagService.ListExtendedQueryTagErrors": (
        "read",
        OF_ARCHIVE,
        tags.ListExtendedQueryTagErrorsRequest(path=TAG),
    ),
    "OperationService.StartOperation": ("administer", OF_ARCHIVE, None),
    "OperationService.ListOperationErrors": (
        "read",
        OF_ARCHIVE,
        operations.ListOperationErrorsRequest(id=OPERATION),
    ),
    "OperationService.GetOperation": ("read", OF_ARCHIVE, operations.GetOperationRequest(id=OPERATION)),
    "OperationService.ListOperations": ("read", OF_ARCHIVE, None),
    "OperationService.WaitOperation": ("read", OF_ARCHIVE, operations.WaitOperationRequest(id=OPERATION)),
    "OperationService.CancelOperation": ("administer", OF_ARCHIVE, operations.CancelOperationRequest(id=OPERATION)),
    "PartitionService.ListPartitions": ("read", OF_ARCHIVE, None),
    "PartitionService.GetPartition": ("read", OF_PARTITION, partitions.GetPartitionRequest(name=WARD)),
    "PartitionService.CreatePartition": ("administer", OF_PARTITION, partitions.CreatePartitionRequest(name=WARD)),
    "CapabilitiesService.GetCapabilities": ("read", OF_ARCHIVE, None),
}
"""By rpc: the action and the address that it must ask for, and a request; None is an empty one."""


def test_every_rpc_has_an_expected_action() -> None:
    assert {name.removeprefix("dicomstore.v1.") for name in METHODS} == set(EXPECTED)


async def test_every_rpc_checks_access_once_with_its_action_and_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_core(tmp_path, partitions=True) as core:
        await core.stored(IMAGE, address=STUDY, create_partition=True)
        caplog.set_level(logging.DEBUG, "dicomstore.audit")
        for name, method in METHODS.items():
            _, _, request = EXPECTED[name.removeprefix("dicomstore.v1.")]
            await call(core.channel, method, request)
    seen: dict[str, list[str]] = {}
    for record in caplog.records:
        if record.name == "dicomstore.audit":
            what, _, request_id = record.getMessage().partition(" principal=anonymous request_id=")
            seen.setdefault(request_id, []).append(what)
    assert seen == {
        f"dicomstore.v1.{name}": [f"access action={action} {address}"]
        for name, (action, address, _) in EXPECTED.items()
    }


@pytest.mark.parametrize("action", Action)
async def test_a_read_only_archive_permits_only_reads(tmp_path: Path, action: Action) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    names = PartitionNames(database.partitions, enabled=False, now=lambda: datetime.now(UTC))
    access = Access(names, ReadOnlyState("its index has lost transactions"))
    asking = access.permit(Call("r1"), action, parse_address("", "1.2"))
    if action is Action.READ:
        assert await asking == parse_address(DEFAULT_PARTITION, "1.2")
    else:
        with pytest.raises(Unavailable):
            await asking
    await database.close()


async def call(channel: grpc.aio.Channel, method: MethodDescriptor, request: Message | None) -> None:
    """Call an rpc with its name as request id, and read the response; for a watch, only the first message."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    request = request or message_factory.GetMessageClass(method.input_type)()
    serialize: Any = type(request).SerializeToString
    deserialize: Any = message_factory.GetMessageClass(method.output_type).FromString
    metadata = (("x-request-id", method.full_name),)
    try:
        if not method.server_streaming:
            await channel.unary_unary(path, serialize, deserialize)(request, metadata=metadata)
            return
        if method.client_streaming:
            stream: Any = channel.stream_stream(path, serialize, deserialize)([request], metadata=metadata)
        else:
            stream = channel.unary_stream(path, serialize, deserialize)(request, metadata=metadata)
        if method.name == "WatchChanges":
            await stream.read()
            stream.cancel()
            return
        async for _ in stream:
            pass
    except grpc.aio.AioRpcError as error:
        # Access is checked before any lookup, so unknown resources do not matter.
        if error.code() not in HARMLESS:
            raise
