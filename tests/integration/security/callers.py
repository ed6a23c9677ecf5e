"""Calls of a core with different credentials."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from dicomstore.v1 import search_service_pb2 as search
from dicomstore.v1 import search_service_pb2_grpc, store_service_pb2, store_service_pb2_grpc, token_service_pb2_grpc
from dicomstore.v1 import token_service_pb2 as pb
from dicomstore.v1.resources_pb2 import Address
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

Metadata = Sequence[tuple[str, str]]


def bearer(token: str) -> Metadata:
    """Return the metadata of calls with a token."""
    return (("authorization", f"Bearer {token}"),)


def operator_token(data: Path) -> str:
    """Return the operator's token of an archive."""
    return (data / "operator.token").read_text().strip()


def in_future(**period: float) -> Timestamp:
    """Return a time after now."""
    timestamp = Timestamp()
    timestamp.FromDatetime(datetime.now(UTC) + timedelta(**period))
    return timestamp


async def create_token(
    channel: grpc.aio.Channel, *roles: str, partitions: Sequence[str] = (), by: Metadata = (), **period: float
) -> pb.CreateTokenResponse:
    """Create a token that is valid for a day, or a period, and its partitions."""
    request = pb.CreateTokenRequest(
        name="test",
        roles=roles,
        partitions=partitions,
        create_partitions=True,
        expire_time=in_future(**(period or {"days": 1})),
    )
    created: pb.CreateTokenResponse = await token_service_pb2_grpc.TokenServiceStub(channel).CreateToken(
        request, metadata=by
    )
    return created


async def revoke(channel: grpc.aio.Channel, token: pb.Token, by: Metadata) -> None:
    """Revoke a token."""
    await token_service_pb2_grpc.TokenServiceStub(channel).RevokeToken(pb.RevokeTokenRequest(id=token.id), metadata=by)


async def search_studies(channel: grpc.aio.Channel, metadata: Metadata = (), partition: str = "") -> str:
    """Search; return "OK", or the gRPC code and the reason."""
    request = search.SearchRequest(level=search.QUERY_LEVEL_STUDY, scope=Address(partition=partition))
    return await outcome(search_service_pb2_grpc.SearchServiceStub(channel).Search(request, metadata=metadata))


async def upload(channel: grpc.aio.Channel, metadata: Metadata = ()) -> str:
    """Open an upload without instances; return "OK", or the gRPC code and the reason."""
    header = store_service_pb2.StoreInstancesRequest(header=store_service_pb2.StoreHeader())
    call = store_service_pb2_grpc.StoreServiceStub(channel).StoreInstances(iter([header]), metadata=metadata)
    return await outcome(_drained(call))


async def _drained(call: Any) -> None:
    async for _ in call:
        pass


async def outcome(call: Any) -> str:
    """Await a call; return "OK", or the gRPC code and the reason, and for UNAUTHENTICATED the problem."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        info = error_info(error)
        return " ".join([error.code().name, info.metadata.get("problem", "")]).strip()
    return "OK"


def error_info(error: grpc.aio.AioRpcError) -> ErrorInfo:
    """Return the reason of a failed call with its metadata."""
    status, info = rpc_status.from_call(error), ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return info
