"""Rendered images from frames of pixel data. For worker processes only: everything here imports arrays and codecs."""

from server.dicom.rendering.frame import render
from server.dicom.rendering.icons import draw_icon

__all__ = ["draw_icon", "render"]
