"""DICOM objects for tests, built in code.

`part10` makes a file from keywords; `part10_of` makes one from encoded elements that pydicom would refuse to write.
`element` and `sequence` encode single elements byte by byte.
"""

import itertools
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate_extended
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
UID_ROOT = "1.2.826.0.1.3680043.10.1"

_WRITER = f"PYDICOM {pydicom.__version__}".encode()
_WRITER += b" " * (len(_WRITER) % 2)
_numbers = itertools.count(1)
_LONG_VRS = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
_UNDEFINED = 0xFFFFFFFF


def new_uid() -> str:
    """Return a new UID."""
    return f"{UID_ROOT}.9.{next(_numbers)}"


def dataset(**attributes: Any) -> Dataset:
    """Return a data set with the required attributes, a new SOP Instance UID, and `attributes` by keyword.

    None removes an attribute. Values aren't checked.
    """
    values: dict[str, Any] = {
        "SOPClassUID": SECONDARY_CAPTURE,
        "SOPInstanceUID": new_uid(),
        "StudyInstanceUID": f"{UID_ROOT}.1",
        "SeriesInstanceUID": f"{UID_ROOT}.1.1",
        "PatientID": "P1",
        "PatientName": "Test^Patient",
        "Modality": "OT",
    }
    values |= attributes
    made = Dataset()
    with pydicom.config.disable_value_validation():
        for keyword, value in values.items():
            if value is not None:
                setattr(made, keyword, value)
    return made


def part10(
    *,
    transfer_syntax: str = EXPLICIT_LITTLE,
    frames: Sequence[bytes] | None = None,
    fragments: Sequence[Sequence[bytes]] | None = None,
    basic_offset_table: bool = True,
    extended_offset_table: bool = False,
    **attributes: Any,
) -> bytes:
    """Return a Part 10 file.

    Args:
        transfer_syntax: UID; big endian and deflated ones too.
        frames: native pixel data. Describe them with Rows, Columns, BitsAllocated…; by default each frame is one
            row of 8-bit pixels.
        fragments: encapsulated pixel data, a list of fragments for each frame.
        basic_offset_table: False leaves the table empty.
        extended_offset_table: one fragment a frame; adds Extended Offset Table and its lengths.
        attributes: see `dataset`.
    """
    made = dataset(**(_image(frames, fragments) | attributes))
    if frames is not None:
        pixels = b"".join(frames)
        made.PixelData = pixels + bytes(len(pixels) % 2)
        made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"
    elif fragments is not None and extended_offset_table:
        pixels, made.ExtendedOffsetTable, made.ExtendedOffsetTableLengths = encapsulate_extended(
            [b"".join(pieces) for pieces in fragments]
        )
        _set_encapsulated(made, pixels)
    elif fragments is not None:
        _set_encapsulated(made, encapsulated(fragments, basic_offset_table=basic_offset_table))
    return file_of(made, transfer_syntax)


def file_of(made: Dataset, transfer_syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Return `made` as a Part 10 file.

    `pydicom.dcmwrite` writes the same bytes and takes twice as long, because it copies and checks the meta information.
    """
    syntax = UID(transfer_syntax)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = made.get("SOPClassUID") or SECONDARY_CAPTURE
    meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID") or UID_ROOT
    meta.ImplementationClassUID = UID_ROOT
    made.file_meta = meta
    made.preamble = bytes(128)
    if "PixelData" in made:
        made["PixelData"].is_undefined_length = syntax.is_compressed
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = syntax.is_implicit_VR, syntax.is_little_endian
    with pydicom.config.disable_value_validation():
        write_dataset(out, made)
    head = file_head(
        transfer_syntax,
        element(0x00020012, "UI", padded_uid(UID_ROOT)),
        element(0x00020013, "SH", _WRITER),
        sop_class=_joined(meta.MediaStorageSOPClassUID),
        instance=_joined(meta.MediaStorageSOPInstanceUID),
    )
    return head + _deflated(out.getvalue(), transfer_syntax)


def _joined(value: str | Sequence[str]) -> str:
    """Return one value or several as they are encoded."""
    return value if isinstance(value, str) else "\\".join(value)


def encapsulated(fragments: Sequence[Sequence[bytes]], *, basic_offset_table: bool = True) -> bytes:
    """Return the items of encapsulated pixel data: offset table and fragments, without sequence delimiter."""
    offsets, items, position = [], [], 0
    for pieces in fragments:
        offsets.append(position)
        for piece in pieces:
            item = _item(piece + bytes(len(piece) % 2))
            items.append(item)
            position += len(item)
    table = struct.pack(f"<{len(offsets)}I", *offsets) if basic_offset_table else b""
    return _item(table) + b"".join(items)


def part10_of(elements: Iterable[bytes] | bytes, transfer_syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Return a Part 10 file with encoded elements, which must be encoded in `transfer_syntax`."""
    body = elements if isinstance(elements, bytes) else b"".join(elements)
    return file_head(transfer_syntax) + _deflated(body, transfer_syntax)


def _deflated(body: bytes, transfer_syntax: str) -> bytes:
    """Return a data set as it is in a file: compressed, if the transfer syntax is the deflated one."""
    if transfer_syntax != DEFLATED:
        return body
    deflate = zlib.compressobj(wbits=-15)
    body = deflate.compress(body) + deflate.flush()
    return body + bytes(len(body) % 2)


def file_head(
    transfer_syntax: str = EXPLICIT_LITTLE,
    *others: bytes,
    sop_class: str = SECONDARY_CAPTURE,
    instance: str = UID_ROOT,
) -> bytes:
    """Return preamble, prefix and file meta information, which ends with the elements `others`."""
    meta = b"".join(
        [
            element(0x00020001, "OB", b"\0\1"),
            element(0x00020002, "UI", padded_uid(sop_class)),
            element(0x00020003, "UI", padded_uid(instance)),
            element(0x00020010, "UI", padded_uid(transfer_syntax)),
            *others,
        ]
    )
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta


def required_elements(form: str = EXPLICIT_LITTLE, **values: bytes) -> list[bytes]:
    """Return the encoded elements that are required for storing, in ascending order of tag.

    `values` replaces raw values, by keyword.
    """
    raw = {
        "SOPClassUID": padded_uid(SECONDARY_CAPTURE),
        "SOPInstanceUID": padded_uid(f"{UID_ROOT}.1.1.1"),
        "PatientID": b"P1",
        "StudyInstanceUID": padded_uid(f"{UID_ROOT}.1"),
        "SeriesInstanceUID": padded_uid(f"{UID_ROOT}.1.1"),
    } | values
    vrs = {"PatientID": "LO"}
    return [
        element(tag, vrs.get(keyword, "UI"), raw[keyword], form)
        for tag, keyword in (
            (0x00080016, "SOPClassUID"),
            (0x00080018, "SOPInstanceUID"),
            (0x00100020, "PatientID"),
            (0x0020000D, "StudyInstanceUID"),
            (0x0020000E, "SeriesInstanceUID"),
        )
    ]


def element(tag: int, vr: str, value: bytes, form: str = EXPLICIT_LITTLE, *, length: int | None = None) -> bytes:
    """Return one encoded element; `length` overrides the length in the header."""
    size = len(value) if length is None else length
    order = ">" if form == EXPLICIT_BIG else "<"
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if form == IMPLICIT_LITTLE:
        return head + struct.pack("<I", size) + value
    if vr in _LONG_VRS:
        return head + vr.encode() + b"\0\0" + struct.pack(f"{order}I", size) + value
    return head + vr.encode() + struct.pack(f"{order}H", size) + value


def sequence(tag: int, items: Iterable[bytes], form: str = EXPLICIT_LITTLE, *, undefined: bool = False) -> bytes:
    """Return an encoded sequence of items, each given as its encoded elements."""
    order = ">" if form == EXPLICIT_BIG else "<"
    if undefined:
        body = b"".join(_item(item, order, undefined=True) for item in items)
        return element(tag, "SQ", body, form, length=_UNDEFINED) + struct.pack(f"{order}HHI", 0xFFFE, 0xE0DD, 0)
    return element(tag, "SQ", b"".join(_item(item, order) for item in items), form)


def padded_uid(uid: str) -> bytes:
    """Return a UID as an even number of bytes."""
    raw = uid.encode()
    return raw + bytes(len(raw) % 2)


def _item(content: bytes, order: str = "<", *, undefined: bool = False) -> bytes:
    if undefined:
        head = struct.pack(f"{order}HHI", 0xFFFE, 0xE000, _UNDEFINED)
        return head + content + struct.pack(f"{order}HHI", 0xFFFE, 0xE00D, 0)
    return struct.pack(f"{order}HHI", 0xFFFE, 0xE000, len(content)) + content


def _image(frames: Sequence[bytes] | None, fragments: Sequence[Sequence[bytes]] | None) -> dict[str, Any]:
    if frames is None and fragments is None:
        return {}
    count = len(frames if frames is not None else fragments or ())
    described: dict[str, Any] = {
        "Rows": 1,
        "Columns": len(frames[0]) if frames else 8,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
    }
    return described | ({"NumberOfFrames": count} if count != 1 else {})


def _set_encapsulated(made: Dataset, items: bytes) -> None:
    made.PixelData = items
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
