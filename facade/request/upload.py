"""Request messages of StoreInstances that refer to received bytes without copying them.

A core in the same process uses these objects directly. For gRPC they are converted to protobuf when serialised.
"""

from dicomstore.v1.store_service_pb2 import StoreHeader, StoreInstancesRequest


class UploadPiece:
    """An InstancePiece. `data` is never changed."""

    __slots__ = ("aborted", "crc32c", "data", "declared_size_bytes", "item", "last")

    def __init__(
        self,
        item: int,
        data: bytes | memoryview = b"",
        *,
        last: bool = False,
        aborted: bool = False,
        declared_size_bytes: int | None = None,
    ) -> None:
        self.item = item
        self.data = data
        self.last = last
        self.aborted = aborted
        self.declared_size_bytes = declared_size_bytes
        self.crc32c: int | None = None

    def HasField(self, name: str) -> bool:
        """Return whether a field is set, like protobuf messages."""
        return getattr(self, name) is not None


class UploadMessage:
    """A StoreInstancesRequest; the first one of a call has a header."""

    __slots__ = ("header", "pieces")

    def __init__(self, header: StoreHeader | None = None) -> None:
        self.header = header
        self.pieces: list[UploadPiece] = []

    def HasField(self, name: str) -> bool:
        """Return whether a field is set, like protobuf messages."""
        return getattr(self, name) is not None

    def SerializeToString(self) -> bytes:
        """Return the serialised protobuf message."""
        message = StoreInstancesRequest(header=self.header)
        for piece in self.pieces:
            message.pieces.add(  # adding a finished message would copy it
                item=piece.item,
                data=bytes(piece.data),
                last=piece.last,
                aborted=piece.aborted,
                declared_size_bytes=piece.declared_size_bytes,
            )
        serialized: bytes = message.SerializeToString()
        return serialized
