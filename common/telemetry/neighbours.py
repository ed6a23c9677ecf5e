"""The exchange of metrics between the processes of a node, over sockets in the abstract namespace (unix(7)).

Each process has a name, such as `node-1`: the lowest free number of its kind, so that a process that replaces another
one continues its series. A process answers a connection with its snapshot as JSON. Only processes of the same user, or
of root, are answered and believed. Without requests for metrics nothing is sent.
"""

import asyncio
import hashlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from common.telemetry.metrics import Snapshot, as_json, from_json, snapshot

KINDS = ("node", "core", "facade", "worker", "dimse")
MAX_PROCESSES = 64
"""Processes of a kind; further ones have metrics of their own, and are not included in those of others."""

_SECONDS = 1.0
_MAX_BYTES = 32 << 20
_CREDENTIALS = struct.Struct("3i")


def group_of(directory: Path) -> str:
    """Return the group of the processes that use a data directory."""
    directory.mkdir(parents=True, exist_ok=True)
    found = directory.stat()
    return f"{directory.resolve()} {found.st_dev} {found.st_ino}"


class Neighbours:
    """The processes of a group; see `joined`."""

    def __init__(self, group: str, kind: str) -> None:
        """Take a name; `group` is a text that all processes of a node have, and no other process."""
        self._digest = hashlib.sha256(f"{os.getuid()} {group}".encode()).hexdigest()[:32]
        self.name = f"{kind}-{os.getpid()}"
        self.socket: socket.socket | None = None
        for number in range(1, MAX_PROCESSES + 1):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                listener.bind(self.address(f"{kind}-{number}"))
            except OSError:
                listener.close()
                continue
            listener.setblocking(False)
            self.name, self.socket = f"{kind}-{number}", listener
            break

    async def snapshots(self) -> list[tuple[str, Snapshot]]:
        """Return the names and snapshots of all processes, this one first. One that does not answer is omitted."""
        return [(self.name, snapshot()), *await asyncio.to_thread(lambda: list(self._others()))]

    def _others(self) -> Iterator[tuple[str, Snapshot]]:
        for name in (f"{kind}-{number}" for kind in KINDS for number in range(1, MAX_PROCESSES + 1)):
            if name != self.name and (taken := self._of(name)) is not None:
                yield name, taken

    def _of(self, name: str) -> Snapshot | None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_SECONDS)
            try:
                connection.connect(self.address(name))
                if not is_trusted(connection):
                    return None
                received = bytearray()
                while chunk := connection.recv(1 << 18):
                    received += chunk
                    if len(received) > _MAX_BYTES:
                        return None
                return from_json(json.loads(received))
            except (OSError, ValueError, TypeError):
                return None

    def address(self, name: str) -> str:
        """Return the address of the socket of a process."""
        return f"\0dicomstore-{self._digest}-{name}"


@asynccontextmanager
async def joined(group: str, kind: str) -> AsyncIterator[Neighbours]:
    """Join a group until the context is left.

    Args:
        kind: one of `KINDS`.
    """
    neighbours = Neighbours(group, kind)
    if neighbours.socket is None:
        yield neighbours
        return
    with neighbours.socket as listener:
        loop = asyncio.get_running_loop()
        listener.listen()
        answering: set[asyncio.Task[None]] = set()

        def accept() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:  # the other process has ended, or there are no free descriptors
                return
            task = loop.create_task(_answer(connection))
            answering.add(task)
            task.add_done_callback(answering.discard)

        loop.add_reader(listener, accept)
        try:
            yield neighbours
        finally:
            loop.remove_reader(listener)
            await asyncio.gather(*answering)


async def _answer(connection: socket.socket) -> None:
    with connection:
        connection.setblocking(False)
        if is_trusted(connection):
            answer = json.dumps(as_json(snapshot()), separators=(",", ":")).encode()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_SECONDS):
                    await asyncio.get_running_loop().sock_sendall(connection, answer)


def trusted_users() -> set[int]:
    """Return the users whose processes are answered and believed."""
    return {0, os.getuid()}


def is_trusted(connection: socket.socket) -> bool:
    """Return whether the peer is a process of the same user or of root."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(found)
    return user in trusted_users()


def process_id() -> str:
    """Return what distinguishes this process from others, on this machine and on others."""
    return f"{socket.gethostname()}:{os.getpid()}"
