"""Nodes as on several machines: each has a data directory of its own; they share PostgreSQL and the blobs."""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.e2e import archive
from tests.e2e.archive import ROOT
from tests.ports import free_port
from tests.programs import Program, run

_START_SECONDS = 90


class Node:
    """`python -m node` with a data directory of its own."""

    def __init__(self, directory: Path, name: str, database: str, **settings: str) -> None:
        self.data = directory / name
        self.data.mkdir(parents=True)
        http = free_port()
        self.http = f"http://127.0.0.1:{http}"
        self.environment: Mapping[str, str] = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DICOMSTORE_")},
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos/gen'}",
            "DICOMSTORE_DATA": str(self.data),
            "DICOMSTORE_BLOBS": (directory / "blobs").as_uri(),
            "DICOMSTORE_DATABASE": database,
            "DICOMSTORE_AUDIT_KEY": str(directory / "audit-key.pem"),
            "DICOMSTORE_SHARE_KEY": "a key for links that all nodes have",
            "DICOMSTORE_SESSION_KEY": "a key for cookies that all nodes have",
            "DICOMSTORE_MIGRATE": "true",
            "DICOMSTORE_WARN_FREE_BYTES": "0",
            "DICOMSTORE_GRPC": "127.0.0.1:0",
            "DICOMSTORE_HTTP": f"127.0.0.1:{http}",
            "DICOMSTORE_SHUTDOWN_SECONDS": "3",
            **{name: value for name, value in archive.variables_of(directory).items() if name != "DICOMSTORE_DATABASE"},
            **{f"DICOMSTORE_{key.upper()}": value for key, value in settings.items()},
        }
        self._log = directory / f"{name}.log"
        self._processes: dict[str, Program] = {}

    @property
    def pid(self) -> int:
        """The process of the node."""
        return self._processes["node"].pid

    def start(self) -> None:
        """Start the node, and wait until it serves."""
        process = self._start("node", "node")
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_healthy():
            assert process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def start_worker(self) -> None:
        """Start a worker for operations on this machine."""
        self._start("worker", "server", "work")

    def send(self, number: signal.Signals, program: str = "node") -> None:
        """Send a signal to the node or the worker; wait for its end if it is SIGKILL."""
        process = self._processes[program]
        process.send_signal(number)
        if number is signal.SIGKILL:
            process.wait()

    def stop(self) -> None:
        """Stop all programs, also suspended ones."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self._processes.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m …` with the settings of this node."""
        module, *others = arguments
        ran = run(module, *others, environment=self.environment, folder=self.data, timeout=120)
        ran.check_returncode()
        return subprocess.CompletedProcess(ran.args, ran.returncode, ran.stdout.decode(), ran.stderr.decode())

    def log(self) -> str:
        """Return all that was logged."""
        return self._log.read_text()

    def _start(self, program: str, module: str, *arguments: str) -> Program:
        process = Program(
            module, *arguments, environment=self.environment, folder=self.data, stdout=self._log, stderr=self._log
        )
        self._processes[program] = process
        return process

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.http}/health/check", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def running_nodes(directory: Path, database: str, count: int = 2, **settings: str) -> Iterator[list[Node]]:
    """Run nodes until the context is left; the first one holds the lease of the background work."""
    nodes = [Node(directory, f"node-{number}", database, **settings) for number in range(1, count + 1)]
    try:
        for node in nodes:
            node.start()
        yield nodes
    finally:
        for node in nodes:
            node.stop()
