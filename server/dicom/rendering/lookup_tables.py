"""Lookup tables of the data set as arrays."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.dicom.rendering.segmented_palettes import Segments
from server.model.rendering import LookupTable, Palette

_FULL_BITS, _BYTE_BITS = 16, 8


def entries_of(table: LookupTable) -> NDArray[np.uint16]:
    """Return the entries, at least one; truncated data gives fewer entries, surplus data is ignored."""
    if is_packed(table):
        entries = np.frombuffer(table.data, np.uint8, min(table.entries, len(table.data))).astype(np.uint16)
    else:
        entries = np.frombuffer(table.data, "<u2", min(table.entries, len(table.data) // 2)).astype(np.uint16)
    return entries if entries.size else np.zeros(1, np.uint16)


def is_packed(table: LookupTable) -> bool:
    """Return whether entries are bytes, two per word; the length of the data decides (PS3.3 section C.7.6.3.1.5).

    Only if the length fits neither bytes nor words, the descriptor decides.
    """
    is_of_bytes = table.entries <= len(table.data) <= table.entries + table.entries % 2
    return len(table.data) < 2 * table.entries and (is_of_bytes or table.bits <= _BYTE_BITS)


def fractions_of(table: LookupTable) -> NDArray[np.float64]:
    """Return the entries scaled to 0 to 1, where 1 is the maximum for their number of bits."""
    entries = entries_of(table)
    bits = max(_BYTE_BITS if is_packed(table) else table.bits, int(entries.max()).bit_length())
    return entries / ((1 << bits) - 1)


def looked_up(entries: NDArray[Any], first: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map values to entries; values below or above the table get its first or last entry (PS3.3 section C.11.1.1.1)."""
    index = np.fmin(np.fmax(np.rint(values) - first, 0), entries.size - 1).astype(np.intp)
    return np.asarray(entries[index], np.float64)


@lru_cache(maxsize=8)
def palette_colors(palette: Palette) -> tuple[NDArray[np.uint8], int]:
    """Return RGB colours of shape (entries, 3), and the value mapped to the first one."""
    tables = [palette.red, palette.green, palette.blue]
    columns = [_segmented(table) if palette.is_segmented else entries_of(table) for table in tables]
    size = max(column.size for column in columns)
    most = max(int(column.max()) for column in columns)
    # Some writers declare 16 bits for 8-bit entries stored in words, or 8 bits for entries stored in the upper halves.
    shift = max(palette.red.bits - 8, 0) if most > 0xFF else 0
    if most > 0xFF and palette.red.bits <= 8:
        shift = _FULL_BITS - 8
    # A truncated table continues with its last entry.
    shifted = [np.pad(np.minimum(column >> shift, 0xFF), (0, size - column.size), "edge") for column in columns]
    return np.stack(shifted, axis=1).astype(np.uint8), palette.red.first


def _segmented(table: LookupTable) -> NDArray[np.uint16]:
    """Return the entries that the segments expand to; missing entries are 0."""
    is_narrow = table.bits <= 8
    data = table.data if is_narrow else table.data[: len(table.data) // 2 * 2]
    cells = np.frombuffer(data, np.uint8 if is_narrow else "<u2").tolist()
    found = Segments(cells, is_narrow=is_narrow, limit=table.entries).expand()
    entries = np.zeros(table.entries, np.uint16)
    entries[: len(found)] = found
    return entries
