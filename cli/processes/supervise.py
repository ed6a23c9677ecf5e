"""Child processes: their logs are passed on, they are stopped cleanly, and no process is left behind."""

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections import deque
from collections.abc import Mapping, Sequence

from cli.processes.programs import STDERR_LINES, with_parent_watchdog

_CLEAN_EXITS = {0, -signal.SIGTERM, 128 + signal.SIGTERM}
"""Exit codes after a request to stop; some programs end with the signal after they have cleaned up."""


_LOG_BYTES = 1 << 20
_MAX_LINE_BYTES = 1 << 16
_GATHER_S = 0.1


class Program:
    """A child process in its own session, so that Ctrl-C on the terminal reaches only the supervisor."""

    def __init__(self, name: str, process: Process, log: "_Log", *, echo: bool) -> None:
        """Use `start` instead."""
        self.name = name
        self._process = process
        self._log = log
        self._tail: deque[str] = deque(maxlen=STDERR_LINES)
        self._pump = asyncio.create_task(self._pass_on_log(echo))
        self._end = asyncio.create_task(self._wait_for_end())

    @classmethod
    async def start(
        cls,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        *,
        echo: bool,
        descriptors: Sequence[int] = (),
    ) -> "Program":
        """Start a command with inherited `descriptors`; with `echo` its log appears on stderr with `name` as prefix."""
        # Not PIPE: asyncio then reports the end of a process only when its pipe is closed, too, and remaining child
        # processes would keep the pipe open.
        read_end, write_end = os.pipe()
        _widen(write_end)
        try:
            log = _Log(read_end)
            process = await asyncio.create_subprocess_exec(
                *with_parent_watchdog(command),
                stdin=DEVNULL,
                stdout=write_end,
                stderr=STDOUT,
                env=dict(environment),
                start_new_session=True,
                pass_fds=descriptors,
            )
        finally:
            os.close(write_end)
        return cls(name, process, log, echo=echo)

    @property
    def exit_code(self) -> int | None:
        """Exit code; None while it runs."""
        return self._process.returncode

    @property
    def process_group(self) -> int:
        """The process group of the program and its children."""
        return self._process.pid

    @property
    def log_tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._tail)

    @property
    def ended_cleanly(self) -> bool:
        """Whether it ended with an exit code of a requested stop."""
        return self.exit_code in _CLEAN_EXITS

    async def wait(self) -> None:
        """Wait until it and its children have ended and its log was read."""
        await asyncio.shield(self._end)

    def wake(self) -> None:
        """Send SIGUSR1, for which it must have a handler."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGUSR1)

    async def stop(self, grace_s: float) -> None:
        """Send SIGTERM and wait for its end; after `grace_s` kill it."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        try:
            async with asyncio.timeout(grace_s):
                await self.wait()
        except TimeoutError:
            self.kill()
            await self.wait()

    def kill(self) -> None:
        """Kill it and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process_group, signal.SIGKILL)

    async def _wait_for_end(self) -> None:
        await self._process.wait()
        self.kill()  # remaining child processes, which would also keep its log open
        await self._pump

    async def _pass_on_log(self, echo: bool) -> None:
        rest = b""
        with contextlib.closing(self._log):
            while chunk := await self._log.read():
                block, newline, rest = (rest + chunk).rpartition(b"\n")
                if len(rest) > _MAX_LINE_BYTES:  # split lines that are too long
                    block, newline, rest = block + newline + rest, b"\n", b""
                if newline:
                    await self._write(block, echo)
                # Waking up for each line would add a fifth to the CPU time of a request.
                await asyncio.sleep(_GATHER_S)
        if rest:
            await self._write(rest, echo)

    async def _write(self, block: bytes, echo: bool) -> None:
        """Pass on complete lines; `block` has no line break at its end."""
        last = block.rsplit(b"\n", STDERR_LINES)[-STDERR_LINES:]
        self._tail.extend(line[:_MAX_LINE_BYTES].decode(errors="replace") for line in last)
        if echo:
            # Lines of JSON are for programs.
            name = b"" if block.startswith(b"{") else f"{self.name:6} | ".encode()
            text = name + block.replace(b"\n", b"\n" + name) + b"\n"
            # A blocked terminal must not block supervision; a closed one must not end it.
            with contextlib.suppress(OSError, ValueError):
                await asyncio.to_thread(_print_to_stderr, text)


class _Log:
    """The end of a pipe from which the log of a program is read.

    While nothing is being read, data in the pipe do not wake this process, as they would with a `StreamReader`.
    """

    def __init__(self, read_end: int) -> None:
        """Take over a descriptor."""
        os.set_blocking(read_end, False)
        self._read_end = read_end

    async def read(self) -> bytes:
        """Wait for data and return them; nothing at the end."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(BlockingIOError):
                return os.read(self._read_end, _LOG_BYTES)
            readable = asyncio.Event()
            loop.add_reader(self._read_end, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(self._read_end)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._read_end)


def _print_to_stderr(text: bytes) -> None:
    sys.stderr.buffer.write(text)
    sys.stderr.buffer.flush()


def _widen(pipe: int) -> None:
    """Enlarge the buffer of a pipe; Linux only, and limited by the system."""
    with contextlib.suppress(AttributeError, OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _LOG_BYTES)
