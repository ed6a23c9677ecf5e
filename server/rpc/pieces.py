"""Streaming of items to the client in pieces, for all rpcs of RetrieveService that send bytes.

A handler yields `Pieces`, which have the same fields as the messages of the contract. A facade in the same process uses
them directly, so that it sends the buffers that the blob store has read. Only gRPC converts them to messages, which
copies each byte once.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from types import AsyncGeneratorType
from typing import Any, Protocol

import grpc
from dicomstore.v1 import retrieve_service_pb2 as pb
from dicomstore.v1.resources_pb2 import ItemError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from common.wire import varint
from server.domain.flow.response_budget import ResponseBudget
from server.domain.retrieve.omission import FailedItem, Omission
from server.model.audit.call_audit import CallAudit
from server.model.buffer import Buffer
from server.model.damage import NO_DAMAGE
from server.model.errors import DicomStoreError
from server.model.instance import StoredInstance
from server.rpc import convert

_MAX_BYTES = 1 << 20
_PIECE_BYTES = 200  # approximate size of a piece without its data
_LENGTH_DELIMITED = 2  # a wire type: https://protobuf.dev/programming-guides/encoding/


class Piece:
    """Bytes of one item: RetrievedPiece, FramePiece, BulkDataPiece, RenderedPiece or RetrieveBulkDataResponse.

    head: set on the first piece of an item.
    last: the item is complete with this piece.
    failed: the item ends here and is incomplete.
    """

    __slots__ = ("data", "failed", "head", "last")

    def __init__(self, head: Message | None = None, data: Buffer = b"", failed: ItemError | None = None) -> None:
        self.head = head
        self.data = data
        self.last = False
        self.failed = failed

    def HasField(self, name: str) -> bool:
        """True if a field is set, as in messages."""
        return getattr(self, name) is not None

    def serialized(self, message_class: Any) -> bytes:
        """Return the piece serialized as a message of this class."""
        return b"".join(self.buffers(message_class))

    def buffers(self, message_class: Any) -> list[Buffer]:
        """Return the serialized message in parts; the last one is the data."""
        fields: dict[str, Any] = {"head": self.head, "last": self.last or None, "failed": self.failed}
        message = message_class(**{name: value for name, value in fields.items() if value is not None})
        facts: bytes = message.SerializeToString()
        return [facts, _key(message_class, "data", len(self.data)), self.data] if self.data else [facts]


class Pieces:
    """Pieces in order: RetrieveInstancesResponse and similar. Only the first one of a response can have `omission`."""

    __slots__ = ("omission", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.omission: pb.Omission | None = None
        self.size = 0

    def HasField(self, name: str) -> bool:
        """True if a field is set, as in messages."""
        return getattr(self, name) is not None

    def add(self, piece: Piece) -> None:
        """Append a piece."""
        self.pieces.append(piece)
        self.size += len(piece.data) + _PIECE_BYTES

    def serialized(self, message_class: Any) -> bytes:
        """Return the pieces serialized as a message of this class."""
        return b"".join(self.buffers(message_class))

    def buffers(self, message_class: Any) -> list[Buffer]:
        """Return the serialized message in parts, the data without copies."""
        piece_class = GetMessageClass(message_class.DESCRIPTOR.fields_by_name["pieces"].message_type)
        buffers: list[Buffer] = []
        if self.omission is not None:
            buffers.append(message_class(omission=self.omission).SerializeToString())
        for piece in self.pieces:
            parts = piece.buffers(piece_class)
            buffers += [_key(message_class, "pieces", sum(map(len, parts))), *parts]
        return buffers


class OpenItem(Protocol):
    """An item to send; iterating `chunks` may raise."""

    @property
    def stored(self) -> StoredInstance:
        """Return the instance of the item."""

    @property
    def chunks(self) -> AsyncIterator[Buffer]:
        """Return the bytes of the item."""


async def in_pieces(
    items: AsyncGenerator[Any],
    head: Callable[[Any], Message],
    budget: ResponseBudget,
    audit: CallAudit,
    *,
    head_only: bool = False,
    one_by_one: bool = False,
) -> AsyncGenerator[Pieces]:
    """Yield the omissions and the pieces of all items: small items share a message, large ones take several.

    The first piece of an item has `head`, the last one `last` or `failed`.

    Args:
        items: an `Omission` first, if there are any, then `OpenItem` and `FailedItem`.
        head: returns the head of an open item.
        budget: determines the size of messages.
        audit: counts the items and their bytes.
        head_only: send no bytes; they are only read for an item with recorded damage.
        one_by_one: send each piece in its own message, because items take long to prepare.
    """
    gathered = _Gathered(budget, one_by_one=one_by_one)
    with budget.responding():
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Omission):
                    gathered.message.omission = convert.omission(item)
                    continue
                if isinstance(item, FailedItem):
                    piece = Piece(failed=convert.retrieval_error(item.stored, item.error))
                    if full := gathered.add(piece):
                        yield full
                    continue
                piece = Piece(head(item))
                audit.items += 1
                try:
                    if not head_only or item.stored.damage is not NO_DAMAGE:
                        async for chunk in item.chunks:
                            if head_only:
                                break
                            audit.size_bytes += len(chunk)
                            for run in (chunk,) if len(chunk) <= _MAX_BYTES else _runs(chunk):
                                if piece.data:
                                    if full := gathered.add(piece):
                                        yield full
                                    piece = Piece()
                                piece.data = run
                except DicomStoreError as error:
                    piece.data = b""
                    piece.failed = convert.retrieval_error(item.stored, error)
                else:
                    piece.last = True
                finally:
                    if isinstance(item.chunks, AsyncGeneratorType) and item.chunks.ag_frame is not None:
                        await item.chunks.aclose()
                if full := gathered.add(piece):
                    yield full
        if gathered.message.pieces:
            yield gathered.message


class _Gathered:
    """Pieces that share a message, until the next one does not fit."""

    def __init__(self, budget: ResponseBudget, *, one_by_one: bool) -> None:
        self.message = Pieces()
        self._budget = budget
        self._one_by_one = one_by_one

    def add(self, piece: Piece) -> Pieces | None:
        """Add a piece; return the message that is to be sent now, if any."""
        if self._one_by_one:
            self.message.add(piece)
            return self._take()
        size = self.message.size
        full = self._take() if size and size + len(piece.data) > self._budget.piece_bytes() else None
        self.message.add(piece)
        return full

    def _take(self) -> Pieces:
        message, self.message = self.message, Pieces()
        return message


def _runs(chunk: Buffer) -> Iterator[Buffer]:
    for start in range(0, len(chunk), _MAX_BYTES):
        yield chunk[start : start + _MAX_BYTES]


def add_service(descriptor: Any, servicer: Any, server: Any) -> None:
    """Add a service to a server. Its responses may be objects with a method `serialized` instead of messages.

    Args:
        descriptor: of the service, whose rpcs all take one message.
    """
    handlers = {
        method.name: (
            grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
        )(
            getattr(servicer, method.name),
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=_Serializer(GetMessageClass(method.output_type)),
        )
        for method in descriptor.methods
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(descriptor.full_name, handlers),))
    server.add_registered_method_handlers(descriptor.full_name, handlers)


class _Serializer:
    """Serializes the responses of an rpc."""

    def __init__(self, message_class: Any) -> None:
        self._message_class = message_class

    def __call__(self, response: Any) -> bytes:
        is_message = isinstance(response, Message)
        serialized: bytes = response.SerializeToString() if is_message else response.serialized(self._message_class)
        return serialized

    def parts(self, response: Any) -> list[Buffer]:
        """Return a response in serialized parts."""
        return response.buffers(self._message_class) if isinstance(response, Pieces) else [self(response)]


def _key(message_class: Any, field: str, length: int) -> bytes:
    """Return the encoding before the bytes of a field: field number, wire type and length."""
    number = message_class.DESCRIPTOR.fields_by_name[field].number
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(length)
