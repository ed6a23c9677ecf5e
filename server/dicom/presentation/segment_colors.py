"""Colours of segmentations (PS3.3 sections C.8.20.2 and C.10.7.1.1).

Binary and fractional segmentations show a segment in its recommended colour (white without one) on black. In a label
map each segment has its recommended colour, or one derived from its number.
"""

from collections.abc import Mapping
from colorsys import hsv_to_rgb

from server.dicom.elements.canonical_json import Attributes, integer, items, numbers, text

Color = tuple[int, int, int]

_SEGMENTATION_TYPE = "00620001"
_SEGMENTS = "00620002"
_SEGMENT_NUMBER = "00620004"
_REFERENCED_SEGMENT_NUMBER = "0062000B"
_SEGMENT_IDENTIFICATION = "0062000A"
_RECOMMENDED_CIELAB = "0062000D"

_D50 = (0.9642, 1.0, 0.8249)
# XYZ under D50, as in DICOM CIELab values, to linear sRGB, including Bradford adaptation to D65.
_TO_LINEAR_SRGB = (
    (3.1338561, -1.6168667, -0.4906146),
    (-0.9787684, 1.9161415, 0.0334540),
    (0.0719453, -0.2289914, 1.4052427),
)
_GOLDEN_RATIO = 0.618034


def frame_tint(attributes: Attributes, groups: Mapping[str, Attributes]) -> Color | None:
    """Return the colour of a frame's segment; None if it has no colour or the frame has no segment.

    Args:
        attributes: of the instance.
        groups: functional groups of the frame, by the tag of their sequence.
    """
    if text(attributes, _SEGMENTATION_TYPE) not in {"BINARY", "FRACTIONAL"}:
        return None
    referenced = integer(groups.get(_SEGMENT_IDENTIFICATION, {}), _REFERENCED_SEGMENT_NUMBER)
    for segment in items(attributes, _SEGMENTS):
        if integer(segment, _SEGMENT_NUMBER) == referenced:
            return _recommended(segment)
    return None


def label_colors(attributes: Attributes) -> tuple[tuple[int, int, int, int], ...]:
    """Return number and colour of each segment of a label map, in ascending order; empty for other objects."""
    if text(attributes, _SEGMENTATION_TYPE) != "LABELMAP":
        return ()
    colors: dict[int, Color] = {}
    for segment in items(attributes, _SEGMENTS):
        label = integer(segment, _SEGMENT_NUMBER)
        if label is not None and label > 0:
            colors[label] = _recommended(segment) or _color_of_number(label)
    return tuple((label, *colors[label]) for label in sorted(colors))


def srgb_of_cielab(lightness: float, a: float, b: float) -> Color:
    """Convert a DICOM CIELab value (each component 0 to 65535) to sRGB; colours outside sRGB are clipped."""
    y = lightness * 100 / 65535 / 116 + 16 / 116
    x, z = y + (a * 255 / 65535 - 128) / 500, y - (b * 255 / 65535 - 128) / 200
    xyz = [white * _linear_of_lab(value) for white, value in zip(_D50, (x, y, z), strict=True)]
    linear = [sum(factor * value for factor, value in zip(row, xyz, strict=True)) for row in _TO_LINEAR_SRGB]
    red, green, blue = (_srgb_of_linear(value) for value in linear)
    return red, green, blue


def _recommended(segment: Attributes) -> Color | None:
    lab = numbers(segment, _RECOMMENDED_CIELAB)
    return srgb_of_cielab(*lab) if len(lab) == 3 else None


def _color_of_number(label: int) -> Color:
    """Return a bright colour; adjacent numbers get clearly different colours."""
    red, green, blue = hsv_to_rgb(label * _GOLDEN_RATIO % 1, 0.65, 1)
    return round(red * 255), round(green * 255), round(blue * 255)


def _linear_of_lab(value: float) -> float:
    cubed: float = value**3
    return cubed if cubed > 0.008856 else (value - 16 / 116) / 7.787


def _srgb_of_linear(value: float) -> int:
    value = min(max(value, 0.0), 1.0)
    return round(255 * (12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055))
