"""`python -m bench.start`: the time of `dicomstore up` to its first response on an existing archive, and of each step.

Wall time is the minimum of several runs, because other programs only increase it. CPU time is that of all processes,
the minimum of several runs.
"""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import typer

from bench.archive import Archive
from tests.ports import free_port

_LIBRARIES = (
    "grpc, grpc_health.v1.health, google.protobuf, sqlalchemy, pydicom, starlette.applications, uvicorn, uvloop, "
    "httptools, orjson, pydantic_settings, typer, crc32c"
)
"""Libraries of a serving process. pydicom without the optional packages that `server.import_hygiene` excludes."""

_STEPS = {
    "an empty Python interpreter": "pass",
    "import the command line": "import cli.app",
    "... and read the settings": (
        "from cli.processes.programs import *; core_settings(os.environ); facade_settings(os.environ)"
    ),
    "import the libraries of a node": f"import server.import_hygiene, {_LIBRARIES}",
    "import a node": "import node.__main__",
}

_Times = tuple[float, float]
"""Wall and CPU seconds."""


def measure(runs: int = typer.Option(5, help="Number of runs of each step.")) -> None:
    """Measure each step and the whole start; print a table."""
    typer.echo(f"{'step':45} {'wall s':>7} {'CPU s':>7}")
    found = {name: _best(partial(_run, code), runs) for name, code in _STEPS.items()}
    with tempfile.TemporaryDirectory(prefix="dicomstore-bench-", dir=os.environ.get("BENCH_DIR")) as data:
        _start(Path(data))  # creates the archive
        for name, workers in (("first response of `up`, one node", 1), ("first response of `up`, by default", None)):
            found[name] = _best(partial(_start, Path(data), workers), runs)
    for name, (wall_s, cpu_s) in found.items():
        typer.echo(f"{name:45} {wall_s:7.2f} {cpu_s:7.2f}")
    whole_s, libraries_s = found["first response of `up`, one node"][0], found["import the libraries of a node"][0]
    typer.echo(f"one node: {whole_s / libraries_s:.1f} times the import of its libraries")


def _best(work: Callable[[], _Times], runs: int) -> _Times:
    times = [work() for _ in range(runs)]
    return min(wall for wall, _ in times), min(cpu for _, cpu in times)


def _run(code: str) -> _Times:
    before, began = _ended_children_cpu_s(), time.perf_counter()
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
    return time.perf_counter() - began, _ended_children_cpu_s() - before


def _start(data: Path, workers: int | None = None) -> _Times:
    """Start the archive, get one response about its content, and stop it."""
    port, core_port = free_port(), free_port()
    command = [str(Path(sys.executable).parent / "dicomstore"), "--quiet", "up", f"--data={data}"]
    command += [f"--http=127.0.0.1:{port}", f"--grpc=127.0.0.1:{core_port}"]
    command += [f"--workers={workers}"] if workers else []
    began = time.perf_counter()
    process = subprocess.Popen(command)
    try:
        while process.poll() is None:
            try:  # fails until a socket listens; from then on the request waits for a node
                urlopen(f"http://127.0.0.1:{port}/v2/changefeed", timeout=60).close()
            except HTTPError:
                raise
            except URLError:
                time.sleep(0.002)
            else:
                return time.perf_counter() - began, Archive(port, "", process.pid, data).cpu_seconds()
        raise RuntimeError(f"the archive ended with {process.returncode}")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def _ended_children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    typer.run(measure)
