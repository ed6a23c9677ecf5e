"""ghz (https://ghz.sh), the load generator for gRPC: installation, arguments, reports."""

import json
import os
import resource
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.rpc import rpc
from bench.rpc.scenarios import Load, Scenario

_MODULE = "github.com/bojand/ghz/cmd/ghz@v0.121.0"
"""Older releases do not support `optional` fields."""

_HOW = f"""ghz is not installed. With Go (https://go.dev): go install {_MODULE}
Without Go: download a release from https://github.com/bojand/ghz/releases and put ghz on PATH."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Results of all clients of a scenario."""

    taken_s: float
    """From the start of the first call to the end of the last."""
    latencies_s: Sequence[float]
    """Of all calls, ascending."""
    statuses: dict[str, int]
    client_cpu_s: float


Driver = Callable[[Scenario, Sequence[Load], str], Outcome]
"""Runs the calls of a scenario against the core at an address."""


class NotInstalled(Exception):
    """Neither ghz nor Go is installed; the text explains how to get ghz."""


def find() -> Path:
    """Return ghz from PATH or the installation directory of Go; build it there if Go is installed.

    Raises:
        NotInstalled
    """
    if found := shutil.which("ghz"):
        return Path(found)
    go = shutil.which("go")
    if not go:
        raise NotInstalled(_HOW)
    settings = subprocess.run([go, "env", "GOBIN", "GOPATH"], capture_output=True, text=True, check=True)
    go_bin, go_path = settings.stdout.splitlines()
    program = Path(go_bin or Path(go_path.split(os.pathsep)[0], "bin"), "ghz")
    if not program.exists() and subprocess.run([go, "install", _MODULE], check=False).returncode:
        raise NotInstalled(_HOW)
    return program


def driver(program: Path) -> Driver:
    """Return a driver that runs one ghz process per client."""

    def drive(scenario: Scenario, loads: Sequence[Load], core: str) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="ghz-", dir=os.environ.get("BENCH_DIR")) as folder:
            cpu = _cpu_of_children()
            running = [
                subprocess.Popen(_command(program, scenario, load, core, Path(folder, str(number))))
                for number, load in enumerate(loads)
            ]
            codes = [process.wait() for process in running]
            cpu = _cpu_of_children() - cpu
            if any(codes):
                raise RuntimeError(f"{scenario.name}: ghz failed")
            reports = [json.loads(Path(folder, f"{number}.report").read_bytes()) for number in range(len(loads))]
        return outcome(reports, cpu)

    return drive


def outcome(reports: Sequence[dict[str, Any]], client_cpu_s: float) -> Outcome:
    """Combine the reports of ghz (`-O json`) of concurrent clients."""
    statuses: Counter[str] = Counter()
    begins, ends, latencies = [], [], []
    for report in reports:
        statuses.update(report["statusCodeDistribution"])
        for call in report["details"]:
            latency, end = call["latency"] / 1e9, datetime.fromisoformat(call["timestamp"]).timestamp()
            latencies.append(latency)
            begins.append(end - latency)
            ends.append(end)
    return Outcome(max(ends) - min(begins), sorted(latencies), dict(statuses), client_cpu_s)


def _command(program: Path, scenario: Scenario, load: Load, core: str, data: Path) -> list[str | Path]:
    """Write the input files of ghz and return its command line."""
    contract = data.with_suffix(".protoset")
    contract.write_bytes(rpc.protoset(scenario.rpc))
    if load.binary:
        data.write_bytes(load.binary)
    else:
        data.write_text(load.text)
    return [
        program,
        "--insecure",
        f"--protoset={contract}",
        f"--call={scenario.rpc}",
        f"--binary-file={data}" if load.binary else f"--data-file={data}",
        f"--total={load.calls}",
        f"--concurrency={load.clients}",
        f"--connections={load.clients}",
        "--timeout=120s",
        *([f"--stream-call-count={scenario.messages}"] if scenario.messages else []),
        "--format=json",
        f"--output={data}.report",
        core,
    ]


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
