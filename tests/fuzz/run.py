"""Fuzzing of several targets, each in processes of their own."""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.target import REGRESSIONS, TARGETS, Target

ROOT = Path(__file__).parents[2]
_GRACE_S = 120


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that violates a guarantee, saved as a regression; `log` has the traceback, or libFuzzer's last lines."""

    path: Path
    log: str

    def __str__(self) -> str:
        return f"VIOLATED: saved as {self.path.relative_to(ROOT)}\n{self.log}"


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of one process; `findings` has one input of each kind of violation."""

    target: str
    executions: int
    seconds: float
    findings: list[Finding]

    def __str__(self) -> str:
        rate = self.executions / max(self.seconds, 1)
        lines = [f"{self.target:10} {self.executions:>12,} executions {rate:>10,.0f}/s", *map(str, self.findings)]
        return "\n".join(lines)


def is_available() -> bool:
    """Return whether the fuzzer is installed: it has wheels for x86-64 only."""
    return importlib.util.find_spec("atheris") is not None


_FROM_A_SMALL_PROCESS = ["/bin/sh", "-c", '"$@"; exit $?', "sh"]
"""A child starts with the peak memory of the process that starts it, which the fuzzer takes for its own."""


def fuzz(
    seconds: float,
    *,
    targets: Sequence[str] = TARGETS,
    workers: int = 1,
    seed: int = 1,
    corpus: Path | None = None,
    executions: int = -1,
) -> list[Result]:
    """Fuzz the targets, `workers` at a time, for `seconds` of wall time in total, and return the results.

    With the same seed and an empty corpus, runs of the same code try the same inputs in the same order.

    Args:
        executions: most inputs of each target; then a fast machine tries the same ones as a slow one. -1 is any number.
        corpus: keeps the inputs that reached new code in a folder for each target; None starts with the seeds only.
    """
    each = max(1, round(seconds * workers / len(targets)))
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda name: _fuzz_one(name, each, seed, corpus, executions), targets))


def _fuzz_one(name: str, seconds: int, seed: int, corpus: Path | None, executions: int) -> Result:
    target = Target(name)
    with tempfile.TemporaryDirectory(prefix="dicomstore-fuzz-") as scratch:
        folder = corpus / name if corpus else Path(scratch) / "corpus"
        findings = Path(scratch) / "findings"
        folder.mkdir(parents=True, exist_ok=True)
        findings.mkdir()
        _write(folder, (*target.seeds(), *(path.read_bytes() for path in target.regressions())))
        arguments = [str(seconds), folder, f"{findings}/", str(seed), str(executions)]
        run = subprocess.run(
            [*_FROM_A_SMALL_PROCESS, sys.executable, "-m", "tests.fuzz.process", name, *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": ".:protos/gen", "PYTHONHASHSEED": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds + _GRACE_S,
            check=False,
        )
        output = run.stdout.decode("utf-8", "replace")
        found = list(_saved(name, findings, output))
    executed = re.search(r"stat::number_of_executed_units: (\d+)", output)
    if executed is None or (run.returncode and not found):
        raise RuntimeError(f"the fuzzer failed for {name}:\n{output[-4000:]}")
    return Result(name, int(executed[1]), seconds, found)


def _write(folder: Path, inputs: Iterable[bytes]) -> None:
    for data in inputs:
        (folder / _name(data)).write_bytes(data)


def _saved(name: str, findings: Path, output: str) -> Iterator[Finding]:
    """Copy the recorded inputs to the regressions of their target; a timeout or too much memory has no traceback."""
    for path in sorted(findings.iterdir()):
        if path.suffix != ".txt":
            data = path.read_bytes()
            saved = REGRESSIONS / name / _name(data)
            saved.parent.mkdir(exist_ok=True)
            saved.write_bytes(data)
            log = path.with_name(f"{path.name}.txt")
            yield Finding(saved, log.read_text() if log.exists() else output[-2000:])


def _name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
