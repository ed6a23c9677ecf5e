"""The benchmark of imports runs and checks its results; its timing is not checked."""

import subprocess
import sys

import pytest

from tests.e2e.archive import ROOT


@pytest.mark.timeout(180)
def test_every_file_is_stored_once_although_the_worker_is_killed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.parts.imports", "--files", "1500", "--kills", "1"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "instances, entries in the change feed | 1,500, 1,500" in done.stdout
