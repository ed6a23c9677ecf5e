"""Pictures from pixels: for worker processes only, as everything here brings arrays and codecs with it."""

from server.dicom.rendering.frame import render
from server.dicom.rendering.icons import draw_icon

__all__ = ["draw_icon", "render"]
