"""Supervision of programs that are restarted whenever they end by themselves, until they are stopped."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from cli.processes.notices import VARIABLE as NOTIFY_SOCKET
from cli.processes.notices import Notices, listening
from cli.processes.supervise import Program

START_S = 300.0
"""Time limit for a program to become ready; migrating a large index takes long."""

FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 60.0
"""Pause before a restart. It doubles each time, and is reset after `SETTLED_S` of service."""

SETTLED_S = 60.0

MAX_ATTEMPTS = 5
"""Number of consecutive failed starts after which a program counts as unable to start."""


class SupervisedProgram:
    """One supervised program, which notifies when it is ready (see `Notices`).

    Args:
        on_change: called when the program has become ready, and when it has ended.
        on_operations: called when the program notifies that there are pending operations.
        on_demand: the program is started by `want`, and may exit with 0 when it is idle.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        *,
        echo: bool,
        descriptors: Sequence[int] = (),
        on_change: Callable[[], None],
        on_operations: Callable[[], None] = lambda: None,
        on_demand: bool = False,
    ) -> None:
        self.name = name
        self.fault = ""
        """Description of the end of its last run; empty before the first end."""
        self.is_ready = False
        self._command = command
        self._environment = environment
        self._echo = echo
        self._descriptors = descriptors
        self._on_change = on_change
        self._on_operations = on_operations
        self._on_demand = on_demand
        self._wanted = asyncio.Event()
        if not on_demand:
            self._wanted.set()
        self._program: Program | None = None
        self._was_ready = False
        self._refused = False
        self._failed_starts = 0
        self._stopping = asyncio.Event()
        self._grace_s = 0.0
        self.ended_cleanly = True
        """False if its process did not end cleanly after the request to stop."""
        self._task = asyncio.create_task(self._run())

    @property
    def has_given_up(self) -> bool:
        """Whether it is unlikely to become ready by itself.

        True if it ended with an error code before it was ever ready, as with wrong settings, or after several
        consecutive failed starts. It is still restarted until it is stopped.
        """
        return self._refused or self._failed_starts >= MAX_ATTEMPTS

    @property
    def is_down(self) -> bool:
        """Whether it does not run because of a fault."""
        return bool(self.fault) and not self.is_ready

    def want(self) -> None:
        """Start it if it does not run, or send SIGUSR1 if it is ready: there is work to do."""
        self._wanted.set()
        if self.is_ready and self._program is not None:
            self._program.wake()

    @property
    def log_tail(self) -> str:
        """The last lines of its log."""
        return self._program.log_tail if self._program else ""

    async def stop(self, grace_s: float) -> None:
        """Stop it without restart; after `grace_s` kill it. Returns when it has ended."""
        self._grace_s = grace_s
        self._stopping.set()
        await self._task

    def kill(self) -> None:
        """Kill it without restart."""
        self._stopping.set()
        if self._program:
            self._program.kill()

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        async with listening(self._on_operations) as notices:
            environment = {**self._environment, NOTIFY_SOCKET: notices.address}
            while not self._stopping.is_set():
                await _first(self._wanted.wait(), self._stopping.wait())
                if self._stopping.is_set():
                    return
                notices.ready.clear()
                served_s = await self._run_once(notices, environment)
                if self._stopping.is_set():
                    return
                if not self.fault:
                    self._wanted.clear()
                    continue
                if served_s >= SETTLED_S:
                    pause_s = FIRST_PAUSE_S
                await self._report(pause_s)
                self._on_change()
                await _first(self._stopping.wait(), asyncio.sleep(pause_s))
                pause_s = min(2 * pause_s, MAX_PAUSE_S)

    async def _run_once(self, notices: Notices, environment: Mapping[str, str]) -> float:
        """Run it until it ends or must stop; returns the seconds for which it was ready."""
        try:
            program = self._program = await Program.start(
                self.name, self._command, environment, echo=self._echo, descriptors=self._descriptors
            )
        except OSError as error:  # no memory, or too many processes
            self._failed_starts += 1
            self.fault = f"could not be started: {error.strerror}"
            return 0.0
        fault = ""
        try:
            async with asyncio.timeout(START_S):
                await _first(notices.ready.wait(), program.wait(), self._stopping.wait())
        except TimeoutError:
            fault = f"was not ready within {START_S:.0f} s"
            program.kill()
        began = time.monotonic()
        became_ready = notices.ready.is_set()
        if became_ready and program.exit_code is None:
            self.is_ready = self._was_ready = True
            self._failed_starts = 0
            self._on_change()
        await _first(program.wait(), self._stopping.wait())
        self.is_ready = False
        if self._stopping.is_set():
            await program.stop(self._grace_s)
            self.ended_cleanly = program.ended_cleanly
            return 0.0
        await program.wait()
        if not became_ready:
            self._failed_starts += 1
        self._refused = not self._was_ready and (bool(fault) or (program.exit_code or 0) > 0)
        is_idle = self._on_demand and became_ready and program.exit_code == 0
        self.fault = "" if is_idle else fault or f"ended by itself with exit code {_readable(program.exit_code)}"
        return time.monotonic() - began if became_ready else 0.0

    async def _report(self, pause_s: float) -> None:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        line = f"up     | {now} WARNING the {self.name} {self.fault}; it is restarted in {pause_s:.0f} s\n"
        with suppress(OSError, ValueError):  # the terminal was closed
            await asyncio.to_thread(_print_to_stderr, line)


def _readable(exit_code: int | None) -> str:
    """Return a readable exit code: `-9 (SIGKILL)`."""
    if exit_code is None or exit_code >= 0:
        return str(exit_code)
    with suppress(ValueError):
        return f"{exit_code} ({signal.Signals(-exit_code).name})"
    return str(exit_code)


def _print_to_stderr(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()


async def _first(*awaitables: Coroutine[Any, Any, Any]) -> None:
    """Return when the first is done, and cancel the others."""
    tasks = [asyncio.create_task(awaitable) for awaitable in awaitables]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
