"""An archive of its own for a measurement, and what it costs: CPU and memory of all its processes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 60


@dataclass(frozen=True)
class Archive:
    """Where a running archive listens, and the process that started it."""

    http_port: int
    core: str
    pid: int

    def cpu_seconds(self) -> float:
        """Return the CPU time of all processes of the archive so far."""
        return sum(_cpu_seconds(pid) for pid in self._processes())

    def rss_bytes(self) -> list[int]:
        """Return the resident set of each process."""
        page = os.sysconf("SC_PAGE_SIZE")
        return [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in self._processes()]

    def _processes(self) -> list[int]:
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            except OSError:
                continue
            found.append(pid)
            todo += map(int, children)
        return found


class PeakMemory(threading.Thread):
    """Watches the largest resident set of any process of an archive."""

    def __init__(self, archive: Archive) -> None:
        super().__init__(daemon=True)
        self._archive = archive
        self._stop_now = threading.Event()
        self.peak_bytes = 0

    def run(self) -> None:
        """Look every 20 ms."""
        while not self._stop_now.wait(0.02):
            try:
                self.peak_bytes = max([self.peak_bytes, *self._archive.rss_bytes()])
            except OSError:
                continue

    def __enter__(self) -> "PeakMemory":
        """Begin to watch."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop_now.set()
        self.join()


@contextmanager
def running_archive(workers: int = 1, **settings: str) -> Iterator[Archive]:
    """Run `dicomstore up` on free ports and a temporary data directory."""
    data = tempfile.mkdtemp(prefix="dicomstore-bench-", dir=os.environ.get("BENCH_DIR"))
    http_port, core_port = _free_port(), _free_port()
    command = [
        str(Path(sys.executable).parent / "dicomstore"),
        "up",
        f"--data={data}",
        f"--http=127.0.0.1:{http_port}",
        f"--grpc=127.0.0.1:{core_port}",
        f"--workers={workers}",
    ]
    environment = {**os.environ, "DICOMSTORE_LOG_LEVEL": "warning", **settings}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_healthy(process, http_port)
        yield Archive(http_port, f"127.0.0.1:{core_port}", process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        shutil.rmtree(data, ignore_errors=True)


def _wait_until_healthy(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/check", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the archive did not start") from None
            time.sleep(0.05)


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
