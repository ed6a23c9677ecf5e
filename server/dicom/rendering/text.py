"""Text on images, in the font built into Pillow."""

from functools import lru_cache
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_SMALLEST, _LARGEST = 9, 64
_LINES_IN_IMAGE = 36
_WITHOUT_PARTS = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "þ": "th", "Þ": "Th"}
    | {"đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "ł": "l", "Ł": "L", "ħ": "h", "Ħ": "H", "ı": "i"}
)


def annotated(rendered: NDArray[np.uint8], lines: tuple[str, ...]) -> NDArray[np.uint8]:
    """Draw lines of text at the upper left, white with a black outline."""
    if not lines:
        return rendered
    image = Image.fromarray(np.ascontiguousarray(rendered))
    size = min(max(min(image.size) // _LINES_IN_IMAGE, _SMALLEST), _LARGEST)
    white, black = ((255,) * 3, (0,) * 3) if image.mode == "RGB" else (255, 0)
    ImageDraw.Draw(image).multiline_text(
        (size // 2, size // 2),
        "\n".join(map(drawable, lines)),
        fill=white,
        font=_font(size),
        stroke_width=max(size // 12, 1),
        stroke_fill=black,
    )
    return np.asarray(image)


def drawable(line: str) -> str:
    """Reduce a line to ASCII, which the font supports: letters without diacritics, ? for other scripts."""
    if line.isascii():
        return line
    letters = normalize("NFC", line).translate(_WITHOUT_PARTS)
    parts = (normalize("NFKD", letter).encode("ascii", "ignore") for letter in letters)
    return b"".join(part or b"?" for part in parts).decode()


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
