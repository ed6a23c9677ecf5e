"""Several processes accept connections on one port; here two listeners in one event loop stand for them."""

import asyncio
import resource
import socket
import time
from collections.abc import Iterator

import pytest

from node.listener import Listener, plain

SECONDS = 20.0


class Connections(asyncio.Protocol):
    """A protocol for all connections of a process, which sends one byte to each."""

    def __init__(self) -> None:
        self.open: set[asyncio.BaseTransport] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.open.add(transport)
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"!")

    def __len__(self) -> int:
        return len(self.open)

    def __call__(self) -> asyncio.Protocol:
        return self


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


async def connect(listener: socket.socket, count: int) -> list[asyncio.StreamWriter]:
    """Connect `count` times, each after the previous connection was accepted."""
    writers = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        assert await asyncio.wait_for(reader.read(1), SECONDS) == b"!"
        writers.append(writer)
    return writers


async def disconnect(writers: list[asyncio.StreamWriter], *protocols: Connections) -> None:
    for transport in [
        *(transport for protocol in protocols for transport in protocol.open),
        *(writer.transport for writer in writers),
    ]:
        transport.abort()  # type: ignore[attr-defined]
    await asyncio.sleep(0)


async def test_connections_are_shared_evenly(listener: socket.socket) -> None:
    one, other = Connections(), Connections()
    listeners = [Listener(listener.dup(), plain(protocol), protocol, is_shared=True) for protocol in (one, other)]
    writers = await connect(listener, 9)
    assert sorted((len(one), len(other))) == [4, 5]
    await disconnect(writers, one, other)
    for accepting in listeners:
        accepting.close()


async def test_the_process_with_fewer_connections_accepts_the_next_one(listener: socket.socket) -> None:
    one, other = Connections(), Connections()
    alone = Listener(listener.dup(), plain(one), one, is_shared=True)
    writers = await connect(listener, 4)
    second = Listener(listener.dup(), plain(other), other, is_shared=True)
    writers += await connect(listener, 4)
    # A delay that began with an earlier connection may end just when the next one arrives, once in four connections.
    assert len(other) in (3, 4)
    assert len(one) + len(other) == 8
    await disconnect(writers, one, other)
    alone.close()
    second.close()


async def test_a_single_process_accepts_all_pending_connections(listener: socket.socket) -> None:
    protocol = Connections()
    waiting = [await asyncio.open_connection(*listener.getsockname()) for _ in range(5)]
    accepting = Listener(listener.dup(), plain(protocol), protocol, is_shared=False)
    for reader, _ in waiting:
        assert await asyncio.wait_for(reader.read(1), SECONDS) == b"!"
    assert len(protocol) == 5
    await disconnect([writer for _, writer in waiting], protocol)
    accepting.close()


async def test_a_closed_listener_accepts_no_connection(listener: socket.socket) -> None:
    protocol = Connections()
    accepting = Listener(listener.dup(), plain(protocol), protocol, is_shared=True)
    writers = await connect(listener, 1)
    accepting.close()
    reader, late = await asyncio.open_connection(*listener.getsockname())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.05)
    await disconnect([*writers, late], protocol)


async def test_without_free_descriptors_it_pauses_without_spinning_and_accepts_later(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.listener._OUT_OF_RESOURCES_SECONDS", 0.2)
    protocol = Connections()
    accepting = Listener(listener.dup(), plain(protocol), protocol, is_shared=False)
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
        assert len(protocol) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert await asyncio.wait_for(loop.sock_recv(connecting, 1), SECONDS) == b"!"
    connecting.close()
    await disconnect([], protocol)
    accepting.close()
