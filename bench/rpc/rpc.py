"""Calls of any rpc by name, without generated stubs."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
from dicomstore.v1 import (  # noqa: F401 - importing them makes their services known
    capabilities_service_pb2,
    change_feed_service_pb2,
    delete_service_pb2,
    partition_service_pb2,
    retrieve_service_pb2,
    search_service_pb2,
    store_service_pb2,
    workitem_event_service_pb2,
    workitem_service_pb2,
)
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2  # noqa: F401 - as above

HEALTH = "grpc.health.v1.Health/Check"


RARE = frozenset(
    {
        "UpdatePartition",
        "ListPartitionUsage",
        "GetPrincipal",
        "CompareVersions",
        "RevertInstance",
        "DeletePartition",
        "GetConsumer",
        "ListConsumers",
        "DeleteConsumer",
        "SetHold",
        "ReleaseHold",
        "ListHolds",
        "SetExpiry",
        "GetExpiry",
        "UpdateWorkitem",
        "ChangeWorkitemState",
        "RequestWorkitemCancellation",
        "SubscribeToWorkitems",
        "UnsubscribeFromWorkitems",
        "SuspendWorklistSubscription",
        "ListWorkitemSubscribers",
        "ReceiveWorkitemEvents",
    }
)
"""Rpcs that programs call about once, each for a row or two."""


def contract() -> list[str]:
    """Return every rpc of the contract, except administrative and rare ones, as `package.Service/Method`."""
    files = [module.DESCRIPTOR for name, module in globals().items() if name.endswith("_service_pb2")]
    services = [service for file in files for service in file.services_by_name.values()]
    methods = [(service, method) for service in services for method in service.methods if method.name not in RARE]
    return [f"{service.full_name}/{method.name}" for service, method in methods]


def request_type(rpc: str) -> type[Message]:
    """Return the request class of an rpc."""
    return message_factory.GetMessageClass(_method(rpc).input_type)


def takes_stream(rpc: str) -> bool:
    """Return whether the rpc is client-streaming."""
    return bool(_method(rpc).client_streaming)


def protoset(rpc: str) -> bytes:
    """Return a FileDescriptorSet with an rpc and its dependencies, each file after its imports."""
    found = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name not in seen:
            seen.add(file.name)
            for imported in file.dependencies:
                add(imported)
            file.CopyToProto(found.file.add())

    add(_method(rpc).containing_service.file)
    return found.SerializeToString()


def call(channel: grpc.Channel, rpc: str, requests: Iterable[Message]) -> Iterator[Message]:
    """Make one call and yield its responses; abandon the iterator to cancel the call.

    Raises:
        grpc.RpcError: the call failed.
    """
    method = _method(rpc)
    how: Callable[..., Any] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, True): channel.stream_stream,
    }[method.client_streaming, method.server_streaming]
    make = how(
        f"/{rpc}",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    response = make(iter(requests) if method.client_streaming else next(iter(requests)), timeout=60)
    if not method.server_streaming:
        yield response
        return
    try:
        yield from response
    finally:
        response.cancel()


def _method(rpc: str) -> MethodDescriptor:
    service, _, name = rpc.partition("/")
    return descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
