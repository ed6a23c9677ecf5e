"""Size and colour of a rendered image before rendering; the head of an animation is sent before its first frame is
decoded."""

from dataclasses import dataclass
from math import sqrt

from server.model.errors import Reason, WrongState
from server.model.pixels import PixelDescription
from server.model.rendering import Output, Presentation, Viewport

MAX_PIXELS = 1 << 26
"""Maximum number of pixels of a rendered image; larger ones are scaled down."""

_MAX_SOURCE_SAMPLES = 1 << 29
_MIN_EXTENT = 1e-9  # in image pixels; smaller extents are empty, and unsafe as divisors
_MAX_EXTENT = 32767


@dataclass(frozen=True, slots=True)
class Placement:
    """The region of an image to show, and the size of the rendered image.

    left, upper, right, lower: the region, in (fractional) pixels of the image.
    width, height: of the rendered image.
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
    """Return whether the rendered image has colour, not only shades of grey."""
    has_colors = presentation.palette is not None or presentation.tint is not None or bool(presentation.label_colors)
    return has_colors or description.samples_per_pixel > 1


def placement(description: PixelDescription, presentation: Presentation, output: Output) -> Placement:
    """Return the region of an image that is rendered, and the size of the rendered image.

    Rendered pixels are square. If image pixels are not, the image is stretched along their longer side, so that no
    detail is lost.

    Raises:
        WrongState: NOT_RENDERABLE, the image has no pixels or too many, or the region lies outside it.
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
    if last - first < _MIN_EXTENT:
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
