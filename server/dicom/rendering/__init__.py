"""Pictures from pixels: for worker processes only, as everything here brings arrays and codecs with it."""

from server.dicom.rendering.frame import render

__all__ = ["render"]
