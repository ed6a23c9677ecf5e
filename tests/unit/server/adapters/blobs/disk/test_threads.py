"""DiskThreads: results, errors, order and cancellation of work on threads; and writes of many buffers."""

import asyncio
import errno
import os
import random
import threading
from functools import partial
from pathlib import Path

import pytest

from server.adapters.blobs.disk.threads import DiskThreads, write_all
from server.model.errors import DicomStoreError, Reason


async def test_work_runs_on_another_thread_and_its_result_is_returned() -> None:
    threads = DiskThreads(1)
    assert await threads.run(threading.get_ident) != threading.get_ident()
    threads.close()


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, Reason.STORAGE_FULL), (errno.EIO, Reason.STORAGE_UNAVAILABLE)]
)
async def test_an_error_of_the_system_becomes_one_of_the_store(number: int, reason: Reason) -> None:
    def fail() -> None:
        raise OSError(number, "fault")

    threads = DiskThreads(1)
    with pytest.raises(DicomStoreError) as caught:
        await threads.run(fail)
    assert caught.value.reason is reason
    assert isinstance(caught.value.__cause__, OSError)
    threads.close()


async def test_another_error_is_raised_unchanged() -> None:
    def fail() -> None:
        raise KeyError("name")

    threads = DiskThreads(1)
    with pytest.raises(KeyError):
        await threads.run(fail)
    threads.close()


async def test_a_single_thread_works_in_the_order_of_the_calls() -> None:
    threads, order = DiskThreads(1), list[int]()
    await asyncio.gather(*(threads.run(partial(order.append, number)) for number in range(100)))
    assert order == list(range(100))
    threads.close()


async def test_as_many_jobs_run_at_the_same_time_as_there_are_threads() -> None:
    threads, both = DiskThreads(2), threading.Barrier(2)
    await asyncio.gather(threads.run(lambda: both.wait(10)), threads.run(lambda: both.wait(10)))
    threads.close()


async def test_a_cancelled_caller_waits_for_the_end_of_its_work() -> None:
    threads, may_end, ended = DiskThreads(1), threading.Event(), list[bool]()
    caller = asyncio.create_task(threads.run(lambda: ended.append(may_end.wait(10))))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended == [True]
    threads.close()


async def test_work_runs_even_if_its_caller_is_cancelled_before_its_start() -> None:
    threads, may_end, done = DiskThreads(1), threading.Event(), list[int]()
    first = asyncio.create_task(threads.run(lambda: may_end.wait(10)))
    second = asyncio.create_task(threads.run(lambda: done.append(1)))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    may_end.set()
    await first
    with pytest.raises(asyncio.CancelledError):
        await second
    assert done == [1]
    threads.close()


async def test_no_work_is_accepted_after_close() -> None:
    threads = DiskThreads(1)
    threads.close()
    with pytest.raises(RuntimeError):
        await threads.run(threading.get_ident)


@pytest.mark.parametrize("sizes", [[2_000_000], [300_000] * 5, [7] * 1200, [0, 600_000, 0, 1, 0]])
def test_all_buffers_are_written_at_a_position_in_order(tmp_path: Path, sizes: list[int]) -> None:
    buffers = [random.Random(number).randbytes(size) for number, size in enumerate(sizes)]
    path = tmp_path / "file"
    path.write_bytes(b"before")
    fd = os.open(path, os.O_RDWR)
    try:
        assert write_all(fd, buffers, 6) == 6 + sum(sizes)
    finally:
        os.close(fd)
    assert path.read_bytes() == b"before" + b"".join(buffers)
