"""The benchmark of re-indexing runs and compares its results; its timing is not checked."""

import subprocess
import sys

import pytest

from bench.index import reindex
from tests.e2e.archive import ROOT


@pytest.mark.timeout(180)
def test_re_indexing_gives_the_same_index_as_tags_that_existed_from_the_start() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.index.reindex", "--instances", "3000"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'protos/gen'}"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "values and errors equal to a fresh index" in done.stdout
    assert "| first_page |" in done.stdout


def test_some_instances_have_a_value_that_cannot_be_indexed() -> None:
    batch = next(reindex.instances_of(1000))
    assert sum(b"yesterday" in instance.dicom_json for instance in batch) == len(batch) // 500
    assert 4_000 < len(batch[0].dicom_json) < 8_000
