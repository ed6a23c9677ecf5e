"""What the words of pixel data mean: one table for all words of up to 16 bits, direct arithmetic beyond."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.dicom.rendering.lookup_tables import entries_of, looked_up
from server.dicom.rendering.voi import Range
from server.model.pixels import PixelDescription
from server.model.rendering import Look, LookupTable

Words = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a number lies in a word of 8 or 16 bits."""

    word_bits: int
    bits_stored: int
    high_bit: int
    is_signed: bool

    @property
    def type(self) -> np.dtype[Any]:
        """The type of a word with its sign."""
        return np.dtype(f"<{'i' if self.is_signed else 'u'}{self.word_bits // 8}")


@dataclass(frozen=True, slots=True)
class Modality:
    """What gives numbers their unit, and numbers that are not of the image."""

    slope: float
    intercept: float
    lut: LookupTable | None
    padding: Range | None


@dataclass(frozen=True, slots=True, eq=False)
class Meanings:
    """For each word of an encoding: its number, the value that the modality LUT gives, and whether it is padding."""

    encoding: Encoding
    modality: Modality
    numbers: NDArray[np.int64]
    values: NDArray[np.float64]
    is_padding: NDArray[np.bool_] | None

    def range_of(self, words: Words) -> Range:
        """Return the lowest and the highest value of a frame.

        Of a frame with one value only, the range that its words can have: such a frame is not black for that reason.
        """
        values = self._extremes(words)
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        return (low, high) if low < high else (float(self.values.min()), float(self.values.max()))

    def _extremes(self, words: Words) -> NDArray[np.float64]:
        """Return values of a frame, the lowest and the highest among them."""
        if self.modality.lut is None:
            typed = words.view(self.encoding.type)
            ends = np.array([typed.min(), typed.max()], typed.dtype)
            places = ends.view(words.dtype)
            are_plain = bool((self.numbers[places] == ends).all())
            if are_plain and (self.is_padding is None or not self.is_padding[places].any()):
                return np.asarray(self.values[places])
        occurs = np.zeros(self.values.size, np.bool_)
        occurs[words.ravel()] = True
        if self.is_padding is not None:
            occurs &= ~self.is_padding
        return np.asarray(self.values[occurs])


def encoding_of(description: PixelDescription) -> Encoding:
    """Return the encoding of integers in words of 8 or 16 bits; what makes no sense is as if it were usual."""
    bits = max(description.bits_allocated, 8)
    stored = description.bits_stored if 0 < description.bits_stored <= bits else bits
    high = description.high_bit if stored <= description.high_bit + 1 <= bits else stored - 1
    return Encoding(bits, stored, high, description.is_signed)


def modality_of(look: Look) -> Modality:
    """Return that part of a look."""
    return Modality(look.slope, look.intercept, look.modality_lut, look.padding)


@lru_cache(maxsize=8)
def meanings_of(encoding: Encoding, modality: Modality) -> Meanings:
    """Return the meanings of all words: 1.2 MB for 16 bits."""
    words = np.arange(1 << encoding.word_bits, dtype=np.int64)
    numbers = (words >> (encoding.high_bit + 1 - encoding.bits_stored)) & ((1 << encoding.bits_stored) - 1)
    if encoding.is_signed:
        numbers -= (numbers >> (encoding.bits_stored - 1)) << encoding.bits_stored
    return Meanings(encoding, modality, numbers, values_of(numbers, modality), padding_of(numbers, modality))


def values_of(numbers: NDArray[Any], modality: Modality) -> NDArray[np.float64]:
    """Return what the modality LUT makes of numbers."""
    exact = numbers.astype(np.float64)
    if modality.lut is not None:
        return looked_up(entries_of(modality.lut), modality.lut.first, exact).astype(np.float64)
    if (modality.slope, modality.intercept) == (1, 0):
        return exact
    exact *= modality.slope
    exact += modality.intercept
    return exact


def padding_of(numbers: NDArray[Any], modality: Modality) -> NDArray[np.bool_] | None:
    """Say which numbers are padding; None if there is none at all."""
    if modality.padding is None:
        return None
    low, high = modality.padding
    return np.asarray((numbers >= low) & (numbers <= high))
