"""StoreService: the framing loop of StoreInstances.

One loop reads messages and hands bytes to the receiver of the open item. When an item ends, a task finishes it while
the loop reads on. Unfinished items have `_Room` for so many items and bytes, and at most `_UNSENT` outcomes wait to be
sent, which together with the receiver's own back-pressure bounds what a stream can hold. A second loop sends outcomes.
"""

import asyncio
from collections.abc import AsyncIterator

from dicomstore.v1 import store_service_pb2 as pb
from dicomstore.v1 import store_service_pb2_grpc

from server.domain.store import Receiver, Store, StoreTarget, Turn
from server.model.errors import InvalidRequest, Reason
from server.rpc import convert, errors
from server.rpc.observe import Context, request_id

_IN_FLIGHT = 100
_IN_FLIGHT_BYTES = 8 << 20
_MOST_HELD_BYTES = 1 << 20  # of one item: a receiver passes on what is more
_UNSENT = 4096
_MOST_OUTCOMES = 100

_Requests = AsyncIterator[pb.StoreInstancesRequest]


class StoreServicer(store_service_pb2_grpc.StoreServiceServicer):
    """Speaks StoreService for `Store`."""

    def __init__(self, store: Store, max_message_bytes: int) -> None:
        self._store = store
        self._max_message_bytes = max_message_bytes

    async def StoreInstances(self, requests: _Requests, context: Context) -> AsyncIterator[pb.StoreInstancesResponse]:
        """See the contract."""
        first = await anext(aiter(requests), None)
        if first is None or not first.HasField("header"):
            raise _malformed("The first message must have the header.")
        header = first.header
        target = await self._store.target(
            partition=header.partition,
            expected_study=header.expected_study_instance_uid,
            create_partition=header.create_partition,
            mode=convert.validation_mode(header.validation),
        )
        stream = _Stream(self._store, target, self._max_message_bytes)
        async for outcomes in stream.run(first, requests):
            yield pb.StoreInstancesResponse(outcomes=outcomes)


class _Stream:
    """One call."""

    def __init__(self, store: Store, target: StoreTarget, max_message_bytes: int) -> None:
        self._store = store
        self._target = target
        self._max_message_bytes = max_message_bytes
        self._outcomes: asyncio.Queue[pb.StoreOutcome | None] = asyncio.Queue()
        self._room = _Room()
        self._turn: Turn | None = None
        self._unsent = asyncio.Semaphore(_UNSENT)
        self._finishing: set[asyncio.Task[None]] = set()
        self._item = 0
        self._receiver: Receiver | None = None

    async def run(self, first: pb.StoreInstancesRequest, rest: _Requests) -> AsyncIterator[list[pb.StoreOutcome]]:
        """Read all messages, yield all outcomes, several at once when several are there."""
        reading = asyncio.create_task(self._read(first, rest))
        try:
            while outcome := await self._outcomes.get():
                ready = [outcome]
                while len(ready) < _MOST_OUTCOMES and not self._outcomes.empty():
                    more = self._outcomes.get_nowait()
                    if more is None:
                        self._outcomes.put_nowait(None)  # the end, to be met again by the outer loop
                        break
                    ready.append(more)
                yield ready
                for _ in ready:
                    self._unsent.release()
            await reading
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _read(self, first: pb.StoreInstancesRequest, rest: _Requests) -> None:
        """Take all messages. However it ends, items that ended are finished first, unless the call is cancelled."""
        try:
            await self._take(first)
            async for request in rest:
                if request.HasField("header"):
                    raise _malformed("Only the first message may have a header.")
                await self._take(request)
        except asyncio.CancelledError:
            for task in self._finishing:
                task.cancel()
            raise
        finally:
            if self._finishing:
                await asyncio.wait(self._finishing)
            if self._receiver is not None:
                await self._receiver.close()
            self._outcomes.put_nowait(None)

    async def _take(self, request: pb.StoreInstancesRequest) -> None:
        size = 0
        for piece in request.pieces:
            data = piece.data  # a copy each time it is asked for
            size += len(data)
            if size > self._max_message_bytes:
                raise _malformed(f"A message may carry at most {self._max_message_bytes} bytes.")
            receiver = self._receiver
            if receiver is None:
                receiver = await self._open(piece)
            elif piece.item != self._item:
                raise _malformed(f"Item {piece.item} begins before item {self._item} has ended.")
            if piece.last or piece.aborted:
                self._receiver = None
                weight = min(receiver.size_bytes + len(data), _MOST_HELD_BYTES)
                await self._room.enter(weight)
                self._turn = Turn(self._turn)
                task = asyncio.create_task(self._finish(piece, data, receiver, weight, self._turn))
                self._finishing.add(task)
                task.add_done_callback(self._finishing.discard)
            else:
                await receiver.write(data)

    async def _open(self, piece: pb.InstancePiece) -> Receiver:
        if piece.item <= self._item:
            raise _malformed("Items must have ascending numbers from 1.")
        self._item = piece.item
        declared = piece.declared_size_bytes if piece.HasField("declared_size_bytes") else None
        self._receiver = self._store.receive(self._target, declared)
        return self._receiver

    async def _finish(self, piece: pb.InstancePiece, data: bytes, receiver: Receiver, weight: int, turn: Turn) -> None:
        try:
            if piece.aborted:
                result = await receiver.abort()
            else:
                await receiver.write(data)
                result = await receiver.finish(piece.crc32c if piece.HasField("crc32c") else None, turn)
        except Exception as error:  # noqa: BLE001 - a fault of ours with one item must not harm its neighbours
            result = errors.unexpected_item(error, request_id.get())
        finally:
            await self._leave(receiver, weight, turn)
        await self._unsent.acquire()
        self._outcomes.put_nowait(convert.store_outcome(piece.item, result))

    async def _leave(self, receiver: Receiver, weight: int, turn: Turn) -> None:
        await receiver.close()
        self._room.leave(weight)
        try:
            await turn.come()  # a refused item must not let its followers overtake those before it
        finally:
            turn.over()


class _Room:
    """Lets items in while there is room. Only the reading loop enters, so one event is queue enough."""

    def __init__(self) -> None:
        self._items = 0
        self._bytes = 0
        self._left = asyncio.Event()

    async def enter(self, weight: int) -> None:
        """Wait for room; one item always has it."""
        while self._items and (self._items >= _IN_FLIGHT or self._bytes + weight > _IN_FLIGHT_BYTES):
            self._left.clear()
            await self._left.wait()
        self._items += 1
        self._bytes += weight

    def leave(self, weight: int) -> None:
        """Give the room back."""
        self._items -= 1
        self._bytes -= weight
        self._left.set()


def _malformed(message: str) -> InvalidRequest:
    return InvalidRequest(Reason.MALFORMED_STREAM, message)
