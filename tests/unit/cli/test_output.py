"""Formatting of numbers and tables: cli/output.py."""

import io

import pytest
from rich.console import Console

from cli.output import in_bytes, in_time, print_rows
from common.counting import counted


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


@pytest.mark.parametrize(("width", "lines", "is_table"), [(100, 2, True), (64, 3, True), (48, 4, True), (40, 3, False)])
def test_rows_are_a_table_only_if_no_uid_is_broken(width: int, lines: int, is_table: bool) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    rows = [("1.2.826.0.1.3680043.10.1", "", "[b] one two three four five six seven eight")]
    print_rows(console, ("UID", "", "Description"), rows, {"Description"})
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "1.2.826.0.1.3680043.10.1" in shown
    assert "[b] one two" in shown
    assert shown.count("\n") == lines
    assert shown.startswith("UID  1.2") is not is_table
