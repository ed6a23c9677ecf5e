"""The benchmark of imports runs and checks its results; its timing is not checked."""

import subprocess
import sys

import pytest

from tests.e2e.archive import ROOT


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "options", [["--files", "2000", "--kills", "1"], ["--files", "500", "--kills", "0", "--in-place"]]
)
def test_every_file_is_stored_once_although_the_worker_is_killed(options: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.parts.imports", *options],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"instances, entries in the change feed | {int(options[1]):,}, {int(options[1]):,}" in done.stdout
