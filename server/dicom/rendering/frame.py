"""From a frame of pixel data to a picture of it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.dicom.codecs.decode import decode
from server.dicom.codecs.samples import words_from_bytes
from server.dicom.codecs.syntaxes import NATIVE
from server.dicom.picture import placement
from server.dicom.rendering import gif, png
from server.dicom.rendering.color import rgb_of
from server.dicom.rendering.grey import Pixels, painted_numbers, painted_words
from server.dicom.rendering.jpeg import jpeg_of
from server.dicom.rendering.overlays import draw_overlays
from server.dicom.rendering.profiles import in_colors
from server.dicom.rendering.shape import annotated, placed
from server.model.rendering import IccProfile, Output, PictureFormat, RenderFrame

_TABLE_BITS = (8, 16)


def render(job: RenderFrame) -> bytes:
    """Return a picture, or the blocks of a frame of an animation.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, the frame can't be decoded; NOT_RENDERABLE, it is of a kind or size that
            can't be shown, or there is nothing in the part that was asked for.
    """
    place = placement(job.description, job.look, job.output)
    with np.errstate(all="ignore"):  # numbers that make no sense become black or white
        picture = _picture(job)
    if job.look.overlays:
        picture = np.require(picture, requirements="W")
        draw_overlays(picture, job.look.overlays, _stored_words(job))
    picture = annotated(placed(picture, place), job.output.annotations)
    return encoded(np.ascontiguousarray(picture), job.look.icc_profile, job.output)


def encoded(picture: Pixels, icc_profile: bytes, output: Output) -> bytes:
    """Return a picture as a file, or as blocks of a frame of an animation."""
    wanted = output.icc_profile
    if output.format in (PictureFormat.GIF, PictureFormat.APNG) and wanted in (IccProfile.IF_PRESENT, IccProfile.YES):
        wanted = IccProfile.SRGB  # there is no room for a profile
    profile = b""
    if picture.ndim == 3:
        picture, profile = in_colors(picture, wanted, icc_profile)
    if output.format is PictureFormat.JPEG:
        return jpeg_of(picture, output.quality, profile)
    if output.format is PictureFormat.PNG:
        return png.png_of(picture, profile)
    return gif.frame_blocks(picture) if output.format is PictureFormat.GIF else png.image_data(picture)


def _picture(job: RenderFrame) -> Pixels:
    """Return a picture of all of the image, in its own size."""
    words, description = _stored_words(job), job.description
    if words is None:
        array, description = decode(job.data, job.source, job.description)
        if array.ndim == 3:
            return rgb_of(array, description)
        if array.dtype.kind == "f" or array.itemsize > 2:
            return painted_numbers(array, job.look, job.output)
        words = array.view(f"<u{array.itemsize}")
    return painted_words(words, description, job.look, job.output)


def _stored_words(job: RenderFrame) -> NDArray[Any] | None:
    """Return words as they are stored, overlays and all; None of those that have to be decoded, or are too long."""
    description = job.description
    is_short = description.sample_format == "integer" and description.bits_allocated in _TABLE_BITS
    if job.source in NATIVE and is_short and description.samples_per_pixel == 1:
        return words_from_bytes(job.data, description)
    return None
