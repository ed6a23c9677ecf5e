"""Runs `dicomstore up`, or core and facade, as separate processes, as a user does."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.databases import migrated_index
from tests.e2e.operator_shell import operator_shell
from tests.ports import free_port
from tests.programs import Program, run

ROOT = Path(__file__).parents[2]
_START_SECONDS = 60
_THERE = "/var/lib/dicomstore"


def variables_of(_directory: Path) -> Mapping[str, str]:
    """Return variables for the programs of an archive in a directory; `--stores` replaces this function."""
    return {}


class Archive:
    """A core and a facade on one data directory."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self.core_port, self.http_port, self.dimse_port = free_port(), free_port(), free_port()
        self.core_address = f"127.0.0.1:{self.core_port}"
        self.http = f"http://127.0.0.1:{self.http_port}"
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DICOMSTORE_")},
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos/gen'}",
            "DICOMSTORE_DATA": str(data),
            "DICOMSTORE_GRPC": self.core_address,
            "DICOMSTORE_CORE": self.core_address,
            "DICOMSTORE_HTTP": f"127.0.0.1:{self.http_port}",
            "DICOMSTORE_DIMSE": f"127.0.0.1:{self.dimse_port}",
            "DICOMSTORE_MIGRATE": "true",
            "DICOMSTORE_WARN_FREE_BYTES": "0",
            "DICOMSTORE_SHUTDOWN_SECONDS": "3",
            "DICOMSTORE_WORKERS": "1",
            **variables_of(data),
            **{f"DICOMSTORE_{name.upper()}": value for name, value in settings.items()},
        }
        self._logs = data.parent / f"{data.name}-logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self.core: Program | None = None
        self.facade: Program | None = None
        self.gateway: Program | None = None

    def start_core(self) -> None:
        """Start the core and wait until it listens. A new index is created before, in less time than a migration."""
        if "DICOMSTORE_DATABASE" not in self._environment:
            migrated_index(self.data)
        self.core = self._start("server")
        self._wait(self.core, partial(_listens, self.core_port))

    def start_facade(self) -> None:
        """Start the facade and wait until it and the core are healthy."""
        self.facade = self._start("facade")
        self._wait(self.facade, self._is_healthy)

    def start_gateway(self, **settings: str) -> None:
        """Start the DIMSE gateway and wait until it listens."""
        self._environment |= {f"DICOMSTORE_{name.upper()}": value for name, value in settings.items()}
        self.gateway = self._start("dimse")
        self._wait(self.gateway, partial(_listens, self.dimse_port))

    def kill_gateway(self) -> None:
        """End the DIMSE gateway as a power cut would end it."""
        assert self.gateway is not None
        self.gateway.send_signal(signal.SIGKILL)
        self.gateway.wait()

    def kill_core(self) -> None:
        """End the core as a power cut would end it."""
        assert self.core is not None
        self.core.send_signal(signal.SIGKILL)
        self.core.wait()

    def stop(self) -> list[int]:
        """Stop the running programs, facade first; return the exit codes."""
        codes = []
        for process in (self.gateway, self.facade, self.core):
            if process is not None and process.poll() is None:
                process.terminate()
                codes.append(process.wait(timeout=20))
        return codes

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `python -m …` with the settings of this archive."""
        module, *others = arguments
        ran = run(module, *others, environment=self._environment, folder=self._logs, timeout=120)
        if check:
            ran.check_returncode()
        return subprocess.CompletedProcess(ran.args, ran.returncode, ran.stdout.decode(), ran.stderr.decode())

    def shell(self, commands: str) -> str:
        """Run commands of an operator with the settings of this archive, which is at /var/lib/dicomstore there."""
        return operator_shell(commands.replace(_THERE, str(self.data)), self._environment, self._logs)

    def refusal(self) -> str:
        """Start the core, which must refuse to start, and return its output."""
        ran = self.run("server", check=False)
        assert ran.returncode == 1, ran.stderr
        return ran.stderr

    def stop_core(self) -> None:
        """Stop the core and wait for its end."""
        assert self.core is not None
        self.core.terminate()
        assert self.core.wait(timeout=20) == 0

    def logs(self) -> str:
        """Return all that was logged."""
        return "".join(path.read_text() for path in sorted(self._logs.glob("*.log")))

    def _start(self, program: str) -> Program:
        log = self._logs / f"{program}.log"
        return Program(program, environment=self._environment, folder=self._logs, stdout=log, stderr=log)

    def _wait(self, process: Program, ready: "object") -> None:
        assert callable(ready)
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            assert process.poll() is None, self.logs()
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.05)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.http}/health/check", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:  # it does not listen yet, or is too slow to answer
            return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running_archive(data: Path, **settings: str) -> Iterator[Archive]:
    """Run core and facade until the context is left."""
    archive = Archive(data, **settings)
    try:
        archive.start_core()
        archive.start_facade()
        yield archive
    finally:
        archive.stop()
