"""Coverage-guided fuzzing: the same 2,000 inputs of each target in each run of the same code; see also `make fuzz`."""

from pathlib import Path

import pytest

from tests.fuzz import run
from tests.fuzz.process import Recorder
from tests.fuzz.target import TARGETS

SECONDS = 60
EXECUTIONS = 2000
"""The same inputs on fast and slow machines: the time limit is for very slow ones."""


@pytest.mark.skipif(not run.is_available(), reason="Atheris has wheels for x86-64 only")
@pytest.mark.parametrize("target", TARGETS)
def test_no_input_violates_the_guarantees_of_a_parser(target: str) -> None:
    [result] = run.fuzz(SECONDS, targets=[target], executions=EXECUTIONS)
    assert result.executions > 0
    assert not result.findings, str(result)


def test_one_input_of_each_kind_of_violation_is_recorded(tmp_path: Path) -> None:
    def check(data: bytes) -> None:
        if data.startswith(b"v"):
            raise ValueError(f"{len(data)} bytes")
        if data.startswith(b"k"):
            raise KeyError(data)

    recorder = Recorder(check, tmp_path)
    for data in (b"fine", b"v", b"violation", b"k"):
        recorder.check(data)
    inputs = {path.read_bytes() for path in tmp_path.iterdir() if not path.suffix}
    assert inputs == {b"v", b"k"}
    assert sorted("ValueError: 1 bytes" in path.read_text() for path in tmp_path.glob("*.txt")) == [False, True]
