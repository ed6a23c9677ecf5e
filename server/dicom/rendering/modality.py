"""What the words of pixel data mean: one table for all words of up to 16 bits, direct arithmetic beyond."""

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
    """How a number lies in a word of 8 or 16 bits."""

    cell_bits: int
    bits_stored: int
    high_bit: int
    is_signed: bool

    @property
    def type(self) -> np.dtype[Any]:
        """The type of a word with its sign."""
        return np.dtype(f"<{'i' if self.is_signed else 'u'}{self.cell_bits // 8}")


@dataclass(frozen=True, slots=True)
class Modality:
    """What gives numbers their unit, and numbers that are not of the image."""

    slope: float
    intercept: float
    lut: LookupTable | None
    padding: Range | None


@dataclass(frozen=True, slots=True, eq=False)
class ModalityTable:
    """For each word of an encoding: its number, the value that the modality LUT gives, and whether it is padding."""

    encoding: Encoding
    modality: Modality
    stored_values: NDArray[np.int64]
    modality_values: NDArray[np.float64]
    is_padding: NDArray[np.bool_] | None

    def range_of(self, cells: PixelCells) -> Range:
        """Return the lowest and the highest value of a frame.

        Of a frame with one value only, the range that its words can have: such a frame is not black for that reason.
        """
        modality_values = self._extremes(cells)
        low, high = (float(modality_values.min()), float(modality_values.max())) if modality_values.size else (0.0, 0.0)
        return (low, high) if low < high else (float(self.modality_values.min()), float(self.modality_values.max()))

    def _extremes(self, cells: PixelCells) -> NDArray[np.float64]:
        """Return values of a frame, the lowest and the highest among them."""
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
    """Return the encoding of integers in words of 8 or 16 bits; what makes no sense is as if it were usual."""
    bits = max(description.bits_allocated, 8)
    stored = description.bits_stored if 0 < description.bits_stored <= bits else bits
    high = description.high_bit if stored <= description.high_bit + 1 <= bits else stored - 1
    return Encoding(bits, stored, high, description.is_signed)


def modality_of(presentation: Presentation) -> Modality:
    """Return that part of a look."""
    return Modality(presentation.slope, presentation.intercept, presentation.modality_lut, presentation.padding)


@lru_cache(maxsize=8)
def modality_table_of(encoding: Encoding, modality: Modality) -> ModalityTable:
    """Return the meanings of all words: 1.2 MB for 16 bits."""
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
    """Return what the modality LUT makes of numbers."""
    exact = stored_values.astype(np.float64)
    if modality.lut is not None:
        return looked_up(entries_of(modality.lut), modality.lut.first, exact).astype(np.float64)
    if (modality.slope, modality.intercept) == (1, 0):
        return exact
    exact *= modality.slope
    exact += modality.intercept
    return exact


def padding_of(stored_values: NDArray[Any], modality: Modality) -> NDArray[np.bool_] | None:
    """Say which numbers are padding; None if there is none at all."""
    if modality.padding is None:
        return None
    low, high = modality.padding
    return np.asarray((stored_values >= low) & (stored_values <= high))
