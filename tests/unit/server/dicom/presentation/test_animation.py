"""Animations of separately rendered frames (GIF89a; PNG third edition, section 11.3.7)."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from server.dicom.presentation.animation import Animation, delays_ms
from server.dicom.presentation.image_size import is_color, placement
from server.dicom.rendering import render
from server.model.rendering import IccProfile, ImageFormat, Output, Presentation, Viewport, Window
from tests.unit.server.dicom.render_jobs import frame_of

GIF, APNG = ImageFormat.GIF, ImageFormat.APNG
LOOK = Presentation(windows=(Window(128, 256),))


def grey(count: int) -> list[NDArray[np.uint8]]:
    return [np.random.default_rng(n).integers(0, 256, (30, 41), dtype=np.uint8) for n in range(count)]


def animation(arrays: list[NDArray[Any]], format_: ImageFormat, delay_ms: float = 100, **output: Any) -> bytes:
    photometric = "RGB" if arrays[0].ndim == 3 else "MONOCHROME2"
    wanted = Output(format=format_, **output)
    jobs = [frame_of(array, LOOK, wanted, photometric=photometric) for array in arrays]
    place = placement(jobs[0].description, LOOK, wanted)
    has_colors = is_color(jobs[0].description, LOOK)
    made = Animation(format_, place.width, place.height, has_colors, len(jobs))
    parts = [made.frame(index, render(job), delay_ms) for index, job in enumerate(jobs)]
    return b"".join((made.head(), *parts, made.tail()))


def opened(data: bytes) -> list[NDArray[np.uint8]]:
    """Return the frames as RGB."""
    image = Image.open(BytesIO(data))
    return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]


def as_rgb(arrays: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    return [array if array.ndim == 3 else np.stack([array] * 3, -1) for array in arrays]


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("format_", [GIF, APNG])
def test_shades_of_grey_are_exact(format_: ImageFormat, count: int) -> None:
    shown = opened(animation(grey(count), format_))
    assert len(shown) == count
    for actual, array in zip(shown, as_rgb(grey(count)), strict=True):
        assert np.array_equal(actual, array)


def test_colours_are_exact_in_apng() -> None:
    arrays = [np.random.default_rng(n).integers(0, 256, (20, 20, 3), dtype=np.uint8) for n in range(3)]
    for actual, array in zip(opened(animation(arrays, APNG)), arrays, strict=True):
        assert np.array_equal(actual, array)


def test_up_to_256_colours_are_exact_in_gif() -> None:
    arrays = [(np.random.default_rng(n).integers(0, 4, (20, 20, 3)) * 85).astype(np.uint8) for n in range(3)]
    for actual, array in zip(opened(animation(arrays, GIF)), arrays, strict=True):
        assert np.array_equal(actual, array)


def test_more_than_256_colours_are_approximated_in_gif() -> None:
    ramp = np.indices((64, 64)).transpose(1, 2, 0) * 4
    array = np.concatenate([ramp, 255 - ramp[:, :, :1]], 2).astype(np.uint8)
    actual = opened(animation([array], GIF))[0].astype(int)
    assert np.abs(actual - array).mean() < 12


@pytest.mark.parametrize("format_", [GIF, APNG])
def test_animations_have_frame_delays_and_repeat(format_: ImageFormat) -> None:
    image = Image.open(BytesIO(animation(grey(2), format_, delay_ms=40)))
    assert image.info["duration"] == 40
    assert image.info["loop"] == 0


@pytest.mark.parametrize("format_", [GIF, APNG])
def test_animations_have_the_size_of_their_viewport(format_: ImageFormat) -> None:
    shown = opened(animation(grey(2), format_, viewport=Viewport(20, 20), annotations=("X",)))
    assert [frame.shape for frame in shown] == [(15, 20, 3)] * 2


@pytest.mark.parametrize("format_", [GIF, APNG])
def test_animations_with_a_profile_are_converted_to_srgb(format_: ImageFormat) -> None:
    array = np.full((4, 4, 3), (200, 100, 50), np.uint8)
    for wanted in (IccProfile.IF_PRESENT, IccProfile.YES, IccProfile.NO):
        assert np.array_equal(opened(animation([array], format_, icc_profile=wanted))[0], array)


def test_a_png_reader_without_apng_sees_the_first_frame() -> None:
    data = animation(grey(3), APNG)
    assert data.count(b"IDAT") == 1
    assert data.index(b"IDAT") < data.index(b"fdAT")


def attributes(**values: Any) -> dict[str, Any]:
    tags = {"rate": "00082144", "cine": "00180040", "time": "00181063", "vector": "00181065"}
    return {
        tags[name]: {"vr": "DS", "Value": value if isinstance(value, list) else [value]}
        for name, value in values.items()
    }


@pytest.mark.parametrize(
    ("values", "delays"),
    [
        ({}, [100, 100, 100]),
        ({"time": 50}, [50, 50, 50]),
        ({"time": 33.3, "cine": 20}, [50, 50, 50]),
        ({"time": 33.3, "cine": 20, "rate": 25}, [40, 40, 40]),
        ({"vector": [0, 30, 60]}, [30, 60, 60]),
        ({"vector": [0, 30], "time": 70}, [70, 70, 70]),
        ({"rate": 0, "cine": -4, "time": 0}, [100, 100, 100]),
        ({"rate": 500}, [20, 20, 20]),
        ({"time": 1e9}, [10_000, 10_000, 10_000]),
    ],
)
def test_frame_delays_follow_the_data_set(values: dict[str, Any], delays: list[float]) -> None:
    assert delays_ms(attributes(**values), [1, 2, 3]) == delays


def test_delays_are_those_of_the_requested_frames() -> None:
    assert delays_ms(attributes(vector=[0, 30, 60, 90]), [4, 1]) == [90, 30]
    assert delays_ms({}, []) == []
