"""Child processes of `dicomstore up` (cli/processes: supervise.py, parent_watchdog.py)."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from cli.processes.supervise import Program

REPOSITORY = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'protos' / 'gen'}"}

WAITS = "import os, signal; open(os.environ['READY'], 'w').close(); signal.pause()"
STOPS_CLEANLY = f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); {WAITS}"
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"
LEAVES_A_CHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])"


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A pipe that a script opens when it waits for signals."""
    os.mkfifo(tmp_path / "ready")
    return tmp_path / "ready"


async def started(script: str, ready: Path | None = None, *, echo: bool = False) -> Program:
    """Start a script; with `ready`, return when it has got to waiting."""
    environment = ENVIRONMENT | {"READY": str(ready)}
    program = await Program.start("core", [sys.executable, "-c", script], environment, echo=echo)
    if ready:
        async with asyncio.timeout(20):
            await asyncio.to_thread(ready.read_bytes)
    return program


async def test_a_stopped_program_ends_cleanly(ready: Path) -> None:
    program = await started(STOPS_CLEANLY, ready)
    await program.stop(10)
    assert (program.exit_code, program.ended_cleanly) == (0, True)


async def test_a_program_that_dies_of_the_signal_counts_as_stopped(ready: Path) -> None:
    program = await started(WAITS, ready)
    await program.stop(10)
    assert (program.exit_code, program.ended_cleanly) == (-signal.SIGTERM, True)


async def test_a_program_that_does_not_stop_in_time_is_killed(ready: Path) -> None:
    program = await started(IGNORES_SIGTERM, ready)
    await program.stop(0.05)
    assert (program.exit_code, program.ended_cleanly) == (-signal.SIGKILL, False)


async def test_stopping_an_ended_program_succeeds() -> None:
    program = await started("raise SystemExit(3)")
    await program.wait()
    await program.stop(10)
    assert (program.exit_code, program.ended_cleanly) == (3, False)


async def test_the_last_lines_of_a_program_are_kept() -> None:
    program = await started("for number in range(1000): print('line', number)")
    await program.wait()
    assert program.log_tail.splitlines()[0] == "line 980"
    assert program.log_tail.splitlines()[-1] == "line 999"


async def test_a_last_line_without_an_end_is_kept() -> None:
    program = await started("import sys; sys.stderr.write('no end')")
    await program.wait()
    assert program.log_tail == "no end"


async def test_a_line_of_any_length_is_read_in_bounded_memory() -> None:
    program = await started("print('x' * 1_000_000); print('end')")
    await program.wait()
    assert program.log_tail.splitlines()[-1] == "end"
    assert max(len(line) for line in program.log_tail.splitlines()) <= 2 * 65536


async def test_log_lines_are_prefixed_with_the_name_of_the_program(capfd: pytest.CaptureFixture[str]) -> None:
    program = await started("print('first'); print('second')", echo=True)
    await program.wait()
    assert capfd.readouterr().err == "core   | first\ncore   | second\n"


async def test_child_processes_of_an_ended_program_are_killed() -> None:
    # The grandchild holds the log open, so the end of the log is the end of the grandchild.
    program = await started(LEAVES_A_CHILD)
    async with asyncio.timeout(20):
        await program.wait()
    assert program.exit_code == 0


async def test_a_program_does_not_get_the_ctrl_c_of_the_terminal(ready: Path) -> None:
    program = await started(WAITS, ready)
    assert program.process_group != os.getpgrp()
    await program.stop(10)


async def test_a_program_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    # The parent starts a program that holds a pipe open, and is killed; the pipe ends when the program has.
    read_end, write_end = os.pipe()
    program = f"import os, signal; os.write({write_end}, b'ready'); signal.pause()"
    parent = f"""
import os, signal, subprocess, sys
subprocess.Popen(
    [sys.executable, "-P", "-m", "cli.processes.parent_watchdog", str(os.getpid()), sys.executable, "-c", {program!r}],
    pass_fds=({write_end},), start_new_session=True,
)
signal.pause()
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", parent, pass_fds=(write_end,), env=ENVIRONMENT, cwd=tmp_path
    )
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        async with asyncio.timeout(20):
            assert await asyncio.to_thread(os.read, pipe.fileno(), 5) == b"ready"
            process.kill()
            await process.wait()
            assert await asyncio.to_thread(os.read, pipe.fileno(), 1) == b""


async def test_a_program_without_its_parent_does_not_start(tmp_path: Path) -> None:
    not_the_parent = os.getppid()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "cli.processes.parent_watchdog", str(not_the_parent), "/bin/echo", "started",
        stdout=asyncio.subprocess.PIPE, env=ENVIRONMENT, cwd=tmp_path,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert (process.returncode, output) == (1, b"")
