"""Where output goes: data to stdout, everything about it to stderr."""

import sys
from collections.abc import Collection

from rich.console import Console
from rich.table import Table

UNFOLDED = 10_000
"""Width of a table that no terminal limits."""

data = Console(highlight=False, width=None if sys.stdout.isatty() else UNFOLDED)
"""Results that were asked for. In a pipe or file a row is one line, however long."""

problems = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else UNFOLDED)
"""Failures, notes and progress; likewise one line a row in a pipe or file."""


def table(title: str, *columns: str, folds: Collection[str] = ()) -> Table:
    """Return an empty table. Where room is short, the columns in `folds` give way first.

    Cells fold rather than lose text, because a UID is of no use when cut.
    """
    empty = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        empty.add_column(column, overflow="fold", no_wrap=column not in folds)
    return empty


def in_bytes(size_bytes: float) -> str:
    """Return a size for people: `999 B`, `1.5 kB`, `2.0 GB`; powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def in_time(seconds: float) -> str:
    """Return a duration for people: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def counted(number: int, noun: str) -> str:
    """Return `1 file`, `2,000 files`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
