"""Compressed frames of real files decode as with pydicom's decoders."""

import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder
from pydicom.pixels.processing import convert_color_space

from server.dicom.pixel_data.codecs import syntaxes
from server.dicom.pixel_data.codecs.decode import decode
from server.dicom.pixel_data.image_pixel_module import describe_pixels
from server.model.errors import WrongState
from tests.corpus import corpus, name_of
from tests.unit.server.dicom.second_decoders import largest_difference

# No available decoder reads these: 12-bit JPEG, and a deliberately overwritten codestream.
ONLY_OURS = {"JPEG-lossy.dcm", "JPGExtended.dcm"}
DAMAGED = {"JPEG2000-embedded-sequence-delimiter.dcm"}
SUBSAMPLED_TOLERANCE = 2


def _compressed() -> dict[Path, str]:
    """Return the transfer syntaxes of compressed images."""
    found: dict[str, tuple[Path, str]] = {}
    for path in corpus():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                held = pydicom.dcmread(path, specific_tags=["Rows"])
                syntax = str(held.file_meta.TransferSyntaxUID)
            except (pydicom.errors.InvalidDicomError, AttributeError):
                continue
        if syntax in syntaxes.DECODABLE - syntaxes.UNCODED and "Rows" in held:
            found.setdefault(path.name, (path, syntax))
    return dict(found.values())


FILES = _compressed()


def _attributes(held: pydicom.Dataset) -> dict[str, Any]:
    wanted = [element for element in held.group_dataset(0x0028) if element.VR in {"US", "CS"}]
    return {f"{element.tag:08X}": {"vr": element.VR, "Value": [element.value]} for element in wanted}


def _frame(held: pydicom.Dataset) -> bytes:
    number = str(held.get("NumberOfFrames", 1))
    return next(iter(generate_frames(held.PixelData, number_of_frames=int(number) if number.isdecimal() else 1)))


def _by_other_decoder(held: pydicom.Dataset, plugin: str) -> tuple[NDArray[Any], str]:
    array, of_array = get_decoder(held.file_meta.TransferSyntaxUID).as_array(
        held, index=0, raw=True, decoding_plugin=plugin
    )
    return array, str(of_array["photometric_interpretation"])


@pytest.mark.parametrize("path", FILES, ids=name_of)
@pytest.mark.filterwarnings("ignore")
def test_a_real_frame_equals_that_of_other_decoders(path: Path) -> None:
    held = pydicom.dcmread(path)
    syntax = held.file_meta.TransferSyntaxUID
    description = describe_pixels(_attributes(held))
    if path.name in DAMAGED:
        with pytest.raises(WrongState):
            decode(_frame(held), syntax, description)
        return
    actual, after = decode(_frame(held), syntax, description)
    compared = 0
    plugins = {"gdcm", "pillow", "pyjpegls", "pydicom"} & set(get_decoder(syntax).available_plugins)
    # Pillow and GDCM share a JPEG 2000 decoder, which is slow.
    for plugin in plugins - ({"pillow"} if syntax in syntaxes.J2K else set()):
        try:
            expected, colours = _by_other_decoder(held, plugin)
        except RuntimeError:
            continue
        tolerance = 0
        if colours == "YBR_FULL_422":
            assert after.photometric_interpretation == "RGB"
            expected, tolerance = convert_color_space(expected, "YBR_FULL", "RGB"), SUBSAMPLED_TOLERANCE
        assert expected.dtype == actual.dtype
        assert largest_difference(expected, actual) <= tolerance
        compared += 1
    assert compared or path.name in ONLY_OURS


def test_the_corpus_has_files_of_many_transfer_syntaxes() -> None:
    assert len(FILES) > 50
    assert len(set(FILES.values())) >= 8
