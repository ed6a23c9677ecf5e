"""The benchmark of the index runs; its timing is not checked."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.index.scale import kinds
from tests.e2e.archive import ROOT

INSTANCES = 5000


def test_a_small_index_is_filled_and_searched_in_every_way(tmp_path: Path) -> None:
    output = tmp_path / "rows.jsonl"
    arguments = ["--instances", str(INSTANCES), "--database", str(tmp_path / "index.db"), "--output", str(output)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.index.scale", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["add", "reindex", *(kind.name for kind in kinds(INSTANCES, ""))]
    assert len(done.stdout.splitlines()) == 2 + len(rows)


@pytest.mark.postgres
def test_an_index_of_a_billion_instances_is_simulated(postgres_url: str, tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    arguments = ["--database", postgres_url, "--sample", "2500", "--output", str(output)]
    subprocess.run(
        [sys.executable, "-m", "bench.index.billion", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}"},
        capture_output=True,
        timeout=110,
        check=True,
    )
    figures = json.loads(output.read_text())
    [everything] = [row for row in figures["sizes"] if row["table"] == "all"]
    assert 3_000 < everything["bytes"] < 10_000  # of each instance
    plans = {row["search"]: row["whole"] for row in figures["plans"]}
    assert plans["patient_id"] == "none"
