"""Writes the pieces of RetrieveInstances to files. A file appears under its name only when it is complete."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiofiles.threadpool.binary import AsyncBufferedIOBase
from dicomstore.v1 import resources_pb2
from dicomstore.v1 import retrieve_service_pb2 as pb
from rich.console import Console
from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

from cli.causes import Causes
from cli.errors import Failure
from cli.opening import closed, opened
from cli.output import in_bytes, in_time
from cli.results.layout import Layout
from cli.upload.results import reason_name
from common.counting import counted

Advance = Callable[[int, int], None]
"""Called with the number of files and bytes written."""


@dataclass(slots=True)
class _Open:
    """The file being written."""

    head: pb.InstanceHead
    path: Path
    temporary: Path
    file: AsyncBufferedIOBase
    written_bytes: int = 0


class Download:
    """Writes a stream of instances to a folder. Call `take` for each piece, then `finish`; always call `discard`."""

    def __init__(self, folder: Path, advance: Advance, layout: Layout) -> None:
        """Write below `folder`, which is created with the first instance, to the paths of `layout`."""
        self._folder = folder
        self._layout = layout
        self._advance = advance
        self._open: _Open | None = None
        self._files = 0
        self._bytes = 0
        self.failures = Causes("instance")

    async def take(self, piece: pb.RetrievedPiece) -> None:
        """Handle one piece.

        Raises:
            Failure: a write failed, or the stream violates the contract.
        """
        try:
            if piece.HasField("head") and piece.last and not piece.HasField("failed"):
                await self._write_whole(piece)
                return
            if piece.HasField("head"):
                await self._begin(piece.head)
            current = self._open
            if piece.HasField("failed"):
                await self._fail(current.head.id if current else None, piece)
                return
            if current is None:
                raise Failure("the core sent data without an instance")
            if piece.data:
                await current.file.write(piece.data)
                current.written_bytes += len(piece.data)
                self._advance(0, len(piece.data))
            if piece.last:
                await self._end(current)
        except OSError as error:
            raise Failure(f"can't write below {self._folder}: {error.strerror or error}") from error

    def leave_out(self, omission: pb.Omission) -> None:
        """Record the instances that the core omits."""
        for error in omission.errors:
            self.failures.add(error.instance.sop_instance_uid, reason_name(error.reason), (error.message,))
        for _ in range(omission.count - len(omission.errors)):
            self.failures.add("", "OMITTED", ())

    def finish(self) -> None:
        """Check that the stream did not end within an instance.

        Raises:
            Failure: it did.
        """
        if self._open is not None:
            raise Failure("the core ended the stream within an instance")

    async def discard(self) -> None:
        """Remove an incomplete file."""
        if self._open is not None:
            current, self._open = self._open, None
            await closed(current.file)
            with contextlib.suppress(FileNotFoundError):
                await asyncio.to_thread(os.unlink, current.temporary)

    def summary(self, elapsed_s: float) -> str:
        """Return a summary in one line."""
        done = f"{counted(self._files, 'instance')} fetched ({in_bytes(self._bytes)} in {in_time(elapsed_s)})"
        return f"{done}, {self.failures.count:,} failed" if self.failures.count else done

    async def _write_whole(self, piece: pb.RetrievedPiece) -> None:
        """Write an instance that consists of one piece, in a single call to a thread."""
        self._check_begin()
        self._check_size(piece.head, len(piece.data))
        path = await self._path(piece.head.id)
        await asyncio.to_thread(_write_file, path, _temporary_for(path), piece.data)
        self._count(len(piece.data))
        self._advance(0, len(piece.data))

    async def _begin(self, head: pb.InstanceHead) -> None:
        self._check_begin()
        path = await self._path(head.id)
        await asyncio.to_thread(os.makedirs, path.parent, exist_ok=True)
        temporary = _temporary_for(path)
        try:
            file = await opened(temporary, "xb")
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        self._open = _Open(head, path, temporary, file)

    async def _end(self, current: _Open) -> None:
        self._check_size(current.head, current.written_bytes)
        await closed(current.file)
        await asyncio.to_thread(os.replace, current.temporary, current.path)
        self._open = None
        self._count(current.written_bytes)

    def _count(self, size_bytes: int) -> None:
        self._files += 1
        self._bytes += size_bytes
        self._advance(1, 0)

    def _check_begin(self) -> None:
        if self._open is not None:
            raise Failure("the core started an instance within another one")

    def _check_size(self, head: pb.InstanceHead, written_bytes: int) -> None:
        if head.HasField("size_bytes") and written_bytes != head.size_bytes:
            raise Failure(f"the size of instance {head.id.sop_instance_uid} does not match its announced size")

    async def _fail(self, identity: resources_pb2.Address | None, piece: pb.RetrievedPiece) -> None:
        await self.discard()
        instance = piece.failed.instance.sop_instance_uid or (identity.sop_instance_uid if identity else "")
        self.failures.add(instance, reason_name(piece.failed.reason), (piece.failed.message,))

    async def _path(self, identity: resources_pb2.Address) -> Path:
        return self._folder / await self._layout.path_of(identity)


def _temporary_for(path: Path) -> Path:
    """Return a new name in the folder of the final one, so that the rename stays within one file system."""
    return path.with_name(f".{uuid.uuid4().hex}.part")


def _write_file(path: Path, temporary: Path, data: bytes) -> None:
    """Write a complete file atomically; blocking."""
    os.makedirs(path.parent, exist_ok=True)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


@contextmanager
def progress_of(console: Console, *, quiet: bool) -> Iterator[Advance]:
    """Show the progress on a terminal. The total size is unknown, so there is no bar."""
    if quiet or not console.is_terminal:
        yield lambda files, size_bytes: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.fields[files]} instances"), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("get", total=None, files=0)
        count = 0

        def advance(files: int, size_bytes: int) -> None:
            nonlocal count
            count += files
            progress.update(task, advance=size_bytes, files=count)

        yield advance
