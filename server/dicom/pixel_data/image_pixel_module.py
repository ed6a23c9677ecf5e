"""The Image Pixel attributes of a data set, and their changes when pixel data is re-encoded.

Works on canonical DICOM JSON (docs/decisions/0004) and on encoded little-endian values; pixels are not accessed.
"""

from collections.abc import Iterable, Mapping
from struct import pack
from typing import Any

from server.dicom.elements.canonical_json import integer, text
from server.dicom.elements.transfer_syntax import IMPLICIT_LITTLE
from server.dicom.pixel_data.codecs import syntaxes
from server.dicom.pixel_data.codecs.syntaxes import described
from server.dicom.pixel_data.layout import SampleForm, sample_forms
from server.model.errors import Reason, WrongState
from server.model.instance import PixelLayout
from server.model.pixels import PixelDescription

# Tag → VR and little-endian value of even length; None for an element to be removed.
Changes = Mapping[int, tuple[str, bytes] | None]

_EXTENDED_OFFSET_TABLE = 0x7FE00001
_EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00002
_LOSSY = 0x00282110
_LOSSY_RATIO = 0x00282112
_LOSSY_METHOD = 0x00282114
_JPEG_METHOD = "ISO_10918_1"
_FORMATS = {"7FE00010": "integer", "7FE00008": "float", "7FE00009": "double"}
_FLOAT_BITS = {"float": 32, "double": 64}


def describe_pixels(attributes: Mapping[str, Any], layout: PixelLayout | None = None) -> PixelDescription:
    """Return the Image Pixel attributes of a data set in canonical DICOM JSON, corrected by the layout of native pixel
    data.

    Missing attributes with one sensible value get it: High Bit, Pixel Representation and Planar Configuration, and
    Samples per Pixel and Bits Stored if the other attributes determine them.

    layout: of the pixel data; without it the attributes are trusted.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, a required attribute is missing or invalid, or the pixel data contradicts it.
    """
    sample_format = next((name for tag, name in _FORMATS.items() if tag in attributes), "integer")
    photometric = text(attributes, "00280004").upper() or ("" if sample_format == "integer" else "MONOCHROME2")
    rows, columns = _number(attributes, "00280010"), _number(attributes, "00280011")
    is_native = layout is not None and not layout.is_encapsulated
    has_one_sample = photometric.startswith(("MONOCHROME", "PALETTE"))
    form = SampleForm(
        _number(attributes, "00280002", 1 if has_one_sample or is_native else None),
        photometric,
        _number(attributes, "00280100", _FLOAT_BITS.get(sample_format, 0 if is_native else None)),
    )
    if layout is not None and is_native:
        form = _form_of(layout, rows, columns, form, integer(attributes, "00280101") or 0, sample_format)
    samples, bits_allocated = form.samples_per_pixel, form.bits_allocated
    bits_stored = bits_allocated if sample_format != "integer" else _number(attributes, "00280101", bits_allocated)
    high_bit = _number(attributes, "00280102", bits_stored - 1)
    if not (photometric and 0 < rows < 1 << 16 and 0 < columns < 1 << 16 and 0 < samples <= 4):
        raise _unreadable("Rows, Columns, Samples per Pixel or Photometric Interpretation is invalid.")
    if not 0 < bits_stored <= bits_allocated <= 64:
        raise _unreadable("Bits Stored or Bits Allocated is invalid.")
    return PixelDescription(
        rows=rows,
        columns=columns,
        samples_per_pixel=samples,
        photometric_interpretation=form.label,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=high_bit if bits_stored <= high_bit + 1 <= bits_allocated else bits_stored - 1,
        is_signed=_number(attributes, "00280103", 0) == 1,
        planar_configuration=1 if samples > 1 and _number(attributes, "00280006", 0) == 1 else 0,
        sample_format=sample_format,
        has_embedded_overlays=_has_embedded_overlays(attributes),
    )


def _form_of(
    layout: PixelLayout, rows: int, columns: int, declared: SampleForm, bits_stored: int, sample_format: str
) -> SampleForm:
    """Return the sample form of native pixel data that was determined when the instance was stored."""
    forms: Iterable[SampleForm] = (declared,)
    if sample_format == "integer":
        forms = sample_forms(
            declared.samples_per_pixel, declared.photometric_interpretation, declared.bits_allocated, bits_stored
        )
    for form in forms if layout.is_understood else ():
        if form.frame_bits(rows, columns) == layout.frame_bits:
            return form
    raise _unreadable("The length of the pixel data does not match the Image Pixel attributes.")


def header_changes(
    attributes: Mapping[str, Any],
    source: str,
    target: str,
    *,
    layout: PixelLayout | None = None,
    compression_ratio: float | None = None,
) -> Changes:
    """Return the top-level elements that change when pixel data is transcoded from `source` to `target`.

    Pixel Data itself is not included; its VR is `pixel_data_vr`.

    Args:
        attributes: the data set in canonical DICOM JSON.
        layout: of the pixel data, which may contradict the data set; the result is consistent.
        compression_ratio: of lossy pixel data; omitted if None.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, as `describe_pixels`.
    """
    before = describe_pixels(attributes, layout)
    after = described(before, source, target)
    changes: dict[int, tuple[str, bytes] | None] = {}
    if after.photometric_interpretation != text(attributes, "00280004").upper():
        changes[0x00280004] = ("CS", _padded([after.photometric_interpretation]))
    for tag, old, new in (
        (0x00280002, before.samples_per_pixel, after.samples_per_pixel),
        (0x00280006, before.planar_configuration, after.planar_configuration),
        (0x00280100, before.bits_allocated, after.bits_allocated),
        (0x00280101, before.bits_stored, after.bits_stored),
        (0x00280102, before.high_bit, after.high_bit),
        (0x00280103, before.is_signed, after.is_signed),
    ):
        if old != new or integer(attributes, f"{tag:08X}") not in (None, old):
            changes[tag] = ("US", pack("<H", new))
    if after.samples_per_pixel > 1 and integer(attributes, "00280006") is None:
        changes[0x00280006] = ("US", pack("<H", after.planar_configuration))
    if layout is not None and layout.number_of_frames != (integer(attributes, "00280008") or 1):
        changes[0x00280008] = ("IS", _padded([str(layout.number_of_frames)]))
    changes |= _lossy_changes(attributes, source, target, compression_ratio)
    if source != target:
        for tag in (_EXTENDED_OFFSET_TABLE, _EXTENDED_OFFSET_TABLE_LENGTHS):
            if f"{tag:08X}" in attributes:
                changes[tag] = None
    return changes


def pixel_data_vr(description: PixelDescription, target: str) -> str:
    """Return the VR of Pixel Data in a transfer syntax (PS3.5 sections A.1, A.2 and A.4); `description` is the stored
    one."""
    if target not in syntaxes.NATIVE:
        return "OB"
    if target == IMPLICIT_LITTLE or description.bits_allocated > 8:
        return "OW"
    return "OB"


def _lossy_changes(
    attributes: Mapping[str, Any], source: str, target: str, ratio: float | None
) -> dict[int, tuple[str, bytes] | None]:
    """Once compressed with loss, pixel data remains marked as such (PS3.3 section C.7.6.1.1.5)."""
    methods = _texts(attributes, "00282114")
    changes: dict[int, tuple[str, bytes] | None]
    if target == syntaxes.JPEG_BASELINE and source != target:
        ratios = _texts(attributes, "00282112")
        changes = {
            _LOSSY: ("CS", b"01"),
            _LOSSY_METHOD: ("CS", _padded([*methods, _JPEG_METHOD])),
        }
        if ratio is not None:
            changes[_LOSSY_RATIO] = ("DS", _padded([*ratios, f"{ratio:.4g}"]))
        return changes
    if source in syntaxes.DCT and source != target and text(attributes, "00282110") != "01":
        changes = {_LOSSY: ("CS", b"01")}
        if not methods:
            changes[_LOSSY_METHOD] = ("CS", _padded([_JPEG_METHOD]))
        return changes
    return {}


def _has_embedded_overlays(attributes: Mapping[str, Any]) -> bool:
    """Overlays without Overlay Data use unused bits of the pixel cells (PS3.5 section 8.1.2, retired)."""
    return any(
        tag.startswith("60") and tag.endswith("0100") and f"{tag[:4]}3000" not in attributes
        for tag in attributes
        if len(tag) == 8
    )


def _values(attributes: Mapping[str, Any], tag: str) -> list[Any]:
    return (attributes.get(tag) or {}).get("Value") or []


def _texts(attributes: Mapping[str, Any], tag: str) -> list[str]:
    """Return values as text; a Decimal String has at most 16 characters."""
    values = ("" if value is None else value for value in _values(attributes, tag))
    return [f"{value:.8g}" if isinstance(value, float) else str(value) for value in values]


def _number(attributes: Mapping[str, Any], tag: str, default: int | None = None) -> int:
    is_absent = next(iter(_values(attributes, tag)), None) is None and not attributes.get(tag, {}).get("InlineBinary")
    value = default if is_absent else integer(attributes, tag)
    if value is None:
        raise _unreadable(f"An attribute that is needed to read the pixel data is missing: ({tag[:4]},{tag[4:]}).")
    return value


def _padded(values: list[str]) -> bytes:
    raw = "\\".join(values).encode("ascii", "replace")
    return raw + b" " * (len(raw) % 2)


def _unreadable(message: str) -> WrongState:
    return WrongState(Reason.PIXEL_DATA_UNREADABLE, message)
