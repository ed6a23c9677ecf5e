"""Edits of a file: bytes that replace others."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes `new` instead of those from `start` to `end` of the file."""

    start: int
    end: int
    new: bytes


@dataclass(frozen=True, slots=True)
class Edits:
    """All changes of a file, ascending.

    has_utf_8: the data set was converted to UTF-8.
    """

    edits: Sequence[Edit]
    has_utf_8: bool

    @property
    def end(self) -> int:
        """The position in the file after which nothing changes."""
        return self.edits[-1].end

    @property
    def shifts(self) -> list[tuple[int, int]]:
        """Positions in the file, and by how much the bytes from there on, up to the next position, are moved."""
        shifts, delta = [], 0
        for edit in self.edits:
            delta += len(edit.new) - (edit.end - edit.start)
            shifts.append((edit.end, delta))
        return shifts
