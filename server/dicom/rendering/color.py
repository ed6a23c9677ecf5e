"""Colour frames (several samples per pixel) as RGB."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.model.errors import Reason, WrongState
from server.model.pixels import PixelDescription

_UNKNOWN = frozenset({"HSV", "CMYK"})


def rgb_of(samples: NDArray[Any], description: PixelDescription) -> NDArray[np.uint8]:
    """Return decoded samples as 8-bit RGB (PS3.3 section C.7.6.3.1.2).

    Windows do not apply to colour. The alpha sample of ARGB is ignored.

    Raises:
        WrongState: NOT_RENDERABLE, the photometric interpretation is not supported.
    """
    photometric = description.photometric_interpretation
    if samples.ndim != 3 or samples.shape[2] < 3 or samples.dtype.kind not in "ui" or photometric in _UNKNOWN:
        raise WrongState(Reason.NOT_RENDERABLE, "This Photometric Interpretation cannot be rendered.")
    if samples.shape[2] == 4 and photometric == "ARGB":
        samples = samples[:, :, 1:]
    bytes_ = _in_bytes(samples[:, :, :3], description.bits_stored)
    if photometric.startswith("YBR_FULL"):
        height, width = bytes_.shape[:2]
        return np.asarray(Image.frombuffer("YCbCr", (width, height), bytes_.tobytes()).convert("RGB"))
    return bytes_


def _in_bytes(samples: NDArray[Any], bits_stored: int) -> NDArray[np.uint8]:
    cell_bits = samples.itemsize * 8
    bits = bits_stored if 0 < bits_stored <= cell_bits else cell_bits
    if bits > 8:
        samples = samples >> (bits - 8)
    elif bits < 8:
        samples = samples.astype(np.uint16) * 255 // ((1 << bits) - 1)
    return samples if samples.dtype == np.uint8 else np.asarray(samples.clip(0, 255), np.uint8)
