"""Frames as arrays."""

from typing import Any

from numpy.typing import NDArray

from server.dicom.codecs.samples import numbers_of, unreadable, words_from_bytes
from server.dicom.codecs.syntaxes import UNCODED
from server.model.pixels import PixelDescription


def decode(data: bytes, syntax: str, description: PixelDescription) -> tuple[NDArray[Any], PixelDescription]:
    """Return a frame as an array, and the description that holds for it.

    The array has the shape (rows, columns) or (rows, columns, samples) and the numbers that are meant: shifted down,
    with their sign, of the word's size. 1-bit images have a byte for each pixel. Colour is RGB or YBR_FULL, by pixel.
    The array may be read-only.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, the frame is damaged, contradicts its description, or is of a kind that
            can't be decoded.
    """
    if syntax in UNCODED:
        return numbers_of(words_from_bytes(data, description), description)
    raise unreadable("Frames of this transfer syntax can't be decoded.")
