"""Any presentation attributes give an image of the announced size, or a reason."""

from dataclasses import replace
from io import BytesIO
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from server.dicom.presentation.image_size import is_color, placement
from server.dicom.rendering import render
from server.model.errors import WrongState
from server.model.rendering import (
    IccProfile,
    ImageFormat,
    LookupTable,
    Output,
    Overlay,
    Palette,
    PixelPresentation,
    Presentation,
    Viewport,
    Window,
    WindowFunction,
)
from tests.unit.server.dicom.render_jobs import frame_of

floats = st.floats(allow_nan=False, allow_infinity=False)
small = st.integers(-5, 40)
byte = st.integers(0, 255)
windows = st.builds(Window, floats, floats, st.sampled_from(WindowFunction))
tables = st.builds(
    LookupTable,
    st.integers(1, 1 << 16),
    st.integers(-32768, 65535),
    st.integers(1, 16),
    st.binary(min_size=1, max_size=99),
)
palettes = st.builds(Palette, tables, tables, tables, st.booleans(), st.sampled_from(PixelPresentation))
overlays = st.builds(
    Overlay, st.integers(1, 20), st.integers(1, 20), small, small, st.none() | st.binary(max_size=40), st.integers(0, 7)
)
labels = st.lists(st.tuples(byte, byte, byte, byte), max_size=3, unique_by=lambda color: color[0])
looks = st.builds(
    Presentation,
    slope=floats,
    intercept=floats,
    modality_lut=st.none() | tables,
    windows=st.lists(windows, max_size=2).map(tuple),
    voi_luts=st.lists(tables, max_size=1).map(tuple),
    is_inverse=st.booleans(),
    value_range=st.none() | st.tuples(floats, floats),
    padding=st.none() | st.tuples(floats, floats),
    palette=st.none() | palettes,
    tint=st.none() | st.tuples(byte, byte, byte),
    label_colors=labels.map(lambda colors: tuple(sorted(colors))),
    overlays=st.lists(overlays, max_size=2).map(tuple),
    pixel_aspect=st.floats(0.05, 20),
    icc_profile=st.binary(max_size=200),
)
places = st.floats(-20, 20)
viewports = st.builds(Viewport, st.integers(0, 60), st.integers(0, 60), places, places, places, places)
outputs = st.builds(
    Output,
    format=st.sampled_from(ImageFormat),
    quality=st.integers(1, 100),
    viewport=st.none() | viewports,
    window=st.none() | windows,
    annotations=st.lists(st.text(max_size=9), max_size=2).map(tuple),
    icc_profile=st.sampled_from(IccProfile),
    is_thumbnail=st.booleans(),
)
kinds = st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])


@settings(max_examples=400, deadline=None)
@given(looks, outputs, kinds, st.integers(1, 3), st.integers(-3, 40), st.integers(-3, 40), st.randoms())
def test_any_presentation_gives_an_image_or_a_reason(
    presentation: Presentation, output: Output, kind: str, samples: int, bits_stored: int, high_bit: int, random: Random
) -> None:
    shape = (7, 9) if samples == 1 else (7, 9, samples)
    dtype = np.dtype(kind)
    raw = np.random.default_rng(random.getrandbits(32)).bytes(int(np.prod(shape)) * dtype.itemsize)
    photometric = "MONOCHROME2" if samples == 1 else "RGB"
    job = frame_of(np.frombuffer(raw, dtype).reshape(shape), presentation, output, photometric=photometric)
    stored = min(max(bits_stored, 1), dtype.itemsize * 8)
    high = min(max(high_bit, stored - 1), dtype.itemsize * 8 - 1)
    job = replace(job, description=replace(job.description, bits_stored=stored, high_bit=high))
    try:
        sample_image = render(job)
    except WrongState:  # any other exception fails the test
        return
    if output.format in (ImageFormat.JPEG, ImageFormat.PNG):
        place, image = placement(job.description, presentation, output), Image.open(BytesIO(sample_image))
        image.load()
        assert image.size == (place.width, place.height)
        assert (image.mode == "RGB") == is_color(job.description, presentation)
