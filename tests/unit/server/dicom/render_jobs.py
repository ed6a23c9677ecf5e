"""Rendering jobs for tests, from files and from data sets built in code."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import orjson
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from server.dicom.elements.transfer_syntax import EXPLICIT_BIG, EXPLICIT_LITTLE, transfer_syntax
from server.dicom.pixel_data.image_pixel_module import describe_pixels
from server.dicom.presentation.presentation import bulk_needed, presentation_of
from server.dicom.rendering import render
from server.model.pixels import PixelDescription
from server.model.rendering import ImageFormat, Output, Presentation, RenderFrame
from tests.unit.server.dicom.reading import read

PNG = Output(format=ImageFormat.PNG)
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def frame_of(
    array: NDArray[Any],
    presentation: Presentation | None = None,
    output: Output = PNG,
    *,
    photometric: str = "MONOCHROME2",
    **more: Any,
) -> RenderFrame:
    """Return the job of rendering a native array; `more` are fields of the description."""
    array = np.asarray(array)
    is_float = array.dtype.kind == "f"
    bits = array.dtype.itemsize * 8
    fields: dict[str, Any] = {
        "rows": array.shape[0],
        "columns": array.shape[1],
        "samples_per_pixel": array.shape[2] if array.ndim == 3 else 1,
        "photometric_interpretation": photometric,
        "bits_allocated": bits,
        "bits_stored": bits,
        "high_bit": more.get("bits_stored", bits) - 1,
        "is_signed": array.dtype.kind == "i",
        "planar_configuration": 0,
        "sample_format": ("float" if bits == 32 else "double") if is_float else "integer",
    }
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return RenderFrame(
        data, PixelDescription(**(fields | more)), EXPLICIT_LITTLE, presentation or Presentation(), output
    )


def pixels_of(sample_image: bytes) -> NDArray[np.uint8]:
    """Return the pixels of an image file."""
    return np.asarray(Image.open(BytesIO(sample_image)))


def rendered(array: NDArray[Any], presentation: Presentation | None = None, **more: Any) -> Any:
    """Return the rendered grey values or colours of an array as nested lists."""
    return pixels_of(render(frame_of(array, presentation, **more))).tolist()


def attributes_of(file: bytes) -> Mapping[str, Any]:
    """Return the metadata of a file."""
    parsed: dict[str, Any] = orjson.loads(read(file).dicom_json)
    return parsed


def presentation_in(file: bytes, frame: int = 1) -> Presentation:
    """Return the presentation of a frame of a file, with all required bulk data."""
    attributes = attributes_of(file)
    data_set = pydicom.dcmread(BytesIO(file), force=True)
    return presentation_of(attributes, {path: _value(data_set, path) for path in bulk_needed(attributes)}, frame)


def job_of(file: bytes, frame: int = 1, output: Output = PNG) -> RenderFrame:
    """Return the job of rendering a frame of a file."""
    data_set = pydicom.dcmread(BytesIO(file), force=True)
    description = read(file)
    assert description.pixels is not None
    source = description.transfer_syntax_uid
    pixels = describe_pixels(attributes_of(file), description.pixels)
    raw = next(data_set[keyword].value for keyword in _PIXELS if keyword in data_set)
    if transfer_syntax(source).is_encapsulated:
        frames = generate_frames(raw, number_of_frames=description.pixels.number_of_frames)
        data = next(part for number, part in enumerate(frames, 1) if number == frame)
    else:
        if source == EXPLICIT_BIG and data_set["PixelData"].VR == "OW":
            raw = _swapped(raw, 2 if pixels.bits_allocated <= 16 else pixels.bits_allocated // 8)
        bits = description.pixels.frame_bits
        data = _bits(raw, (frame - 1) * bits, bits)
    return RenderFrame(data, pixels, source, presentation_in(file, frame), output)


def _value(data_set: Dataset, path: str) -> bytes:
    """Return the value at a path, little endian."""
    *sequences, last = path.split("/")
    for tag, number in zip(sequences[::2], sequences[1::2], strict=True):
        data_set = data_set[int(tag, 16)].value[int(number) - 1]
    element = data_set[int(last, 16)]
    value: bytes = element.value
    return value if data_set.original_encoding[1] or element.VR == "OB" else _swapped(value, 2)


def _swapped(raw: bytes, unit: int) -> bytes:
    return np.frombuffer(raw, f">u{unit}").astype(f"<u{unit}").tobytes()


def _bits(raw: bytes, start: int, count: int) -> bytes:
    if start % 8 == 0:
        return raw[start // 8 : (start + count + 7) // 8]
    bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")[start : start + count]
    return np.packbits(bits, bitorder="little").tobytes()
