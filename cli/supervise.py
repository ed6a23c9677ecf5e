"""Programs as children: their logs are passed on, they are stopped in good order, and none is left behind."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections import deque
from collections.abc import Mapping, Sequence

from cli.programs import STDERR_LINES, tethered

_CLEAN_EXITS = {0, -signal.SIGTERM, 128 + signal.SIGTERM}
"""How a program may end that was told to; some die of the signal once they have cleaned up."""


class Program:
    """A running child, in a session of its own: a Ctrl-C on the terminal reaches only us, and we choose the order."""

    def __init__(self, name: str, process: Process, log: asyncio.StreamReader, *, echo: bool) -> None:
        """Take over a process that was started by `start`."""
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
        """Start a command; its log appears on stderr, each line behind `name`, if `echo`. It gets the `descriptors`."""
        # Not PIPE: asyncio then reports the end of a process only when its pipe is closed, too, and workers that
        # it left behind hold the pipe open.
        read_end, write_end = os.pipe()
        try:
            log = await _reader(read_end)
            process = await asyncio.create_subprocess_exec(
                *tethered(command),
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
        """How it ended; None while it runs."""
        return self._process.returncode

    @property
    def process_group(self) -> int:
        """The group of its processes, which is not ours."""
        return self._process.pid

    @property
    def log_tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._tail)

    @property
    def ended_cleanly(self) -> bool:
        """Whether it ended as a program does that is told to stop."""
        return self.exit_code in _CLEAN_EXITS

    async def wait(self) -> None:
        """Return when it has ended, with all its own children, and its log is read."""
        await asyncio.shield(self._end)

    async def stop(self, grace_s: float) -> None:
        """Ask it to stop and wait; after `grace_s` kill it."""
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
        """Kill it and all its own children now."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process_group, signal.SIGKILL)

    async def _wait_for_end(self) -> None:
        await self._process.wait()
        self.kill()  # workers that it left behind; they would hold its log open, too
        await self._pump

    async def _pass_on_log(self, echo: bool) -> None:
        rest = b""
        while chunk := await self._log.read(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > 65536:  # whoever writes such a line gets it broken
                lines, rest = [*lines, rest], b""
            await self._write(lines, echo)
        if rest:
            await self._write([rest], echo)

    async def _write(self, lines: list[bytes], echo: bool) -> None:
        texts = [line.decode(errors="replace") for line in lines]
        self._tail.extend(texts)
        if echo and texts:
            block = "".join(f"{self.name:6} | {text}\n" for text in texts)
            # A terminal that is held up must not hold up supervision; one that is gone must not end it.
            with contextlib.suppress(OSError, ValueError):
                await asyncio.to_thread(_print_to_stderr, block)


async def _reader(read_end: int) -> asyncio.StreamReader:
    """Return a reader that owns the descriptor."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0))
    return reader


def _print_to_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
