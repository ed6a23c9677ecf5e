"""Whole files: every image of pydicom and pydicom-data is rendered, and agrees with pydicom."""

import warnings
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

from server.dicom.pixel_data.image_pixel_module import describe_pixels
from server.dicom.presentation.image_size import is_color, placement
from server.dicom.presentation.segment_colors import srgb_of_cielab
from server.dicom.rendering import render
from server.model.errors import DicomStoreError, Reason
from server.model.rendering import IccProfile, ImageFormat, Output, Presentation, RenderFrame, Viewport, Window
from tests.corpus import corpus
from tests.unit.server.dicom.reading import read
from tests.unit.server.dicom.render_jobs import attributes_of, frame_of, job_of, pixels_of

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
NO_PICTURE = {
    "meta_missing_tsyntax.dcm": "it has neither Rows nor Columns",
    "nested_priv_SQ.dcm": "it has neither Rows nor Columns",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "its frames end early",
    "JPEG2000-embedded-sequence-delimiter.dcm": "its codestream is none on purpose",
}


def _is_image(path: Path) -> bool:
    try:
        file = path.read_bytes()
        layout = read(file).pixels
        if layout is None or not layout.number_of_frames:
            return False
        describe_pixels(attributes_of(file), layout)
    except DicomStoreError:
        return False
    return path.name not in NO_PICTURE


@cache
def images() -> tuple[Path, ...]:
    return tuple(path for path in corpus() if _is_image(path))


def named(name: str) -> bytes:
    return next(path for path in corpus() if path.name == name).read_bytes()


IMAGES = images()


def test_the_image_corpus_is_installed() -> None:
    assert len(IMAGES) > 150


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
@pytest.mark.parametrize("format_", [ImageFormat.JPEG, ImageFormat.PNG])
def test_every_image_is_rendered_in_its_size(path: Path, format_: ImageFormat) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, about files that violate the standard
        job = job_of(path.read_bytes(), output=Output(format=format_, quality=95))
    sample_image = Image.open(BytesIO(render(job)))
    place = placement(job.description, job.presentation, job.output)
    assert f"image/{(sample_image.format or '').lower()}" == format_.value
    assert sample_image.size == (place.width, place.height)
    assert sample_image.mode == ("RGB" if is_color(job.description, job.presentation) else "L")
    if job.presentation.pixel_aspect == 1:
        assert sample_image.size == (job.description.columns, job.description.rows)


def _by_pydicom(data_set: Dataset) -> NDArray[np.float64]:
    """Return values between 0 and 255 as defined in PS3.3 sections C.11.1 and C.11.2."""
    if data_set.PhotometricInterpretation == "PALETTE COLOR":
        colors = apply_color_lut(data_set.pixel_array, data_set)
        return np.asarray(colors >> 8 if colors.dtype == np.uint16 else colors, float)
    if data_set.SamplesPerPixel == 3:
        return np.asarray(data_set.pixel_array / (1 << (data_set.BitsStored - 8)))  # already RGB
    values = apply_modality_lut(data_set.pixel_array, data_set)
    if "WindowWidth" in data_set:
        shown = apply_voi_lut(values, data_set, prefer_lut=False).astype(float)
        low, high = _output_range(data_set)
    elif "VOILUTSequence" in data_set:
        shown = apply_voi_lut(values, data_set).astype(float)
        low, high = 0, (1 << data_set.VOILUTSequence[0].LUTDescriptor[2]) - 1
    else:
        shown = values.astype(float)
        low, high = shown.min(), shown.max()
    grey = (shown - low) * 255 / (high - low)
    return 255 - grey if data_set.PhotometricInterpretation == "MONOCHROME1" else grey


def _output_range(data_set: Dataset) -> tuple[float, float]:
    """Return the values that pydicom's apply_windowing shows black and white."""
    if "ModalityLUTSequence" in data_set:
        return 0, (1 << data_set.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    bits, is_signed = data_set.BitsStored, data_set.PixelRepresentation
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if is_signed else (0, (1 << bits) - 1)
    slope, intercept = data_set.get("RescaleSlope", 1), data_set.get("RescaleIntercept", 0)
    return low * slope + intercept, high * slope + intercept


@pytest.mark.parametrize(
    "name",
    [
        *("CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"),
        *("RG1_UNCR.dcm", "RG3_UNCR.dcm", "693_UNCR.dcm", "MR2_UNCR.dcm", "mlut_18.dcm", "vlut_04.dcm"),
        *("OBXXXX1A.dcm", "OBXXXX1A_rle.dcm", "gdcm-US-ALOKA-16.dcm", "examples_palette.dcm"),
        *("SC_rgb.dcm", "SC_rgb_16bit.dcm", "SC_ybr_full_uncompressed.dcm", "SC_ybr_full_422_uncompressed.dcm"),
        *("ExplVR_BigEnd.dcm", "US1_J2KR.dcm", "rtdose_1frame.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm"),
    ],
)
def test_rendered_images_agree_with_pydicom(name: str) -> None:
    file = named(name)
    data_set = pydicom.dcmread(BytesIO(file))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = _by_pydicom(data_set)
        job = job_of(file)
    if job.presentation.padding is not None:
        low, high = job.presentation.padding
        stored = data_set.pixel_array
        expected[(stored >= low) & (stored <= high)] = 0
    assert np.abs(pixels_of(render(job)) - expected).max() <= 1.01


def test_each_frame_is_rendered_from_its_own_pixels() -> None:
    file = named("rtdose.dcm")
    first, last = (pixels_of(render(job_of(file, frame))).tolist() for frame in (1, 15))
    assert first != last


def test_a_segmentation_is_shown_in_the_colour_of_its_segment() -> None:
    file = named("liver.dcm")
    lab = pydicom.dcmread(BytesIO(file)).SegmentSequence[0].RecommendedDisplayCIELabValue
    colors = {tuple(color) for color in pixels_of(render(job_of(file))).reshape(-1, 3).tolist()}
    assert colors == {(0, 0, 0), srgb_of_cielab(*lab)}


def test_overlays_of_a_file_are_shown() -> None:
    file = named("MR-SIEMENS-DICOM-WithOverlays.dcm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = pydicom.dcmread(BytesIO(file))
        planes = data_set.overlay_array(0x6000)
    job = job_of(file)
    assert planes.any()
    assert (pixels_of(render(job))[planes == 1] == 255).all()
    without = RenderFrame(
        job.data, job.description, job.source, Presentation(windows=job.presentation.windows), job.output
    )
    assert not (pixels_of(render(without))[planes == 1] == 255).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_png_is_exact(bits: int) -> None:
    array = np.random.default_rng(5).integers(0, 1 << bits, (33, 57)).astype(f"u{bits // 8}")
    presentation = Presentation(windows=(Window(1 << (bits - 1), 1 << bits),))
    expected = np.rint(array.astype(float) * (255 / ((1 << bits) - 1)))
    assert pixels_of(render(frame_of(array, presentation))).tolist() == expected.tolist()


def smooth(samples: int = 3) -> NDArray[np.uint8]:
    ramp = np.indices((64, 64)).transpose(1, 2, 0) * 3
    return np.concatenate([ramp, 250 - ramp[:, :, :1]], 2).astype(np.uint8)[:, :, :samples]


def jpeg(quality: int) -> bytes:
    return render(frame_of(smooth(), output=Output(quality=quality), photometric="RGB"))


def test_quality_determines_size_and_loss() -> None:
    errors = [int(np.abs(pixels_of(jpeg(quality)).astype(int) - smooth()).mean() * 100) for quality in (100, 60, 10)]
    sizes = [len(jpeg(quality)) for quality in (100, 60, 10)]
    assert errors == sorted(errors)
    assert sizes == sorted(sizes, reverse=True)
    assert errors[0] < 100


@pytest.mark.parametrize(
    ("quality", "sampling"), [(100, (1, 1)), (90, (1, 1)), (89, (2, 1)), (75, (2, 1)), (74, (2, 2)), (1, (2, 2))]
)
def test_quality_determines_chroma_subsampling(quality: int, sampling: tuple[int, int]) -> None:
    image = Image.open(BytesIO(jpeg(quality)))
    assert image.layer[0][1:3] == sampling  # type: ignore[attr-defined]


COLOR_JPEG = "color3d_jpeg_baseline.dcm"


def test_a_stored_jpeg_is_returned_unchanged() -> None:
    job = job_of(named(COLOR_JPEG), output=Output())
    assert render(job) == job.data


def test_a_stored_jpeg_gets_the_requested_profile() -> None:
    job = job_of(named(COLOR_JPEG), output=Output(icc_profile=IccProfile.YES))
    sample_image = render(job)
    assert Image.open(BytesIO(sample_image)).info["icc_profile"]
    assert np.array_equal(pixels_of(sample_image), pixels_of(job.data))


@pytest.mark.parametrize(
    "output",
    [
        Output(quality=90),
        Output(format=ImageFormat.PNG),
        Output(viewport=Viewport(64, 64)),
        Output(viewport=Viewport(0, 0, 0, 0, -640, 480)),
        Output(annotations=("X",)),
        Output(icc_profile=IccProfile.ADOBE_RGB),
    ],
)
def test_a_stored_jpeg_is_encoded_again_if_the_output_differs(output: Output) -> None:
    job = job_of(named(COLOR_JPEG), output=output)
    assert render(job) != job.data


def test_a_stored_jpeg_that_viewers_would_take_for_ycbcr_is_encoded_again() -> None:
    # RGB in a codestream that does not declare it
    file = named("SC_jpeg_no_color_transform_2.dcm")
    job = job_of(file, output=Output())
    exact = pixels_of(render(job_of(file)))
    assert np.abs(pixels_of(render(job)).astype(int) - exact).mean() < 2


@pytest.mark.parametrize("path", [path for path in IMAGES if "rgb" in path.name], ids=lambda path: path.name)
def test_jpeg_and_png_show_the_same(path: Path) -> None:
    file = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exact = pixels_of(render(job_of(file))).astype(int)
        sample_image = pixels_of(render(job_of(file, output=Output()))).astype(int)
    assert np.abs(sample_image - exact).mean() < 3


def test_damaged_codestreams_are_unreadable() -> None:
    job = job_of(named(COLOR_JPEG), output=Output())
    for data in (b"", job.data[:100], job.data[:2000], b"\0" * 100):
        with pytest.raises(DicomStoreError) as caught:
            render(RenderFrame(data, job.description, JPEG_BASELINE, job.presentation, job.output))
        assert caught.value.reason is Reason.PIXEL_DATA_UNREADABLE
