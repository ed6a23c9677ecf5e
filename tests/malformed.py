"""Malformed and contradictory objects for tests, as devices and converters write them.

Each builder returns a Part 10 file of a new study. Elements are encoded byte by byte (`tests.data`), because
pydicom refuses to write most of them.
"""

import struct
from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO

import imagecodecs
import numpy as np
import pydicom

from tests.data import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_BASELINE,
    SECONDARY_CAPTURE,
    element,
    encapsulated,
    file_head,
    new_uid,
    padded_uid,
    part10_of,
    sequence,
)

PREAMBLE = bytes(128) + b"DICM"
PIXEL_DATA = 0x7FE00010

Element = tuple[str, bytes]
Changes = Mapping[int, Element | bytes | None]
"""Elements by tag: VR and raw value, or the whole element as encoded; None removes one."""


def text(value: str | bytes) -> bytes:
    """Return text as an even number of bytes, padded with a space."""
    raw = value.encode() if isinstance(value, str) else value
    return raw + b" " * (len(raw) % 2)


def shorts(*values: int) -> bytes:
    """Return unsigned 16-bit values, little endian."""
    return struct.pack(f"<{len(values)}H", *values)


def long(value: int) -> bytes:
    """Return one unsigned 32-bit value, little endian."""
    return struct.pack("<I", value)


def in_order(vr: str, value: bytes, form: str) -> bytes:
    """Return a little endian value in the byte order of a transfer syntax."""
    size = {"US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4, "FD": 8, "OD": 8}.get(
        vr, 1
    )
    if form != EXPLICIT_BIG or size == 1:
        return value
    return b"".join(value[at : at + size][::-1] for at in range(0, len(value), size))


def grey_pixels(size: int = 8, *, bits: int = 8) -> dict[int, Element]:
    """Return the Image Pixel module of a square grey image, without the Pixel Data."""
    return {
        0x00280002: ("US", shorts(1)),
        0x00280004: ("CS", text("MONOCHROME2")),
        0x00280010: ("US", shorts(size)),
        0x00280011: ("US", shorts(size)),
        0x00280100: ("US", shorts(8 if bits <= 8 else 16)),
        0x00280101: ("US", shorts(bits)),
        0x00280102: ("US", shorts(bits - 1)),
        0x00280103: ("US", shorts(0)),
    }


def image(
    changes: Changes | None = None,
    *,
    transfer_syntax: str = EXPLICIT_LITTLE,
    form: str = "",
    head: bytes | None = None,
    end: bytes = b"",
) -> bytes:
    """Return a file of a new study with an 8 by 8 grey image of values 0 to 63.

    Args:
        changes: elements that replace, add to or remove those of the image.
        transfer_syntax: UID in the file meta information.
        form: transfer syntax in which the elements are actually encoded; that of the file meta information by default.
        head: preamble, prefix and file meta information, instead of the default ones.
        end: bytes after the last element.
    """
    study = new_uid()
    found: dict[int, Element | bytes | None] = {
        0x00080016: ("UI", padded_uid(SECONDARY_CAPTURE)),
        0x00080018: ("UI", padded_uid(new_uid())),
        0x00080060: ("CS", b"OT"),
        0x00100010: ("PN", text("Test^Malformed")),
        0x00100020: ("LO", b"P1"),
        0x0020000D: ("UI", padded_uid(study)),
        0x0020000E: ("UI", padded_uid(f"{study}.1")),
        0x00200013: ("IS", text("1")),
        **grey_pixels(),
        PIXEL_DATA: ("OW", bytes(range(64))),
        **(changes or {}),
    }
    form = form or (transfer_syntax if transfer_syntax in (IMPLICIT_LITTLE, EXPLICIT_BIG) else EXPLICIT_LITTLE)
    body = b"".join(
        part if isinstance(part, bytes) else element(tag, part[0], in_order(*part, form), form)
        for tag, part in sorted(found.items())
        if part is not None
    )
    if head is None:
        return part10_of(body + end, transfer_syntax)
    return head + body + end


def uids_of(file: bytes) -> tuple[str, str, str]:
    """Return Study, Series and SOP Instance UID of a file."""
    found = pydicom.dcmread(BytesIO(file), specific_tags=["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
    return found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID


def pixel_data(fragments: Sequence[bytes], *, offset_table: bytes = b"") -> bytes:
    """Return the encapsulated Pixel Data element; `offset_table` is the value of its Basic Offset Table."""
    first = struct.pack("<HHI", 0xFFFE, 0xE000, len(offset_table)) + offset_table
    items = encapsulated([fragments], basic_offset_table=False)[8:]
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return element(PIXEL_DATA, "OB", b"", length=0xFFFFFFFF) + first + items + end


@cache
def grey_jpeg(value: int, size: int = 8) -> bytes:
    """Return a square baseline JPEG image of one value."""
    stream = bytes(imagecodecs.jpeg8_encode(np.full((size, size), value, np.uint8), level=95))
    return stream + bytes(len(stream) % 2)


def jpeg_image(values: Sequence[int], *, frames: int | None = None, changes: Changes | None = None) -> bytes:
    """Return a file with baseline JPEG frames of one value each; `frames` is the value of Number of Frames."""
    counted: dict[int, Element] = {} if frames is None else {0x00280008: ("IS", text(str(frames)))}
    fragments = pixel_data([grey_jpeg(value) for value in values])
    return image({**counted, PIXEL_DATA: fragments, **(changes or {})}, transfer_syntax=JPEG_BASELINE)


def name_in_latin_and_korean() -> bytes:
    """Return a name with a Korean second component that does not switch back to Latin-1 (PS3.5 6.1.2.5.3)."""
    name = "ç".encode("latin-1") + b"^\x1b$)C" + "ㅊ".encode("euc_kr") + b"^" + "ç".encode("latin-1")
    return image({0x00080005: ("CS", text("ISO 2022 IR 100\\ISO 2022 IR 149")), 0x00100010: ("PN", text(name))})


def three_jpeg_frames_of_five() -> bytes:
    """Return three JPEG frames of values 50, 120 and 200 without an offset table, with Number of Frames 5."""
    return jpeg_image([50, 120, 200], frames=5)


def three_native_frames_of_five() -> bytes:
    """Return three native frames with Number of Frames 5."""
    return image({0x00280008: ("IS", text("5")), PIXEL_DATA: ("OW", bytes(range(192)))})


def ct(rescale_intercept: bytes) -> bytes:
    """Return a CT with 12-bit values 0 to 2048, window 40/400 and the given Rescale Intercept."""
    return image(
        {
            **grey_pixels(bits=12),
            0x00281050: ("DS", text("40")),
            0x00281051: ("DS", text("400")),
            0x00281052: ("DS", text(rescale_intercept)),
            0x00281053: ("DS", text("1")),
            PIXEL_DATA: ("OW", shorts(*(number * 2048 // 63 for number in range(64)))),
        }
    )


def nested(tag: int, vr: str, value: str, *, of: int, top: str | None = None, changes: Changes | None = None) -> bytes:
    """Return an element in an item of the sequence `of`; `top` is its value at the top level, if it has one there."""
    found: dict[int, Element | bytes | None] = {of: sequence(of, [element(tag, vr, text(value))]), **(changes or {})}
    if top is not None:
        found[tag] = (vr, text(top))
    return image(found)


def group_lengths() -> bytes:
    """Return Group Length elements at the top level and in an item."""
    item = element(0x00080000, "UL", long(32)) + element(0x00081150, "UI", padded_uid("1.2.840.10008.3.1.2.3.1"))
    return image(
        {
            0x00080000: ("UL", long(100)),
            0x00081110: sequence(0x00081110, [item]),
            0x00100000: ("UL", long(30)),
            0x7FE00000: ("UL", long(76)),
        }
    )


def empty_sequences() -> bytes:
    """Return sequences without items, of defined and undefined length, nested, and one with one empty item."""
    item = element(0x00080100, "SH", b"A1") + sequence(0x00080110, [])
    return image(
        {
            0x00081110: sequence(0x00081110, []),
            0x00081140: sequence(0x00081140, [], undefined=True),
            0x00081032: sequence(0x00081032, [item]),
            0x00081111: sequence(0x00081111, [b""]),
        }
    )


def without_media_storage_uids() -> bytes:
    """Return a file whose meta information has only the Transfer Syntax UID."""
    meta = element(0x00020010, "UI", padded_uid(EXPLICIT_LITTLE))
    return image(head=PREAMBLE + meta)


def other_media_storage_uids() -> bytes:
    """Return a file whose meta information has another SOP Class and Instance UID than the data set."""
    head = file_head(EXPLICIT_LITTLE).replace(SECONDARY_CAPTURE.encode() + b"\0", b"1.2.840.10008.5.1.4.1.1.2\0")
    return image(head=head)


def implicit_data_set_labelled_explicit() -> bytes:
    """Return a data set in Implicit VR labelled as Explicit VR in the file meta information."""
    return image(form=IMPLICIT_LITTLE)


def palette_of_bytes_described_as_words() -> bytes:
    """Return 256 palette entries of 8 bits whose descriptors say 16 bits (PS3.3 C.7.6.3.1.5).

    Red is the stored value, green is 0, blue is 255 minus the stored value.
    """
    tables = [bytes(range(256)), bytes(256), bytes(range(255, -1, -1))]
    return image(
        {
            0x00280004: ("CS", text("PALETTE COLOR")),
            **{0x00281101 + number: ("US", shorts(256, 0, 16)) for number in range(3)},
            **{0x00281201 + number: ("OW", table) for number, table in enumerate(tables)},
            PIXEL_DATA: ("OW", bytes(range(0, 256, 4))),
        }
    )


def compressed_icon() -> bytes:
    """Return a baseline JPEG image of value 120 whose Icon Image Sequence holds one of value 77."""
    icon = b"".join(element(tag, *part) for tag, part in grey_pixels().items()) + pixel_data([grey_jpeg(77)])
    return jpeg_image([120], changes={0x00880200: sequence(0x00880200, [icon], undefined=True)})


def codestream_labelled_uncompressed() -> bytes:
    """Return a JPEG Baseline frame in fragments labelled as Explicit VR Little Endian in the file meta information."""
    return image({PIXEL_DATA: pixel_data([grey_jpeg(120)])})
