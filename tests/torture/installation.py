"""`dicomstore up` under test: its processes, limits and settings."""

import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import httpx

from tests.e2e.archive import ROOT
from tests.e2e.test_up import descendants, is_alive
from tests.ports import free_port
from tests.programs import Program, run
from tests.torture.ledger import Violation

RECOVERY_SECONDS = 120
"""Longest time until the archive is healthy after an event; on a busy machine a start takes most of it."""


class Installation:
    """Two nodes on one data directory, and a worker while there are operations."""

    def __init__(self, data: Path, database: str) -> None:
        self.data = data
        self.database = database
        grpc, http = free_port(), free_port()
        self.core = f"127.0.0.1:{grpc}"
        self.url = f"http://127.0.0.1:{http}"
        self._http = f"127.0.0.1:{http}"
        self._log_path = data.parent / "log"
        self._process: Program | None = None
        self.kills = self.starts = 0

    def environment(self) -> dict[str, str]:
        """Return the variables of every program of this installation."""
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("DICOMSTORE_")},
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos/gen'}",
            "DICOMSTORE_DATA": str(self.data),
            "DICOMSTORE_WARN_FREE_BYTES": "0",
            "DICOMSTORE_GRPC": self.core,
            "DICOMSTORE_CORE": self.core,
            "DICOMSTORE_HTTP": self._http,
            "DICOMSTORE_SHUTDOWN_SECONDS": "3",
            "DICOMSTORE_WORKERS": "2",
            **({"DICOMSTORE_DATABASE": self.database} if self.database else {}),
        }

    def log(self) -> str:
        """Return the end of the log."""
        return self._log_path.read_bytes()[-20_000:].decode(errors="replace") if self._log_path.exists() else ""

    def start(self) -> None:
        """Start `dicomstore up` without waiting for it to serve."""
        self.starts += 1
        self._process = Program(
            "cli", "up",
            environment=self.environment(), folder=self.data.parent, stdout=self._log_path, stderr=self._log_path,
        )  # fmt: skip

    def processes(self, text: str = "") -> list[int]:
        """Return the child processes of `dicomstore up` whose command line contains `text`."""
        assert self._process is not None
        return [one for one in descendants(self._process.pid) if text in _command_line(one)]

    def kill(self, process: int) -> None:
        """Kill one process as the kernel does when memory is short."""
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.kills += 1

    async def kill_one(self, text: str, rng: random.Random) -> None:
        """Kill one of the processes with `text` in their command line; return when it has been replaced.

        That is when there are as many as before, or when `up` has ended for its service manager to restart it.
        """
        assert self._process is not None
        before = self.processes(text)
        if not before:
            return
        self.kill(rng.choice(before))
        deadline = time.monotonic() + RECOVERY_SECONDS
        while self._process.poll() is None and len(self.processes(text)) < len(before):
            if time.monotonic() > deadline:
                raise Violation(f"a killed process ({text}) was not replaced within {RECOVERY_SECONDS} s")
            await asyncio.sleep(0.05)

    def kill_all(self) -> None:
        """Kill all processes at once, as a power cut does, except that the page cache survives."""
        assert self._process is not None
        below = descendants(self._process.pid)
        self.kill(self._process.pid)
        for process in below:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        _wait_for_ends(below)

    def end(self) -> None:
        """Kill all remaining processes."""
        if self._process is not None and self._process.poll() is None:
            self.kill_all()

    def kill_supervisor(self) -> None:
        """Kill `dicomstore up` alone; its child processes must end with it."""
        assert self._process is not None
        below = descendants(self._process.pid)
        self.kill(self._process.pid)
        self._process.wait()
        _wait_for_ends(below)

    def stop(self) -> None:
        """Stop `dicomstore up` as a service manager does."""
        if self._process is not None and self._process.poll() is None:
            below = descendants(self._process.pid)
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill_all()
                raise Violation("it did not stop within 60 s of SIGTERM") from None
            _wait_for_ends(below)

    def limit_files(self, size_bytes: int) -> None:
        """Simulate a full disk: limit the size of files; -1 removes the limit."""
        for process in self.processes():
            try:
                resource.prlimit(process, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))
            except ProcessLookupError:
                continue

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Run `python -m …` with the settings of this installation; return exit code and output."""
        command = partial(run, *arguments, environment=self.environment(), folder=self.data.parent)
        ran = await asyncio.to_thread(command, timeout=RECOVERY_SECONDS)
        return ran.returncode, (ran.stdout + ran.stderr).decode(errors="replace")

    async def recover(self) -> None:
        """Run `dicomstore recover`, which must succeed."""
        code, output = await self.run("cli", "recover")
        if code:
            raise Violation(f"dicomstore recover ended with {code}: {output}")

    async def until(self, overall: str, *, may_restart: bool = True) -> None:
        """Wait for an overall health status. If `up` has ended, start it again as a service manager does."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        async with httpx.AsyncClient(base_url=self.url, timeout=10) as http:
            while (found := await _overall(http)) != overall:
                if self._process is None or self._process.poll() is not None:
                    if not may_restart:
                        raise Violation(f"it ended instead of becoming {overall}")
                    self.start()
                if time.monotonic() > deadline:
                    raise Violation(f"it is {found}, not {overall}, after {RECOVERY_SECONDS} s")
                await asyncio.sleep(0.1)

    async def is_refused(self, reason: str) -> None:
        """Start a core that must refuse to start with the given reason."""
        code, output = await self.run("server")
        if code != 1 or reason not in output:
            raise Violation(f"a start was not refused with {reason!r}: {code}, {output}")

    async def audit(self) -> None:
        """Compare index, blobs (every byte) and change feed."""
        _, output = await self.run("server", "check", "--deep")
        try:
            checks = json.loads(output)["checks"]
        except ValueError:
            raise Violation(f"the check gave no result: {output}") from None
        failed = [check for check in checks if check["status"] == "failed"]
        if failed:
            raise Violation(f"the check failed: {failed}")


def _command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _wait_for_ends(processes: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(map(is_alive, processes)):
        if time.monotonic() > deadline:
            raise Violation("a process outlived `dicomstore up`")
        time.sleep(0.02)


async def _overall(http: httpx.AsyncClient) -> str:
    try:
        return str((await http.get("/health/check")).json()["overallStatus"])
    except (httpx.TransportError, ValueError, KeyError) as error:
        return f"unreachable ({type(error).__name__})"
