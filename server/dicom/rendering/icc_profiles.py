"""ICC profiles built from the primaries in the standards, and conversions between them.

sRGB is IEC 61966-2-1, Adobe RGB is IEC 61966-2-5 ("opRGB"), ROMM RGB is ISO 22028-2. The profiles have ICC version 2: a
matrix to XYZ under D50 and one curve.
"""

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from struct import pack

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from server.model.rendering import IccProfile

Chromaticity = tuple[float, float]
Matrix = NDArray[np.float64]

_D50 = np.array([0.9642, 1.0, 0.8249])
_D65: Chromaticity = (0.3127, 0.3290)
_D50_CHROMATICITY: Chromaticity = (0.3457, 0.3585)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_CURVE_POINTS = 1024
_HEADER_BYTES = 128
_MAX_PROFILE_BYTES = 4 << 20
_SIGNATURE, _COLOR_SPACE = slice(36, 40), slice(16, 20)


def _srgb_curve(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _adobe_curve(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return value ** (563 / 256)


def _romm_curve(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(value < 16 / 512, value / 16, value**1.8)


_SPACES: dict[
    IccProfile,
    tuple[str, tuple[Chromaticity, ...], Chromaticity, Callable[[NDArray[np.float64]], NDArray[np.float64]]],
] = {
    IccProfile.SRGB: ("sRGB", ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), _D65, _srgb_curve),
    IccProfile.ADOBE_RGB: ("opRGB", ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), _D65, _adobe_curve),
    IccProfile.ROMM_RGB: (
        "ROMM RGB",
        ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)),
        _D50_CHROMATICITY,
        _romm_curve,
    ),
}


def converted_to(rendered: NDArray[np.uint8], wanted: IccProfile, own: bytes) -> tuple[NDArray[np.uint8], bytes]:
    """Return an RGB image converted as requested, and the profile to embed; b"" for none.

    Args:
        rendered: RGB samples.
        wanted: the requested colour space.
        own: the profile of the object; ignored if it is not a valid RGB profile.
    """
    if wanted not in _SPACES:
        return rendered, profile_to_embed(wanted, own)
    source, target = profile_to_embed(IccProfile.YES, own), standard_profile(wanted)
    return (rendered if source == target else _convert(rendered, source, target)), target


def profile_to_embed(wanted: IccProfile, own: bytes) -> bytes:
    """Return the profile to embed with unconverted colours; b"" for none.

    Args:
        wanted: IF_PRESENT, NO or YES.
        own: see `converted_to`.
    """
    if wanted is IccProfile.NO:
        return b""
    if _is_rgb_profile(own):
        return own
    return standard_profile(IccProfile.SRGB) if wanted is IccProfile.YES else b""


@lru_cache(maxsize=3)
def standard_profile(space: IccProfile) -> bytes:
    """Return the profile of a standard colour space."""
    name, primaries, white, curve = _SPACES[space]
    matrix = _to_d50(white) @ _to_xyz(primaries, white)
    points = np.rint(curve(np.linspace(0, 1, _CURVE_POINTS)) * 0xFFFF).astype(">u2")
    curve_tag = b"curv" + pack(">II", 0, _CURVE_POINTS) + points.tobytes()
    tags = {
        b"desc": _description(name),
        b"cprt": b"text" + bytes(4) + b"No copyright, use freely\0",
        b"wtpt": _xyz(_D50),
        b"rXYZ": _xyz(matrix[:, 0]),
        b"gXYZ": _xyz(matrix[:, 1]),
        b"bXYZ": _xyz(matrix[:, 2]),
        b"rTRC": curve_tag,
        b"gTRC": curve_tag,
        b"bTRC": curve_tag,
    }
    return _profile(tags)


def _is_rgb_profile(data: bytes) -> bool:
    is_one = _HEADER_BYTES < len(data) <= _MAX_PROFILE_BYTES and data[_SIGNATURE] == b"acsp"
    return is_one and data[_COLOR_SPACE] == b"RGB " and _rgb_profile(data) is not None


@lru_cache(maxsize=4)
def _rgb_profile(data: bytes) -> ImageCms.ImageCmsProfile | None:
    try:
        return ImageCms.ImageCmsProfile(BytesIO(data))
    except (OSError, ImageCms.PyCMSError):
        return None


def _convert(rendered: NDArray[np.uint8], source: bytes, target: bytes) -> NDArray[np.uint8]:
    transform = _transform(source, target)
    if transform is None:
        return rendered
    height, width = rendered.shape[:2]
    image = Image.frombuffer("RGB", (width, height), rendered.tobytes())
    return np.asarray(ImageCms.applyTransform(image, transform))


@lru_cache(maxsize=8)
def _transform(source: bytes, target: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return a relative colorimetric conversion; None if the profile does not support it."""
    from_, to = _rgb_profile(source), _rgb_profile(target)
    if from_ is None or to is None:
        return None
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    try:
        return ImageCms.buildTransform(from_, to, "RGB", "RGB", intent, flags)
    except (OSError, ImageCms.PyCMSError):
        return None


def _xyz_of(chromaticity: Chromaticity) -> Matrix:
    x, y = chromaticity
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _to_xyz(primaries: tuple[Chromaticity, ...], white: Chromaticity) -> Matrix:
    columns = np.stack([_xyz_of(primary) for primary in primaries], axis=1)
    return columns * np.linalg.solve(columns, _xyz_of(white))


def _to_d50(white: Chromaticity) -> Matrix:
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ _xyz_of(white))
    return np.asarray(np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD)


def _fixed(values: NDArray[np.float64]) -> bytes:
    return pack(f">{len(values)}i", *[round(value * 65536) for value in values.tolist()])


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _description(name: str) -> bytes:
    """Return a textDescriptionType with its empty Unicode and Macintosh parts."""
    text = name.encode() + b"\0"
    return b"desc" + pack(">II", 0, len(text)) + text + bytes(4 + 4 + 2 + 1 + 67)


def _profile(tags: dict[bytes, bytes]) -> bytes:
    """Return header, tag table and data (ICC.1:2001-04 section 6); equal data is stored once."""
    start = _HEADER_BYTES + 4 + 12 * len(tags)
    body, table, places = b"", b"", dict[bytes, int]()
    for signature, data in tags.items():
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += signature + pack(">II", places[data], len(data))
    header = pack(
        ">I4sI4s4s4s6H4s4s6I12s4s44s",
        *(start + len(body), b"", 0x02400000, b"mntr", b"RGB ", b"XYZ "),
        *(2000, 1, 1, 0, 0, 0),
        *(b"acsp", b"", 0, 0, 0, 0, 0, 0),
        *(_fixed(_D50), b"", b""),
    )
    return header + pack(">I", len(tags)) + table + body
