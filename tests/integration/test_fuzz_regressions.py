"""Inputs that violated a guarantee once, and the seeds of all fuzz targets (`make fuzz`)."""

from pathlib import Path

import pytest

from tests.fuzz.target import MAX_BYTES, REGRESSIONS, TARGETS, Target

INPUTS = [
    pytest.param(path.parent.name, path, id=f"{path.parent.name}-{path.name}") for path in REGRESSIONS.glob("*/*")
]


@pytest.mark.parametrize(("name", "path"), INPUTS)
def test_a_former_violation_is_fixed(name: str, path: Path) -> None:
    Target(name).check(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_of_a_target_keep_its_guarantees(name: str) -> None:
    target = Target(name)
    seeds = list(target.seeds())
    assert len(seeds) >= 10
    assert max(map(len, seeds)) <= MAX_BYTES
    for seed in (b"", *seeds):
        target.check(seed)


def test_every_regression_belongs_to_a_target() -> None:
    assert {path.name for path in REGRESSIONS.iterdir()} <= set(TARGETS)
