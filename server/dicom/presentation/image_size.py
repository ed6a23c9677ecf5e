"""Size and kind of a picture before it is made: heads of animations are sent before their first frame is decoded."""

from dataclasses import dataclass
from math import sqrt

from server.model.errors import Reason, WrongState
from server.model.pixels import PixelDescription
from server.model.rendering import Output, Presentation, Viewport

MAX_PIXELS = 1 << 26
"""A picture that would have more is made smaller."""

_MAX_SOURCE_SAMPLES = 1 << 29
_LEAST_EXTENT = 1e-9  # pixels of the image: what is less is nothing, and can't be divided by
_MAX_EXTENT = 32767


@dataclass(frozen=True, slots=True)
class Placement:
    """Which part of an image is shown, and how large.

    left, upper, right, lower: the part, in pixels of the image, and fractions of them.
    width, height: of the picture.
    """

    left: float
    upper: float
    right: float
    lower: float
    width: int
    height: int
    is_mirrored: bool = False
    is_upside_down: bool = False


def is_color(description: PixelDescription, presentation: Presentation) -> bool:
    """Say whether the picture has colours, not only shades of grey."""
    has_colors = presentation.palette is not None or presentation.tint is not None or bool(presentation.label_colors)
    return has_colors or description.samples_per_pixel > 1


def placement(description: PixelDescription, presentation: Presentation, output: Output) -> Placement:
    """Return which part of an image a picture shows, and its size.

    Pixels of the picture are square. Where those of the image are not, it is stretched along their longer side, so that
    nothing is lost.

    Raises:
        WrongState: NOT_RENDERABLE, the image has no pixels or too many, or the part lies outside of it.
    """
    rows, columns = description.rows, description.columns
    if not 0 < rows * columns * description.samples_per_pixel <= _MAX_SOURCE_SAMPLES:
        raise WrongState(Reason.NOT_RENDERABLE, "The image has no pixels or exceeds the size limit for rendering.")
    viewport = output.viewport or Viewport()
    left, right = _span(viewport.source_x, viewport.source_width, columns)
    upper, lower = _span(viewport.source_y, viewport.source_height, rows)
    width, height = _size(
        right - left, lower - upper, presentation.pixel_aspect, viewport, is_thumbnail=output.is_thumbnail
    )
    return Placement(
        left,
        upper,
        right,
        lower,
        width,
        height,
        is_mirrored=viewport.source_width < 0,
        is_upside_down=viewport.source_height < 0,
    )


def _span(start: float, extent: float, edge: int) -> tuple[float, float]:
    stop = start + abs(extent) if extent else edge
    first, last = max(start, 0.0), min(stop, float(edge))
    if last - first < _LEAST_EXTENT:
        raise WrongState(Reason.NOT_RENDERABLE, "The requested region lies outside the image.")
    return first, last


def _size(width: float, height: float, aspect: float, viewport: Viewport, *, is_thumbnail: bool) -> tuple[int, int]:
    if aspect >= 1:
        height *= aspect
    else:
        width /= aspect
    wanted = [room / side for room, side in ((viewport.width, width), (viewport.height, height)) if room > 0]
    scale = min(wanted, default=1.0)
    if is_thumbnail:
        scale = min(scale, 1.0)
    scale = min(scale, sqrt(MAX_PIXELS / (width * height)))
    return _extent(width * scale), _extent(height * scale)


def _extent(size: float) -> int:
    return min(max(round(size), 1), _MAX_EXTENT)
