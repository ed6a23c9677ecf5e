"""Overlay planes, burned in white (PS3.3 section C.9.2)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.model.rendering import Overlay


def draw_overlays(rendered: NDArray[np.uint8], overlays: tuple[Overlay, ...], cells: NDArray[Any] | None) -> None:
    """Draw overlay planes on an image in its own size; parts outside the image are ignored.

    Args:
        rendered: the image; modified in place.
        overlays: the planes; planes without their own bits are bits of `cells`.
        cells: the stored pixel cells; None if they are not available, after decompression.
    """
    for overlay in overlays:
        if (plane := _plane(overlay, cells)) is not None:
            _draw(rendered, plane, overlay.top, overlay.left)


def _plane(overlay: Overlay, cells: NDArray[Any] | None) -> NDArray[np.bool_] | None:
    if overlay.bits is None:
        if cells is None or cells.ndim != 2 or overlay.bit_position >= cells.itemsize * 8:
            return None
        return np.asarray(cells & cells.dtype.type(1 << overlay.bit_position), np.bool_)
    wanted = overlay.rows * overlay.columns
    bits = np.unpackbits(np.frombuffer(overlay.bits, np.uint8), bitorder="little")[overlay.first_bit :][:wanted]
    rows = bits.size // overlay.columns  # the complete rows of a truncated plane
    return bits[: rows * overlay.columns].reshape(rows, overlay.columns).astype(np.bool_)


def _draw(rendered: NDArray[np.uint8], plane: NDArray[np.bool_], top: int, left: int) -> None:
    plane = plane[max(-top, 0) :, max(-left, 0) :]
    part = rendered[max(top, 0) :, max(left, 0) :][: plane.shape[0], : plane.shape[1]]
    part[plane[: part.shape[0], : part.shape[1]]] = 255
