"""Cropping, scaling and mirroring of a rendered image."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.dicom.presentation.image_size import Placement


def placed(rendered: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
    """Apply a placement to a rendered image of the whole frame."""
    height, width = rendered.shape[:2]
    part = (placement.left, placement.upper, placement.right, placement.lower)
    size = (placement.width, placement.height)
    if part == (0, 0, width, height) and size == (width, height):
        shown = rendered
    else:
        image = Image.fromarray(np.ascontiguousarray(rendered))
        # When Pillow reduces an image, its bilinear filter averages all source pixels.
        shown = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=part, reducing_gap=2.0))
    if placement.is_mirrored:
        shown = shown[:, ::-1]
    return shown[::-1] if placement.is_upside_down else shown
