"""Opening files: cli/opening.py."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli.opening import closed, opened


async def test_an_opened_file_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    file = await opened(tmp_path / "file", "rb")
    assert await file.read() == b"abc"
    await file.close()


async def test_a_file_that_cannot_be_opened_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await opened(tmp_path / "gone", "rb")


async def test_a_file_that_opens_after_the_cancellation_is_closed(tmp_path: Path) -> None:
    # Opening a pipe waits for the other end, so the thread is still at it when the task is cancelled.
    os.mkfifo(tmp_path / "pipe")
    opening = asyncio.create_task(opened(tmp_path / "pipe", "rb"))
    await asyncio.wait([opening], timeout=0)
    opening.cancel()
    await asyncio.wait([opening], timeout=0)
    other_end = await asyncio.to_thread(os.open, tmp_path / "pipe", os.O_WRONLY)
    try:
        with pytest.raises(asyncio.CancelledError):
            await opening
        with pytest.raises(BrokenPipeError):
            os.write(other_end, b"x")
    finally:
        os.close(other_end)


async def test_a_file_is_closed_even_if_closing_is_cancelled_before_it_runs(tmp_path: Path) -> None:
    # All threads of the pool are busy, so closing is still queued when it is cancelled.
    (tmp_path / "file").write_bytes(b"abc")
    file = await opened(tmp_path / "file", "rb")
    release = threading.Event()
    pool = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(pool)
    busy = asyncio.create_task(asyncio.to_thread(release.wait))
    closing = asyncio.create_task(closed(file))
    await asyncio.wait([closing], timeout=0)
    closing.cancel()
    await asyncio.wait([closing], timeout=0)
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await busy
    assert file.closed
