"""The benchmark of the index runs; its timing is not checked."""

import json
import subprocess
import sys
from pathlib import Path

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
