"""Palettes, colour spaces, segment colours, and ICC profiles."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from pydicom.dataset import Dataset
from pydicom.pixels.processing import _expand_segmented_lut, apply_color_lut, convert_color_space

from server.dicom.rendering import render
from server.dicom.rendering.icc_profiles import standard_profile
from server.dicom.rendering.segmented_palettes import Segments
from server.model.errors import DicomStoreError, Reason
from server.model.rendering import (
    IccProfile,
    ImageFormat,
    LookupTable,
    Output,
    Palette,
    PixelPresentation,
    Presentation,
    Window,
)
from tests.unit.server.dicom.render_jobs import frame_of, pixels_of, rendered

EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(16, 16)


def colors(seed: int = 1, side: int = 24) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def palette(rows: list[tuple[int, int, int]], first: int = 0, bits: int = 8, **more: Any) -> Palette:
    kind = "<u2" if bits > 8 else np.uint8
    parts = [np.array(part, kind).tobytes() for part in zip(*rows, strict=True)]
    red, green, blue = (LookupTable(len(rows), first, bits, part) for part in parts)
    return Palette(red, green, blue, **more)


def test_a_palette_gives_each_value_its_colour() -> None:
    presentation = Presentation(palette=palette([(1, 2, 3), (40, 50, 60), (255, 0, 128)], first=10))
    shown = rendered(np.array([[0, 10, 11, 12, 99]], np.uint8), presentation, photometric="PALETTE COLOR")
    assert shown == [[[1, 2, 3], [1, 2, 3], [40, 50, 60], [255, 0, 128], [255, 0, 128]]]


def test_windows_do_not_apply_to_palettes() -> None:
    presentation = Presentation(
        palette=palette([(1, 2, 3), (40, 50, 60)]), windows=(Window(200, 2),), is_inverse=True, slope=7
    )
    assert rendered(np.array([[0, 1]], np.uint8), presentation) == [[[1, 2, 3], [40, 50, 60]]]


@pytest.mark.parametrize("bits", [8, 16])
def test_palettes_agree_with_pydicom(bits: int) -> None:
    entries = np.random.default_rng(3).integers(0, 1 << bits, (3, 256)).astype("<u2" if bits > 8 else np.uint8)
    data_set = Dataset()
    for name, part in zip(("Red", "Green", "Blue"), entries, strict=True):
        setattr(data_set, f"{name}PaletteColorLookupTableDescriptor", [256, 0, bits])
        setattr(data_set, f"{name}PaletteColorLookupTableData", part.tobytes())
    expected = apply_color_lut(EVERY_BYTE, data_set) >> (bits - 8)
    red, green, blue = (LookupTable(256, 0, bits, part.tobytes()) for part in entries)
    assert rendered(EVERY_BYTE, Presentation(palette=Palette(red, green, blue))) == expected.tolist()


def test_a_palette_may_begin_below_zero() -> None:
    presentation = Presentation(palette=palette([(1, 1, 1), (2, 2, 2), (3, 3, 3)], first=-1))
    assert rendered(np.array([[-5, -1, 0, 1]], np.int8), presentation) == [[[1] * 3, [1] * 3, [2] * 3, [3] * 3]]


def test_a_palette_may_have_65536_entries() -> None:
    ramp = LookupTable(1 << 16, 0, 16, np.arange(1 << 16, dtype="<u2").tobytes())
    shown = rendered(np.array([[0, 256, 65535]], np.uint16), Presentation(palette=Palette(ramp, ramp, ramp)))
    assert shown == [[[0] * 3, [1] * 3, [255] * 3]]


def test_entries_of_8_bits_declared_as_16_are_accepted() -> None:
    low = LookupTable(2, 0, 16, np.array([0, 200], "<u2").tobytes())
    assert rendered(np.array([[0, 1]], np.uint8), Presentation(palette=Palette(low, low, low))) == [
        [[0] * 3, [200] * 3]
    ]


def test_entries_of_16_bits_declared_as_8_are_accepted() -> None:
    high = LookupTable(2, 0, 8, np.array([0, 200 << 8], "<u2").tobytes())
    assert rendered(np.array([[0, 1]], np.uint8), Presentation(palette=Palette(high, high, high))) == [
        [[0] * 3, [200] * 3]
    ]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("entries", [255, 256])
def test_the_length_of_palette_data_decides_whether_entries_are_bytes(bits: int, entries: int) -> None:
    ramp = bytes(range(entries))[::-1]
    packed = LookupTable(entries, 0, bits, ramp + bytes(entries % 2))
    shown = rendered(EVERY_BYTE, Presentation(palette=Palette(packed, packed, packed)))
    assert np.array(shown)[:, :, 1].ravel().tolist()[:entries] == list(ramp)


def test_a_truncated_table_of_a_palette_keeps_its_last_entry() -> None:
    whole, short = LookupTable(4, 0, 8, bytes([1, 2, 3, 4])), LookupTable(4, 0, 8, bytes([9, 8]))
    shown = rendered(np.array([[0, 1, 2, 3]], np.uint8), Presentation(palette=Palette(whole, whole, short)))
    assert shown == [[[1, 1, 9], [2, 2, 8], [3, 3, 8], [4, 4, 8]]]


def test_a_supplemental_palette_colours_values_from_its_first_entry_on() -> None:
    supplement = palette([(255, 0, 0), (0, 255, 0)], first=200, presentation=PixelPresentation.SUPPLEMENTAL)
    presentation = Presentation(palette=supplement, windows=(Window(100, 201),))
    shown = rendered(np.array([[0, 100, 199, 200, 201]], np.uint8), presentation)
    assert shown == [[[1] * 3, [128] * 3, [254] * 3, [255, 0, 0], [0, 255, 0]]]


@pytest.mark.parametrize(("is_narrow", "kind"), [(True, "<B"), (False, "<H")])
def test_segments_agree_with_pydicom(is_narrow: bool, kind: str) -> None:
    words = [0, 1, 112, 1, 90, 250, 1, 10, 3, 0, 3, 7, 8, 9, 1, 5, 5]
    actual = Segments(words, is_narrow=is_narrow, limit=1000).expand()
    assert actual == _expand_segmented_lut(tuple(words), kind)


def test_indirect_segments_repeat_others() -> None:
    # The offset 3 is in bytes: it refers to the linear segment, which continues from the previous value.
    assert Segments([0, 1, 10, 1, 2, 20, 2, 1, 3, 0, 0, 0], is_narrow=True, limit=99).expand() == [10, 15, 20, 20, 20]
    assert Segments([0, 1, 10, 1, 2, 20, 2, 1, 0, 0], is_narrow=False, limit=99).expand() == [10, 15, 20, 10]
    assert Segments([0, 1, 10, 1, 2, 20, 2, 1, 6, 0], is_narrow=False, limit=99).expand() == [10, 15, 20, 20, 20]


def test_invalid_segments_end_the_table() -> None:
    assert Segments([1, 5, 9], is_narrow=True, limit=99).expand() == []
    assert Segments([0, 2, 1, 2, 7, 7, 7], is_narrow=True, limit=99).expand() == [1, 2]
    assert Segments([2, 1, 0, 0, 0, 0], is_narrow=True, limit=99).expand() == []


def test_cyclic_segments_are_stopped() -> None:
    words = [0, 0] * 20000 + [2, 65535, 0, 0] * 10000
    assert Segments(words, is_narrow=False, limit=65536).expand() == []


def test_a_segmented_palette_is_shown() -> None:
    table = LookupTable(3, 0, 8, bytes([0, 1, 10, 1, 2, 30]))
    shown = rendered(
        np.array([[0, 1, 2]], np.uint8), Presentation(palette=Palette(table, table, table, is_segmented=True))
    )
    assert shown == [[[10] * 3, [20] * 3, [30] * 3]]


def test_rgb_is_unchanged() -> None:
    assert rendered(colors(), photometric="RGB") == colors().tolist()


def test_windows_do_not_apply_to_colour() -> None:
    presentation = Presentation(windows=(Window(3, 1),), is_inverse=True, slope=4)
    assert rendered(colors(), presentation, photometric="RGB") == colors().tolist()


def test_colour_by_plane_gives_the_same_image() -> None:
    planes = colors().transpose(2, 0, 1).tobytes()
    job = frame_of(colors(), photometric="RGB", planar_configuration=1)
    job = type(job)(planes, job.description, job.source, job.presentation, job.output)
    assert pixels_of(render(job)).tolist() == colors().tolist()


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_colours_of_more_than_8_bits_are_truncated(bits: int) -> None:
    deep = colors().astype(np.uint16) << (bits - 8)
    assert rendered(deep, photometric="RGB", bits_stored=bits) == colors().tolist()


def test_ybr_full_agrees_with_pydicom() -> None:
    expected = convert_color_space(colors(), "YBR_FULL", "RGB").astype(int)
    actual = np.array(rendered(colors(), photometric="YBR_FULL"))
    assert np.abs(actual - expected).max() <= 1


@pytest.mark.parametrize("photometric", ["HSV", "CMYK"])
def test_retired_colour_spaces_are_refused(photometric: str) -> None:
    with pytest.raises(DicomStoreError) as caught:
        rendered(colors(), photometric=photometric)
    assert caught.value.reason is Reason.NOT_RENDERABLE


def test_a_tint_is_the_colour_of_white() -> None:
    presentation = Presentation(value_range=(0, 255), tint=(255, 128, 0))
    assert rendered(np.array([[0, 128, 255]], np.uint8), presentation) == [[[0, 0, 0], [128, 64, 0], [255, 128, 0]]]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
def test_labels_have_their_colours_and_other_values_are_black(kind: type[np.generic]) -> None:
    presentation = Presentation(label_colors=((1, 255, 0, 0), (7, 0, 255, 0)))
    shown = rendered(np.array([[0, 1, 2, 7, 9]], kind), presentation)
    assert shown == [[[0] * 3, [255, 0, 0], [0] * 3, [0, 255, 0], [0] * 3]]


def profile_of(sample_image: bytes) -> bytes:
    found = Image.open(BytesIO(sample_image)).info.get("icc_profile", b"")
    assert isinstance(found, bytes)
    return found


def with_profile(wanted: IccProfile, own: bytes = b"", format_: ImageFormat = ImageFormat.PNG) -> bytes:
    job = frame_of(
        colors(), Presentation(icc_profile=own), Output(format=format_, icc_profile=wanted), photometric="RGB"
    )
    return render(job)


OWN = standard_profile(IccProfile.ADOBE_RGB)


@pytest.mark.parametrize("format_", [ImageFormat.JPEG, ImageFormat.PNG])
def test_the_profile_of_the_object_is_embedded(format_: ImageFormat) -> None:
    assert profile_of(with_profile(IccProfile.IF_PRESENT, OWN, format_)) == OWN
    assert profile_of(with_profile(IccProfile.YES, OWN, format_)) == OWN
    assert profile_of(with_profile(IccProfile.NO, OWN, format_)) == b""
    assert profile_of(with_profile(IccProfile.IF_PRESENT, b"", format_)) == b""
    assert profile_of(with_profile(IccProfile.YES, b"", format_)) == standard_profile(IccProfile.SRGB)


def test_a_long_profile_takes_several_segments_of_a_jpeg_file() -> None:
    size = 200_000
    long = size.to_bytes(4) + OWN[4:] + bytes(size - len(OWN))
    assert profile_of(with_profile(IccProfile.IF_PRESENT, long, ImageFormat.JPEG)) == long


@pytest.mark.parametrize("own", [b"no profile", bytes(500), OWN[:60], OWN[:16] + b"GRAY" + OWN[20:]])
def test_an_invalid_rgb_profile_is_ignored(own: bytes) -> None:
    assert profile_of(with_profile(IccProfile.IF_PRESENT, own)) == b""
    assert profile_of(with_profile(IccProfile.SRGB, own)) == standard_profile(IccProfile.SRGB)


def test_srgb_needs_no_conversion_to_srgb() -> None:
    sample_image = with_profile(IccProfile.SRGB)
    assert pixels_of(sample_image).tolist() == colors().tolist()
    assert profile_of(sample_image) == standard_profile(IccProfile.SRGB)


def test_the_srgb_profile_equals_that_of_little_cms() -> None:
    expected = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    actual = ImageCms.ImageCmsProfile(BytesIO(standard_profile(IccProfile.SRGB)))
    converted = ImageCms.profileToProfile(Image.fromarray(colors()), actual, expected)
    assert converted is not None
    assert np.abs(np.asarray(converted).astype(int) - colors()).max() <= 1


@pytest.mark.parametrize(
    ("space", "red"),
    # The red primary of IEC 61966-2-1, in the other spaces by their definitions (Lindbloom's matrices, 8 bits)
    [(IccProfile.ADOBE_RGB, (219, 0, 0)), (IccProfile.ROMM_RGB, (179, 71, 26))],
)
def test_colours_are_converted(space: IccProfile, red: tuple[int, int, int]) -> None:
    array = np.full((2, 2, 3), (255, 0, 0), np.uint8)
    job = frame_of(array, None, Output(format=ImageFormat.PNG, icc_profile=space), photometric="RGB")
    shown = pixels_of(render(job))[0, 0].astype(int)
    assert np.abs(shown - red).max() <= 2
    assert profile_of(render(job)) == standard_profile(space)


@pytest.mark.parametrize("space", [IccProfile.SRGB, IccProfile.ADOBE_RGB, IccProfile.ROMM_RGB])
def test_white_stays_white_and_black_black(space: IccProfile) -> None:
    array = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    job = frame_of(
        array, Presentation(icc_profile=OWN), Output(format=ImageFormat.PNG, icc_profile=space), photometric="RGB"
    )
    assert np.abs(pixels_of(render(job)).astype(int) - array).max() <= 1


@pytest.mark.parametrize("wanted", list(IccProfile))
def test_shades_of_grey_have_no_profile(wanted: IccProfile) -> None:
    job = frame_of(EVERY_BYTE, Presentation(icc_profile=OWN), Output(format=ImageFormat.PNG, icc_profile=wanted))
    assert profile_of(render(job)) == b""
