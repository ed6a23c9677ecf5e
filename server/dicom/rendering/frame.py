"""Renders one frame: decoding, grey or colour transformation, viewport, annotations, file format."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.dicom.pixel_data.codecs.decode import decode, decode_cells
from server.dicom.pixel_data.codecs.syntaxes import RLE, UNCODED
from server.dicom.presentation.image_size import Placement, placement
from server.dicom.rendering.color import rgb_of
from server.dicom.rendering.formats import gif, png
from server.dicom.rendering.formats.jpeg import jpeg_of
from server.dicom.rendering.grey import Pixels, painted_cells, painted_values
from server.dicom.rendering.icc_profiles import converted_to
from server.dicom.rendering.overlays import draw_overlays
from server.dicom.rendering.shortcut import stored_jpeg
from server.dicom.rendering.text import annotated
from server.dicom.rendering.viewport import placed
from server.model.pixels import PixelDescription
from server.model.rendering import IccProfile, ImageFormat, Output, RenderFrame

_TABLE_BITS = (8, 16)
_MAX_CELL_BYTES = 2
_PIXELS_FOR_ONE = 2
"""Source pixels per thumbnail pixel in each direction; fewer cause aliasing, more improve nothing."""


def render(job: RenderFrame) -> bytes:
    """Render a frame as an image file, or as the blocks of one frame of an animation.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, the frame cannot be decoded; NOT_RENDERABLE, its kind or size is not
            supported, or the requested region is empty.
    """
    place = placement(job.description, job.presentation, job.output)
    if (stored := stored_jpeg(job, place)) is not None:
        return stored
    step = _step(job, place)
    with np.errstate(all="ignore"):  # invalid numbers become black or white
        rendered = _rendered(job, step)
    rendered = annotated(placed(rendered, _thinned(place, step)), job.output.annotations)
    return encoded(rendered, job.presentation.icc_profile, job.output)


def encoded(rendered: Pixels, icc_profile: bytes, output: Output) -> bytes:
    """Encode an image as a file, or as the blocks of one frame of an animation."""
    wanted = output.icc_profile
    if output.format in (ImageFormat.GIF, ImageFormat.APNG) and wanted in (IccProfile.IF_PRESENT, IccProfile.YES):
        wanted = IccProfile.SRGB  # these formats cannot contain a profile
    profile = b""
    # A flipped array of one row or column counts as contiguous, but has strides that encoders reject.
    rendered = np.ascontiguousarray(rendered).reshape(-1).reshape(rendered.shape)
    if rendered.ndim == 3:
        rendered, profile = converted_to(rendered, wanted, icc_profile)
    if output.format is ImageFormat.JPEG:
        return jpeg_of(rendered, output.quality, profile)
    if output.format is ImageFormat.PNG:
        return png.png_of(rendered, profile)
    return gif.frame_blocks(rendered) if output.format is ImageFormat.GIF else png.image_data(rendered)


def _step(job: RenderFrame, place: Placement) -> int:
    """Return n if every n-th row and column suffices for a thumbnail; 1 for all rows and columns."""
    if not job.output.is_thumbnail or job.presentation.overlays:
        return 1
    ratio = min((place.right - place.left) / place.width, (place.lower - place.upper) / place.height)
    return max(int(ratio / _PIXELS_FOR_ONE), 1)


def _thinned(place: Placement, step: int) -> Placement:
    """Return the same placement on an image reduced to every n-th row and column."""
    left, upper, right, lower = (edge / step for edge in (place.left, place.upper, place.right, place.lower))
    return replace(place, left=left, upper=upper, right=right, lower=lower)


def _rendered(job: RenderFrame, step: int) -> Pixels:
    """Render the whole image in its own size, or every n-th row and column of it."""
    cells = _stored_cells(job)
    if cells is not None:
        rendered = painted_cells(cells[::step, ::step], job.description, job.presentation, job.output)
    else:
        array, description = decode(job.data, job.source, job.description)
        rendered = _rendered_values(array[::step, ::step], description, job)
    if job.presentation.overlays:
        rendered = np.require(rendered, requirements="W")
        draw_overlays(rendered, job.presentation.overlays, cells)
    return rendered


def _rendered_values(array: NDArray[Any], description: PixelDescription, job: RenderFrame) -> Pixels:
    if array.ndim == 3:
        return rgb_of(array, description)
    if array.dtype.kind == "f" or array.itemsize > _MAX_CELL_BYTES:
        return painted_values(array, job.presentation, job.output)
    return painted_cells(array.view(f"<u{array.itemsize}"), description, job.presentation, job.output)


def _stored_cells(job: RenderFrame) -> NDArray[Any] | None:
    """Return the pixel cells as stored, with overlay bits; None if they need decoding or have more than 16 bits."""
    description = job.description
    is_short = description.sample_format == "integer" and description.bits_allocated in _TABLE_BITS
    if job.source in UNCODED | {RLE} and is_short and description.samples_per_pixel == 1:
        return decode_cells(job.data, job.source, description)
    return None
