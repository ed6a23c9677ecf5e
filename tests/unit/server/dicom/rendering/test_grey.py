"""Modality LUT, VOI LUT, inversion and padding (PS3.3 sections C.11.1, C.11.2, C.7.6.3, C.7.5.1.1.2)."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

from server.dicom.elements.transfer_syntax import EXPLICIT_LITTLE
from server.dicom.rendering import render
from server.model.errors import DicomStoreError, Reason
from server.model.rendering import ImageFormat, LookupTable, Output, Presentation, RenderFrame, Window, WindowFunction
from tests.unit.server.dicom.render_jobs import frame_of, pixels_of, rendered

LINEAR, EXACT, SIGMOID = WindowFunction.LINEAR, WindowFunction.LINEAR_EXACT, WindowFunction.SIGMOID
EVERY_12_BIT = np.arange(4096, dtype=np.uint16).reshape(64, 64)
EVERY_SIGNED = np.arange(-32768, 32768, dtype=np.int32).astype(np.int16).reshape(256, 256)


def table(values: list[int], first: int, bits: int) -> LookupTable:
    return LookupTable(len(values), first, bits, np.array(values, "<u2").tobytes())


def test_a_linear_window_follows_the_example_of_the_standard() -> None:
    # C.11.2.1.2.1: with c=2048 and w=4096, the whole range of 12 bits maps to the whole output range.
    presentation = Presentation(windows=(Window(2048, 4096),))
    assert rendered(np.array([[0, 2047, 2048, 4095]], np.uint16), presentation) == [[0, 127, 128, 255]]


def test_a_linear_window_is_black_and_white_beyond_its_edges() -> None:
    presentation = Presentation(windows=(Window(100, 11),))  # 94.5 < x <= 104.5
    assert rendered(np.array([[0, 94, 95, 100, 104, 105, 900]], np.uint16), presentation) == [
        [0, 0, 13, 140, 242, 255, 255]
    ]


def test_a_linear_window_of_width_1_is_a_threshold() -> None:
    presentation = Presentation(windows=(Window(100, 1),))
    assert rendered(np.array([[99, 100]], np.uint16), presentation) == [[0, 255]]


def test_a_linear_exact_window_reaches_from_half_its_width_below_to_half_above() -> None:
    presentation = Presentation(windows=(Window(100, 10, EXACT),))
    assert rendered(np.array([[95, 100, 105, 106]], np.uint16), presentation) == [[0, 128, 255, 255]]


def test_a_sigmoid_window_is_a_logistic_function() -> None:
    presentation = Presentation(windows=(Window(100, 40, SIGMOID),))
    values = [255 / (1 + np.exp(-4 * (x - 100) / 40)) for x in (0, 90, 100, 110, 255)]
    assert rendered(np.array([[0, 90, 100, 110, 255]], np.uint8), presentation) == [[round(value) for value in values]]


@pytest.mark.parametrize("function", [LINEAR, EXACT, SIGMOID])
@pytest.mark.parametrize(("center", "width"), [(40, 400), (-600, 1500), (0.5, 3), (30000, 60000)])
def test_windows_agree_with_pydicom(function: WindowFunction, center: float, width: float) -> None:
    data_set = Dataset()
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.BitsStored, data_set.PixelRepresentation = 16, 1
    data_set.WindowCenter, data_set.WindowWidth, data_set.VOILUTFunction = center, width, function.value
    with np.errstate(over="ignore"):
        expected = (apply_windowing(EVERY_SIGNED, data_set) + 32768) * 255 / 65535
    actual = np.array(rendered(EVERY_SIGNED, Presentation(windows=(Window(center, width, function),))))
    assert np.abs(actual - expected).max() <= 0.5001


def test_the_first_window_with_a_valid_width_applies() -> None:
    presentation = Presentation(windows=(Window(9000, 0), Window(100, 1), Window(5, 1)))
    assert rendered(np.array([[99, 100]], np.uint16), presentation) == [[0, 255]]


def test_a_requested_window_takes_precedence() -> None:
    presentation = Presentation(windows=(Window(10, 1),))
    output = Output(format=ImageFormat.PNG, window=Window(100, 1))
    assert rendered(np.array([[99, 100]], np.uint16), presentation, output=output) == [[0, 255]]


def test_a_window_narrower_than_1_is_linear_exact() -> None:
    presentation = Presentation(windows=(Window(0.5, 0.5),))
    assert rendered(np.array([[0.25, 0.5, 0.75]], np.float32), presentation) == [[0, 128, 255]]


def test_windows_take_precedence_over_voi_luts() -> None:
    presentation = Presentation(windows=(Window(100, 1),), voi_luts=(table([255, 0], 0, 8),))
    assert rendered(np.array([[99, 100]], np.uint16), presentation) == [[0, 255]]


def test_without_window_minimum_and_maximum_are_black_and_white() -> None:
    assert rendered(np.array([[1000, 1100, 1200]], np.uint16)) == [[0, 128, 255]]
    assert rendered(np.array([[-100, 0, 100]], np.int16)) == [[0, 128, 255]]


def test_minimum_and_maximum_are_modality_values() -> None:
    assert rendered(np.array([[1, 2, 3]], np.uint16), Presentation(slope=-2, intercept=100)) == [[255, 128, 0]]


def test_padding_is_black_and_excluded_from_minimum_and_maximum() -> None:
    presentation = Presentation(padding=(-2000, -2000))
    assert rendered(np.array([[-2000, 0, 50, 100]], np.int16), presentation) == [[0, 0, 128, 255]]
    inverse = Presentation(padding=(-2000, -2000), is_inverse=True)
    assert rendered(np.array([[-2000, 0, 50, 100]], np.int16), inverse) == [[0, 255, 127, 0]]


def test_padding_may_be_a_range() -> None:
    presentation = Presentation(padding=(4000, 4095))
    assert rendered(np.array([[4000, 4050, 4095, 0, 100]], np.uint16), presentation) == [[0, 0, 0, 0, 255]]


def test_a_frame_of_padding_alone_is_black() -> None:
    assert rendered(np.full((2, 2), 7, np.uint16), Presentation(padding=(7, 7))) == [[0, 0], [0, 0]]


def test_padding_is_compared_with_stored_values() -> None:
    presentation = Presentation(slope=2, intercept=-10, padding=(5, 5), windows=(Window(0, 1),))
    assert rendered(np.array([[5, 4, 6]], np.uint16), presentation) == [[0, 0, 255]]


def test_a_constant_frame_is_shown_relative_to_the_range_of_its_bits() -> None:
    assert rendered(np.full((1, 2), 255, np.uint8)) == [[255, 255]]
    assert rendered(np.full((1, 2), 0, np.uint8)) == [[0, 0]]
    assert rendered(np.full((1, 2), 2048, np.uint16), bits_stored=12) == [[128, 128]]


def test_inversion_is_applied_after_the_window() -> None:
    presentation = Presentation(windows=(Window(128, 256),), is_inverse=True)
    assert rendered(np.array([[0, 100, 255]], np.uint8), presentation) == [[255, 155, 0]]


def test_slope_and_intercept_are_applied_before_the_window() -> None:
    presentation = Presentation(slope=0.5, intercept=-1000, windows=(Window(-500, 1),))
    assert rendered(np.array([[998, 1002]], np.uint16), presentation) == [[0, 255]]


def test_a_modality_lut_replaces_slope_and_intercept() -> None:
    data_set = Dataset()
    item = Dataset()
    item.add_new("LUTDescriptor", "SS", [4, -1, 16])
    item.add_new("LUTData", "US", [10, 200, 3000, 40000])
    data_set.ModalityLUTSequence = [item]
    values = np.array([[-5, -1, 0, 1, 2, 3]], np.int16)
    expected = apply_modality_lut(values, data_set).astype(float)
    presentation = Presentation(
        slope=9, intercept=9, modality_lut=table([10, 200, 3000, 40000], -1, 16), value_range=(0, 65535)
    )
    assert rendered(values, presentation) == np.rint(expected * 255 / 65535).tolist()


@pytest.mark.parametrize("bits", [10, 12, 16])  # with 8 bits, pydicom's index overflows
def test_a_voi_lut_agrees_with_pydicom(bits: int) -> None:
    entries = [(index * index) % (1 << bits) for index in range(300)]
    data_set = Dataset()
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [300, 1000, bits])
    item.add_new("LUTData", "US", entries)
    data_set.VOILUTSequence = [item]
    expected = apply_voi(EVERY_12_BIT, data_set) * (255 / ((1 << bits) - 1))
    actual = np.array(rendered(EVERY_12_BIT, Presentation(voi_luts=(table(entries, 1000, bits),)), bits_stored=12))
    assert np.abs(actual - expected).max() <= 0.5001


def test_a_voi_lut_may_have_entries_of_one_byte() -> None:
    presentation = Presentation(voi_luts=(LookupTable(3, 10, 8, bytes([7, 77, 177])),))
    assert rendered(np.array([[9, 10, 11, 12, 13]], np.uint8), presentation) == [[7, 7, 77, 177, 177]]


def test_a_voi_lut_of_bytes_declared_as_words_has_its_full_range() -> None:
    presentation = Presentation(voi_luts=(LookupTable(4, 10, 16, bytes([0, 85, 170, 255])),))
    assert rendered(np.array([[10, 11, 12, 13]], np.uint8), presentation) == [[0, 85, 170, 255]]


def test_a_modality_lut_may_have_entries_of_one_byte() -> None:
    presentation = Presentation(modality_lut=LookupTable(4, 0, 16, bytes([40, 30, 20, 10])), value_range=(0, 255))
    assert rendered(np.array([[0, 1, 2, 3]], np.uint8), presentation) == [[40, 30, 20, 10]]


def test_a_truncated_voi_lut_keeps_its_last_entry() -> None:
    presentation = Presentation(voi_luts=(LookupTable(300, 0, 16, np.array([0, 65535], "<u2").tobytes()),))
    assert rendered(np.array([[0, 1, 2, 255]], np.uint8), presentation) == [[0, 255, 255, 255]]


def test_a_voi_lut_may_have_larger_entries_than_declared() -> None:
    presentation = Presentation(voi_luts=(table([0, 1023], 0, 8),))
    assert rendered(np.array([[0, 1]], np.uint8), presentation) == [[0, 255]]


def test_bits_above_bits_stored_are_ignored() -> None:
    presentation = Presentation(windows=(Window(2048, 4096),))
    clean = np.array([[0, 2047, 4095]], np.uint16)
    assert rendered(clean | 0xF000, presentation, bits_stored=12) == rendered(clean, presentation, bits_stored=12)
    assert rendered(clean | 0xF000, bits_stored=12) == rendered(clean, bits_stored=12)


def test_high_bit_may_be_above_bits_stored() -> None:
    values = np.array([[0, 0x0010, 0xFFF0]], np.uint16) | 0x000F
    presentation = Presentation(windows=(Window(2048, 4096),))
    assert rendered(values, presentation, bits_stored=12, high_bit=15) == [[0, 0, 255]]


def test_the_sign_is_the_highest_stored_bit() -> None:
    words = np.array([[0x0800, 0x0FFF, 0x0000, 0x07FF]], np.uint16)  # -2048, -1, 0, 2047
    presentation = Presentation(windows=(Window(0, 4096),))
    assert rendered(words, presentation, bits_stored=12, is_signed=True) == [[0, 127, 128, 255]]
    assert rendered(words, bits_stored=12, is_signed=True) == [[0, 127, 128, 255]]


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64])
def test_all_number_types_are_rendered_equally(kind: type[np.generic]) -> None:
    values = np.array([[3, 17, 99, 120, 77]], kind)
    presentation = Presentation(slope=2, intercept=-30, windows=(Window(100, 150),), padding=(99, 99), is_inverse=True)
    assert rendered(values, presentation) == rendered(values.astype(np.int32), presentation)
    assert rendered(values) == rendered(values.astype(np.int32))


def test_long_integers_are_scaled_to_their_minimum_and_maximum() -> None:
    assert rendered(np.array([[1_000_000, 1_500_000, 2_000_000]], np.uint32)) == [[0, 128, 255]]


def test_frames_of_long_integers_are_computed_in_blocks_without_seams() -> None:
    values = np.arange(600 * 600, dtype=np.uint32).reshape(600, 600)
    assert rendered(values) == np.rint(values * (255 / values.max())).astype(np.uint8).tolist()


def test_nan_is_black_and_infinity_is_white() -> None:
    assert rendered(np.array([[np.nan, -np.inf, 0.0, 0.5, 1.0, np.inf]], np.float32)) == [[0, 0, 0, 128, 255, 255]]
    assert rendered(np.full((1, 2), np.nan, np.float64)) == [[0, 0]]


def test_pixels_of_one_bit_are_black_and_white() -> None:
    description = frame_of(np.zeros((2, 4), np.uint8), bits_allocated=1, bits_stored=1, high_bit=0).description
    job = RenderFrame(
        b"\x25", description, EXPLICIT_LITTLE, Presentation(value_range=(0, 1)), Output(format=ImageFormat.PNG)
    )
    assert pixels_of(render(job)).tolist() == [[255, 0, 255, 0], [0, 255, 0, 0]]


def test_a_cached_table_is_not_used_for_another_presentation() -> None:
    values = np.array([[0, 100, 200]], np.uint8)
    presentation = Presentation(windows=(Window(100, 200),))
    first = rendered(values, presentation)
    assert rendered(values, Presentation(windows=(Window(50, 100),))) != first
    assert rendered(values, Presentation(windows=(Window(100, 200),), slope=2)) != first
    assert rendered(values, Presentation(windows=(Window(100, 200),), is_inverse=True)) != first
    assert rendered(values.astype(np.int8), presentation) != first
    assert rendered(values, presentation) == first


def test_a_truncated_frame_is_unreadable() -> None:
    job = frame_of(np.zeros((4, 4), np.uint16))
    cut = RenderFrame(job.data[:-1], job.description, job.source, job.presentation, job.output)
    with pytest.raises(DicomStoreError) as caught:
        render(cut)
    assert caught.value.reason is Reason.PIXEL_DATA_UNREADABLE
