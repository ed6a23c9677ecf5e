"""Every rpc checks access exactly once (server/domain/access.py)."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from dicomstore.v1 import commitment_service_pb2 as commitment
from dicomstore.v1 import extended_query_tag_service_pb2 as tags
from dicomstore.v1 import label_service_pb2 as labels
from dicomstore.v1 import lifecycle_service_pb2 as lifecycle
from dicomstore.v1 import operation_service_pb2 as operations
from dicomstore.v1 import partition_service_pb2 as partitions
from dicomstore.v1 import retrieve_service_pb2 as retrieve
from dicomstore.v1 import search_service_pb2 as search
from dicomstore.v1 import share_service_pb2 as share
from dicomstore.v1 import store_service_pb2 as store
from dicomstore.v1 import transfer_service_pb2 as transfers
from dicomstore.v1 import version_service_pb2 as versions
from dicomstore.v1 import workitem_event_service_pb2 as workitem_events
from dicomstore.v1 import workitem_service_pb2 as workitems
from dicomstore.v1.access_options_pb2 import (
    ACTION_ADMINISTER,
    ACTION_ANONYMOUS,
    ACTION_AUDIT,
    ACTION_AUTHENTICATED,
    ACTION_DELETE,
    ACTION_EXPORT,
    ACTION_MANAGE_EXTENDED_QUERY_TAGS,
    ACTION_MONITOR,
    ACTION_OF_OPERATION_TYPE,
    ACTION_READ,
    ACTION_WRITE,
)
from dicomstore.v1.access_service_pb2 import CheckAccessRequest
from dicomstore.v1.delete_service_pb2 import DeleteInstancesRequest
from dicomstore.v1.resources_pb2 import Address as AddressMessage
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from server.adapters.sql.engine import open_database
from server.bootstrap.components import IndexComponents
from server.config import Settings
from server.domain.access import Access
from server.domain.partition_names import PartitionNames
from server.domain.read_only import ReadOnlyState
from server.model.access import Action, Grant
from server.model.call import EVERYBODY, Call, Principal
from server.model.errors import Forbidden, NotFound, Reason, Unavailable
from server.model.ids import DEFAULT_PARTITION, Address, parse_address
from server.rpc.interceptors.declared_actions import declared_action, start_action
from server.rpc.services import SERVICES
from tests.data import part10
from tests.databases import migrated
from tests.integration.conftest import a_core

WARD = "ward"
STUDY = AddressMessage(partition=WARD, study_instance_uid="1.2")
INSTANCE = AddressMessage(
    partition=WARD, study_instance_uid="1.2", series_instance_uid="1.2.3", sop_instance_uid="1.2.3.4"
)
OF_STUDY = "partition=ward study=1.2 series=- instance=-"
OF_INSTANCE = "partition=ward study=1.2 series=1.2.3 instance=1.2.3.4"
OF_PARTITION = "partition=ward study=- series=- instance=-"
OF_ARCHIVE = "partition=* study=- series=- instance=-"
TAG = "StationName"
OPERATION = "0" * 32
DECISIONS = "dicomstore.access.decision"
ACTIONS = {
    ACTION_AUDIT: "audit",
    ACTION_READ: "read",
    ACTION_WRITE: "write",
    ACTION_DELETE: "delete",
    ACTION_EXPORT: "export",
    ACTION_MANAGE_EXTENDED_QUERY_TAGS: "manageExtendedQueryTags",
    ACTION_ADMINISTER: "administer",
    ACTION_MONITOR: "monitor",
    ACTION_OF_OPERATION_TYPE: "administer",  # of an unknown type
}
HARMLESS = (
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
)
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

EXPECTED: Mapping[str, tuple[str, Message | None]] = {
    "StoreService.StoreInstances": (
        OF_STUDY,
        store.StoreInstancesRequest(header=store.StoreHeader(address=STUDY, create_partition=True)),
    ),
    "RetrieveService.RetrieveInstances": (OF_STUDY, retrieve.RetrieveInstancesRequest(resource=STUDY)),
    "RetrieveService.RetrieveFrames": (
        OF_INSTANCE,
        retrieve.RetrieveFramesRequest(instance=INSTANCE, frames=[2, 1, 2]),
    ),
    "RetrieveService.RetrieveBulkData": (
        OF_INSTANCE,
        retrieve.RetrieveBulkDataRequest(instance=INSTANCE, path="7FE00010"),
    ),
    "RetrieveService.RetrieveAllBulkData": (OF_STUDY, retrieve.RetrieveAllBulkDataRequest(resource=STUDY)),
    "RetrieveService.RetrieveMetadata": (OF_STUDY, retrieve.RetrieveMetadataRequest(resource=STUDY)),
    "RetrieveService.RetrieveRendered": (OF_STUDY, retrieve.RetrieveRenderedRequest(resource=STUDY)),
    "SearchService.Search": (
        OF_PARTITION,
        search.SearchRequest(level=search.QUERY_LEVEL_SERIES, scope=AddressMessage(partition=WARD)),
    ),
    "DeleteService.DeleteInstances": (OF_STUDY, DeleteInstancesRequest(resource=STUDY)),
    "LifecycleService.UndeleteInstances": (OF_STUDY, lifecycle.UndeleteInstancesRequest(resource=STUDY)),
    "LifecycleService.ListDeletions": (
        OF_PARTITION,
        lifecycle.ListDeletionsRequest(scope=AddressMessage(partition=WARD)),
    ),
    "LifecycleService.SetExpiry": (OF_STUDY, lifecycle.SetExpiryRequest(study=STUDY)),
    "LifecycleService.GetExpiry": (OF_STUDY, lifecycle.GetExpiryRequest(study=STUDY)),
    "LifecycleService.SetHold": (OF_STUDY, lifecycle.SetHoldRequest(resource=STUDY, reason="audit")),
    "LifecycleService.ReleaseHold": (OF_STUDY, lifecycle.ReleaseHoldRequest(resource=STUDY)),
    "LifecycleService.ListHolds": (
        OF_PARTITION,
        lifecycle.ListHoldsRequest(scope=AddressMessage(partition=WARD)),
    ),
    "CommitmentService.RequestCommitment": (
        OF_PARTITION,
        commitment.RequestCommitmentRequest(
            partition=WARD,
            transaction_uid="1.9",
            references=[{"sop_class_uid": "1.2", "sop_instance_uid": "1.2.3.4"}],
        ),
    ),
    "CommitmentService.GetCommitment": (
        OF_PARTITION,
        commitment.GetCommitmentRequest(partition=WARD, transaction_uid="1.9"),
    ),
    "TransferService.CreateTransfer": (
        OF_PARTITION,
        transfers.CreateTransferRequest(
            partition=WARD, remote="pacs", send=transfers.Send(resources=[AddressMessage(study_instance_uid="1.2")])
        ),
    ),
    **{
        f"TransferService.{name}": (OF_ARCHIVE, None)
        for name in (
            *("GetTransfer", "ListTransfers", "CancelTransfer", "RetryTransfer"),
            *("ClaimTransfers", "ReportTransfer"),
        )
    },
    "LabelService.GetLabels": (OF_STUDY, labels.GetLabelsRequest(resource=STUDY)),
    "LabelService.ChangeLabels": (OF_STUDY, labels.ChangeLabelsRequest(resource=STUDY)),
    "WorkitemService.CreateWorkitem": (
        OF_PARTITION,
        workitems.CreateWorkitemRequest(partition=WARD, workitem_uid="1.8", dicom_json=b"{}"),
    ),
    "WorkitemService.GetWorkitem": (OF_PARTITION, workitems.GetWorkitemRequest(partition=WARD, workitem_uid="1.8")),
    "WorkitemService.UpdateWorkitem": (
        OF_PARTITION,
        workitems.UpdateWorkitemRequest(partition=WARD, workitem_uid="1.8", dicom_json=b"{}"),
    ),
    "WorkitemService.ChangeWorkitemState": (
        OF_PARTITION,
        workitems.ChangeWorkitemStateRequest(
            partition=WARD,
            workitem_uid="1.8",
            transaction_uid="1.9",
            state=workitems.WORKITEM_STATE_IN_PROGRESS,
        ),
    ),
    "WorkitemService.RequestWorkitemCancellation": (
        OF_PARTITION,
        workitems.RequestWorkitemCancellationRequest(partition=WARD, workitem_uid="1.8"),
    ),
    "WorkitemService.SearchWorkitems": (OF_PARTITION, workitems.SearchWorkitemsRequest(partition=WARD)),
    "WorkitemEventService.SubscribeToWorkitems": (
        OF_PARTITION,
        workitem_events.SubscribeToWorkitemsRequest(partition=WARD, workitem_uid="1.8", ae_title="VIEWER"),
    ),
    "WorkitemEventService.UnsubscribeFromWorkitems": (
        OF_PARTITION,
        workitem_events.UnsubscribeFromWorkitemsRequest(partition=WARD, workitem_uid="1.8", ae_title="VIEWER"),
    ),
    "WorkitemEventService.SuspendWorklistSubscription": (
        OF_PARTITION,
        workitem_events.SuspendWorklistSubscriptionRequest(partition=WARD, ae_title="VIEWER"),
    ),
    "WorkitemEventService.ListWorkitemSubscribers": (
        OF_PARTITION,
        workitem_events.ListWorkitemSubscribersRequest(partition=WARD),
    ),
    "WorkitemEventService.ReceiveWorkitemEvents": (
        OF_PARTITION,
        workitem_events.ReceiveWorkitemEventsRequest(partition=WARD, ae_title="VIEWER"),
    ),
    "WorkitemEventService.AcknowledgeWorkitemEvents": (
        OF_PARTITION,
        workitem_events.AcknowledgeWorkitemEventsRequest(partition=WARD, ae_title="VIEWER", checkpoint="0"),
    ),
    "WorkitemEventService.WatchWorkitems": (
        OF_PARTITION,
        workitem_events.WatchWorkitemsRequest(partition=WARD),
    ),
    "ChangeFeedService.ListChanges": (OF_ARCHIVE, None),
    "ChangeFeedService.GetLatestChange": (OF_ARCHIVE, None),
    "ChangeFeedService.WatchChanges": (OF_ARCHIVE, None),
    **{
        f"WebhookService.{name}": (OF_ARCHIVE, None)
        for name in (
            *("CreateWebhook", "GetWebhook", "ListWebhooks", "UpdateWebhook", "DeleteWebhook"),
            *("ListDeadLetters", "RetryDeadLetters", "DeleteDeadLetters"),
        )
    },
    **{
        f"WorkitemRuleService.{name}": (OF_ARCHIVE, None)
        for name in (
            *("CreateWorkitemRule", "GetWorkitemRule", "ListWorkitemRules"),
            *("UpdateWorkitemRule", "DeleteWorkitemRule"),
        )
    },
    "StudyEventService.ListStudyEvents": (OF_ARCHIVE, None),
    "StudyEventService.WatchStudyEvents": (OF_ARCHIVE, None),
    "ChangeFeedService.GetConsumer": (OF_ARCHIVE, None),
    "ChangeFeedService.ListConsumers": (OF_ARCHIVE, None),
    "ChangeFeedService.SetConsumerPosition": (OF_ARCHIVE, None),
    "ChangeFeedService.DeleteConsumer": (OF_ARCHIVE, None),
    "ExtendedQueryTagService.AddExtendedQueryTags": (
        OF_ARCHIVE,
        tags.AddExtendedQueryTagsRequest(tags=[{"path": TAG, "level": tags.TAG_LEVEL_SERIES}]),
    ),
    "ExtendedQueryTagService.ListExtendedQueryTags": (OF_ARCHIVE, None),
    "ExtendedQueryTagService.GetExtendedQueryTag": (
        OF_ARCHIVE,
        tags.GetExtendedQueryTagRequest(path=TAG),
    ),
    "ExtendedQueryTagService.UpdateExtendedQueryTag": (
        OF_ARCHIVE,
        tags.UpdateExtendedQueryTagRequest(path=TAG, query_status=tags.QUERY_STATUS_DISABLED),
    ),
    "ExtendedQueryTagService.DeleteExtendedQueryTag": (
        OF_ARCHIVE,
        tags.DeleteExtendedQueryTagRequest(path=TAG),
    ),
    "ExtendedQueryTagService.ListExtendedQueryTagErrors": (
        OF_ARCHIVE,
        tags.ListExtendedQueryTagErrorsRequest(path=TAG),
    ),
    "OperationService.StartOperation": (OF_ARCHIVE, None),
    "OperationService.ListOperationErrors": (
        OF_ARCHIVE,
        operations.ListOperationErrorsRequest(id=OPERATION),
    ),
    "OperationService.GetOperation": (OF_ARCHIVE, operations.GetOperationRequest(id=OPERATION)),
    "OperationService.ListOperations": (OF_ARCHIVE, None),
    "OperationService.WaitOperation": (OF_ARCHIVE, operations.WaitOperationRequest(id=OPERATION)),
    "OperationService.CancelOperation": (OF_ARCHIVE, operations.CancelOperationRequest(id=OPERATION)),
    "AccessService.CheckAccess": (OF_ARCHIVE, CheckAccessRequest(action=ACTION_DELETE)),
    "AuditService.SearchAuditEvents": (OF_ARCHIVE, None),
    "AuditService.WatchAuditEvents": (OF_ARCHIVE, None),
    "AuditService.VerifyAuditTrail": (OF_ARCHIVE, None),
    "MetricsService.GetMetrics": (OF_ARCHIVE, None),
    "PartitionService.ListPartitions": (OF_ARCHIVE, None),
    "PartitionService.ListPartitionUsage": (OF_ARCHIVE, None),
    "PartitionService.GetPartition": (OF_PARTITION, partitions.GetPartitionRequest(name=WARD)),
    "TokenService.CreateToken": (OF_ARCHIVE, None),
    "TokenService.ListTokens": (OF_ARCHIVE, None),
    "TokenService.RevokeToken": (OF_ARCHIVE, None),
    "VersionService.ListVersions": (OF_STUDY, versions.ListVersionsRequest(resource=STUDY)),
    "VersionService.CompareVersions": (
        OF_INSTANCE,
        versions.CompareVersionsRequest(instance=INSTANCE, version=1),
    ),
    "VersionService.RevertInstance": (OF_INSTANCE, versions.RevertInstanceRequest(instance=INSTANCE, version=1)),
    "PartitionService.UpdatePartition": (OF_PARTITION, partitions.UpdatePartitionRequest(name=WARD)),
    "PartitionService.CreatePartition": (OF_PARTITION, partitions.CreatePartitionRequest(name=WARD)),
    "ShareService.CreateShareLink": (
        OF_STUDY,
        share.CreateShareLinkRequest(purpose=share.SHARE_PURPOSE_READ, scope=STUDY),
    ),
    "ShareService.ListShareLinks": (OF_ARCHIVE, None),
    "LoginService.CreateLoginLink": (OF_ARCHIVE, None),
    "ShareService.RevokeShareLink": (OF_ARCHIVE, None),
    "PartitionService.DeletePartition": (OF_PARTITION, partitions.DeletePartitionRequest(name=WARD)),
}
"""By rpc that requires permission: the address that it must ask for, and a request; None is an empty one."""


DECLARED = {name: declared_action(f"/{name[: name.rindex('.')]}/{name[name.rindex('.') + 1 :]}") for name in METHODS}
"""By full name of an rpc, the action that the contract declares."""


def test_every_rpc_declares_an_action_and_has_an_expected_address() -> None:
    needed = {name for name, action in DECLARED.items() if action not in (ACTION_ANONYMOUS, ACTION_AUTHENTICATED)}
    expected = {name.removeprefix("dicomstore.v1.") for name in needed} | {"AccessService.CheckAccess"}
    assert expected == set(EXPECTED)


async def test_every_rpc_checks_access_once_for_its_declared_action_and_its_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_core(tmp_path, partitions=True) as core:
        await core.stored(IMAGE, address=STUDY, create_partition=True)
        caplog.set_level(logging.DEBUG, DECISIONS)
        for name, (_, request) in EXPECTED.items():
            await call(core.channel, METHODS[f"dicomstore.v1.{name}"], request)
    seen: dict[str, list[str]] = {}
    for record in caplog.records:
        if record.name == DECISIONS:
            what, _, request_id = record.getMessage().partition(" principal=anonymous request_id=")
            seen.setdefault(request_id, []).append(what)
    assert seen == {
        f"dicomstore.v1.{name}": [f"access action={_action(name)} {address}"] for name, (address, _) in EXPECTED.items()
    }


def _action(name: str) -> str:
    """Return the action that `EXPECTED`'s request of an rpc requires."""
    if name == "OperationService.CancelOperation":  # of an unknown operation, as for reading it
        return "read"
    if name == "AccessService.CheckAccess":
        return "delete"
    return ACTIONS[DECLARED[f"dicomstore.v1.{name}"]]


@pytest.mark.parametrize("action", Action)
async def test_a_read_only_archive_permits_only_reads(tmp_path: Path, action: Action) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    names = PartitionNames(database.partitions, enabled=False, now=lambda: datetime.now(UTC))
    access = Access(names, ReadOnlyState("its index has lost transactions"))
    asking = access.permit(Call("r1", EVERYBODY), action, parse_address("", "1.2"))
    if action in (Action.READ, Action.AUDIT, Action.MONITOR):
        assert await asking == parse_address(DEFAULT_PARTITION, "1.2")
    else:
        with pytest.raises(Unavailable):
            await asking
    await database.close()


async def test_every_operation_type_requires_the_action_that_its_message_declares(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    for type_ in IndexComponents(settings=Settings(), database=database).operation_types:
        assert type_.start_action is start_action(type_.request_message)
    await database.close()


WHOLE = Grant(frozenset({Action.READ}), parse_address(WARD))
PART = Grant(frozenset({Action.READ}), parse_address(WARD, "1.2", "1.2.3"))


@pytest.mark.parametrize(
    ("grant", "address", "permitted"),
    [
        (WHOLE, parse_address(WARD, "1.2"), parse_address(WARD, "1.2")),
        (WHOLE, parse_address("other"), Reason.PARTITION_NOT_PERMITTED),
        (PART, parse_address(WARD, "1.2", "1.2.3", "1"), parse_address(WARD, "1.2", "1.2.3", "1")),
        (PART, parse_address("other", "1.2"), Reason.PARTITION_NOT_PERMITTED),
        (PART, parse_address(WARD, "9"), Reason.STUDY_NOT_FOUND),
        (PART, parse_address(WARD, "1.2", "9"), Reason.SERIES_NOT_FOUND),
    ],
)
async def test_access_ends_where_the_grant_ends(
    tmp_path: Path, grant: Grant, address: Address, permitted: Address | Reason
) -> None:
    async with an_access(tmp_path) as access:
        asking = access.permit(Call("r1", Principal("p", grants=(grant,))), Action.READ, address)
        if isinstance(permitted, Reason):
            with pytest.raises(NotFound) as caught:
                await asking
            assert caught.value.reason is permitted
        else:
            assert await asking == permitted


@pytest.mark.parametrize("address", [parse_address(WARD), parse_address(WARD, "1.2")])
async def test_a_list_contains_only_the_permitted_part(tmp_path: Path, address: Address) -> None:
    async with an_access(tmp_path) as access:
        call = Call("r1", Principal("p", grants=(PART,)))
        assert await access.permit(call, Action.READ, address, narrow=True) == PART.scope


async def test_a_principal_without_a_grant_may_do_nothing(tmp_path: Path) -> None:
    async with an_access(tmp_path) as access:
        with pytest.raises(Forbidden):
            await access.permit(Call("r1", Principal("p", grants=(WHOLE,))), Action.WRITE, parse_address(WARD))
        with pytest.raises(Forbidden):
            await access.permit_archive(Call("r1", Principal("p", grants=(WHOLE,))), Action.READ)
        with pytest.raises(Forbidden):
            access.permit_partitions(Call("r1", Principal("p", grants=(PART,))), Action.READ)
        assert access.permit_partitions(Call("r1", Principal("p", grants=(WHOLE,))), Action.READ) == {WARD}
        assert access.permit_partitions(Call("r1", EVERYBODY), Action.READ) is None


@asynccontextmanager
async def an_access(folder: Path) -> AsyncIterator[Access]:
    """Decide on access to an archive with the partition `WARD`."""
    url = migrated(folder / "index.db")
    database = open_database(url)
    names = PartitionNames(database.partitions, enabled=True, now=lambda: datetime.now(UTC))
    await names.create_missing(parse_address(WARD).partition)
    yield Access(names, ReadOnlyState())
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
        if method.name.startswith(("Watch", "Receive")):
            await stream.read()
            stream.cancel()
            return
        async for _ in stream:
            pass
    except grpc.aio.AioRpcError as error:
        # Access is checked before any lookup, so unknown resources do not matter.
        if error.code() not in HARMLESS:
            raise
