"""Text on pictures, in the only font that is there wherever Pillow is."""

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
    """Return the picture with lines of text at its upper left, white with a black edge."""
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
    """Return a line in ASCII, which is what the font has: letters without their marks, ? for those of other scripts."""
    if line.isascii():
        return line
    letters = normalize("NFC", line).translate(_WITHOUT_PARTS)
    parts = (normalize("NFKD", letter).encode("ascii", "ignore") for letter in letters)
    return b"".join(part or b"?" for part in parts).decode()


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
