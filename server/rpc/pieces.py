"""Pieces of items on their way to the client: one stream of them for all rpcs of RetrieveService that send bytes.

A handler yields `Pieces`, which have the fields of the messages of the contract. A facade in the same process takes
them as they are, so that its bytes are those that the blob store has read. Only gRPC makes messages of them, and copies
each byte once for that.
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

from server.domain.flow.response_budget import ResponseBudget
from server.domain.retrieve.omission import FailedItem, Omission
from server.model.buffer import Buffer
from server.model.damage import NO_DAMAGE
from server.model.errors import DicomStoreError
from server.model.instance import StoredInstance
from server.rpc import convert

_MOST_BYTES = 1 << 20
_PIECE_BYTES = 200  # about what a piece needs besides its data
_LENGTH_DELIMITED = 2  # a wire type: https://protobuf.dev/programming-guides/encoding/


class Piece:
    """A run of bytes of one item: RetrievedPiece, FramePiece, BulkDataPiece, RenderedPiece, RetrieveBulkDataResponse.

    head: on the first piece of an item.
    last: the item ends well with this piece.
    failed: the item ends here and is not whole.
    """

    __slots__ = ("data", "failed", "head", "last")

    def __init__(self, head: Message | None = None, data: Buffer = b"", failed: ItemError | None = None) -> None:
        self.head = head
        self.data = data
        self.last = False
        self.failed = failed

    def HasField(self, name: str) -> bool:
        """Say whether a field is set, as messages do."""
        return getattr(self, name) is not None

    def serialized(self, message_class: Any) -> bytes:
        """Return the piece as a message of this class on the wire."""
        return b"".join(self.buffers(message_class))

    def buffers(self, message_class: Any) -> list[Buffer]:
        """Return the message on the wire in parts, of which the last is the data."""
        fields: dict[str, Any] = {"head": self.head, "last": self.last or None, "failed": self.failed}
        message = message_class(**{name: value for name, value in fields.items() if value is not None})
        facts: bytes = message.SerializeToString()
        return [facts, _key(message_class, "data", len(self.data)), self.data] if self.data else [facts]


class Pieces:
    """Pieces in order: RetrieveInstancesResponse and the like. `omission` is in the first of a response, if at all."""

    __slots__ = ("omission", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.omission: pb.Omission | None = None
        self.size = 0

    def HasField(self, name: str) -> bool:
        """Say whether a field is set, as messages do."""
        return getattr(self, name) is not None

    def add(self, piece: Piece) -> None:
        """Append a piece."""
        self.pieces.append(piece)
        self.size += len(piece.data) + _PIECE_BYTES

    def serialized(self, message_class: Any) -> bytes:
        """Return them as a message of this class on the wire."""
        piece_class = GetMessageClass(message_class.DESCRIPTOR.fields_by_name["pieces"].message_type)
        omission = {"omission": self.omission} if self.omission is not None else {}
        buffers: list[Buffer] = [message_class(**omission).SerializeToString()]
        for piece in self.pieces:
            parts = piece.buffers(piece_class)
            buffers += [_key(message_class, "pieces", sum(map(len, parts))), *parts]
        return b"".join(buffers)


class OpenItem(Protocol):
    """An item that is being sent; `chunks` raises what becomes of it on the way."""

    @property
    def stored(self) -> StoredInstance:
        """Return the instance it is, or is of."""

    @property
    def chunks(self) -> AsyncIterator[Buffer]:
        """Return its bytes."""


async def in_pieces(
    items: AsyncGenerator[Any],
    head: Callable[[Any], Message],
    budget: ResponseBudget,
    *,
    head_only: bool = False,
    one_by_one: bool = False,
) -> AsyncGenerator[Pieces]:
    """Yield what is left out, and the pieces of all items: small ones share a message, large ones take several.

    A piece has its item's `head` if it is the first, and `last` or `failed` if it is the last.

    Args:
        items: an `Omission` first, if anything is left out, then `OpenItem` and `FailedItem`.
        head: returns the head of an open item.
        budget: says how large a message may be.
        head_only: no bytes are sent, and those of an item without recorded damage are not read.
        one_by_one: no piece waits for others to share its message, because items take long to make.
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
                try:
                    if not head_only or item.stored.damage is not NO_DAMAGE:
                        async for chunk in item.chunks:
                            if head_only:
                                break
                            for run in (chunk,) if len(chunk) <= _MOST_BYTES else _runs(chunk):
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
    for start in range(0, len(chunk), _MOST_BYTES):
        yield chunk[start : start + _MOST_BYTES]


def add_service(descriptor: Any, servicer: Any, server: Any) -> None:
    """Add a service to a server whose responses may be objects that have a method `serialized` instead of messages.

    Args:
        descriptor: of the service, all of whose rpcs take one message.
    """
    handlers = {
        method.name: (
            grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
        )(
            getattr(servicer, method.name),
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=_serializer(GetMessageClass(method.output_type)),
        )
        for method in descriptor.methods
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(descriptor.full_name, handlers),))
    server.add_registered_method_handlers(descriptor.full_name, handlers)


def _serializer(message_class: Any) -> Callable[[Any], bytes]:
    def serialize(response: Any) -> bytes:
        is_message = isinstance(response, Message)
        serialized: bytes = response.SerializeToString() if is_message else response.serialized(message_class)
        return serialized

    return serialize


def _key(message_class: Any, field: str, length: int) -> bytes:
    """Return what stands before the bytes of a field on the wire: number and type, and how many there are."""
    number = message_class.DESCRIPTOR.fields_by_name[field].number
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(length)


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
