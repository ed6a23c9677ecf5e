"""The part of an image that is shown, in the size and direction asked for, with text on it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from server.dicom.picture import Placement

_SMALLEST_TEXT, _LARGEST_TEXT = 9, 64
_LINES_IN_PICTURE = 36


def placed(picture: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
    """Return what the placement says of a picture of the whole image."""
    height, width = picture.shape[:2]
    part = (placement.left, placement.upper, placement.right, placement.lower)
    size = (placement.width, placement.height)
    if part == (0, 0, width, height) and size == (width, height):
        shown = picture
    else:
        image = Image.fromarray(np.ascontiguousarray(picture))
        # Bilinear in Pillow is an average over all pixels that become one, when a picture gets smaller.
        shown = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=part, reducing_gap=2.0))
    if placement.is_mirrored:
        shown = shown[:, ::-1]
    return shown[::-1] if placement.is_upside_down else shown


def annotated(picture: NDArray[np.uint8], lines: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return the picture with lines of text at its upper left, white with a black edge."""
    if not lines:
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    size = min(max(min(image.size) // _LINES_IN_PICTURE, _SMALLEST_TEXT), _LARGEST_TEXT)
    white, black = ((255,) * 3, (0,) * 3) if image.mode == "RGB" else (255, 0)
    ImageDraw.Draw(image).multiline_text(
        (size // 2, size // 2),
        "\n".join(lines),
        fill=white,
        font=ImageFont.load_default(size),
        stroke_width=max(size // 12, 1),
        stroke_fill=black,
    )
    return np.asarray(image)
