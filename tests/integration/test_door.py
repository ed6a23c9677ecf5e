"""Several processes take connections of one port; here they are two doors in one loop."""

import asyncio
import resource
import socket
import time
from collections.abc import Iterator

import pytest

from node.door import Door

SECONDS = 20.0


class Guests(asyncio.Protocol):
    """A protocol that is all connections of a process, and greets each."""

    def __init__(self) -> None:
        self.present: set[asyncio.BaseTransport] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.present.add(transport)
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"!")

    def __len__(self) -> int:
        return len(self.present)

    def __call__(self) -> asyncio.Protocol:
        return self


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


async def enter(listener: socket.socket, count: int) -> list[asyncio.StreamWriter]:
    """Connect so many times, each after the one before was greeted."""
    writers = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        assert await asyncio.wait_for(reader.read(1), SECONDS) == b"!"
        writers.append(writer)
    return writers


async def leave(writers: list[asyncio.StreamWriter], *rooms: Guests) -> None:
    for transport in [*(guest for room in rooms for guest in room.present), *(writer.transport for writer in writers)]:
        transport.abort()  # type: ignore[attr-defined]
    await asyncio.sleep(0)


async def test_connections_are_shared_evenly(listener: socket.socket) -> None:
    one, other = Guests(), Guests()
    doors = [Door(listener.dup(), room, room, is_shared=True) for room in (one, other)]
    writers = await enter(listener, 9)
    assert sorted((len(one), len(other))) == [4, 5]
    await leave(writers, one, other)
    for door in doors:
        door.close()


async def test_who_has_fewer_connections_takes_the_next(listener: socket.socket) -> None:
    one, other = Guests(), Guests()
    alone = Door(listener.dup(), one, one, is_shared=True)
    writers = await enter(listener, 4)
    second = Door(listener.dup(), other, other, is_shared=True)
    writers += await enter(listener, 4)
    assert (len(one), len(other)) == (4, 4)
    await leave(writers, one, other)
    alone.close()
    second.close()


async def test_alone_it_takes_all_who_wait(listener: socket.socket) -> None:
    room = Guests()
    waiting = [await asyncio.open_connection(*listener.getsockname()) for _ in range(5)]
    door = Door(listener.dup(), room, room, is_shared=False)
    for reader, _ in waiting:
        assert await asyncio.wait_for(reader.read(1), SECONDS) == b"!"
    assert len(room) == 5
    await leave([writer for _, writer in waiting], room)
    door.close()


async def test_behind_a_closed_door_nobody_is_let_in(listener: socket.socket) -> None:
    room = Guests()
    door = Door(listener.dup(), room, room, is_shared=True)
    writers = await enter(listener, 1)
    door.close()
    reader, late = await asyncio.open_connection(*listener.getsockname())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.05)
    await leave([*writers, late], room)


async def test_without_a_descriptor_left_it_rests_instead_of_spinning_and_takes_who_waits_later(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.door._STARVED_SECONDS", 0.2)
    room = Guests()
    door = Door(listener.dup(), room, room, is_shared=False)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    connecting = socket.socket()
    connecting.setblocking(False)
    loop = asyncio.get_running_loop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))  # new descriptors would be above
    try:
        await loop.sock_connect(connecting, listener.getsockname())
        used = time.process_time()
        await asyncio.sleep(0.1)
        assert time.process_time() - used < 0.05
        assert len(room) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert await asyncio.wait_for(loop.sock_recv(connecting, 1), SECONDS) == b"!"
    connecting.close()
    await leave([], room)
    door.close()
