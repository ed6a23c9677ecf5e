"""Look-up tables of the data set as arrays."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.dicom.rendering.segmented_palettes import Segments
from server.model.rendering import LookupTable, Palette

_FULL_BITS, _BYTE_BITS = 16, 8


def entries_of(table: LookupTable) -> NDArray[np.uint16]:
    """Return the entries, at least one; a table that is cut off ends earlier, a longer one is as long as it says."""
    if is_packed(table):
        entries = np.frombuffer(table.data, np.uint8, min(table.entries, len(table.data))).astype(np.uint16)
    else:
        entries = np.frombuffer(table.data, "<u2", min(table.entries, len(table.data) // 2)).astype(np.uint16)
    return entries if entries.size else np.zeros(1, np.uint16)


def is_packed(table: LookupTable) -> bool:
    """Say whether entries are bytes, two in a word: the length of the data decides (PS3.3 section C.7.6.3.1.5).

    Only of data that is too short for bytes, or of a length between, the descriptor decides.
    """
    is_of_bytes = table.entries <= len(table.data) <= table.entries + table.entries % 2
    return len(table.data) < 2 * table.entries and (is_of_bytes or table.bits <= _BYTE_BITS)


def fractions_of(table: LookupTable) -> NDArray[np.float64]:
    """Return the entries between 0 and 1, of the largest that their bits allow."""
    entries = entries_of(table)
    bits = max(_BYTE_BITS if is_packed(table) else table.bits, int(entries.max()).bit_length())
    return entries / ((1 << bits) - 1)


def looked_up(entries: NDArray[Any], first: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entries for values; those outside have the first or the last one (PS3.3 section C.11.1.1.1)."""
    index = np.fmin(np.fmax(np.rint(values) - first, 0), entries.size - 1).astype(np.intp)
    return np.asarray(entries[index], np.float64)


@lru_cache(maxsize=8)
def palette_colors(palette: Palette) -> tuple[NDArray[np.uint8], int]:
    """Return colours, one row each, and the value that the first is for."""
    tables = [palette.red, palette.green, palette.blue]
    columns = [_segmented(table) if palette.is_segmented else entries_of(table) for table in tables]
    size = max(column.size for column in columns)
    most = max(int(column.max()) for column in columns)
    # Some write entries of 8 bits into words and call them 16, or put them into the upper halves and call them 8.
    shift = max(palette.red.bits - 8, 0) if most > 0xFF else 0
    if most > 0xFF and palette.red.bits <= 8:
        shift = _FULL_BITS - 8
    # A table that is cut off goes on with its last entry.
    shifted = [np.pad(np.minimum(column >> shift, 0xFF), (0, size - column.size), "edge") for column in columns]
    return np.stack(shifted, axis=1).astype(np.uint8), palette.red.first


def _segmented(table: LookupTable) -> NDArray[np.uint16]:
    """Return the entries that segments stand for; those that are missing are 0."""
    is_narrow = table.bits <= 8
    data = table.data if is_narrow else table.data[: len(table.data) // 2 * 2]
    cells = np.frombuffer(data, np.uint8 if is_narrow else "<u2").tolist()
    found = Segments(cells, is_narrow=is_narrow, limit=table.entries).expand()
    entries = np.zeros(table.entries, np.uint16)
    entries[: len(found)] = found
    return entries
