"""A client of the core for tests: the generated stubs with short helper methods."""

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc
from dicomstore.v1 import (
    capabilities_service_pb2_grpc,
    change_feed_service_pb2,
    change_feed_service_pb2_grpc,
    delete_service_pb2,
    delete_service_pb2_grpc,
    partition_service_pb2_grpc,
    resources_pb2,
    retrieve_service_pb2,
    retrieve_service_pb2_grpc,
    search_service_pb2_grpc,
    store_service_pb2,
    store_service_pb2_grpc,
)
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from grpc_status._async import from_call
from pydantic import BaseModel

from common.settings import PREFIX, TableSettings
from facade.channel import CallStatus
from server.adapters.blobs.packed import PackedBlobs
from server.config import Settings
from tests.databases import migrated_index

Ref = resources_pb2.Address


def settings_for(data: Path, **settings: Any) -> Settings:
    """Return settings of a core on a free port that migrates its database, however full the disk is.

    The index of a new data directory is created here, because a copy takes less time than a migration.
    """
    if settings.keys().isdisjoint({"database", "blobs", "migrate"}):
        migrated_index(data)
    defaults = {"grpc": "127.0.0.1:0", "migrate": True, "shutdown_seconds": 1, "warn_free_bytes": 0}
    return given(Settings, data=data, **(defaults | settings))


AnySettings = TypeVar("AnySettings", bound=TableSettings)


def given(kind: type[AnySettings], **values: Any) -> AnySettings:
    """Return settings with the given values and defaults.

    Variables and the settings file are not read unless there are some: that takes a sixth of the start of a core.
    """
    if any(name.startswith(PREFIX) for name in os.environ):
        return kind(**values)
    settings = kind.__new__(kind)
    BaseModel.__init__(settings, **values)
    return settings


class CoreClient:
    """The stubs of one core, its address, and its data directory."""

    def __init__(self, channel: grpc.aio.Channel, data: Path, address: str = "") -> None:
        self.channel = channel
        self.address = address
        self.data = data
        self.store_stub = store_service_pb2_grpc.StoreServiceStub(channel)
        self.retrieve_stub = retrieve_service_pb2_grpc.RetrieveServiceStub(channel)
        self.search_stub = search_service_pb2_grpc.SearchServiceStub(channel)
        self.delete_stub = delete_service_pb2_grpc.DeleteServiceStub(channel)
        self.change_feed_stub = change_feed_service_pb2_grpc.ChangeFeedServiceStub(channel)
        self.partition_stub = partition_service_pb2_grpc.PartitionServiceStub(channel)
        self.capabilities_stub = capabilities_service_pb2_grpc.CapabilitiesServiceStub(channel)

    async def store(self, *files: bytes, piece_bytes: int = 1 << 20, **header: Any) -> list[Any]:
        """Store files as items 1, 2, …; return their outcomes in that order."""
        return await self.send(store_requests(files, piece_bytes=piece_bytes, **header))

    async def send(self, requests: Iterable[Any]) -> list[Any]:
        """Send raw messages; return the outcomes by item. Raises: AioRpcError with the status of the core."""
        outcomes: list[Any] = []
        call = self.store_stub.StoreInstances(requests)
        status = CallStatus(call)
        try:
            async for response in call:
                outcomes += response.outcomes
        except grpc.aio.AioRpcError as error:  # if a write failed as well, this is not the status of the core
            raise await status.error() or error from None
        return sorted(outcomes, key=lambda outcome: outcome.item)

    async def stored(self, *files: bytes, **header: Any) -> list[Any]:
        """Store files that must all be stored; return the `StoredInstance`s."""
        outcomes = await self.store(*files, **header)
        assert [outcome.WhichOneof("outcome") for outcome in outcomes] == ["stored"] * len(files), outcomes
        return [outcome.stored for outcome in outcomes]

    async def retrieve(self, resource: Any, *acceptable: str, **fields: Any) -> list[tuple[Any, bytes]]:
        """Return (head, bytes) of each instance; head is an ItemError for one that failed or was left out."""
        request = retrieve_service_pb2.RetrieveInstancesRequest(
            resource=resource, acceptable_transfer_syntax_uids=acceptable, **fields
        )
        found: list[tuple[Any, bytes]] = []
        async for response in self.retrieve_stub.RetrieveInstances(request):
            found += [(error, b"") for error in response.omission.errors]
            for piece in response.pieces:
                if piece.HasField("head"):
                    found.append((piece.head, b""))
                if piece.HasField("failed"):
                    found.append((piece.failed, b""))
                elif piece.data:
                    found[-1] = (found[-1][0], found[-1][1] + piece.data)
        return found

    async def frames(
        self, instance: Any, frames: Sequence[int], *acceptable: str, **fields: Any
    ) -> list[tuple[Any, bytes]]:
        """Return (head, bytes) of each frame."""
        request = retrieve_service_pb2.RetrieveFramesRequest(
            instance=instance, frames=frames, acceptable_transfer_syntax_uids=acceptable, **fields
        )
        found: list[tuple[Any, bytes]] = []
        async for response in self.retrieve_stub.RetrieveFrames(request):
            for piece in response.pieces:
                if piece.HasField("head"):
                    found.append((piece.head, b""))
                found[-1] = (found[-1][0], found[-1][1] + piece.data)
        return found

    async def bulk_data(self, instance: Any, path: str, **fields: Any) -> tuple[Any, bytes]:
        """Return (head, bytes) of a value."""
        request = retrieve_service_pb2.RetrieveBulkDataRequest(instance=instance, path=path, **fields)
        head, body = None, b""
        async for response in self.retrieve_stub.RetrieveBulkData(request):
            head = response.head if response.HasField("head") else head
            body += response.data
        return head, body

    async def all_bulk_data(self, resource: Any, *acceptable: str, **fields: Any) -> list[tuple[Any, bytes]]:
        """Return (head, bytes) of each value or frame; head is an ItemError for one that failed or is left out."""
        request = retrieve_service_pb2.RetrieveAllBulkDataRequest(
            resource=resource, acceptable_transfer_syntax_uids=acceptable, **fields
        )
        found: list[tuple[Any, bytes]] = []
        async for response in self.retrieve_stub.RetrieveAllBulkData(request):
            found += [(error, b"") for error in response.omission.errors]
            for piece in response.pieces:
                if piece.HasField("head"):
                    found.append((piece.head, b""))
                if piece.HasField("failed"):
                    found.append((piece.failed, b""))
                elif piece.data:
                    found[-1] = (found[-1][0], found[-1][1] + piece.data)
        return found

    async def metadata(self, resource: Any, **fields: Any) -> tuple[Any, list[bytes]]:
        """Return the state of a resource and its data sets."""
        request = retrieve_service_pb2.RetrieveMetadataRequest(resource=resource, **fields)
        state, items = None, []
        async for response in self.retrieve_stub.RetrieveMetadata(request):
            state = response.state if response.HasField("state") else state
            items += [item.dicom_json for item in response.items]
        return state, items

    async def delete(self, resource: Any) -> int:
        """Delete; return how many instances that were."""
        response = await self.delete_stub.DeleteInstances(delete_service_pb2.DeleteInstancesRequest(resource=resource))
        return response.deleted_instances

    async def blob_count(self) -> int:
        """Return how many blobs there are on disk."""
        async with PackedBlobs(self.data) as blobs:
            return len([locator async for locator, _ in blobs.walk()])

    async def changes(self, **fields: Any) -> list[Any]:
        """Return a page of the change feed."""
        response = await self.change_feed_stub.ListChanges(change_feed_service_pb2.ListChangesRequest(**fields))
        return list(response.entries)


def file_of(data: Path, body: bytes) -> Path:
    """Return the file of an instance, which must be large: small instances share files."""
    [found] = [path for path in (data / "blobs").glob("*/*") if path.read_bytes().startswith(body)]
    return found


def store_requests(files: Sequence[bytes], *, piece_bytes: int = 1 << 20, **header: Any) -> Iterable[Any]:
    """Yield the messages that store `files`, one piece a message."""
    yield store_service_pb2.StoreInstancesRequest(header=store_service_pb2.StoreHeader(**header))
    for item, body in enumerate(files, 1):
        for start in range(0, max(len(body), 1), piece_bytes):
            piece = store_service_pb2.InstancePiece(
                item=item, data=body[start : start + piece_bytes], last=start + piece_bytes >= len(body)
            )
            yield store_service_pb2.StoreInstancesRequest(pieces=[piece])


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason in the details of a failed unary call."""
    return _reason(rpc_status.from_call(error))


async def stream_reason(call: AsyncIterator[Any] | Any) -> str:
    """Read a stream to its failure and return the reason."""
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError:
        return _reason(await from_call(call))
    raise AssertionError("the call did not fail")


def _reason(status: Any) -> str:
    info = ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert info.domain == "dicomstore"
    return info.reason


def ref_of(stored: Any) -> Any:
    """Return the address of a stored instance."""
    return Ref(
        partition="",
        study_instance_uid=stored.id.study_instance_uid,
        series_instance_uid=stored.id.series_instance_uid,
        sop_instance_uid=stored.id.sop_instance_uid,
    )


def id_of(stored: Any) -> Any:
    """Return the identity of a stored instance, without a partition."""
    return resources_pb2.Address(
        study_instance_uid=stored.id.study_instance_uid,
        series_instance_uid=stored.id.series_instance_uid,
        sop_instance_uid=stored.id.sop_instance_uid,
    )
