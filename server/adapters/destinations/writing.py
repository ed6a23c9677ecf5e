"""Writing files through blocking calls, on threads of their own."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from server.model.buffer import Buffer
from server.model.lifecycle.export import Written

PART_BYTES = 8 << 20
"""Size of the parts of large files. Smaller files are written with one call."""

THREADS = 4

T = TypeVar("T")


class Upload(Protocol):
    """A file that is being written in parts. All calls block and raise DestinationError."""

    def write(self, data: Buffer) -> None:
        """Write the next part."""
        ...

    def commit(self) -> None:
        """Make the file exist, as a whole and durably."""
        ...

    def abort(self) -> None:
        """Discard what has been written. Does not fail."""
        ...


class Target(Protocol):
    """Writes files. All calls block and raise DestinationError."""

    def put(self, path: str, data: Buffer) -> None:
        """Write a whole file, durably."""
        ...

    def begin(self, path: str) -> Upload:
        """Begin a file that is written in parts."""
        ...

    def clean_up(self, path: str) -> None:
        """Remove incomplete files below a path."""
        ...


class ThreadedDestination:
    """`server.ports.lifecycle.exports.Destination` with a blocking target. To be closed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._threads = ThreadPoolExecutor(THREADS, "export")

    async def write(self, path: str, pieces: AsyncIterator[Buffer]) -> Written:
        """See the port."""
        digest, size_bytes = hashlib.sha256(), 0
        upload: Upload | None = None
        running: asyncio.Future[Any] | None = None
        part = bytearray()

        async def run(work: Callable[..., T], *arguments: Any) -> T:
            nonlocal running
            running = future = self._run(work, *arguments)
            return await asyncio.shield(future)

        def send(data: bytearray) -> None:
            digest.update(data)
            if upload is not None:
                upload.write(memoryview(data))

        try:
            async for piece in pieces:
                size_bytes += len(piece)
                part += piece
                if len(part) >= PART_BYTES:
                    upload = upload or await run(self._target.begin, path)
                    full, part = part, bytearray()
                    await run(send, full)
            await run(send, part)
            if upload is None:
                await run(self._target.put, path, memoryview(part))
            else:
                await run(upload.commit)
        except BaseException:
            if upload is not None:
                if running is not None:  # a call that a cancellation has interrupted may still use the upload
                    await asyncio.wait({running})
                await asyncio.shield(self._run(upload.abort))
            raise
        return Written(size_bytes, digest.digest())

    async def clean_up(self, path: str) -> None:
        """See the port."""
        await self._run(self._target.clean_up, path)

    def close(self) -> None:
        """Start no more calls. Those that still run, after a cancellation, end when their connections do."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, work: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
        future = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody waits for it
        return future
