"""Numbers for people: cli/output.py."""

import pytest

from cli.output import counted, in_bytes, in_time


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (2e9, "2.0 GB"), (5e15, "5000.0 TB")],
)
def test_sizes_have_a_unit_that_keeps_them_short(size_bytes: float, text: str) -> None:
    assert in_bytes(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations_have_at_most_two_units(seconds: float, text: str) -> None:
    assert in_time(seconds) == text


def test_counts_agree_with_their_noun() -> None:
    assert [counted(number, "file") for number in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]
