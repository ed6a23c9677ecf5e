"""An archive started for a measurement, and its resource use: CPU and memory of all its processes, read from /proc."""

import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import grpc
import trustme

from tests.ports import free_port

_TICKS = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 60
_LOG_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class Archive:
    """The addresses of a running archive, the process that started it, and its data directory."""

    http_port: int
    core: str
    pid: int
    data: Path
    tls: ssl.SSLContext | None = None
    """Of clients of DICOMweb; None without TLS."""

    def cpu_seconds(self) -> float:
        """Return the CPU time of all processes of the archive so far, including ended ones."""
        return sum(cpu_seconds(pid) for pid in self._processes())

    def reset_peaks(self) -> None:
        """Reset the peak memory of each process to its current value."""
        for pid in self._processes():
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peaks(self) -> list[tuple[str, float]]:
        """Return the name and the largest resident set (VmHWM, MB of 10^6 bytes) of each process."""
        return self._memory("VmHWM")

    def sizes(self) -> list[tuple[str, float]]:
        """Return the name and the present resident set (VmRSS, MB of 10^6 bytes) of each process."""
        return self._memory("VmRSS")

    def pids(self, name: str) -> list[int]:
        """Return the ids of the processes with a name."""
        return [pid for pid in self._processes() if _name(pid) == name]

    def _memory(self, kind: str) -> list[tuple[str, float]]:
        found = []
        for pid in self._processes():
            with suppress(OSError):
                sizes = re.findall(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
                found += [(_name(pid), round(int(size) * 1024 / 1e6, 1)) for size in sizes]
        return found

    def _processes(self) -> list[int]:
        """Return the process that started the archive and all its descendants. Any thread of a process may have
        children."""
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):
                    todo += map(int, task.read_text().split())
        return found


@contextmanager
def running_archive(
    workers: int | None = None, *, tls: bool = False, node: str = "", options: Sequence[str] = (), **settings: str
) -> Iterator[Archive]:
    """Run `dicomstore up` on free ports and a temporary data directory, below `BENCH_DIR` if that is set.

    It has default settings except for `workers`, `options` and `settings`, which are environment variables. With `tls`,
    DICOMweb has TLS, with a certificate of an ECDSA key; gRPC has none. With `node`, the name of a module, that is run
    instead.

    Raises:
        RuntimeError: it does not start. This error, and errors while it runs, get a note with the end of its log.
    """
    data = tempfile.mkdtemp(prefix="dicomstore-bench-", dir=os.environ.get("BENCH_DIR"))
    http_port, core_port = free_port(), free_port()
    command = [
        str(Path(sys.executable).parent / "dicomstore"),
        "up",
        f"--data={data}",
        f"--http=127.0.0.1:{http_port}",
        f"--grpc=127.0.0.1:{core_port}",
        *([f"--workers={workers}"] if workers else []),
        *options,
    ]
    if node:
        command = [sys.executable, "-m", node]
        settings |= {
            "DICOMSTORE_DATA": data,
            "DICOMSTORE_HTTP": f"127.0.0.1:{http_port}",
            "DICOMSTORE_GRPC": f"127.0.0.1:{core_port}",
            "DICOMSTORE_MIGRATE": "true",
        }
    context = None
    if tls:
        context, table = _with_certificate(Path(data))
        settings["DICOMSTORE_CONFIG"] = str(Path(data, "bench.toml"))
        Path(settings["DICOMSTORE_CONFIG"]).write_text(table)
    environment = {**os.environ, "DICOMSTORE_LOG_LEVEL": "warning", **settings}
    log = Path(data, "bench.log")
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        if not _becomes_healthy(process, http_port, context):
            raise RuntimeError("the archive did not start")
        yield Archive(http_port, f"127.0.0.1:{core_port}", process.pid, Path(data), context)
    except (OSError, RuntimeError, grpc.RpcError) as exc:
        exc.add_note(f"The end of the archive's log:\n{log.read_text()[-_LOG_CHARACTERS:]}")
        raise
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        shutil.rmtree(data, ignore_errors=True)


def _with_certificate(directory: Path) -> tuple[ssl.SSLContext, str]:
    """Return the context of clients and the table of the facade, for a new certificate in a directory."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = directory / "bench.pem", directory / "bench.key"
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    key.touch(0o600)
    issued.private_key_pem.write_to_path(str(key))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context, f'[facade]\ntls_certificate = "{certificate}"\ntls_key = "{key}"\n'


def _becomes_healthy(process: "subprocess.Popen[bytes]", port: int, tls: ssl.SSLContext | None) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/health/check"
    while True:
        try:
            with urllib.request.urlopen(url, timeout=_START_SECONDS, context=tls):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.05)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process by its own clock (in ns steps), plus that of its ended children (in ticks)."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        clock = (~pid << 3) | 2  # clock_getcpuclockid(3): CPUCLOCK_SCHED of that process
        return time.clock_gettime(clock) + (int(fields[13]) + int(fields[14])) / _TICKS
    return 0.0


def _name(pid: int) -> str:
    """Return the program of a process: its last module after `python -m`, or the name of its script."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    if modules := [module for option, module in pairwise(words) if option == "-m"]:
        return modules[-1]
    return next((Path(word).name for word in words[1:] if word and not word.startswith("-")), words[0])
