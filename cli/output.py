"""Output: data to stdout, messages to stderr, and formatting of tables and numbers."""

import sys
from collections.abc import Collection, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

UNFOLDED = 10_000
"""Width of a table without a terminal."""

data = Console(highlight=False, width=None if sys.stdout.isatty() else UNFOLDED)
"""Results. In a pipe or file each row is one line of any length."""

problems = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else UNFOLDED)
"""Failures, notes and progress; also one line per row in a pipe or file."""


def table(title: str, *columns: str, folds: Collection[str] = ()) -> Table:
    """Return an empty table. If the terminal is too narrow, the columns in `folds` are wrapped first.

    Cells are wrapped and never truncated, because a truncated UID is useless.
    """
    empty = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        empty.add_column(column, overflow="fold", no_wrap=column not in folds)
    return empty


HELD_ROWS = 1000
"""Number of rows used to compute the width of columns; longer tables are printed in parts."""


def print_rows(
    console: Console,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    folds: Collection[str],
    *,
    with_headings: bool = True,
) -> None:
    """Print rows as a table. Only cells of the columns in `folds` may take several lines.

    If the terminal is too narrow for that, UIDs are printed on separate lines below the rest of their row. If even
    the rest does not fit, each row is printed as a block with a line for each non-empty cell.

    with_headings: false for further parts of a table.
    """
    for most in (None, 32, 16):
        shown = table("", *headings, folds=folds)
        shown.show_header = with_headings
        for column in shown.columns:
            column.max_width = most if column.header in folds else None
        for row in rows:
            shown.add_row(*map(escape, row))
        natural = Measurement.get(console, console.options.update(max_width=UNFOLDED), shown).maximum
        if not console.is_terminal or natural <= console.width:
            console.print(shown)
            return
    if _print_above_uids(console, headings, rows, with_headings=with_headings):
        return
    for row in rows:
        lines = (f"[bold]{escape(name)}[/]  {escape(text)}\n" for name, text in zip(headings, row, strict=True) if text)
        console.print("".join(lines), soft_wrap=True)


def _print_above_uids(
    console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], *, with_headings: bool
) -> bool:
    """Print rows with their UIDs on lines below them; if the rest does not fit, print nothing and return false."""
    short = [index for index, name in enumerate(headings) if not name.endswith("UID")]
    apart = [index for index, name in enumerate(headings) if name.endswith("UID")]
    widths = [max(cell_len(row[index]) for row in (headings, *rows)) for index in short]
    if not (short and apart) or sum(widths) + 2 * (len(widths) - 1) > console.width:
        return False
    for number, row in enumerate((headings, *rows)):
        if not (number or with_headings):
            continue
        cells = (set_cell_size(row[index], width) for index, width in zip(short, widths, strict=True))
        lines = ("  ".join(cells).rstrip(), *(f"  {row[index]}" for index in apart if row[index]))
        console.print(escape("\n".join(lines)), style=None if number else "bold", soft_wrap=True)
    return True


def printable(text: str) -> str:
    """Return a text, such as a file name, as one line that any terminal can show."""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in readable)


def in_bytes(size_bytes: float) -> str:
    """Return a readable size: `999 B`, `1.5 kB`, `2.0 GB`; powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def in_time(seconds: float) -> str:
    """Return a readable duration: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
