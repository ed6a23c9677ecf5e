"""Image Pixel attributes before and after re-encoding."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from pydicom.dataset import Dataset

from server.dicom.elements.transfer_syntax import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from server.dicom.pixel_data.codecs import syntaxes
from server.dicom.pixel_data.codecs.syntaxes import DECODABLE, ENCODABLE, can_transcode, described
from server.dicom.pixel_data.image_pixel_module import describe_pixels, header_changes, pixel_data_vr
from server.model.errors import Reason, WrongState
from tests.unit.server.dicom.second_decoders import describe

CODED = sorted(DECODABLE - syntaxes.UNCODED - {syntaxes.RLE})
LOSSLESS_CODECS = [target for target in ENCODABLE if target not in syntaxes.NATIVE | {syntaxes.JPEG_BASELINE}]


def attributes(**changed: Any) -> dict[str, Any]:
    """Return a colour image as DICOM JSON; None removes an attribute."""
    values: dict[str, Any] = {
        "Rows": 21,
        "Columns": 34,
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
    }
    made = Dataset()
    for keyword, value in (values | changed).items():
        if value is not None:
            setattr(made, keyword, value)
    return made.to_json_dict() | {"7FE00010": {"vr": "OW", "BulkDataURI": "x"}}


def test_a_data_set_is_described() -> None:
    assert describe_pixels(attributes()) == describe("RGB")
    grey = attributes(SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", PlanarConfiguration=None)
    assert describe_pixels(grey) == describe()


def test_attributes_with_one_sensible_value_may_be_missing() -> None:
    bare = attributes(
        SamplesPerPixel=None,
        PhotometricInterpretation="MONOCHROME1",
        PlanarConfiguration=None,
        BitsStored=None,
        HighBit=None,
        PixelRepresentation=None,
    )
    assert describe_pixels(bare) == describe("MONOCHROME1")


@pytest.mark.parametrize(
    "keyword", ["Rows", "Columns", "BitsAllocated", "PhotometricInterpretation", "SamplesPerPixel"]
)
def test_attributes_needed_for_decoding_are_required(keyword: str) -> None:
    with pytest.raises(WrongState) as caught:
        describe_pixels(attributes(**{keyword: None}))
    assert caught.value.reason is Reason.PIXEL_DATA_UNREADABLE


@pytest.mark.parametrize(
    "changed",
    [{"Rows": 0}, {"SamplesPerPixel": 9}, {"BitsStored": 9}, {"BitsStored": 0}, {"BitsAllocated": 128}],
    ids=str,
)
def test_invalid_image_pixel_attributes_are_refused(changed: dict[str, int]) -> None:
    with pytest.raises(WrongState):
        describe_pixels(attributes(**changed))


def test_text_instead_of_a_number_is_refused() -> None:
    with pytest.raises(WrongState):
        describe_pixels(attributes() | {"00280010": {"vr": "US", "Value": ["x"]}})


def test_an_invalid_high_bit_is_replaced_by_bits_stored_minus_one() -> None:
    assert describe_pixels(attributes(HighBit=3)).high_bit == 7
    assert describe_pixels(attributes(BitsAllocated=16, BitsStored=12, HighBit=15)).high_bit == 15


@pytest.mark.parametrize(("tag", "bits", "name"), [("7FE00008", 32, "float"), ("7FE00009", 64, "double")])
def test_float_pixels_are_described_without_stored_bits(tag: str, bits: int, name: str) -> None:
    plain = attributes(
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PlanarConfiguration=None,
        BitsAllocated=bits,
        BitsStored=None,
        HighBit=None,
        PixelRepresentation=None,
    )
    del plain["7FE00010"]
    description = describe_pixels(plain | {tag: {"vr": "OF"}})
    assert (description.sample_format, description.bits_stored) == (name, bits)
    assert can_transcode(description, DEFLATED, IMPLICIT_LITTLE)
    assert not any(can_transcode(description, EXPLICIT_LITTLE, target) for target in LOSSLESS_CODECS)


def test_overlays_in_unused_bits_are_kept_in_native_and_rle() -> None:
    overlay = {"60000010": {"vr": "US", "Value": [21]}, "60000100": {"vr": "US", "Value": [16]}}
    inside = describe_pixels(attributes(BitsAllocated=16, BitsStored=12, HighBit=11) | overlay)
    assert inside.has_embedded_overlays
    assert {target for target in ENCODABLE if can_transcode(inside, EXPLICIT_LITTLE, target)} == {
        EXPLICIT_LITTLE,
        IMPLICIT_LITTLE,
        syntaxes.RLE,
    }
    beside = describe_pixels(attributes() | overlay | {"60003000": {"vr": "OW"}})
    assert not beside.has_embedded_overlays


@pytest.mark.parametrize("source", sorted(DECODABLE))
def test_every_decodable_frame_can_be_written_natively_and_losslessly(source: str) -> None:
    for target in ENCODABLE:
        assert can_transcode(describe("RGB"), source, target)


def test_unsupported_targets_are_refused() -> None:
    assert not can_transcode(describe(allocated=16, stored=12), EXPLICIT_LITTLE, syntaxes.JPEG_BASELINE)
    assert not can_transcode(describe(signed=True), EXPLICIT_LITTLE, syntaxes.JPEG_BASELINE)
    assert not can_transcode(describe("PALETTE COLOR"), EXPLICIT_LITTLE, syntaxes.JPEG_BASELINE)
    assert not can_transcode(describe(signed=True), EXPLICIT_LITTLE, syntaxes.JPEG_XL_LOSSLESS)
    assert not can_transcode(describe(allocated=32), EXPLICIT_LITTLE, syntaxes.JPEG_2000_LOSSLESS)
    assert not can_transcode(describe(allocated=12), syntaxes.RLE, EXPLICIT_LITTLE)
    assert not can_transcode(describe(), EXPLICIT_LITTLE, EXPLICIT_BIG)
    assert not can_transcode(describe(), EXPLICIT_LITTLE, syntaxes.JPEG_LS_NEAR)
    assert not can_transcode(describe(), "1.2.840.10008.1.2.4.102", EXPLICIT_LITTLE)


def test_single_bits_are_written_only_where_frames_fill_bytes() -> None:
    whole, torn = describe(allocated=1, rows=4, columns=4), describe(allocated=1, rows=3, columns=3)
    assert can_transcode(whole, syntaxes.DEFLATED_FRAMES, EXPLICIT_LITTLE)
    assert not can_transcode(torn, syntaxes.DEFLATED_FRAMES, EXPLICIT_LITTLE)
    assert can_transcode(torn, DEFLATED, EXPLICIT_LITTLE)
    assert not can_transcode(whole, EXPLICIT_LITTLE, syntaxes.RLE)


def test_nothing_changes_between_native_syntaxes() -> None:
    odd = attributes(PhotometricInterpretation="YBR_FULL_422", BitsAllocated=16, BitsStored=12, HighBit=15)
    assert header_changes(odd, DEFLATED, EXPLICIT_LITTLE) == {}


@pytest.mark.parametrize(
    ("photometric", "source", "target", "expected"),
    [
        ("RGB", EXPLICIT_LITTLE, syntaxes.JPEG_2000_LOSSLESS, "YBR_RCT"),
        ("RGB", EXPLICIT_LITTLE, syntaxes.HTJ2K_LOSSLESS_RPCL, "YBR_RCT"),
        ("RGB", EXPLICIT_LITTLE, syntaxes.JPEG_BASELINE, "YBR_FULL_422"),
        ("RGB", EXPLICIT_LITTLE, syntaxes.JPEG_LS, "RGB"),
        ("YBR_FULL", EXPLICIT_LITTLE, syntaxes.JPEG_2000_LOSSLESS, "YBR_FULL"),
        ("YBR_FULL", syntaxes.JPEG_BASELINE, EXPLICIT_LITTLE, "YBR_FULL"),
        ("YBR_FULL_422", syntaxes.JPEG_BASELINE, EXPLICIT_LITTLE, "RGB"),
        ("YBR_FULL_422", EXPLICIT_LITTLE, syntaxes.RLE, "YBR_FULL"),
        ("YBR_FULL_422", EXPLICIT_LITTLE, syntaxes.JPEG_2000_LOSSLESS, "YBR_FULL"),
        ("YBR_FULL_422", syntaxes.JPEG_LS, EXPLICIT_LITTLE, "YBR_FULL"),
        ("YBR_ICT", syntaxes.JPEG_2000, EXPLICIT_LITTLE, "RGB"),
        ("YBR_RCT", syntaxes.JPEG_2000_LOSSLESS, syntaxes.HTJ2K_LOSSLESS, "YBR_RCT"),
        ("YBR_RCT", syntaxes.JPEG_2000_LOSSLESS, syntaxes.JPEG_XL_LOSSLESS, "RGB"),
    ],
)
def test_photometric_interpretation(photometric: str, source: str, target: str, expected: str) -> None:
    before = attributes(PhotometricInterpretation=photometric)
    after = described(describe_pixels(before), source, target)
    assert after.photometric_interpretation == expected
    changes = header_changes(before, source, target)
    padded = expected.encode() + b" " * (len(expected) % 2)
    assert changes.get(0x00280004) == (None if expected == photometric else ("CS", padded))


def test_compressed_frames_are_colour_by_pixel_and_native_ones_keep_their_planar_configuration() -> None:
    by_plane = attributes(PlanarConfiguration=1)
    assert header_changes(by_plane, EXPLICIT_LITTLE, syntaxes.JPEG_LS)[0x00280006] == ("US", b"\0\0")
    assert 0x00280006 not in header_changes(by_plane, syntaxes.RLE, EXPLICIT_LITTLE)
    assert 0x00280006 not in header_changes(by_plane, syntaxes.JPEG_LS, EXPLICIT_LITTLE)


def test_high_bit_is_normalised_in_compressed_frames() -> None:
    high = attributes(BitsAllocated=16, BitsStored=12, HighBit=15)
    assert header_changes(high, EXPLICIT_LITTLE, syntaxes.JPEG_LS)[0x00280102] == ("US", b"\x0b\0")
    assert 0x00280102 not in header_changes(high, EXPLICIT_LITTLE, syntaxes.RLE)


def test_offset_tables_are_removed() -> None:
    extended = attributes() | {"7FE00001": {"vr": "OV"}, "7FE00002": {"vr": "OV"}}
    changes = header_changes(extended, syntaxes.RLE, EXPLICIT_LITTLE)
    assert (changes[0x7FE00001], changes[0x7FE00002]) == (None, None)
    assert header_changes(extended, syntaxes.RLE, syntaxes.RLE) == {}


def test_lossy_compression_is_recorded() -> None:
    changes = header_changes(attributes(), EXPLICIT_LITTLE, syntaxes.JPEG_BASELINE, compression_ratio=12.3456)
    assert changes[0x00282110] == ("CS", b"01")
    assert changes[0x00282112] == ("DS", b"12.35 ")
    assert changes[0x00282114] == ("CS", b"ISO_10918_1 ")


def test_lossy_compression_is_appended_to_earlier_ones() -> None:
    before = attributes(
        LossyImageCompression="01", LossyImageCompressionRatio=["5"], LossyImageCompressionMethod=["ISO_15444_1"]
    )
    changes = header_changes(before, syntaxes.JPEG_2000, syntaxes.JPEG_BASELINE, compression_ratio=2)
    assert changes[0x00282112] == ("DS", b"5\\2 ")
    assert changes[0x00282114] == ("CS", b"ISO_15444_1\\ISO_10918_1 ")


def test_lossy_compression_remains_recorded_after_decompression() -> None:
    changes = header_changes(attributes(), syntaxes.JPEG_BASELINE, EXPLICIT_LITTLE)
    assert changes[0x00282110] == ("CS", b"01")
    known = attributes(LossyImageCompression="01", LossyImageCompressionMethod="ISO_10918_1")
    assert header_changes(known, syntaxes.JPEG_BASELINE, EXPLICIT_LITTLE) == {}
    assert 0x00282110 not in header_changes(attributes(), syntaxes.JPEG_LS, EXPLICIT_LITTLE)


def test_values_are_of_even_length_and_little_endian() -> None:
    for source in CODED:
        for target in ENCODABLE:
            for change in header_changes(attributes(PlanarConfiguration=1), source, target).values():
                assert change is None or len(change[1]) % 2 == 0


def test_the_vr_of_pixel_data() -> None:
    eight, sixteen = describe(), describe(allocated=16)
    assert pixel_data_vr(eight, EXPLICIT_LITTLE) == "OB"
    assert pixel_data_vr(sixteen, EXPLICIT_LITTLE) == pixel_data_vr(eight, IMPLICIT_LITTLE) == "OW"
    assert {pixel_data_vr(sixteen, target) for target in ENCODABLE if target not in syntaxes.NATIVE} == {"OB"}


def test_the_changed_attributes_can_be_parsed_again() -> None:
    for photometric in ("MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"):
        for source in CODED:
            for target in ENCODABLE:
                before = replace(describe(photometric), planar_configuration=0)
                if can_transcode(before, source, target):
                    after = described(before, source, target)
                    assert can_transcode(after, target, EXPLICIT_LITTLE)
                    assert after.bits_allocated == 8


def test_negotiation_and_headers_need_neither_arrays_nor_codecs() -> None:
    heavy = "{'numpy', 'imagecodecs', 'PIL', 'jpeg_ls', 'pydicom'}"
    modules = (
        "server.dicom.pixel_data.codecs.syntaxes, server.dicom.pixel_data.image_pixel_module, server.dicom.worker_jobs"
    )
    program = f"import sys, {modules}; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
