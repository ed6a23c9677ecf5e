"""ghz (https://ghz.sh), the load generator for gRPC: where it is, what it is told, what it reports."""

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
"""Older releases can't read `optional` fields."""

_HOW = f"""ghz is not installed. With Go (https://go.dev): go install {_MODULE}
Without: take a release from https://github.com/bojand/ghz/releases and put ghz on PATH."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the calls of all clients of a scenario."""

    taken_s: float
    """From the begin of the first call to the end of the last."""
    latencies_s: Sequence[float]
    """Of all calls, ascending."""
    statuses: dict[str, int]
    client_cpu_s: float


Driver = Callable[[Scenario, Sequence[Load], str], Outcome]
"""Makes the calls of a scenario against the core at an address."""


class NotInstalled(Exception):
    """There is no ghz, and no Go to build it; the text says how to get it."""


def find() -> Path:
    """Return ghz from PATH or where Go puts programs; build it there if Go is there.

    Raises:
        NotInstalled: there is neither.
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
    """Return what makes calls with ghz, a process for each client."""

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
    """Return what reports of ghz (`-O json`), made side by side, say together."""
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
    """Write the files that ghz reads and return its command line."""
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
