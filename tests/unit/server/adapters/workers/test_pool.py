"""The pool of worker processes: server/ports/workers.py."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.adapters.workers import pool as worker_pool
from server.adapters.workers.pool import WorkerPool
from server.model.errors import DicomStoreError, Exhausted, NotFound, Reason, Unavailable, WrongState
from server.model.pixels import PixelDescription, TranscodeFrame

JOBS = """
import os, signal, sys, time
from server.model.errors import NotFound, Reason

def perform(job):
    what, _, argument = job.target.partition(" ")
    if what == "echo":
        return job.data
    if what == "join":
        return b"".join(job.data)
    if what == "pid":
        return str(os.getpid()).encode()
    if what == "die":
        os.abort()
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "killed-once":
        if not os.path.exists(argument):
            open(argument, "x").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return job.data
    if what == "hang":
        time.sleep(1000)
    if what == "wait":  # until a file is there
        while not os.path.exists(argument):
            time.sleep(0.01)
        return b"waited"
    if what == "gorge":
        return bytes(1 << 31)
    if what == "refuse":
        raise NotFound(Reason.FRAME_NOT_FOUND, "Not there.", frame="7")
    if what == "modules":
        return " ".join(sorted(sys.modules)).encode()
    if what == "settings":
        return os.environ.get("DICOMSTORE_DATABASE", "none").encode()
    if what == "oom-score":
        return open("/proc/self/oom_score_adj", "rb").read()
    raise ValueError(what)
"""
DESCRIPTION = PixelDescription(1, 1, 1, "MONOCHROME2", 8, 8, 7, False, 0)

Pools = Callable[..., Any]


def job(what: str, data: Any = b"") -> TranscodeFrame:
    return TranscodeFrame(data, DESCRIPTION, "", what)


@pytest.fixture
def pool_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pools:
    """Creates pools whose workers run the jobs of `JOBS`."""
    (tmp_path / "pool_jobs.py").write_text(JOBS)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    @asynccontextmanager
    async def opened(count: int = 1, job_seconds: float = 30, **options: Any) -> AsyncIterator[WorkerPool]:
        async with WorkerPool(
            "pool_jobs.perform", count=count, job_seconds=job_seconds, memory_bytes=256 << 20, **options
        ) as pool:
            yield pool

    return opened


async def pid_of(pool: WorkerPool) -> int:
    return int(await pool.perform(job("pid")))


async def ended(pid: int) -> None:
    """Return when a process has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, gone.set)
        await asyncio.wait_for(gone.wait(), 30)
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


@pytest.mark.parametrize("size", [0, 1, 1 << 14, 1 << 20, (5 << 20) + 1])
async def test_jobs_and_results_of_any_size_are_transferred(pool_of: Pools, size: int) -> None:
    data = os.urandom(size)
    async with pool_of() as pool:
        assert await pool.perform(job("echo", data)) == data


async def test_large_values_within_tuples_arrive(pool_of: Pools) -> None:
    async with pool_of() as pool:
        assert await pool.perform(job("join", (b"a" * 100_000, b"b"))) == b"a" * 100_000 + b"b"


async def test_an_exception_of_a_job_is_raised_to_the_caller(pool_of: Pools) -> None:
    async with pool_of() as pool:
        with pytest.raises(NotFound) as raised:
            await pool.perform(job("refuse"))
    assert (raised.value.reason, raised.value.message) == (Reason.FRAME_NOT_FOUND, "Not there.")
    assert raised.value.metadata == {"frame": "7"}


@pytest.mark.parametrize("what", ["die", "hang", "gorge", "unknown"])
async def test_a_failing_job_does_not_affect_others(pool_of: Pools, what: str) -> None:
    async with pool_of(count=2, job_seconds=2) as pool:
        outcomes = await asyncio.gather(
            pool.perform(job("echo", b"1")),
            pool.perform(job(what)),
            *(pool.perform(job("echo", b"%d" % number)) for number in range(5)),
            return_exceptions=True,
        )
        assert await pool.perform(job("echo", b"after")) == b"after"
    failed = outcomes.pop(1)
    assert isinstance(failed, WrongState)
    assert failed.reason is Reason.PIXEL_DATA_UNREADABLE
    assert outcomes == [b"1", b"0", b"1", b"2", b"3", b"4"]


async def test_a_worker_that_died_while_idle_is_replaced(pool_of: Pools) -> None:
    async with pool_of() as pool:
        pid = await pid_of(pool)
        gone = asyncio.create_task(ended(pid))
        await asyncio.wait([gone], timeout=0)  # the task opens the process before it ends
        os.kill(pid, signal.SIGKILL)
        await gone
        assert await pool.perform(job("echo", b"x")) == b"x"


async def test_a_job_whose_worker_was_killed_is_retried_in_another(pool_of: Pools, tmp_path: Path) -> None:
    async with pool_of() as pool:
        assert await pool.perform(job(f"killed-once {tmp_path / 'began'}", b"x")) == b"x"


async def test_a_job_killed_twice_fails_as_busy_and_not_as_unreadable(pool_of: Pools) -> None:
    async with pool_of() as pool:
        with pytest.raises(Exhausted) as failed:
            await pool.perform(job("killed"))
        assert failed.value.reason is Reason.BUSY
        assert await pool.perform(job("echo", b"x")) == b"x"


async def test_a_job_that_cannot_be_pickled_raises_to_its_caller(pool_of: Pools) -> None:
    async with pool_of() as pool:
        with pytest.raises((TypeError, AttributeError)):
            await pool.perform(job("echo", lambda: None))
        assert await pool.perform(job("echo", b"x")) == b"x"


async def test_concurrent_jobs_are_limited_by_the_number_of_workers(pool_of: Pools, tmp_path: Path) -> None:
    async with pool_of(count=2) as pool:
        waiting = [asyncio.create_task(pool.perform(job(f"wait {tmp_path}/go"))) for _ in range(2)]
        third = asyncio.create_task(pool.perform(job("echo", b"3")))
        done, _ = await asyncio.wait([third], timeout=0.5)
        assert not done
        (tmp_path / "go").touch()
        assert await asyncio.gather(*waiting, third) == [b"waited", b"waited", b"3"]


async def test_too_many_waiting_jobs_are_refused(
    pool_of: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "MAX_WAITING_JOBS", 3)
    async with pool_of() as pool:
        tasks = [asyncio.create_task(pool.perform(job(f"wait {tmp_path}/go"))) for _ in range(4)]
        await asyncio.wait(tasks, timeout=0)
        with pytest.raises(Exhausted, match="try again later"):
            await pool.perform(job("echo"))
        (tmp_path / "go").touch()
        assert await asyncio.gather(*tasks) == [b"waited"] * 4


async def test_waiting_jobs_are_limited_in_bytes_except_the_first(
    pool_of: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "MAX_WAITING_BYTES", 1000)
    async with pool_of() as pool:
        tasks = [asyncio.create_task(pool.perform(job(f"wait {tmp_path}/go", bytes(2000)))) for _ in range(2)]
        await asyncio.wait(tasks, timeout=0)
        with pytest.raises(Exhausted):
            await pool.perform(job("echo", b"x"))
        (tmp_path / "go").touch()
        await asyncio.gather(*tasks)


async def test_a_cancelled_waiting_job_leaves_the_queue(
    pool_of: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "MAX_WAITING_JOBS", 1)
    async with pool_of() as pool:
        first = asyncio.create_task(pool.perform(job(f"wait {tmp_path}/go")))
        second = asyncio.create_task(pool.perform(job("echo", b"2")))
        await asyncio.wait([first, second], timeout=0)
        second.cancel()
        await asyncio.wait([second])
        third = asyncio.create_task(pool.perform(job("echo", b"3")))
        await asyncio.wait([third], timeout=0)
        (tmp_path / "go").touch()
        assert await third == b"3"
        await first


async def test_cancelling_a_running_job_does_not_stop_its_worker(pool_of: Pools, tmp_path: Path) -> None:
    async with pool_of() as pool:
        pid = await pid_of(pool)
        task = asyncio.create_task(pool.perform(job(f"wait {tmp_path}/go")))
        await asyncio.wait([task], timeout=0)
        task.cancel()
        await asyncio.wait([task])
        (tmp_path / "go").touch()
        assert await pid_of(pool) == pid


async def test_idle_workers_end_and_are_started_again(pool_of: Pools) -> None:
    async with pool_of(idle_seconds=0.05) as pool:
        pid = await pid_of(pool)
        await ended(pid)
        assert await pid_of(pool) != pid


async def test_closing_the_pool_ends_workers_and_refuses_waiting_jobs(pool_of: Pools) -> None:
    async with pool_of() as pool:
        pid = await pid_of(pool)
        tasks = [asyncio.create_task(_outcome(pool.perform(job("hang")))) for _ in range(3)]
        await asyncio.wait(tasks, timeout=0)
        gone = asyncio.create_task(ended(pid))
        await asyncio.wait([gone], timeout=0)
    await gone
    for outcome in await asyncio.gather(*tasks, _outcome(pool.perform(job("echo")))):
        assert isinstance(outcome, Unavailable)
        assert outcome.reason is Reason.SHUTTING_DOWN


async def test_a_worker_ends_with_its_parent_process_even_during_a_job(pool_of: Pools, tmp_path: Path) -> None:
    owner = f"""
import asyncio, sys
from server.adapters.workers.pool import WorkerPool
from server.model.pixels import PixelDescription, TranscodeFrame

async def main():
    async with WorkerPool("pool_jobs.perform", count=1, job_seconds=99, memory_bytes=1 << 28) as pool:
        print((await pool.perform(job("pid"))).decode(), flush=True)
        await pool.perform(job("hang"))

def job(what):
    return TranscodeFrame(b"", PixelDescription(1, 1, 1, "MONOCHROME2", 8, 8, 7, False, 0), "", what)

sys.path[:] = {sys.path!r}
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{owner}"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    gone = asyncio.create_task(ended(int(await process.stdout.readline())))
    await asyncio.wait([gone], timeout=0)
    process.kill()
    await gone
    await process.wait()


async def test_a_worker_has_neither_the_settings_nor_the_modules_of_the_core(
    pool_of: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICOMSTORE_DATABASE", "postgresql://user:secret@host/name")
    async with pool_of() as pool:
        assert await pool.perform(job("settings")) == b"none"
        modules = set((await pool.perform(job("modules"))).decode().split())
    assert not modules & {"grpc", "sqlalchemy", "starlette", "pydantic", "asyncio", "server.config"}


async def test_the_kernel_kills_a_worker_before_the_core(pool_of: Pools) -> None:
    async with pool_of() as pool:
        assert int(await pool.perform(job("oom-score"))) == min(_oom_score() + 500, 1000)


def _oom_score() -> int:
    return int(Path("/proc/self/oom_score_adj").read_text())


async def test_a_worker_that_cannot_start_is_an_internal_error(pool_of: Pools) -> None:
    async with WorkerPool("no.such.function", count=1, job_seconds=1, memory_bytes=1 << 28) as pool:
        with pytest.raises(RuntimeError, match="could not be started"):
            await pool.perform(job("echo"))


async def test_a_job_whose_workers_are_killed_at_start_fails_as_busy(pool_of: Pools, tmp_path: Path) -> None:
    (tmp_path / "killed_at_start.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    async with WorkerPool("killed_at_start.perform", count=1, job_seconds=1, memory_bytes=1 << 28) as pool:
        with pytest.raises(Exhausted) as failed:
            await pool.perform(job("echo"))
        assert failed.value.reason is Reason.BUSY


async def _outcome(doing: Any) -> bytes | DicomStoreError:
    try:
        result: bytes = await doing
    except DicomStoreError as error:
        return error
    return result


def test_workers_do_not_import_the_core() -> None:
    imports = "server.adapters.workers.process, server.dicom.worker_jobs, server.dicom.pixel_data.codecs.transcode"
    program = f"import sys, {imports}; print(' '.join(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    )
    modules = set(answer.stdout.split())
    assert {"numpy", "imagecodecs"} <= modules
    assert not modules & {"grpc", "sqlalchemy", "starlette", "pydantic", "pydicom", "asyncio", "server.domain"}
