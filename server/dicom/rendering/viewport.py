"""The part of an image that is shown, in the size and direction asked for."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.dicom.presentation.image_size import Placement


def placed(rendered: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
    """Return what the placement says of a picture of the whole image."""
    height, width = rendered.shape[:2]
    part = (placement.left, placement.upper, placement.right, placement.lower)
    size = (placement.width, placement.height)
    if part == (0, 0, width, height) and size == (width, height):
        shown = rendered
    else:
        image = Image.fromarray(np.ascontiguousarray(rendered))
        # Bilinear in Pillow is an average over all pixels that become one, when a picture gets smaller.
        shown = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=part, reducing_gap=2.0))
    if placement.is_mirrored:
        shown = shown[:, ::-1]
    return shown[::-1] if placement.is_upside_down else shown
