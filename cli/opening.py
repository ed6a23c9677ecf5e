"""Opens and closes files in threads so that no cancellation leaves one open."""

import asyncio
import contextlib
from pathlib import Path
from typing import Literal, cast

import aiofiles
from aiofiles.threadpool.binary import AsyncBufferedIOBase


async def opened(path: Path, mode: Literal["rb", "xb"]) -> AsyncBufferedIOBase:
    """Open a file; the caller closes it with `closed`.

    When this is cancelled the thread goes on opening. What it opens is waited for and closed, because nobody else
    will ever hear of it.

    Raises:
        OSError: it can't be opened.
    """
    opening = asyncio.create_task(_open(path, mode))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await closed(await opening)
        raise


async def closed(file: AsyncBufferedIOBase) -> None:
    """Close a file, also when this is cancelled: a thread pool forgets work that is cancelled before its turn.

    Raises:
        OSError: what was written does not fit on the disk.
    """
    closing = asyncio.create_task(file.close())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await closing
        raise


async def _open(path: Path, mode: Literal["rb", "xb"]) -> AsyncBufferedIOBase:
    return cast(AsyncBufferedIOBase, await aiofiles.open(path, mode))
