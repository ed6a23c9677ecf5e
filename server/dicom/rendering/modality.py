"""Stored values to modality values (Rescale Slope and Intercept, Modality LUT; PS3.3 section C.11.1)."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.dicom.rendering.lookup_tables import entries_of, looked_up
from server.dicom.rendering.voi import Range
from server.model.pixels import PixelDescription
from server.model.rendering import LookupTable, Presentation

PixelCells = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Encoding:
    """Layout of a stored value in a pixel cell of 8 or 16 bits (PS3.5 section 8.1.1)."""

    cell_bits: int
    bits_stored: int
    high_bit: int
    is_signed: bool

    @property
    def type(self) -> np.dtype[Any]:
        """The integer type of a pixel cell, with its sign."""
        return np.dtype(f"<{'i' if self.is_signed else 'u'}{self.cell_bits // 8}")


@dataclass(frozen=True, slots=True)
class Modality:
    """Parameters of the modality transformation, and the range of padding values."""

    slope: float
    intercept: float
    lut: LookupTable | None
    padding: Range | None


@dataclass(frozen=True, slots=True, eq=False)
class ModalityTable:
    """For each pixel cell value of an encoding: its stored value, its modality value, and whether it is padding."""

    encoding: Encoding
    modality: Modality
    stored_values: NDArray[np.int64]
    modality_values: NDArray[np.float64]
    is_padding: NDArray[np.bool_] | None

    def range_of(self, cells: PixelCells) -> Range:
        """Return the lowest and the highest modality value of a frame.

        For a constant frame, the range of all possible values, so that the frame is not shown black.
        """
        modality_values = self._extremes(cells)
        low, high = (float(modality_values.min()), float(modality_values.max())) if modality_values.size else (0.0, 0.0)
        return (low, high) if low < high else (float(self.modality_values.min()), float(self.modality_values.max()))

    def _extremes(self, cells: PixelCells) -> NDArray[np.float64]:
        """Return modality values of a frame, among them its minimum and maximum."""
        if self.modality.lut is None:
            typed = cells.view(self.encoding.type)
            ends = np.array([typed.min(), typed.max()], typed.dtype)
            places = ends.view(cells.dtype)
            are_plain = bool((self.stored_values[places] == ends).all())
            if are_plain and (self.is_padding is None or not self.is_padding[places].any()):
                return np.asarray(self.modality_values[places])
        occurs = np.zeros(self.modality_values.size, np.bool_)
        occurs[cells.ravel()] = True
        if self.is_padding is not None:
            occurs &= ~self.is_padding
        return np.asarray(self.modality_values[occurs])


def encoding_of(description: PixelDescription) -> Encoding:
    """Return the encoding of integers in pixel cells of 8 or 16 bits; invalid attributes are replaced by usual
    values."""
    bits = max(description.bits_allocated, 8)
    stored = description.bits_stored if 0 < description.bits_stored <= bits else bits
    high = description.high_bit if stored <= description.high_bit + 1 <= bits else stored - 1
    return Encoding(bits, stored, high, description.is_signed)


def modality_of(presentation: Presentation) -> Modality:
    """Return the modality part of a presentation."""
    return Modality(presentation.slope, presentation.intercept, presentation.modality_lut, presentation.padding)


@lru_cache(maxsize=8)
def modality_table_of(encoding: Encoding, modality: Modality) -> ModalityTable:
    """Return the table for all pixel cell values; 1.2 MB for 16 bits."""
    cells = np.arange(1 << encoding.cell_bits, dtype=np.int64)
    stored_values = (cells >> (encoding.high_bit + 1 - encoding.bits_stored)) & ((1 << encoding.bits_stored) - 1)
    if encoding.is_signed:
        stored_values -= (stored_values >> (encoding.bits_stored - 1)) << encoding.bits_stored
    return ModalityTable(
        encoding,
        modality,
        stored_values,
        modality_values_of(stored_values, modality),
        padding_of(stored_values, modality),
    )


def modality_values_of(stored_values: NDArray[Any], modality: Modality) -> NDArray[np.float64]:
    """Apply the modality LUT, or slope and intercept."""
    exact = stored_values.astype(np.float64)
    if modality.lut is not None:
        return looked_up(entries_of(modality.lut), modality.lut.first, exact).astype(np.float64)
    if (modality.slope, modality.intercept) == (1, 0):
        return exact
    exact *= modality.slope
    exact += modality.intercept
    return exact


def padding_of(stored_values: NDArray[Any], modality: Modality) -> NDArray[np.bool_] | None:
    """Return which stored values are padding; None if there is no padding."""
    if modality.padding is None:
        return None
    low, high = modality.padding
    return np.asarray((stored_values >= low) & (stored_values <= high))
