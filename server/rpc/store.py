"""StoreService."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
from dicomstore.v1 import store_service_pb2 as pb
from dicomstore.v1 import store_service_pb2_grpc

from common.wire import fields
from server.dicom.elements.external_metadata import ExternalAttribute
from server.domain.flow.ingest_budget import IngestBudget
from server.domain.store.receive import Store
from server.domain.store.upload import Upload, UploadHeader, UploadMessage, UploadPiece
from server.rpc import convert
from server.rpc.interceptors.call_context import Context

_Requests = AsyncIterator[pb.StoreInstancesRequest | UploadMessage]


class StoreServicer(store_service_pb2_grpc.StoreServiceServicer):
    """Implements StoreService with `Upload`."""

    def __init__(self, store: Store, budget: IngestBudget, max_message_bytes: int) -> None:
        self._store = store
        self._budget = budget
        self._max_message_bytes = max_message_bytes

    async def StoreInstances(self, requests: _Requests, context: Context) -> AsyncIterator[pb.StoreInstancesResponse]:
        """See the contract."""
        upload = Upload(context.call, self._store, self._budget, self._max_message_bytes)
        async for results in upload.run(_Messages(requests)):
            yield pb.StoreInstancesResponse(outcomes=[convert.store_outcome(*result) for result in results])


class _Messages:
    """The messages of a call. It keeps no reference to a yielded message, which may be large."""

    def __init__(self, requests: _Requests) -> None:
        self._requests = requests

    def __aiter__(self) -> AsyncIterator[UploadMessage]:
        self._requests = aiter(self._requests)  # only now: after this, gRPC requires a request to be read
        return self

    async def __anext__(self) -> UploadMessage:
        return _message(await anext(self._requests))


def add_store_service(servicer: StoreServicer, server: Any) -> None:
    """Add StoreService to a server."""
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.StoreInstances,
        request_deserializer=_RequestReader(),
        response_serializer=pb.StoreInstancesResponse.SerializeToString,
    )
    name = pb.DESCRIPTOR.services_by_name["StoreService"].full_name
    handlers = {"StoreInstances": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    server.add_registered_method_handlers(name, handlers)


class _RequestReader:
    """Reads requests; `uncopied` does so without copying their data, for calls of other processes of this machine."""

    def __call__(self, received: bytes) -> pb.StoreInstancesRequest:
        return pb.StoreInstancesRequest.FromString(received)

    @staticmethod
    def uncopied(received: bytes | bytearray) -> UploadMessage:
        """See `read_uncopied`."""
        return read_uncopied(received)


def read_uncopied(received: bytes | bytearray) -> UploadMessage:
    """Return a serialised StoreInstancesRequest, whose data are views of it. Raises ValueError if it is malformed."""
    header: UploadHeader | None = None
    pieces: list[UploadPiece] = []
    for number, value in fields(memoryview(received)):
        if number == pb.StoreInstancesRequest.HEADER_FIELD_NUMBER and isinstance(value, memoryview):
            header = _header(pb.StoreHeader.FromString(bytes(value)))
        elif number == pb.StoreInstancesRequest.PIECES_FIELD_NUMBER and isinstance(value, memoryview):
            found: dict[int, Any] = dict(fields(value))
            data = found.pop(pb.InstancePiece.DATA_FIELD_NUMBER, b"")
            is_last = bool(found.get(pb.InstancePiece.LAST_FIELD_NUMBER))
            checksum = found.get(pb.InstancePiece.CRC32C_FIELD_NUMBER) if is_last else None
            pieces.append(
                UploadPiece(
                    found.get(pb.InstancePiece.ITEM_FIELD_NUMBER, 0),
                    data,
                    is_last,
                    bool(found.get(pb.InstancePiece.ABORTED_FIELD_NUMBER)),
                    found.get(pb.InstancePiece.DECLARED_SIZE_BYTES_FIELD_NUMBER),
                    None if checksum is None else int.from_bytes(checksum, "little"),
                )
            )
    return UploadMessage(header, pieces)


def _message(request: "pb.StoreInstancesRequest | UploadMessage") -> UploadMessage:
    if isinstance(request, UploadMessage):  # from another process of this machine
        return request
    return UploadMessage(_header(request.header) if request.HasField("header") else None, _pieces(request))


def _header(header: pb.StoreHeader) -> UploadHeader:
    return UploadHeader(
        convert.address(header.address),
        header.create_partition,
        convert.validation_mode(header.validation),
        convert.duplicate_policy(header.duplicates, "header.duplicates"),
        header.reason,
        [ExternalAttribute(each.tag, each.vr, each.value) for each in header.external_metadata],
        convert.period(header.expires_after, "header.expires_after") if header.HasField("expires_after") else None,
    )


def _pieces(request: pb.StoreInstancesRequest) -> Iterator[UploadPiece]:
    """Yield the pieces of a message one at a time, because reading `data` copies it."""
    for piece in request.pieces:
        yield UploadPiece(
            piece.item,
            piece.data,
            piece.last,
            piece.aborted,
            piece.declared_size_bytes if piece.HasField("declared_size_bytes") else None,
            piece.crc32c if piece.last and piece.HasField("crc32c") else None,
        )
