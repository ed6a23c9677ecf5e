"""Viewports, non-square pixels, overlays and text (PS3.18 section 8.3.5.1, PS3.3 section C.9.2)."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from server.dicom.presentation.image_size import MAX_PIXELS, is_color, placement
from server.dicom.rendering import render
from server.model.errors import DicomStoreError, Reason
from server.model.rendering import ImageFormat, Output, Overlay, Presentation, Viewport, Window
from tests.unit.server.dicom.render_jobs import frame_of, pixels_of

WHOLE = Presentation(windows=(Window(128, 256),))
RAMP = np.add.outer(np.arange(8) * 20, np.arange(10) * 10).astype(np.uint8)


def shown(array: Any, presentation: Presentation = WHOLE, **output: Any) -> Any:
    return pixels_of(render(frame_of(array, presentation, Output(format=ImageFormat.PNG, **output))))


def size_of(rows: int, columns: int, presentation: Presentation = WHOLE, **output: Any) -> tuple[int, int]:
    """Return the announced and the actual width and height."""
    job = frame_of(np.zeros((rows, columns), np.uint8), presentation, Output(format=ImageFormat.PNG, **output))
    place = placement(job.description, job.presentation, job.output)
    height, width = pixels_of(render(job)).shape
    assert (place.width, place.height) == (width, height)
    return width, height


def test_without_viewport_the_image_keeps_its_size() -> None:
    assert shown(RAMP).tolist() == RAMP.tolist()
    assert shown(RAMP, viewport=Viewport()).tolist() == RAMP.tolist()


@pytest.mark.parametrize(
    ("viewport", "size"),
    [
        (Viewport(100, 100), (100, 50)),
        (Viewport(100, 10), (20, 10)),
        (Viewport(50, 0), (50, 25)),
        (Viewport(0, 50), (100, 50)),
        (Viewport(400, 400), (400, 200)),
        (Viewport(1, 1), (1, 1)),
        (Viewport(0, 0, 0, 0, 20, 20), (20, 20)),
        (Viewport(100, 100, 10, 10, 20, 20), (100, 100)),
        (Viewport(100, 100, 180, 0, 100, 100), (20, 100)),
    ],
)
def test_the_aspect_ratio_is_kept_within_the_viewport(viewport: Viewport, size: tuple[int, int]) -> None:
    assert size_of(100, 200, viewport=viewport) == size


def test_a_source_region_is_shown() -> None:
    assert shown(RAMP, viewport=Viewport(0, 0, 2, 1, 3, 4)).tolist() == RAMP[1:5, 2:5].tolist()
    assert shown(RAMP, viewport=Viewport(0, 0, 6, 5)).tolist() == RAMP[5:, 6:].tolist()
    assert shown(RAMP, viewport=Viewport(0, 0, -2, -3, 5, 5)).tolist() == RAMP[:2, :3].tolist()


def test_negative_extents_mirror_the_image() -> None:
    assert shown(RAMP, viewport=Viewport(0, 0, 0, 0, -10, 8)).tolist() == RAMP[:, ::-1].tolist()
    assert shown(RAMP, viewport=Viewport(0, 0, 0, 0, 10, -8)).tolist() == RAMP[::-1].tolist()
    assert shown(RAMP, viewport=Viewport(0, 0, 2, 1, -3, -4)).tolist() == RAMP[1:5, 2:5][::-1, ::-1].tolist()


@pytest.mark.parametrize("format_", list(ImageFormat))
@pytest.mark.parametrize("extent", [(-1, 0), (0, -1), (-1, -1), (1, 1)])
@pytest.mark.parametrize("samples", [1, 3])
def test_single_rows_and_columns_can_be_mirrored(format_: ImageFormat, extent: tuple[int, int], samples: int) -> None:
    array = RAMP if samples == 1 else np.stack([RAMP] * 3, -1)
    output = Output(format=format_, viewport=Viewport(0, 0, 0, 0, *extent))
    assert render(frame_of(array, WHOLE, output, photometric="MONOCHROME2" if samples == 1 else "RGB"))


def test_reduction_averages_pixels() -> None:
    stripes = np.tile(np.array([[0, 200]], np.uint8), (64, 32))
    assert abs(int(shown(stripes, viewport=Viewport(8, 8))[4, 4]) - 100) <= 6


@pytest.mark.parametrize("viewport", [Viewport(9, 9, 10, 0), Viewport(9, 9, 0, 99), Viewport(9, 9, -5, 0, 5, 5)])
def test_a_region_outside_the_image_is_refused(viewport: Viewport) -> None:
    with pytest.raises(DicomStoreError) as caught:
        shown(RAMP, viewport=viewport)
    assert caught.value.reason is Reason.NOT_RENDERABLE


@pytest.mark.parametrize("extent", [1e-300, -1e-12])
def test_an_empty_region_is_refused(extent: float) -> None:
    job = frame_of(RAMP, output=Output(viewport=Viewport(0, 0, 0, 0, extent, extent)))
    with pytest.raises(DicomStoreError) as caught:
        render(job)
    assert caught.value.reason is Reason.NOT_RENDERABLE


def test_a_huge_viewport_is_limited_to_the_largest_size() -> None:
    job = frame_of(RAMP, output=Output(viewport=Viewport(32767, 32767)))
    place = placement(job.description, job.presentation, job.output)
    assert place.width / place.height == pytest.approx(10 / 8, rel=1e-3)
    assert MAX_PIXELS * 0.99 < place.width * place.height <= MAX_PIXELS * 1.001


@pytest.mark.parametrize("size", [{"rows": 0}, {"columns": 0}, {"rows": 65535, "columns": 65535}])
def test_images_without_pixels_or_with_too_many_are_refused(size: dict[str, Any]) -> None:
    job = frame_of(RAMP)
    with pytest.raises(DicomStoreError) as caught:
        render(replace(job, description=replace(job.description, **size)))
    assert caught.value.reason is Reason.NOT_RENDERABLE


def test_pixels_that_are_not_square_are_stretched_along_their_longer_side() -> None:
    assert size_of(100, 200, replace(WHOLE, pixel_aspect=2.0)) == (200, 200)
    assert size_of(100, 200, replace(WHOLE, pixel_aspect=0.5)) == (400, 100)
    assert size_of(100, 200, replace(WHOLE, pixel_aspect=2.0), viewport=Viewport(50, 50)) == (50, 50)
    assert size_of(100, 200, replace(WHOLE, pixel_aspect=2.0), viewport=Viewport(0, 0, 0, 0, 50, 50)) == (50, 100)


def test_thumbnails_are_never_larger_than_the_image() -> None:
    assert size_of(64, 32, is_thumbnail=True, viewport=Viewport(256, 256)) == (32, 64)
    assert size_of(1000, 2000, is_thumbnail=True, viewport=Viewport(256, 256)) == (256, 128)


def test_thumbnails_of_large_images_resemble_the_image() -> None:
    ramp = np.add.outer(np.arange(1500), np.arange(2000)).astype(np.uint16)
    presentation = Presentation(windows=(Window(1750, 3500),))
    viewport = Viewport(128, 128, 200, 100, -1200, 900)
    exact = shown(ramp, presentation, viewport=viewport).astype(int)
    quick = shown(ramp, presentation, viewport=viewport, is_thumbnail=True).astype(int)
    assert exact.shape == quick.shape == (96, 128)
    assert np.abs(exact - quick).max() <= 2


@pytest.mark.parametrize("format_", [ImageFormat.JPEG, ImageFormat.PNG])
def test_text_is_drawn_at_the_upper_left(format_: ImageFormat) -> None:
    black = np.zeros((200, 200), np.uint8)
    sample_image = pixels_of(render(frame_of(black, WHOLE, Output(format=format_, annotations=("Doe^Jane", "CT")))))
    assert sample_image[:40, :100].max() > 200
    assert sample_image[60:].max() < 20
    assert sample_image[:, 120:].max() < 20


def test_text_is_legible_on_white_and_on_colours() -> None:
    white = np.full((100, 100), 255, np.uint8)
    assert shown(white, annotations=("Doe^Jane",)).min() < 50
    job = frame_of(np.full((100, 100, 3), 255, np.uint8), output=Output(annotations=("Ärztin 王",)), photometric="RGB")
    assert pixels_of(render(job)).min() < 50


@pytest.mark.parametrize(
    ("line", "shown_as"),
    [
        ("Doe^Jane", "Doe^Jane"),
        ("Müller^Zoë", "Muller^Zoe"),
        ("Weiß^Søren", "Weiss^Soren"),
        ("Mu\u0308ller", "Muller"),
        ("Yamada=山田", "Yamada=??"),
    ],
)
def test_letters_missing_in_the_font_are_shown_without_diacritics(line: str, shown_as: str) -> None:
    black = np.zeros((60, 200), np.uint8)
    assert np.array_equal(shown(black, annotations=(line,)), shown(black, annotations=(shown_as,)))
    assert not np.array_equal(shown(black, annotations=(line,)), shown(black, annotations=("X",)))


def test_text_is_drawn_after_scaling() -> None:
    black = np.zeros((400, 400), np.uint8)
    small = shown(black, annotations=("X",), viewport=Viewport(100, 100))
    assert small.shape == (100, 100)
    assert small.max() > 150


def overlay(rows: list[list[int]], top: int = 0, left: int = 0, first_bit: int = 0) -> Overlay:
    flat = np.array([0] * first_bit + [bit for row in rows for bit in row], np.uint8)
    return Overlay(len(rows), len(rows[0]), top, left, np.packbits(flat, bitorder="little").tobytes(), first_bit)


GREY = np.full((3, 4), 100, np.uint8)


@pytest.mark.parametrize("first_bit", [0, 3, 7])
def test_overlays_are_burned_in_white(first_bit: int) -> None:
    plane = overlay([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]], first_bit=first_bit)
    presentation = replace(WHOLE, overlays=(plane,))
    expected = [[255, 100, 100, 255], [100] * 4, [100, 255, 100, 100]]
    assert shown(GREY, presentation).tolist() == expected
    assert shown(np.stack([GREY] * 3, -1), presentation).tolist() == np.stack([expected] * 3, -1).tolist()


@pytest.mark.parametrize(
    ("top", "left", "expected"),
    [
        (1, 2, [[100] * 4, [100, 100, 255, 255], [100, 100, 255, 255]]),
        (-1, -1, [[255, 100, 100, 100], [100] * 4, [100] * 4]),
        (2, 3, [[100] * 4, [100] * 4, [100, 100, 100, 255]]),
        (9, 9, [[100] * 4] * 3),
        (-9, 0, [[100] * 4] * 3),
    ],
)
def test_overlays_have_an_origin(top: int, left: int, expected: list[list[int]]) -> None:
    presentation = replace(WHOLE, overlays=(overlay([[1, 1], [1, 1]], top, left),))
    assert shown(GREY, presentation).tolist() == expected


def test_overlays_may_be_bits_of_the_pixel_cells() -> None:
    words = np.full((2, 2), 100, np.uint16)
    words[0, 1] |= 1 << 12
    words[1, 0] |= 1 << 13
    presentation = Presentation(windows=(Window(128, 256),), overlays=(Overlay(2, 2, 0, 0, None, bit_position=12),))
    job = frame_of(words, presentation, Output(format=ImageFormat.PNG), bits_stored=12)
    assert pixels_of(render(job)).tolist() == [[100, 255], [100, 100]]


def test_truncated_overlays_are_drawn_partly() -> None:
    presentation = replace(WHOLE, overlays=(Overlay(3, 4, 0, 0, b"\xff"),))
    assert shown(GREY, presentation).tolist() == [[255] * 4, [255] * 4, [100] * 4]


def test_colour_is_known_before_rendering() -> None:
    grey, rgb = frame_of(GREY), frame_of(np.stack([GREY] * 3, -1), photometric="RGB")
    for job in (
        grey,
        rgb,
        replace(grey, presentation=Presentation(tint=(1, 2, 3))),
        replace(grey, presentation=Presentation(label_colors=((1,) * 4,))),
    ):
        assert is_color(job.description, job.presentation) == (pixels_of(render(job)).ndim == 3)
