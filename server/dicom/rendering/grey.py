"""Frames of one sample per pixel as shades of grey, or in the colours of the presentation.

Pixel cells of up to 16 bits are mapped by a table of all cell values. For a window the table is cached, and serves all
frames of an instance and mostly of a series. Longer cells and floats are computed directly, a block at a time.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.dicom.rendering.lookup_tables import palette_colors
from server.dicom.rendering.modality import (
    Encoding,
    Modality,
    ModalityTable,
    PixelCells,
    encoding_of,
    modality_of,
    modality_table_of,
    modality_values_of,
    padding_of,
)
from server.dicom.rendering.voi import Range, Voi, chosen_voi, shades
from server.model.pixels import PixelDescription
from server.model.rendering import Output, Palette, PixelPresentation, Presentation

Pixels = NDArray[np.uint8]
"""8-bit samples of shape (rows, columns) for grey, (rows, columns, 3) for RGB."""

_BLOCK = 1 << 17
_NO_RANGE = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class _Coloring:
    """The transformation after the VOI LUT."""

    is_inverse: bool
    palette: Palette | None
    tint: tuple[int, int, int] | None
    label_colors: tuple[tuple[int, int, int, int], ...]

    @property
    def is_of_stored_values(self) -> bool:
        """Colours are assigned to stored values; windows do not apply."""
        is_palette = self.palette is not None and self.palette.presentation is PixelPresentation.PALETTE
        return is_palette or bool(self.label_colors)


def painted_cells(
    cells: PixelCells, description: PixelDescription, presentation: Presentation, output: Output
) -> Pixels:
    """Render integers of 8 or 16 bits, given as stored pixel cells of shape (rows, columns)."""
    coloring = _coloring_of(presentation)
    modality_table = modality_table_of(encoding_of(description), modality_of(presentation))
    voi = _NO_RANGE if coloring.is_of_stored_values else chosen_voi(presentation, output)
    if voi is None:
        table = _table(modality_table, modality_table.range_of(cells), coloring)
    else:
        table = _cached_table(modality_table.encoding, modality_table.modality, voi, coloring)
    if table.ndim == 1 and cells.itemsize == 1:
        return np.frombuffer(cells.tobytes().translate(table.tobytes()), np.uint8).reshape(cells.shape)
    return np.take(table, cells, axis=0)


def painted_values(stored_values: NDArray[Any], presentation: Presentation, output: Output) -> Pixels:
    """Render integers of more than 16 bits, or floats, given as stored values of shape (rows, columns)."""
    coloring, modality = _coloring_of(presentation), modality_of(presentation)
    flat = np.ascontiguousarray(stored_values).ravel()
    blocks = [flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK)]
    voi = _NO_RANGE if coloring.is_of_stored_values else chosen_voi(presentation, output) or _range_of(blocks, modality)
    painted = [
        _paint(block, modality_values_of(block, modality), padding_of(block, modality), voi, coloring)
        for block in blocks
    ]
    rendered = np.concatenate(painted)
    return rendered.reshape(*stored_values.shape, *rendered.shape[1:])


def _coloring_of(presentation: Presentation) -> _Coloring:
    return _Coloring(presentation.is_inverse, presentation.palette, presentation.tint, presentation.label_colors)


@lru_cache(maxsize=16)
def _cached_table(encoding: Encoding, modality: Modality, voi: Voi, coloring: _Coloring) -> Pixels:
    return _table(modality_table_of(encoding, modality), voi, coloring)


def _table(modality_table: ModalityTable, voi: Voi, coloring: _Coloring) -> Pixels:
    return _paint(
        modality_table.stored_values, modality_table.modality_values, modality_table.is_padding, voi, coloring
    )


def _range_of(blocks: list[NDArray[Any]], modality: Modality) -> Range:
    """Return the lowest and the highest finite modality value that is not padding."""
    low, high = inf, -inf
    for block in blocks:
        modality_values, padding = modality_values_of(block, modality), padding_of(block, modality)
        is_of_image = np.isfinite(modality_values)
        if padding is not None:
            is_of_image &= ~padding
        low = float(np.min(modality_values, where=is_of_image, initial=low))
        high = float(np.max(modality_values, where=is_of_image, initial=high))
    return (low, high) if low < high else (0.0, 0.0)


def _paint(
    stored_values: NDArray[Any],
    modality_values: NDArray[np.float64],
    is_padding: NDArray[np.bool_] | None,
    voi: Voi,
    coloring: _Coloring,
) -> Pixels:
    """Return the shade or colour of each stored value."""
    if coloring.label_colors:
        return _labelled(stored_values, coloring.label_colors)
    palette = coloring.palette
    if palette is not None and palette.presentation is PixelPresentation.PALETTE:
        return _palette_colored(stored_values, palette)
    grey = shades(modality_values, voi)
    if coloring.is_inverse:
        grey = np.subtract(255, grey)
    if is_padding is not None:
        grey[is_padding] = 0
    if palette is not None:
        is_colored = stored_values >= palette.red.first
        return np.where(is_colored[:, None], _palette_colored(stored_values, palette), grey[:, None])
    if coloring.tint is not None:
        return (grey[:, None] * np.array(coloring.tint, np.uint16) // 255).astype(np.uint8)
    return grey


def _palette_colored(stored_values: NDArray[Any], palette: Palette) -> Pixels:
    colors, first = palette_colors(palette)
    return colors[np.clip(stored_values.astype(np.int64) - first, 0, len(colors) - 1)]


def _labelled(stored_values: NDArray[Any], label_colors: tuple[tuple[int, int, int, int], ...]) -> Pixels:
    """Return the colours of labels, and black for all other values."""
    known = np.array([color[0] for color in label_colors], np.int64)
    colors = np.array([color[1:] for color in label_colors], np.uint8)
    place = np.minimum(np.searchsorted(known, stored_values), len(known) - 1)
    return np.where((known[place] == stored_values)[:, None], colors[place], np.uint8(0))
