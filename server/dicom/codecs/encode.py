"""Arrays as frames."""

from typing import Any

from numpy.typing import NDArray

from server.dicom.codecs.samples import unreadable, words_to_bytes
from server.dicom.codecs.syntaxes import NATIVE
from server.model.pixels import PixelDescription


def encode(array: NDArray[Any], description: PixelDescription, target: str) -> bytes:
    """Return an array as `decode` makes them, as a frame in the transfer syntax `target`.

    Args:
        array: numbers, colour by pixel.
        description: what the data set shall say of the frame, see `described`.
        target: one of `ENCODABLE`.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, there are numbers that the stored bits can't hold.
    """
    if target in NATIVE:
        return words_to_bytes(array, description)
    raise unreadable("Frames can't be written in this transfer syntax.")
