"""Hypothesis strategies for malformed objects, one per kind of fault.

`KINDS` lists them. Each strategy yields a `Malformed`: a file with its expected properties.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import imagecodecs
import numpy as np
from hypothesis import strategies as st

from tests.data import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_BASELINE,
    RLE_LOSSLESS,
    SECONDARY_CAPTURE,
    UID_ROOT,
    element,
    new_uid,
    padded_uid,
    sequence,
)
from tests.malformed import (
    PIXEL_DATA,
    PREAMBLE,
    Changes,
    grey_pixels,
    image,
    in_order,
    long,
    pixel_data,
    shorts,
    text,
)

JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"


@dataclass(frozen=True)
class Malformed:
    """A file and its expected properties.

    values: top-level attributes that metadata must contain, as DICOM JSON.
    frames: all frames as stored; None if not known.
    samples: the decoded samples of each frame, little endian; None if not known.
    is_stored: True if `/v2` must store the file.
    same_image: a well-formed file with the same rendering.
    """

    file: bytes
    values: Mapping[str, Any] = field(default_factory=dict)
    frames: Sequence[bytes] | None = None
    samples: Sequence[bytes] | None = None
    is_stored: bool = True
    same_image: bytes | None = None


# Character sets (PS3.5 section 6.1.2.5): escape sequence, codec, characters, and whether it fills G0.
_SETS = {
    "ISO 2022 IR 100": (b"\x1b-A", "latin-1", "éüßñÇ", False),
    "ISO 2022 IR 101": (b"\x1b-B", "iso8859-2", "łőśž", False),
    "ISO 2022 IR 144": (b"\x1b-L", "iso8859-5", "Люксембург", False),
    "ISO 2022 IR 126": (b"\x1b-F", "iso8859-7", "Διονυσιος", False),
    "ISO 2022 IR 138": (b"\x1b-H", "iso8859-8", "שרון", False),
    "ISO 2022 IR 13": (b"\x1b)I", "shift_jis", "ﾔﾏﾀﾞ", False),
    "ISO 2022 IR 149": (b"\x1b$)C", "euc_kr", "김희중洪吉洞", False),
    "ISO 2022 IR 58": (b"\x1b$)A", "gb2312", "张小东王", False),
    "ISO 2022 IR 87": (b"\x1b$B", "iso2022_jp", "山田太郎やまだ", True),
}
_ASCII = st.text("ABCdef12 -.", min_size=1, max_size=6)


@st.composite
def _encoded_component(draw: st.DrawFn, terms: Sequence[str]) -> tuple[str, bytes]:
    """Draw text without delimiters that begins in the initial character set, and its encoding."""
    shown, raw, active = "", b"", terms[0]
    for _ in range(draw(st.integers(0, 3))):
        term = draw(st.sampled_from(["", *terms]))
        if not term:
            piece = draw(_ASCII)
            shown, raw = shown + piece, raw + piece.encode()
            continue
        escape, codec, characters, fills_g0 = _SETS[term]
        piece = draw(st.text(characters, min_size=1, max_size=4))
        encoded = piece.encode(codec)
        if fills_g0:
            encoded = encoded.removesuffix(b"\x1b(B").removeprefix(escape)
            raw += escape + encoded + b"\x1b(B"
        else:
            raw += (b"" if active == term else escape) + encoded
            active = term
        shown += piece
    return shown, raw


@st.composite
def character_sets(draw: st.DrawFn) -> Malformed:
    """Text in several character sets that does not switch back to the first one before delimiters and the end."""
    single_byte = ["ISO 2022 IR 100", "ISO 2022 IR 101", "ISO 2022 IR 144", "ISO 2022 IR 126", "ISO 2022 IR 13"]
    first = draw(st.sampled_from(["", *single_byte]))
    others = draw(st.lists(st.sampled_from(sorted(_SETS.keys() - {first})), min_size=1, max_size=3, unique=True))
    terms = [first, *others]
    component = _encoded_component(terms)
    groups = draw(st.lists(st.lists(component, min_size=1, max_size=3), min_size=1, max_size=3))
    name = b"=".join(b"^".join(raw for _, raw in group) for group in groups)
    shown = ["^".join(shown for shown, _ in group) for group in groups]
    several = draw(st.lists(component, min_size=1, max_size=3))
    texts = b"\\".join(raw for _, raw in several)
    values: dict[str, Any] = {}
    # Trailing spaces and delimiters, and lengths, are the subject of other strategies.
    if all(part and part == part.strip(" ^") and len(part) <= 64 for part in shown):
        values["00100010"] = [dict(zip(("Alphabetic", "Ideographic", "Phonetic"), shown, strict=False))]
        values["0040A730"] = {"vr": "SQ", "Value": [{"0040A123": {"vr": "PN", "Value": values["00100010"]}}]}
    if all(part and part == part.strip(" ") for part, _ in several):
        values["00081080"] = [part for part, _ in several]
        values["00104000"] = ["\r\n".join(part for part, _ in several)]
    return Malformed(
        image(
            {
                0x00080005: ("CS", text("\\".join(terms))),
                0x00081048: ("PN", text(name)),
                0x00100010: ("PN", text(name)),
                0x00081060: ("PN", text(name)),
                0x00081080: ("LO", text(texts)),
                0x00104000: ("LT", text(texts.replace(b"\\", b"\r\n"))),
                0x0040A730: sequence(0x0040A730, [element(0x0040A123, "PN", text(name))]),
            }
        ),
        values,
    )


def _codec(transfer_syntax: str) -> Callable[[np.ndarray[Any, Any]], bytes]:
    def encode(array: np.ndarray[Any, Any]) -> bytes:
        if transfer_syntax == JPEG_BASELINE:
            return bytes(imagecodecs.jpeg8_encode(array, level=95))
        if transfer_syntax == JPEG_2000_LOSSLESS:
            return bytes(imagecodecs.jpeg2k_encode(array, codecformat="j2k", reversible=True))
        if transfer_syntax == JPEG_LS_LOSSLESS:
            return bytes(imagecodecs.jpegls_encode(array))
        return _rle(array)

    return encode


def _rle(array: np.ndarray[Any, Any]) -> bytes:
    """Return one RLE segment (PS3.5 Annex G) of literal runs."""
    raw = array.tobytes()
    segment = b"".join(bytes([len(run) - 1]) + run for run in (raw[at : at + 128] for at in range(0, len(raw), 128)))
    return struct.pack("<16I", 1, 64, *[0] * 14) + segment + bytes(len(segment) % 2)


COMPRESSED = [JPEG_BASELINE, JPEG_2000_LOSSLESS, JPEG_LS_LOSSLESS, RLE_LOSSLESS]


def compressed_frame(transfer_syntax: str, value: int, size: int = 8) -> bytes:
    """Return a frame of one value, of an even number of bytes."""
    stream = _codec(transfer_syntax)(np.full((size, size), value, np.uint8))
    return stream + bytes(len(stream) % 2)


@st.composite
def frames_and_fragments(draw: st.DrawFn) -> Malformed:
    """Compressed frames in fragments, with an offset table and a Number of Frames that may be wrong."""
    syntax = draw(st.sampled_from(COMPRESSED))
    values = draw(st.lists(st.integers(0, 255), min_size=1, max_size=4))
    frames = [compressed_frame(syntax, value) for value in values]
    fragments: list[bytes] = []
    offsets, position, is_split = [], 0, False
    for frame in frames:
        offsets.append(position)
        pieces = [frame]
        if draw(st.integers(0, 3)) == 0:
            at = 2 * draw(st.integers(1, len(frame) // 2 - 1))
            pieces, is_split = [frame[:at], frame[at:]], True
        if draw(st.integers(0, 5)) == 0:
            pieces.insert(draw(st.integers(0, len(pieces))), b"")
        for piece in pieces:
            fragments.append(piece)
            position += 8 + len(piece)
    count = draw(st.sampled_from([None, "right", "0", "1", "2", "5", "1000000", "-1", "x", "2.0", ""]))
    stated = None if count is None else str(len(frames)) if count == "right" else count
    table = draw(
        st.sampled_from(
            [
                b"",
                struct.pack(f"<{len(offsets)}I", *offsets),
                struct.pack(f"<{len(offsets)}I", *(offset + 2 for offset in offsets)),
                struct.pack("<I", 0),
                struct.pack("<3I", 0, 4, 10**6),
                b"\0\0\0",
            ]
        )
    )
    changes: dict[int, Any] = {PIXEL_DATA: pixel_data(fragments, offset_table=table)}
    if stated is not None:
        changes[0x00280008] = ("IS", text(stated))
    # Codestreams show where they begin; without them each fragment is a frame (PS3.5 section A.4.2).
    is_clear = syntax != RLE_LOSSLESS or (not is_split and b"" not in fragments)
    return Malformed(image(changes, transfer_syntax=syntax), frames=frames if is_clear else None)


_LONG_NUMBERS = st.sampled_from([b"%s", b" %s ", b"+%s", b"%s.000000000000000", b"%se0", b"000000000000000%s", b"%s\0"])


@st.composite
def numbers_for_pixels(draw: st.DrawFn) -> Malformed:
    """Rescale and window values that violate their VR, with the same image with valid values for comparison."""
    forms = [draw(_LONG_NUMBERS) for _ in range(4)]
    numbers = (b"400", b"40", b"1024", b"1")
    pixels = ("OW", shorts(*(number * 2048 // 63 for number in range(64))))
    study: dict[int, Any] = {**grey_pixels(bits=12), PIXEL_DATA: pixels}

    def with_numbers(forms: Sequence[bytes]) -> Changes:
        tags = (0x00281051, 0x00281050, 0x00281052, 0x00281053)
        made = [form.replace(b"%s", number) for form, number in zip(forms, numbers, strict=True)]
        return {**study, **{tag: ("DS", text(value)) for tag, value in zip(tags, made, strict=True)}}

    values = {"00281052": [1024], "00281051": [400], "00281050": [40], "00281053": [1]}
    return Malformed(image(with_numbers(forms)), values, same_image=image(with_numbers([b"%s"] * 4)))


_INVALID = {
    "AE": [b"A" * 20, b"a\x07b "],
    "AS": [b"12", b"ABCD"],
    "CS": [b"lower case", b"A" * 20, b"ct/mr "],
    "DA": [b"2004.01.19", b"20041345", b"yesterday "],
    "DS": [b"0.30000000000000004 ", b"one ", b"1,5 "],
    "DT": [b"2004-01-19", b"now "],
    "IS": [b"1.5 ", b"99999999999 ", b"many"],
    "LO": [b"x" * 70, b"a\x07b "],
    "PN": [b"A^B^C^D^E^F^G ", b"A=B=C=D ", b"x" * 80],
    "SH": [b"y" * 20],
    "TM": [b"12:30:15", b"256060", b"noon"],
    "UI": [b"NOT-A-UID\0", b"1..2", b"1." * 40],
    "UR": [b"not a url\x07"],
}
_TAGS = {
    "AE": 0x00080054, "AS": 0x00101010, "CS": 0x00080060, "DA": 0x00080020, "DS": 0x00200032, "DT": 0x0008002A,
    "IS": 0x00200013, "LO": 0x00081030, "PN": 0x00080090, "SH": 0x00080050, "TM": 0x00080030, "UI": 0x00080018,
    "UR": 0x00081190,
}  # fmt: skip


@st.composite
def invalid_values(draw: st.DrawFn) -> Malformed:
    """Values that violate their VR at the top level, all but UIDs."""
    form = draw(_FORMS)
    made: dict[int, Any] = {}
    for vr in draw(st.lists(st.sampled_from(sorted(_INVALID.keys() - {"UI"})), min_size=1, max_size=4, unique=True)):
        made[_TAGS[vr]] = (vr, draw(st.sampled_from(_INVALID[vr])))
    return Malformed(image(made, transfer_syntax=form), {f"{tag:08X}": ... for tag in made})


@st.composite
def nested_invalid_values(draw: st.DrawFn) -> Malformed:
    """Invalid values in items of sequences, at any depth; the top level is valid."""
    form = draw(_FORMS)
    vr = draw(st.sampled_from(sorted(_INVALID)))
    content = element(_TAGS[vr], vr, draw(st.sampled_from(_INVALID[vr])), form)
    for _ in range(draw(st.integers(0, 3))):
        tag = draw(st.sampled_from([0x00081140, 0x00081115, 0x00400275, 0x0040A730]))
        content = sequence(tag, [content], form, undefined=draw(st.booleans()))
    tag = draw(st.sampled_from([0x00081140, 0x00081115, 0x00400275, 0x0040A730, 0x00101002]))
    top: dict[int, Any] = {
        0x00080050: ("SH", b"ACC1"),
        0x00080020: ("DA", b"20200101"),
        0x00080030: ("TM", b"101112"),
        0x00081030: ("LO", b"Head"),
        0x00080090: ("PN", b"Doe^John"),
        0x00200032: ("DS", text("1\\2\\3")),
        tag: sequence(tag, [content], form),
    }
    values = {
        "00080050": ["ACC1"], "00080020": ["20200101"], "00080030": ["101112"], "00081030": ["Head"],
        "00080090": [{"Alphabetic": "Doe^John"}], "00200032": [1, 2, 3], "00080060": ["OT"], "00100020": ["P1"],
        f"{tag:08X}": ...,
    }  # fmt: skip
    return Malformed(image(top, transfer_syntax=form), values, samples=[bytes(range(64))])


@st.composite
def contradicting_lengths(draw: st.DrawFn) -> Malformed:
    """Native pixel data whose length contradicts the image attributes."""
    samples = draw(st.sampled_from([1, 3, 4]))
    photometric = draw(
        st.sampled_from(["MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "PALETTE COLOR", "", "X"])
    )
    bits = draw(st.sampled_from([1, 8, 12, 16, 24, 32]))
    length = draw(st.sampled_from([0, 2, 7, 8, 32, 63, 64, 65, 100, 128, 192, 256, 384, 576, 1000]))
    frames = draw(st.sampled_from([None, "0", "1", "2", "3", "7"]))
    changes: dict[int, Any] = {
        0x00280002: ("US", shorts(samples)),
        0x00280004: ("CS", text(photometric)),
        0x00280006: ("US", shorts(draw(st.integers(0, 2)))),
        0x00280100: ("US", shorts(bits)),
        0x00280101: ("US", shorts(draw(st.sampled_from([bits, 8, 12, 0, 40])))),
        0x00280102: ("US", shorts(draw(st.sampled_from([bits - 1, 7, 15])))),
        0x00280103: ("US", shorts(draw(st.integers(0, 1)))),
        PIXEL_DATA: (draw(st.sampled_from(["OB", "OW"])), bytes(number % 256 for number in range(length))),
    }
    if frames is not None:
        changes[0x00280008] = ("IS", text(frames))
    removed = draw(st.lists(st.sampled_from([0x00280002, 0x00280004, 0x00280006, 0x00280100, 0x00280010]), max_size=1))
    changes |= dict.fromkeys(removed)
    return Malformed(image(changes))


@st.composite
def colour_of_full_samples(draw: st.DrawFn) -> Malformed:
    """YBR_FULL_422 with three samples per pixel, as the length shows."""
    pixels = draw(st.binary(min_size=192, max_size=192))
    frame: dict[int, Any] = {
        0x00280002: ("US", shorts(3)),
        0x00280004: ("CS", text("YBR_FULL_422")),
        0x00280006: ("US", shorts(0)),
        PIXEL_DATA: ("OB", pixels),
    }
    return Malformed(image(frame), frames=[pixels], samples=[pixels])


@st.composite
def unknown_transfer_syntaxes(draw: st.DrawFn) -> Malformed:
    """Native or encapsulated pixel data in an unknown transfer syntax."""
    syntax = draw(st.sampled_from(["1.2.840.113619.5.2", "1.2.3.4", "1.3.46.670589.33.1.4.1", f"{UID_ROOT}.99"]))
    form = draw(st.sampled_from([EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG]))
    changes: dict[int, Any] = {}
    if draw(st.booleans()) and form == EXPLICIT_LITTLE:
        changes[PIXEL_DATA] = pixel_data([compressed_frame(JPEG_BASELINE, 99)])
    return Malformed(image(changes, transfer_syntax=syntax, form=form), is_stored=False)


_FORMS = st.sampled_from([EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED])


@st.composite
def group_lengths(draw: st.DrawFn) -> Malformed:
    """Group Length elements, correct or not, at any depth."""
    form = draw(_FORMS)
    group = draw(st.sampled_from([0x0008, 0x0009, 0x0010, 0x0028, 0x7FE0, 0x0040]))
    value = long(draw(st.sampled_from([0, 8, 100, 2**32 - 1])))
    length = in_order("UL", value, form)
    nested = element(0x00080000, "UL", length, form) + element(0x00081150, "UI", padded_uid("1.2.3"), form)
    items = [nested, element(group << 16, "UL", length, form)]
    deeper = sequence(0x00081140, items, form, undefined=draw(st.booleans()))
    changes: dict[int, Any] = {group << 16: ("UL", value), 0x00081115: sequence(0x00081115, [deeper], form)}
    return Malformed(image(changes, transfer_syntax=form), {"00081115": ...}, samples=[bytes(range(64))])


@st.composite
def empty_sequences(draw: st.DrawFn) -> Malformed:
    """Sequences with no items, and with empty ones, of defined and undefined length."""
    form = draw(_FORMS)
    items = draw(st.lists(st.just(b""), max_size=2))
    undefined = draw(st.booleans())
    inner = sequence(0x00081140, items, form, undefined=draw(st.booleans()))
    expected = {"vr": "SQ", "Value": [{}] * len(items)} if items else {"vr": "SQ"}
    changes: dict[int, Any] = {
        0x00081110: sequence(0x00081110, items, form, undefined=undefined),
        0x00081115: sequence(0x00081115, [inner], form, undefined=undefined),
        0x00091010: ("UN", b""),
        0x00081111: ("SQ", b""),
    }
    values = {"00081110": expected, "00081115": {"vr": "SQ", "Value": [{"00081140": expected}]}}
    values["00081111"] = {"vr": "SQ"}
    return Malformed(image(changes, transfer_syntax=form), values, samples=[bytes(range(64))])


@st.composite
def unknown_vrs(draw: st.DrawFn) -> Malformed:
    """Elements with a VR that the standard does not define, with a 32-bit length or (as one vendor writes) 16-bit."""
    vr = draw(st.sampled_from([b"ZZ", b"XX", b"Q1", b"??", b"  ", b"\0\0", b"sq", b"--"]))
    value = draw(st.binary(max_size=20)).ljust(2, b"a")
    value += bytes(len(value) % 2)
    tag = draw(st.sampled_from([0x00091010, 0x00081030, 0x00104000]))
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    is_long = draw(st.booleans())
    whole = head + (struct.pack("<HI", 0, len(value)) if is_long else struct.pack("<H", len(value))) + value
    is_defined = is_long and vr.isalpha() and vr.isupper()
    return Malformed(image({tag: whole}), {f"{tag:08X}": ...} if is_defined else {}, is_stored=is_defined)


@st.composite
def file_meta_information(draw: st.DrawFn) -> Malformed:
    """File meta information that lacks elements, or contradicts the data set."""
    elements = {
        0x00020001: element(0x00020001, "OB", draw(st.sampled_from([b"\0\1", b"\1\0", b"", b"\0\2"]))),
        0x00020002: element(0x00020002, "UI", padded_uid(draw(st.sampled_from([SECONDARY_CAPTURE, "1.2.3", ""])))),
        0x00020003: element(0x00020003, "UI", padded_uid(draw(st.sampled_from(["1.2.3.4", "", "x"])))),
        0x00020012: element(0x00020012, "UI", padded_uid("1.2.3")),
        0x00020013: element(0x00020013, "SH", text("A" * draw(st.sampled_from([4, 20])))),
        0x00020016: element(0x00020016, "AE", text("SOURCE")),
        0x00020102: element(0x00020102, "OB", b"ab"),
    }
    kept = draw(st.sets(st.sampled_from(sorted(elements))))
    elements = {tag: whole for tag, whole in elements.items() if tag in kept}
    elements[0x00020010] = element(0x00020010, "UI", padded_uid(EXPLICIT_LITTLE))
    group = b"".join(whole for _, whole in sorted(elements.items()))
    stated = draw(st.sampled_from([None, len(group), len(group), 0, len(group) - 8, len(group) + 100]))
    length = b"" if stated is None else element(0x00020000, "UL", long(stated))
    return Malformed(image(head=PREAMBLE + length + group), frames=[bytes(range(64))], samples=[bytes(range(64))])


@st.composite
def mislabelled_encodings(draw: st.DrawFn) -> Malformed:
    """A data set in Implicit VR under an explicit label, native or compressed, and the other way round."""
    if draw(st.booleans()):
        label = draw(st.sampled_from([EXPLICIT_LITTLE, IMPLICIT_LITTLE]))
        form = IMPLICIT_LITTLE if label == EXPLICIT_LITTLE else EXPLICIT_LITTLE
        pixels = bytes(range(64))
        return Malformed(image(transfer_syntax=label, form=form), frames=[pixels], samples=[pixels])
    label = draw(st.sampled_from(COMPRESSED))
    value = draw(st.integers(0, 255))
    frame = compressed_frame(label, value)
    whole = pixel_data([frame])
    implicit = whole[:4] + whole[8:]  # no VR and reserved bytes
    made = image({PIXEL_DATA: implicit}, transfer_syntax=label, form=IMPLICIT_LITTLE)
    return Malformed(made, frames=[frame], samples=[bytes([value]) * 64] if label != JPEG_BASELINE else None)


@st.composite
def palettes(draw: st.DrawFn) -> Malformed:
    """Palettes whose descriptors contradict the length of their data."""
    entries = draw(st.sampled_from([0, 1, 64, 255, 256, 257, 300]))
    stated_bits = draw(st.sampled_from([0, 8, 12, 16, 32]))
    first = draw(st.sampled_from([0, 0, 1, 10, 0xFFFF]))
    tables = [draw(st.sampled_from([0, 1, 2, 63, 64, 128, 256, 512, 600])) for _ in range(3)]
    if draw(st.booleans()):
        tables = [tables[0]] * 3
    changes: dict[int, Any] = {
        0x00280004: ("CS", text("PALETTE COLOR")),
        **{0x00281101 + number: ("US", shorts(entries, first, stated_bits)) for number in range(3)},
        **{
            0x00281201 + number: ("OW", bytes(at % 256 for at in range(length + length % 2)))
            for number, length in enumerate(tables)
        },
    }
    changes |= dict.fromkeys(draw(st.lists(st.sampled_from([0x00281101, 0x00281202, 0x00281203]), max_size=1)))
    return Malformed(image(changes), frames=[bytes(range(64))])


@st.composite
def icons(draw: st.DrawFn) -> Malformed:
    """A compressed image with an icon that is compressed, native, broken or empty."""
    syntax = draw(st.sampled_from(COMPRESSED))
    frame = compressed_frame(syntax, 120)
    kind = draw(st.sampled_from(["compressed", "native", "broken", "none", "other"]))
    content: bytes = {
        "compressed": pixel_data([compressed_frame(syntax, 77)]),
        "native": element(PIXEL_DATA, "OW", bytes(64)),
        "broken": pixel_data([b"not an image"]),
        "none": b"",
        "other": pixel_data([compressed_frame(JPEG_BASELINE, 77)]),
    }[kind]
    head = b"".join(element(tag, *part) for tag, part in grey_pixels().items())
    items = [head + content] * draw(st.integers(1, 2))
    icon = sequence(0x00880200, items, undefined=draw(st.booleans()))
    changes: dict[int, Any] = {0x00880200: icon, PIXEL_DATA: pixel_data([frame])}
    if draw(st.booleans()):
        del changes[0x00880200]
        changes[0x00081115] = sequence(0x00081115, [icon])
    return Malformed(image(changes, transfer_syntax=syntax), frames=[frame])


@st.composite
def truncated_pixels(draw: st.DrawFn) -> Malformed:
    """Pixel data that is cut off: native data of fewer frames, the end of the file, damaged compressed frames."""
    kind = draw(st.sampled_from(["native", "file", "compressed", "compressed file"]))
    count = draw(st.integers(1, 4))
    if kind == "native":
        length = 2 * draw(st.integers(0, count * 32))
        pixels = bytes(number % 251 for number in range(length))
        whole = [pixels[at : at + 64] for at in range(0, length - length % 64, 64)]
        return Malformed(
            image({0x00280008: ("IS", text(str(count))), PIXEL_DATA: ("OW", pixels)}),
            frames=whole if length % 64 == 0 and whole else None,
        )
    if kind == "file":
        file = image({0x00280008: ("IS", text(str(count))), PIXEL_DATA: ("OW", bytes(64 * count))})
        return Malformed(file[: -draw(st.integers(1, 64 * count + 4))], is_stored=False)
    syntax = draw(st.sampled_from(COMPRESSED))
    frames = [compressed_frame(syntax, value) for value in range(10, 10 + count)]
    broken = draw(st.integers(0, count - 1))
    frames[broken] = frames[broken][: 2 * draw(st.integers(2, len(frames[broken]) // 2))]
    file = image({0x00280008: ("IS", text(str(count))), PIXEL_DATA: pixel_data(frames)}, transfer_syntax=syntax)
    if kind == "compressed":
        return Malformed(file, frames=frames)
    return Malformed(file[: -draw(st.integers(1, 60))], is_stored=False)


@st.composite
def trailing_bytes(draw: st.DrawFn) -> Malformed:
    """Bytes after the last element."""
    end = draw(
        st.one_of(
            st.integers(1, 40).map(bytes),
            st.integers(1, 40).map(lambda count: b"\xff" * count),
            st.integers(1, 40).map(lambda count: b" " * count),
            st.just(PREAMBLE),
            st.just(PREAMBLE + element(0x00020010, "UI", padded_uid(EXPLICIT_LITTLE))),
            st.sampled_from([bytes(3_000_000), b"\xff" * 3_000_000, b" " * 3_000_000]),
        )
    )
    changes: dict[int, Any] = (
        {} if draw(st.booleans()) else {PIXEL_DATA: pixel_data([compressed_frame(RLE_LOSSLESS, 9)])}
    )
    syntax = RLE_LOSSLESS if changes else EXPLICIT_LITTLE
    return Malformed(image(changes, transfer_syntax=syntax, end=end), {"00100020": ["P1"]})


@st.composite
def misspelt_character_sets(draw: st.DrawFn) -> Malformed:
    """Specific Character Set as devices misspell it; the text is encoded in the intended character set."""
    term, codec = draw(
        st.sampled_from(
            [
                ("ISO_IR192", "utf-8"), ("iso_ir 192", "utf-8"), ("ISO 2022 IR 192", "utf-8"), ("UTF8", "utf-8"),
                ("UTF-8", "utf-8"), ("ISO IR 192", "utf-8"), ("ISO-IR 192", "utf-8"), ("utf8", "utf-8"),
                ("ISO_IR 192 ", "utf-8"), ("ISO-IR 100", "latin-1"), ("ISO_IR100", "latin-1"),
                ("iso_ir 100", "latin-1"),
            ]
        )
    )  # fmt: skip
    name = draw(st.text("äöüÄß", min_size=1, max_size=8))
    values = {"00100010": [{"Alphabetic": name}]}
    return Malformed(image({0x00080005: ("CS", text(term)), 0x00100010: ("PN", text(name.encode(codec)))}), values)


_FLOATS = st.sampled_from([float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e308, 5e-324, 1.5])


@st.composite
def non_finite_numbers(draw: st.DrawFn) -> Malformed:
    """Non-finite numbers, which JSON cannot represent."""
    floats = draw(st.lists(_FLOATS, min_size=1, max_size=3))
    singles = [number if abs(number) < 1e38 or number != number else float("inf") for number in floats]
    many = draw(st.integers(1, 400))
    decimal = draw(st.sampled_from([b"NaN ", b"inf ", b"-Infinity ", b"1e999 ", b"1\\nan ", b"1E400\\2 "]))
    changes: dict[int, Any] = {
        0x00089459: ("FL", struct.pack(f"<{len(singles)}f", *singles)),
        0x00180088: ("DS", decimal),
        0x00186028: ("FD", struct.pack(f"<{len(floats)}d", *floats)),
        0x00660016: ("OF", struct.pack("<f", singles[0]) * many),
        0x00720073: ("OD", struct.pack("<d", floats[0]) * many),
        0x0040A730: sequence(0x0040A730, [element(0x0040A161, "FD", struct.pack("<d", floats[-1]))]),
    }
    return Malformed(image(changes), {f"{tag:08X}": ... for tag in changes})


@st.composite
def odd_structures(draw: st.DrawFn) -> Malformed:
    """Elements out of order, duplicate, of odd length or of groups not allowed here; unterminated sequences."""
    file = image()
    pixels = element(PIXEL_DATA, "OW", bytes(range(64)))
    head = file.removesuffix(pixels)
    odd = draw(
        st.lists(
            st.sampled_from(
                [
                    element(0x00080070, "LO", b"odd"),
                    element(0x00080070, "LO", b"late"),
                    element(0x00100010, "PN", b"Other^Name"),
                    element(0x00280010, "US", shorts(4)),
                    element(0x00000002, "UI", padded_uid("1.2.3")),
                    element(0x00020010, "UI", padded_uid(IMPLICIT_LITTLE)),
                    element(0x00091001, "UN", element(0x00080100, "SH", b"A1", IMPLICIT_LITTLE), length=0xFFFFFFFF),
                    element(0x00091001, "UN", sequence(0x00091002, [], IMPLICIT_LITTLE)),
                    sequence(0x00081140, [element(0x00080100, "SH", b"A1")], undefined=True)[:-8],
                    sequence(0x00081140, [element(0x00080100, "SH", b"A1")])[:-2],
                    element(0x00081140, "SQ", b"abcdefgh"),
                    element(0x00081140, "UN", b"\xfe\xff\0\xe0\4\0\0\0\10\0\0\1"),
                    element(0x00280106, "US", shorts(0, 1)),
                    element(0x00280106, "US", b"\0"),
                    element(0x00189346, "FD", b"abc"),
                    element(0x00080005, "CS", text("ISO_IR 999\\ISO 2022 IR 87")),
                    element(0xFFFCFFFC, "OB", bytes(10)),
                    element(0xFFFEE00D, "", b"", IMPLICIT_LITTLE),
                    element(0xFFFEE0DD, "", b"", IMPLICIT_LITTLE),
                ]
            ),
            min_size=1,
            max_size=3,
        )
    )
    return Malformed(head + b"".join(odd) + draw(st.sampled_from([pixels, b""])), is_stored=False)


KINDS: dict[str, Callable[[], st.SearchStrategy[Malformed]]] = {
    "character sets": character_sets,
    "frames and fragments": frames_and_fragments,
    "numbers for pixels": numbers_for_pixels,
    "invalid values": invalid_values,
    "nested invalid values": nested_invalid_values,
    "contradicting lengths": contradicting_lengths,
    "colour of full samples": colour_of_full_samples,
    "unknown transfer syntaxes": unknown_transfer_syntaxes,
    "group lengths": group_lengths,
    "empty sequences": empty_sequences,
    "unknown VRs": unknown_vrs,
    "file meta information": file_meta_information,
    "mislabelled encodings": mislabelled_encodings,
    "palettes": palettes,
    "icons": icons,
    "truncated pixels": truncated_pixels,
    "trailing bytes": trailing_bytes,
    "misspelt character sets": misspelt_character_sets,
    "non-finite numbers": non_finite_numbers,
    "odd structures": odd_structures,
}


_VIDEO = "1.2.840.10008.1.2.4.102"


@st.composite
def mixed_studies(draw: st.DrawFn) -> list[bytes]:
    """One to four instances of one series, some of which cannot be decoded or rendered."""
    study = new_uid()
    same: dict[int, Any] = {0x0020000D: ("UI", padded_uid(study)), 0x0020000E: ("UI", padded_uid(f"{study}.1"))}
    jpeg = [compressed_frame(JPEG_BASELINE, value) for value in (10, 20, 30)]
    build: dict[str, Callable[[], bytes]] = {
        "native": lambda: image(same),
        "compressed": lambda: image({**same, PIXEL_DATA: pixel_data(jpeg[:1])}, transfer_syntax=JPEG_BASELINE),
        "damaged": lambda: image({**same, PIXEL_DATA: pixel_data([b"not an image"])}, transfer_syntax=JPEG_BASELINE),
        "damaged later": lambda: image(
            {**same, 0x00280008: ("IS", b"3 "), PIXEL_DATA: pixel_data([jpeg[0], jpeg[1], jpeg[2][:300]])},
            transfer_syntax=JPEG_BASELINE,
        ),
        "video": lambda: image({**same, PIXEL_DATA: pixel_data([b"video " * 20])}, transfer_syntax=_VIDEO),
        "truncated": lambda: image({**same, 0x00280008: ("IS", b"3 "), PIXEL_DATA: ("OW", bytes(100))}),
        "private": lambda: image(same, transfer_syntax="1.2.3.4", form=EXPLICIT_LITTLE),
        "no pixels": lambda: image({**same, PIXEL_DATA: None}),
    }
    kinds = draw(st.lists(st.sampled_from(sorted(build)), min_size=1, max_size=4))
    return [build[kind]() for kind in kinds]
