"""From the metadata of an instance to the presentation of a frame, without pixels."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from server.dicom.elements.canonical_json import number, numbers
from server.dicom.presentation.presentation import bulk_needed, presentation_of
from server.dicom.presentation.segment_colors import srgb_of_cielab
from server.model.rendering import LookupTable, Overlay, PixelPresentation, Presentation, Window, WindowFunction
from tests.data import file_of, part10
from tests.unit.server.dicom.render_jobs import attributes_of, presentation_in

IMAGE: dict[str, Any] = {
    "Rows": 2,
    "Columns": 4,
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
}


def presentation(frame: int = 1, **attributes: Any) -> Presentation:
    return presentation_in(part10(frames=[bytes(16)], **(IMAGE | attributes)), frame)


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def lut(descriptor: list[int], data: bytes, vr: str = "OW") -> Dataset:
    made = Dataset()
    made.add_new("LUTDescriptor", "US", descriptor)
    made.add_new("LUTData", vr, data)
    return made


def test_an_image_without_attributes_has_the_default_presentation() -> None:
    assert presentation() == Presentation()


def test_slope_and_intercept_are_read() -> None:
    found = presentation(RescaleSlope="2.5", RescaleIntercept="-1024")
    assert (found.slope, found.intercept) == (2.5, -1024)


def test_a_slope_of_zero_is_ignored() -> None:
    assert presentation(RescaleSlope="0", RescaleIntercept="5").slope == 1


def test_all_windows_with_a_valid_width_are_read() -> None:
    found = presentation(WindowCenter=["40", "1", "-600.5"], WindowWidth=["400", "0", "1500"], VOILUTFunction="SIGMOID")
    assert found.windows == (Window(40, 400, WindowFunction.SIGMOID), Window(-600.5, 1500, WindowFunction.SIGMOID))


def test_an_unknown_function_is_linear() -> None:
    assert presentation(WindowCenter="1", WindowWidth="2", VOILUTFunction="CUBIC").windows == (Window(1, 2),)


def test_a_center_without_width_is_ignored() -> None:
    assert presentation(WindowCenter=["1", "2"], WindowWidth=["3"]).windows == (Window(1, 3),)
    assert presentation(WindowCenter="1").windows == ()


@pytest.mark.parametrize(
    ("attributes", "is_inverse"),
    [
        ({}, False),
        ({"PhotometricInterpretation": "MONOCHROME1"}, True),
        ({"PresentationLUTShape": "INVERSE"}, True),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, True),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"}, True),
        ({"PresentationLUTShape": "IDENTITY"}, False),
    ],
)
def test_low_values_are_white_for_monochrome1_and_inverse_shape(attributes: dict[str, Any], is_inverse: bool) -> None:
    assert presentation(**attributes).is_inverse is is_inverse


def test_tables_are_read_from_the_json_and_from_bulk_data() -> None:
    for size in (4, 4096):
        data = np.arange(size, dtype="<u2").tobytes()
        found = presentation(
            ModalityLUTSequence=Sequence([lut([size, 7, 12], data)]),
            VOILUTSequence=Sequence([lut([size, 0, 16], data)]),
        )
        assert found.modality_lut == LookupTable(size, 7, 12, data)
        assert found.voi_luts == (LookupTable(size, 0, 16, data),)


def test_lookup_table_data_may_be_numbers() -> None:
    made = Dataset()
    made.add_new("LUTDescriptor", "US", [3, 0, 16])
    made.add_new("LUTData", "US", [1, 2, 40000])
    table = LookupTable(3, 0, 16, np.array([1, 2, 40000], "<u2").tobytes())
    assert presentation(VOILUTSequence=Sequence([made])).voi_luts == (table,)


def test_a_descriptor_of_0_entries_means_65536() -> None:
    data = bytes(1 << 17)
    found = presentation(ModalityLUTSequence=Sequence([lut([0, 0, 16], data)])).modality_lut
    assert found is not None
    assert found.entries == 1 << 16


def test_missing_bulk_data_is_ignored() -> None:
    file = part10(frames=[bytes(16)], **IMAGE, VOILUTSequence=Sequence([lut([4096, 0, 16], bytes(8192))]))
    attributes = attributes_of(file)
    assert bulk_needed(attributes) == ("00283010/1/00283006",)
    assert presentation_of(attributes, {}).voi_luts == ()


@pytest.mark.parametrize("broken", [{"VOILUTSequence": Sequence([Dataset()])}, {"VOILUTSequence": Sequence([])}])
def test_a_lut_sequence_without_data_is_ignored(broken: dict[str, Any]) -> None:
    assert presentation(**broken) == Presentation()


def test_padding_is_a_value_or_a_range() -> None:
    assert presentation(PixelPaddingValue=7).padding == (7, 7)
    assert presentation(PixelPaddingValue=4095, PixelPaddingRangeLimit=4000).padding == (4000, 4095)


def test_padding_written_as_unsigned_is_a_signed_value() -> None:
    attributes = attributes_of(part10(frames=[bytes(16)], **(IMAGE | {"PixelRepresentation": 1})))
    padded = {**attributes, "00280120": {"vr": "US", "Value": [63536]}}
    assert presentation_of(padded, {}).padding == (-2000, -2000)


@pytest.mark.parametrize(
    ("attributes", "aspect"),
    [
        ({"PixelSpacing": ["2", "1"]}, 2.0),
        ({"PixelSpacing": ["0.5", "0.5"], "PixelAspectRatio": ["3", "1"]}, 1.0),
        ({"ImagerPixelSpacing": ["1", "4"]}, 0.25),
        ({"PixelAspectRatio": ["4", "3"]}, 4 / 3),
        ({"PixelAspectRatio": ["0", "3"]}, 1.0),
        ({"PixelAspectRatio": ["-1", "3"]}, 1.0),
        ({"PixelAspectRatio": ["1000", "1"]}, 1.0),
        ({"PixelSpacing": ["0.50001", "0.5"]}, 1.0),
        ({"PixelSpacing": ["1"]}, 1.0),
    ],
)
def test_the_pixel_aspect_ratio_comes_from_spacing_or_aspect_ratio(attributes: dict[str, Any], aspect: float) -> None:
    assert presentation(**attributes).pixel_aspect == pytest.approx(aspect)


def with_palette(prefix: str = "", **attributes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR", "BitsAllocated": 8, **attributes}
    for number_, name in enumerate(("Red", "Green", "Blue")):
        made[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
        made[f"{prefix}{name}PaletteColorLookupTableData"] = bytes([number_]) * 256
    return made


def test_palettes_are_read() -> None:
    found = presentation(**with_palette()).palette
    assert found is not None
    assert (found.green.data, found.is_segmented) == (b"\1" * 256, False)
    segmented = presentation(**with_palette("Segmented")).palette
    assert segmented is not None
    assert (segmented.blue.data, segmented.is_segmented) == (b"\2" * 256, True)


def test_an_incomplete_palette_is_ignored() -> None:
    assert presentation(**(with_palette() | {"BluePaletteColorLookupTableData": None})).palette is None


def test_palettes_of_grey_images_are_supplemental_if_declared() -> None:
    grey = with_palette(PhotometricInterpretation="MONOCHROME2", BitsAllocated=16)
    assert presentation(**(grey | {"PhotometricInterpretation": "MONOCHROME2"})).palette is None
    found = presentation(**(grey | {"PhotometricInterpretation": "MONOCHROME2", "PixelPresentation": "COLOR"})).palette
    assert found is not None
    assert found.presentation is PixelPresentation.SUPPLEMENTAL


def test_per_frame_groups_take_precedence_over_shared_groups_and_these_over_the_top_level() -> None:
    voi = [item(FrameVOILUTSequence=Sequence([item(WindowCenter=str(c), WindowWidth="10")])) for c in (1, 2)]
    transformation = item(RescaleSlope="3", RescaleIntercept="-5", RescaleType="US")
    shared = item(
        PixelValueTransformationSequence=Sequence([transformation]),
        PixelMeasuresSequence=Sequence([item(PixelSpacing=["3", "1"])]),
        FrameVOILUTSequence=Sequence([item(WindowCenter="9", WindowWidth="9")]),
    )
    groups = {
        "SharedFunctionalGroupsSequence": Sequence([shared]),
        "PerFrameFunctionalGroupsSequence": Sequence(voi),
        "RescaleSlope": "77",
        "WindowCenter": "77",
        "WindowWidth": "77",
    }
    first, second, third = (presentation(frame, **groups) for frame in (1, 2, 3))
    assert first.windows == (Window(1, 10),)
    assert second.windows == (Window(2, 10),)
    assert third.windows == (Window(9, 9),)
    assert (first.slope, first.intercept, first.pixel_aspect) == (3, -5, 3)


def segmentation(kind: str, segments: list[Dataset], **attributes: Any) -> dict[str, Any]:
    frame = item(SegmentIdentificationSequence=Sequence([item(ReferencedSegmentNumber=2)]))
    return {
        "SegmentationType": kind,
        "SegmentSequence": Sequence(segments),
        "PerFrameFunctionalGroupsSequence": Sequence([frame]),
        **attributes,
    }


GREEN = [57482, 11000, 54000]
"""Approximately the green primary of sRGB, as DICOM CIELab value."""


def test_a_frame_of_a_segmentation_has_the_colour_of_its_segment() -> None:
    segments = [item(SegmentNumber=1), item(SegmentNumber=2, RecommendedDisplayCIELabValue=GREEN)]
    found = presentation(**segmentation("BINARY", segments, BitsAllocated=8))
    assert found.value_range == (0, 1)
    assert found.tint is not None
    assert found.tint[1] > 240 > 100 > max(found.tint[0], found.tint[2])


def test_a_segment_without_colour_is_white() -> None:
    found = presentation(
        **segmentation("FRACTIONAL", [item(SegmentNumber=2)], MaximumFractionalValue=200, BitsAllocated=8)
    )
    assert (found.tint, found.value_range) == (None, (0, 200))


def test_segments_of_a_label_map_have_distinct_colours() -> None:
    segments = [item(SegmentNumber=number_) for number_ in (3, 1, 2)]
    segments[0].RecommendedDisplayCIELabValue = [65535, 32896, 32896]
    found = presentation(**segmentation("LABELMAP", segments, BitsAllocated=8))
    assert [color[0] for color in found.label_colors] == [1, 2, 3]
    assert found.label_colors[2][1:] == (255, 255, 255)
    assert len({color[1:] for color in found.label_colors}) == 3
    assert found.tint is None


@pytest.mark.parametrize(
    ("lab", "srgb"),
    # 50 % grey and the primaries by Lindbloom's calculator (D50), scaled as in PS3.3 C.10.7.1.1
    [
        ((0, 0, 0), (0, 0, 0)),
        ((100, 0, 0), (255, 255, 255)),
        ((53.585, 0, 0), (128, 128, 128)),
        ((54.29, 80.81, 69.89), (255, 0, 0)),
        ((87.82, -79.27, 80.99), (0, 255, 0)),
        ((29.57, 68.30, -112.03), (0, 0, 255)),
    ],
)
def test_cielab_values_are_srgb_colours(lab: tuple[float, float, float], srgb: tuple[int, int, int]) -> None:
    lightness, a, b = lab
    found = srgb_of_cielab(lightness * 65535 / 100, (a + 128) * 65535 / 255, (b + 128) * 65535 / 255)
    assert np.abs(np.array(found) - srgb).max() <= 2


def overlays(frame: int = 1, **attributes: Any) -> tuple[Overlay, ...]:
    made = Dataset()
    values = {
        0x60020010: ("US", 2),
        0x60020011: ("US", 3),
        0x60020040: ("CS", "G"),
        0x60020050: ("SS", [2, -1]),
        0x60020100: ("US", 1),
        0x60020102: ("US", 0),
        0x60023000: ("OW", bytes([0b101010, 0b11])),
    }
    for tag, value in (values | attributes.get("changes", {})).items():
        if value is not None:
            made.add_new(tag, *value)
    for keyword, value in IMAGE.items():
        setattr(made, keyword, value)
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    made.StudyInstanceUID = made.SeriesInstanceUID = "1.2"
    made.PatientID = "1"
    return presentation_in(file_of(made), frame).overlays


def test_graphic_overlays_are_read() -> None:
    assert overlays() == (Overlay(2, 3, 1, -2, b"\x2a"),)


def test_regions_of_interest_are_not_drawn() -> None:
    assert overlays(changes={0x60020040: ("CS", "R")}) == ()


def test_a_single_overlay_applies_to_all_frames() -> None:
    assert overlays(1) == overlays(7) != ()


def test_overlay_frames_apply_to_their_image_frames() -> None:
    changes = {0x60020015: ("IS", "2"), 0x60020051: ("US", 3)}
    assert overlays(2, changes=changes) == ()
    assert overlays(3, changes=changes) == (Overlay(2, 3, 1, -2, b"\x2a"),)
    assert overlays(4, changes=changes) == (Overlay(2, 3, 1, -2, b"\x2a\x03", first_bit=6),)
    assert overlays(5, changes=changes) == ()


def test_an_overlay_without_data_is_an_unused_bit_of_the_pixel_cells() -> None:
    spare = {0x60023000: None, 0x60020100: ("US", 16), 0x60020102: ("US", 12)}
    assert overlays(changes=spare) == (Overlay(2, 3, 1, -2, None, bit_position=12),)
    assert overlays(changes=spare | {0x60020102: ("US", 11)}) == ()


def test_the_profile_is_that_of_the_image_or_the_optical_path_of_the_frame() -> None:
    paths = [item(OpticalPathIdentifier=name, ICCProfile=name.encode() * 2000) for name in ("a", "b")]
    frame = item(OpticalPathIdentificationSequence=Sequence([item(OpticalPathIdentifier="b")]))
    rgb: dict[str, Any] = {
        "PhotometricInterpretation": "RGB",
        "SamplesPerPixel": 3,
        "OpticalPathSequence": Sequence(paths),
    }
    assert presentation(**rgb).icc_profile == b"a" * 2000
    assert presentation(**rgb, PerFrameFunctionalGroupsSequence=Sequence([frame])).icc_profile == b"b" * 2000
    assert presentation(**rgb, ICCProfile=b"own!").icc_profile == b"own!"
    assert presentation(OpticalPathSequence=Sequence(paths)).icc_profile == b""


def test_values_of_other_types_are_ignored() -> None:
    odd: dict[str, Any] = {
        "00280030": {"vr": "DS", "Value": ["abc", None]},
        "00281050": {"vr": "DS", "Value": [None]},
        "00281053": {"vr": "DS", "Value": ["Infinity"]},
        "00283010": {"vr": "SQ", "Value": [None, {"00283002": {"vr": "US", "Value": [1]}}]},
        "00283000": {"vr": "UN", "InlineBinary": "!!"},
        "00280004": {"vr": "CS", "Value": [7]},
        "52009229": {"vr": "SQ"},
        "60000040": 3,
    }
    assert presentation_of(odd, {}) == Presentation()
    assert number(odd, "00280030") is None
    assert numbers(odd, "00280030") == []


def test_presentations_need_no_numpy() -> None:
    code = (
        "import sys, server.model.rendering;"
        "from server.dicom.presentation import animation, image_size, presentation;"
        "print({'numpy', 'PIL', 'imagecodecs'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_lookup_table_of_a_frame_is_read() -> None:
    voi = item(VOILUTSequence=Sequence([lut([4096, 0, 16], bytes(8192))]))
    frame = item(FrameVOILUTSequence=Sequence([voi]))
    assert presentation(PerFrameFunctionalGroupsSequence=Sequence([frame])).voi_luts == (
        LookupTable(4096, 0, 16, bytes(8192)),
    )
