"""The benchmark keeps working; its timing decides nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.workloads import WORKLOADS
from tests.e2e.archive import ROOT


@pytest.mark.timeout(300)
def test_a_short_run_of_the_benchmark_measures_every_workload(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    subprocess.run(
        [sys.executable, "-m", "bench", "--seconds", "0.1", "--output", rows],
        cwd=ROOT,
        env={"BENCH_DIR": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}"},
        check=True,
        capture_output=True,
        timeout=280,
    )
    measured = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [row["workload"] for row in measured] == [workload.name for workload in WORKLOADS]
    assert all(row["per_second"] > 0 for row in measured)
