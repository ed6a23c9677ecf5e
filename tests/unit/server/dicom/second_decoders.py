"""Test frames for codecs, and independent decoders for comparison."""

import warnings
from typing import Any

import imagecodecs
import numpy
import openjpeg
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from rle.utils import decode_frame as decode_rle_frame

from server.dicom.pixel_data.codecs import syntaxes
from server.model.pixels import PixelDescription

# By transfer syntax: pydicom plugins that support it and share no code with this project's decoders.
PLUGINS = {
    syntaxes.RLE: ("pydicom",),
    syntaxes.JPEG_BASELINE: ("gdcm", "pillow"),
    syntaxes.JPEG_LOSSLESS: ("gdcm",),
    syntaxes.JPEG_LOSSLESS_SV1: ("gdcm",),
    syntaxes.JPEG_LS: ("gdcm", "pyjpegls"),
    syntaxes.JPEG_LS_NEAR: ("gdcm", "pyjpegls"),
    syntaxes.JPEG_2000_LOSSLESS: ("gdcm",),
    syntaxes.JPEG_2000: ("gdcm",),
}


def describe(
    photometric: str = "MONOCHROME2",
    *,
    allocated: int = 8,
    stored: int | None = None,
    signed: bool = False,
    rows: int = 21,
    columns: int = 34,
    **others: Any,
) -> PixelDescription:
    """Return a description; with three samples for colour."""
    stored = allocated if stored is None else stored
    return PixelDescription(
        rows=rows,
        columns=columns,
        samples_per_pixel=1 if photometric.startswith(("MONOCHROME", "PALETTE")) else 3,
        photometric_interpretation=photometric,
        bits_allocated=allocated,
        bits_stored=stored,
        is_signed=signed,
        **({"high_bit": stored - 1, "planar_configuration": 0} | others),
    )


def sample_image(description: PixelDescription, seed: int = 0) -> NDArray[Any]:
    """Return smooth shapes with some noise, over the whole range of Bits Stored."""
    noise = numpy.random.default_rng(seed)
    rows, columns = numpy.mgrid[: description.rows, : description.columns]
    top = (1 << description.bits_stored) - 1
    shapes = (numpy.sin(rows / 7 + seed) + numpy.cos(columns / 5)) / 4 + 0.5
    array = numpy.rint(numpy.clip(shapes * top + noise.normal(0, top / 200, shapes.shape), 0, top))
    array[0, 0], array[-1, -1] = 0, top
    if description.samples_per_pixel == 3:
        array = numpy.stack([array, array[::-1], array[:, ::-1]], axis=-1)
    array -= (1 << description.bits_stored - 1) * description.is_signed
    return array.astype(f"<{'i' if description.is_signed else 'u'}{max(description.bits_allocated // 8, 1)}")


def smooth_image(description: PixelDescription) -> NDArray[Any]:
    """Return an image that lossy compression hardly changes: slowly varying colours."""
    rows, columns = numpy.mgrid[: description.rows, : description.columns]
    top = (1 << description.bits_stored) - 1
    planes = [(0.2 + 0.6 * rows / rows.max()), (0.2 + 0.6 * columns / columns.max()), 0.5 + 0 * rows]
    array = numpy.stack(planes[: description.samples_per_pixel], axis=-1) * top
    return array.astype(f"<u{description.bits_allocated // 8}").reshape(
        *rows.shape, *([3] if description.samples_per_pixel == 3 else [])
    )


def by_pydicom(frame: bytes, syntax: str, description: PixelDescription, plugin: str) -> NDArray[Any]:
    """Decode a frame with a plugin of pydicom, in its stored colours, from a data set with this description."""
    held = Dataset()
    held.file_meta = FileMetaDataset()
    held.file_meta.TransferSyntaxUID = syntax
    held.Rows, held.Columns = description.rows, description.columns
    held.SamplesPerPixel = description.samples_per_pixel
    held.PhotometricInterpretation = description.photometric_interpretation
    held.BitsAllocated, held.BitsStored = description.bits_allocated, description.bits_stored
    held.HighBit, held.PixelRepresentation = description.high_bit, int(description.is_signed)
    if description.samples_per_pixel > 1:
        held.PlanarConfiguration = description.planar_configuration
    held.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array, _ = get_decoder(syntax).as_array(held, index=0, raw=True, decoding_plugin=plugin)
    return array


def largest_difference(one: NDArray[Any], other: NDArray[Any]) -> int:
    """Return the largest difference between two frames of equal shape."""
    assert one.shape == other.shape
    return int(numpy.abs(one.astype(numpy.int64) - other.astype(numpy.int64)).max())


def decoded_by_others(frame: bytes, syntax: str, description: PixelDescription) -> list[NDArray[Any]]:
    """Return the frame as decoded by each independent decoder."""
    plugins = PLUGINS.get(syntax, ())
    if syntax in syntaxes.LS | syntaxes.LOSSLESS_JPEG and description.bits_stored < 8:
        # GDCM is known to misread these, or to crash.
        plugins = tuple(plugin for plugin in plugins if plugin != "gdcm")
    decoded = [by_pydicom(frame, syntax, description, plugin) for plugin in plugins]
    if syntax in syntaxes.LOSSLESS_JPEG and description.samples_per_pixel == 1:
        words = imagecodecs.ljpeg_decode(frame).astype(f"u{description.bits_allocated // 8}")
        decoded.append(words.view(f"{'i' if description.is_signed else 'u'}{words.itemsize}"))
    if syntax in syntaxes.J2K | syntaxes.HT:
        decoded.append(openjpeg.decode(frame))
    if syntax in syntaxes.HT:
        decoded.append(imagecodecs.htj2k_decode(frame, planar=False))
    if syntax == syntaxes.RLE:
        decoded.append(_by_rle(frame, description))
    return decoded


def _by_rle(frame: bytes, description: PixelDescription) -> NDArray[Any]:
    size = description.rows * description.columns
    raw = decode_rle_frame(frame, size, description.bits_allocated, "<")
    kind = f"<{'i' if description.is_signed else 'u'}{description.bits_allocated // 8}"
    planes = numpy.frombuffer(raw, kind).reshape(-1, description.rows, description.columns)
    return planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0)
