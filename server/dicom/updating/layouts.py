"""Layouts: the places of elements in the files of a series, most of which differ only in values of equal length.

The walk over a data set depends on the headers of its elements and on few values, such as the character set. If all of
these are the same as in an earlier file, so are the edits. Comparing them takes a tenth of the time of the walk.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from server.dicom.elements import element_headers
from server.dicom.elements.element_headers import ElementTable
from server.dicom.updating.edits import Edit, Edits

_USED = frozenset(
    {element_headers.SPECIFIC_CHARACTER_SET, element_headers.PIXEL_REPRESENTATION, element_headers.LUT_DESCRIPTOR}
)
_MAX_LAYOUTS = 8
_MAX_BYTES = 4 << 10
"""Of the compared part of a data set. Comparing more takes as long as the walk."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The compared bytes of a data set up to the element after its last change, as integers, and its edits.

    start, end: position of the compared part in the file.
    """

    start: int
    end: int
    mask: int
    masked: int
    edits: tuple[Edit, ...]

    def is_of(self, data: bytes) -> bool:
        """Return whether the file that starts with `data` has this layout."""
        return int.from_bytes(data[self.start : self.end]) & self.mask == self.masked


class Layouts:
    """The layouts of the last files with the same changes."""

    def __init__(self) -> None:
        self._layouts: dict[str, list[Layout]] = {}  # by transfer syntax, the last one first

    def edits_of(self, syntax_uid: str, data: bytes, meta: Edit) -> Edits | None:
        """Return the edits of a file that starts with `data`; None if no earlier one has its layout.

        meta: the edit of the file meta information.
        """
        layouts = self._layouts.get(syntax_uid, ())
        for number, layout in enumerate(layouts):
            if layout.start == meta.end and layout.end <= len(data) and layout.is_of(data):
                if number:
                    self._layouts[syntax_uid] = [layout, *layouts[:number], *layouts[number + 1 :]]
                return Edits((meta, *layout.edits), has_utf_8=False)
        return None

    def add(self, syntax_uid: str, data: bytes, edits: Edits, table: ElementTable) -> None:
        """Add the layout of a file that starts with `data`, if it has a simple one."""
        layout = _layout_of(data, edits.edits, table)
        if layout is not None:
            self._layouts[syntax_uid] = [layout, *self._layouts.get(syntax_uid, ())][:_MAX_LAYOUTS]


def is_value_used(tag: int) -> bool:
    """Return whether the value of an element affects how the data set is walked or changed."""
    return tag in _USED or element_headers.is_private_creator(tag) or element_headers.is_group_length(tag)


def _layout_of(data: bytes, edits: Sequence[Edit], table: ElementTable) -> Layout | None:
    """Return the layout of a file; None if it has elements whose length or VR follows from other bytes, or if elements
    are inserted, because that depends on the rest of the data set."""
    meta, *others = edits
    start, last = meta.end, edits[-1].end
    if not others or any(edit.start == edit.end for edit in others) or data[start : start + 2] == b"\0\0":
        return None
    mask = bytearray()
    position = start
    while True:
        key = data[position : position + table.key_bytes]
        if len(key) < table.key_bytes or position - start > _MAX_BYTES:
            return None
        entry = table[key][8]
        value_at = position + entry.value_at
        if not entry.is_certain or value_at > len(data):
            return None
        mask += b"\xff" * entry.value_at
        if position >= last:
            break
        (length,) = entry.unpack(data, position + entry.length_at)
        if length == element_headers.UNDEFINED_LENGTH or value_at + length > len(data):
            return None
        mask += (b"\xff" if is_value_used(entry.tag) else b"\0") * length
        position = value_at + length
    bits = int.from_bytes(mask)
    end = start + len(mask)
    return Layout(start, end, bits, int.from_bytes(data[start:end]) & bits, tuple(others))
