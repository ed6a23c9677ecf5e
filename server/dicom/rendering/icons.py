"""Icons for objects without image: simple grey drawings."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from server.dicom.rendering.frame import encoded
from server.model.rendering import DrawIcon, IconKind

_SIDE = 512
"""Size of the grid for drawing; icons are scaled down afterwards, which smooths the edges."""

_USUAL_SIZE, _SMALLEST, _LARGEST = 128, 16, 1024
_GROUND, _PAPER, _INK, _SOFT = 226, 250, 96, 168
_LINE = 18
_FULL_TURN = 360

Point = tuple[float, float]
Canvas = ImageDraw.ImageDraw


@lru_cache(maxsize=64)
def draw_icon(job: DrawIcon) -> bytes:
    """Draw the icon as a square grey image file, sized by the shorter given side of the viewport."""
    viewport = job.output.viewport
    sides = [side for side in (viewport.width, viewport.height) if side > 0] if viewport else []
    side = min(max(min(sides, default=_USUAL_SIZE), _SMALLEST), _LARGEST)
    image = Image.new("L", (_SIDE, _SIDE), _GROUND)
    _DRAWINGS[job.kind](ImageDraw.Draw(image))
    return encoded(np.asarray(image.resize((side, side), Image.Resampling.LANCZOS)), b"", job.output)


def _stroke(canvas: Canvas, points: Sequence[Point], *, ink: int = _INK, width: int = _LINE) -> None:
    canvas.line(list(points), fill=ink, width=width, joint="curve")


def _page(canvas: Canvas) -> None:
    """Draw a sheet of paper with a folded corner."""
    canvas.polygon([(126, 66), (316, 66), (386, 136), (386, 446), (126, 446)], fill=_PAPER)
    _stroke(canvas, [(316, 66), (126, 66), (126, 446), (386, 446), (386, 136), (316, 66), (316, 136), (386, 136)])


def _frame(canvas: Canvas, fill: int = _PAPER) -> None:
    canvas.rounded_rectangle((76, 116, 436, 396), radius=28, fill=fill, outline=_INK, width=_LINE)


def _disc(canvas: Canvas, x: float, y: float, radius: float, *, fill: int | None = None, ink: int = _INK) -> None:
    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=ink, width=_LINE)


def _report(canvas: Canvas) -> None:
    _page(canvas)
    for y, right in ((200, 336), (256, 336), (312, 336), (368, 266)):
        _stroke(canvas, [(176, y), (right, y)], ink=_SOFT)


def _document(canvas: Canvas) -> None:
    _page(canvas)
    canvas.rectangle((176, 190, 256, 270), fill=_SOFT)
    for y in (320, 376):
        _stroke(canvas, [(176, y), (336, y)], ink=_SOFT)


def _video(canvas: Canvas) -> None:
    _frame(canvas)
    canvas.polygon([(206, 176), (206, 336), (336, 256)], fill=_INK)


def _waveform(canvas: Canvas) -> None:
    _frame(canvas)
    beat = [(96, 266), (166, 266), (190, 236), (214, 266), (238, 266), (262, 156), (290, 356), (314, 266), (416, 266)]
    _stroke(canvas, beat)


def _rt_structure(canvas: Canvas) -> None:
    _frame(canvas)
    canvas.ellipse((126, 156, 386, 356), outline=_INK, width=_LINE)
    canvas.ellipse((176, 206, 276, 306), fill=_SOFT, outline=_INK, width=_LINE)


def _rt_plan(canvas: Canvas) -> None:
    _disc(canvas, 256, 256, 150, fill=_PAPER)
    _disc(canvas, 256, 256, 60, fill=_SOFT)
    for near, far in ((170, 60), (342, 452)):
        _stroke(canvas, [(256, near), (256, far)])
        _stroke(canvas, [(near, 256), (far, 256)])


def _presentation(canvas: Canvas) -> None:
    _disc(canvas, 256, 256, 160, fill=_PAPER)
    canvas.pieslice((96, 96, 416, 416), _FULL_TURN * 3 // 4, _FULL_TURN * 5 // 4, fill=_INK)


def _segmentation(canvas: Canvas) -> None:
    _frame(canvas)
    canvas.ellipse((126, 176, 306, 356), fill=_SOFT)
    canvas.ellipse((246, 156, 386, 296), fill=_INK)


def _image(canvas: Canvas) -> None:
    _frame(canvas)
    _disc(canvas, 346, 190, 28, fill=_SOFT, ink=_SOFT)
    canvas.polygon([(106, 366), (206, 216), (276, 316), (316, 266), (406, 366)], fill=_INK)


def _other(canvas: Canvas) -> None:
    _page(canvas)
    for x in (186, 256, 326):
        _disc(canvas, x, 306, 20, fill=_SOFT, ink=_SOFT)


_DRAWINGS: dict[IconKind, Callable[[Canvas], None]] = {
    IconKind.REPORT: _report,
    IconKind.DOCUMENT: _document,
    IconKind.VIDEO: _video,
    IconKind.WAVEFORM: _waveform,
    IconKind.RT_STRUCTURE: _rt_structure,
    IconKind.RT_PLAN: _rt_plan,
    IconKind.PRESENTATION: _presentation,
    IconKind.SEGMENTATION: _segmentation,
    IconKind.IMAGE: _image,
    IconKind.OTHER: _other,
}
