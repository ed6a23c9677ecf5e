"""Conversion between YBR and RGB (PS3.3 section C.7.6.3.1.2)."""

from typing import Any

import numpy
from numpy.typing import NDArray

# Rows: red, green, blue; columns: luminance and the two chrominances, centered at zero.
_FROM_FULL = numpy.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], numpy.float32)
_TO_FULL = numpy.linalg.inv(_FROM_FULL.astype(numpy.float64)).astype(numpy.float32)
_FROM_PARTIAL = numpy.array([[1.1644, 0, 1.596], [1.1644, -0.3917, -0.813], [1.1644, 2.0173, 0]], numpy.float32)


def to_rgb(array: NDArray[Any], bits: int, *, is_partial: bool = False) -> NDArray[Any]:
    """Convert unsigned YBR_FULL or (`is_partial`) YBR_PARTIAL samples of shape (rows, columns, 3) to RGB."""
    offsets = numpy.array([16 << bits - 8 if is_partial else 0, 1 << bits - 1, 1 << bits - 1], numpy.float32)
    matrix = _FROM_PARTIAL if is_partial else _FROM_FULL
    return _rounded((array - offsets) @ matrix.T, bits, array)


def to_ybr_full(array: NDArray[Any], bits: int) -> NDArray[Any]:
    """Convert unsigned RGB samples of shape (rows, columns, 3) to YBR_FULL."""
    offsets = numpy.array([0, 1 << bits - 1, 1 << bits - 1], numpy.float32)
    return _rounded(array.astype(numpy.float32) @ _TO_FULL.T + offsets, bits, array)


def upsample_422(packed: NDArray[Any]) -> NDArray[Any]:
    """Expand samples in the order Y Y Cb Cr, shape (rows, columns * 2), to shape (rows, columns, 3)."""
    rows, width = packed.shape
    pairs = packed.reshape(rows, width // 4, 4)
    upsampled = numpy.empty((rows, width // 2, 3), packed.dtype)
    upsampled[:, :, 0] = pairs[:, :, :2].reshape(rows, width // 2)
    upsampled[:, :, 1] = numpy.repeat(pairs[:, :, 2], 2, axis=1)
    upsampled[:, :, 2] = numpy.repeat(pairs[:, :, 3], 2, axis=1)
    return upsampled


def _rounded(array: NDArray[Any], bits: int, like: NDArray[Any]) -> NDArray[Any]:
    clipped: NDArray[Any] = numpy.clip(numpy.rint(array), 0, (1 << bits) - 1)
    return clipped.astype(like.dtype)
