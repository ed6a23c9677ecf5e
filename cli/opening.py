"""Opening and closing of files in threads, so that a cancellation leaves no file open."""

import asyncio
import contextlib
from pathlib import Path
from typing import Literal, cast

import aiofiles
from aiofiles.threadpool.binary import AsyncBufferedIOBase


async def opened(path: Path, mode: Literal["rb", "xb"]) -> AsyncBufferedIOBase:
    """Open a file; the caller closes it with `closed`.

    A cancellation does not stop the thread that opens the file, so this then waits for the file and closes it.

    Raises:
        OSError: the file cannot be opened.
    """
    opening = asyncio.create_task(_open(path, mode))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await closed(await opening)
        raise


async def closed(file: AsyncBufferedIOBase) -> None:
    """Close a file, even if this is cancelled; a thread pool would otherwise drop queued work.

    Raises:
        OSError: buffered data does not fit on the disk.
    """
    closing = asyncio.create_task(file.close())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await closing
        raise


async def _open(path: Path, mode: Literal["rb", "xb"]) -> AsyncBufferedIOBase:
    return cast(AsyncBufferedIOBase, await aiofiles.open(path, mode))
