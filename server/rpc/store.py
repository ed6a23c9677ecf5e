"""StoreService: the framing loop of StoreInstances.

One loop reads messages and hands bytes to the receiver of the open item. When an item ends, a task finishes it while
the loop reads on. A second loop sends outcomes.

What a stream holds is bounded by its share of the `Room` that all streams have together, by `_FINISHING` items that
are being finished, and by `_UNSENT` outcomes that the client has not read: with any of them used up the stream stops
reading, and flow control stops the client.
"""

import asyncio
from collections.abc import AsyncIterator

from dicomstore.v1 import store_service_pb2 as pb
from dicomstore.v1 import store_service_pb2_grpc

from server.domain.flow.ingest_budget import BASE_BYTES, Room, Share, busy
from server.domain.store.receive import Receiver, Store, StoreTarget, Turn
from server.model.call import Call
from server.model.errors import DicomStoreError, InvalidRequest, Reason
from server.rpc import convert, errors
from server.rpc.interceptors.call_context import Context

_FINISHING = 100
_UNSENT = 4096
_MOST_OUTCOMES = 100

_USUAL_HEADER_BYTES = 256 << 10
"""Header of an open item that the base of a share covers."""

_GROWTH_BYTES = 256 << 10

_FIRST_MESSAGE_SECONDS = 1.0
"""A first message is usually on its way. Who lends its room meanwhile to others gets the message without."""

_Requests = AsyncIterator[pb.StoreInstancesRequest]


class StoreServicer(store_service_pb2_grpc.StoreServiceServicer):
    """Speaks StoreService for `Store`."""

    def __init__(self, store: Store, max_message_bytes: int, room: Room) -> None:
        self._store = store
        self._max_message_bytes = max_message_bytes
        self._room = room

    async def StoreInstances(self, requests: _Requests, context: Context) -> AsyncIterator[pb.StoreInstancesResponse]:
        """See the contract."""
        stream = _Stream(context.call, self._store, self._max_message_bytes, self._room)
        async for outcomes in stream.run(requests):
            yield pb.StoreInstancesResponse(outcomes=outcomes)


class _Item:
    """One item: its receiver, and the room it has beyond the base of the stream's share."""

    def __init__(self, number: int, receiver: Receiver) -> None:
        self.number = number
        self.receiver = receiver
        self.covered_bytes = _USUAL_HEADER_BYTES
        self.grown_bytes = 0
        self.carried_bytes = 0
        self.weight = 0
        self.is_over = False


class _Stream:
    """One call."""

    def __init__(self, call: Call, store: Store, max_message_bytes: int, room: Room) -> None:
        self._call = call
        self._store = store
        self._max_message_bytes = max_message_bytes
        self._share = Share(room, self._stop_reading)
        self._outcomes: asyncio.Queue[pb.StoreOutcome | None] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None
        self._turn: Turn | None = None
        self._unsent = asyncio.Semaphore(_UNSENT)
        self._places = asyncio.Semaphore(_FINISHING)
        self._finishing: set[asyncio.Task[None]] = set()
        self._ended: list[_Item] = []  # in the message at hand
        self._last_number = 0
        self._open: _Item | None = None

    async def run(self, requests: _Requests) -> AsyncIterator[list[pb.StoreOutcome]]:
        """Read all messages, yield all outcomes, several at once when several are there."""
        self._reading = asyncio.create_task(self._read(requests))
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
            await self._reading
        finally:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _stop_reading(self) -> None:
        assert self._reading is not None
        self._reading.cancel()

    async def _read(self, requests: _Requests) -> None:
        """Take all messages. However it ends, items that ended are finished first, unless the call is cancelled."""
        try:
            try:
                await self._take_all(requests)
            except DicomStoreError:
                await self._all_finished()
                raise
            except asyncio.CancelledError:
                if not self._share.is_evicted:
                    raise
                await self._all_finished()
                raise busy() from None
            await self._all_finished()
        except asyncio.CancelledError:
            for task in self._finishing:
                task.cancel()
            raise
        finally:
            await self._all_finished()
            if self._open is not None:
                await self._open.receiver.close()
            self._share.close()
            self._outcomes.put_nowait(None)

    async def _take_all(self, messages: _Requests) -> None:
        await self._share.enter()
        requests = aiter(messages)  # not before: gRPC wants one to be read
        target = await self._take_first(requests)
        while await self._take_next(requests, target):
            pass

    async def _take_first(self, requests: _Requests) -> StoreTarget:
        """Take the message with the header; return what holds for all items."""
        first = await self._next(requests, grace_seconds=_FIRST_MESSAGE_SECONDS)
        if first is None or not first.HasField("header"):
            raise _malformed("The first message must have the header.")
        header = first.header
        target = await self._store.target(
            self._call,
            convert.address(header.address),
            create_partition=header.create_partition,
            mode=convert.validation_mode(header.validation),
        )
        await self._take(first, target)
        return target

    async def _take_next(self, requests: _Requests, target: StoreTarget) -> bool:
        """Take one more message, which nothing refers to afterwards; return whether there was one."""
        await self._settle()
        request = await self._next(requests)
        if request is None:
            return False
        if request.HasField("header"):
            raise _malformed("Only the first message may have a header.")
        await self._take(request, target)
        return True

    async def _next(self, requests: _Requests, grace_seconds: float = 0.0) -> pb.StoreInstancesRequest | None:
        self._share.rest(lend=self._open is None, grace_seconds=grace_seconds)
        request = await anext(requests, None)
        await self._share.enter()
        return request

    async def _settle(self) -> None:
        """Leave nothing that the base of the share stands for but the open item, so that another message may come."""
        ended, self._ended = [item for item in self._ended if not item.is_over], []
        if self._share.carry(sum(item.weight for item in ended)):
            for item in ended:
                item.carried_bytes = item.weight
        else:
            await self._all_finished()
        if self._open is None:
            await self._share.pass_on()

    async def _take(self, request: pb.StoreInstancesRequest, target: StoreTarget) -> None:
        size = 0
        for piece in request.pieces:
            data = piece.data  # a copy each time it is asked for
            size += len(data)
            if size > self._max_message_bytes:
                raise _malformed(f"A message may carry at most {self._max_message_bytes} bytes.")
            item = self._open or self._begin(piece, target)
            if piece.item != item.number:
                raise _malformed(f"Item {piece.item} begins before item {item.number} has ended.")
            if piece.last or piece.aborted:
                await self._end(item, piece, data)
            else:
                await item.receiver.write(data)
                await self._cover_header(item)

    def _begin(self, piece: pb.InstancePiece, target: StoreTarget) -> _Item:
        if piece.item <= self._last_number:
            raise _malformed("Items must have ascending numbers from 1.")
        self._last_number = piece.item
        declared = piece.declared_size_bytes if piece.HasField("declared_size_bytes") else None
        self._open = _Item(piece.item, self._store.receive(target, declared))
        return self._open

    async def _cover_header(self, item: _Item) -> None:
        """See to it that there is room for the header of the open item."""
        if (missing := item.receiver.header_bytes - item.covered_bytes) > 0:
            growth = max(missing, _GROWTH_BYTES)
            await self._share.grow(growth)
            item.covered_bytes += growth
            item.grown_bytes += growth

    async def _end(self, item: _Item, piece: pb.InstancePiece, data: bytes) -> None:
        await self._unsent.acquire()
        await self._places.acquire()
        self._open = None
        item.weight = min(item.receiver.size_bytes + len(data), BASE_BYTES)
        self._ended.append(item)
        self._turn = Turn(self._turn)
        task = asyncio.create_task(self._finish(item, piece, data, self._turn))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _finish(self, item: _Item, piece: pb.InstancePiece, data: bytes, turn: Turn) -> None:
        receiver = item.receiver
        try:
            if piece.aborted:
                result = await receiver.abort()
            else:
                await receiver.write(data)
                result = await receiver.finish(piece.crc32c if piece.HasField("crc32c") else None, turn)
        except Exception as error:  # noqa: BLE001 - a fault of ours with one item must not harm its neighbours
            result = errors.unexpected_item(error, self._call.request_id)
        finally:
            await self._leave(item, turn)
        self._outcomes.put_nowait(convert.store_outcome(item.number, result))

    async def _leave(self, item: _Item, turn: Turn) -> None:
        await item.receiver.close()
        item.is_over = True
        if item.carried_bytes:
            self._share.drop(item.carried_bytes)
        if item.grown_bytes:
            self._share.shrink(item.grown_bytes)
        self._places.release()
        try:
            await turn.come()  # a refused item must not let its followers overtake those before it
        finally:
            turn.over()

    async def _all_finished(self) -> None:
        if self._finishing:
            await asyncio.wait(self._finishing)


def _malformed(message: str) -> InvalidRequest:
    return InvalidRequest(Reason.MALFORMED_STREAM, message)
