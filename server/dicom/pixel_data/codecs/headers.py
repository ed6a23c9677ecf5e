"""Headers of codestreams, read before any decoder allocates memory for a frame."""

from dataclasses import dataclass
from struct import error as StructError
from struct import unpack_from

from server.dicom.pixel_data.codecs.samples import unreadable

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SIZ = b"\xff\x4f\xff\x51"
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_SOF = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xF7})
_LOSSLESS = frozenset({0xC3, 0xF7})
_SOS, _APP0, _APP14, _COD, _SOT = 0xDA, 0xE0, 0xEE, 0xFF52, 0xFF90
_RGB_NAMES = ((82, 71, 66), (114, 103, 98))
_MAX_TILES = 1 << 14


@dataclass(frozen=True, slots=True)
class CodedFrame:
    """The header of a codestream.

    precision: bits per sample.
    colour: "RGB" or "YBR_FULL" if the codestream states it, else "".
    is_transformed: JPEG 2000: a multiple component transformation applies to the first three components.
    is_subsampled: JPEG 2000: the second component is subsampled.
    is_lossless: JPEG: a lossless process.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    is_signed: bool = False
    colour: str = ""
    is_transformed: bool = False
    is_subsampled: bool = False
    is_lossless: bool = False


def read_jpeg(data: bytes) -> CodedFrame:
    """Return the header of a JPEG or JPEG-LS codestream (ISO 10918-1 Annex B, ISO 14495-1 Annex C).

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, it is not a JPEG codestream, or has no end.
    """
    if not data.startswith(_SOI):
        raise unreadable("The frame is not a JPEG codestream.")
    frame: CodedFrame | None = None
    is_jfif, adobe = False, -1
    try:
        at = 2
        while True:
            marker, at = _next_marker(data, at)
            if marker in _STANDALONE:
                continue
            length = unpack_from(">H", data, at)[0]
            if marker == _SOS:
                break
            if marker in _SOF:
                frame = _frame_header(data, at, marker)
            elif marker == _APP0 and data[at + 2 : at + 6] == b"JFIF":
                is_jfif = True
            elif marker == _APP14 and length >= 14 and data[at + 2 : at + 7] == b"Adobe":
                adobe = data[at + 13]
            at += length
    except (StructError, IndexError) as exc:
        raise unreadable("The frame ends within the header of its codestream.") from exc
    if frame is None:
        raise unreadable("The JPEG process of the frame is not supported.")
    # Decoders fill missing data with grey, so truncation is only detected here.
    if data.find(_EOI, at) < 0:
        raise unreadable("The frame's codestream is truncated.")
    return frame if frame.is_lossless or frame.samples != 3 else _with_colour(frame, is_jfif=is_jfif, adobe=adobe)


def read_jpeg_2000(data: bytes) -> CodedFrame:
    """Return the header of a JPEG 2000 codestream without boxes (ISO 15444-1 Annex A) whose components are all alike.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, it is not a JPEG 2000 codestream, or exceeds the limits for decoders.
    """
    if not data.startswith(_SIZ):
        raise unreadable("The frame is not a JPEG 2000 codestream.")
    try:
        right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, count = unpack_from(">8IH", data, 8)
        components = {data[42 + 3 * number] for number in range(count)}
        is_subsampled = count > 1 and data[43:45] != data[46:48]
        is_transformed = _uses_transform(data)
    except (StructError, IndexError) as exc:
        raise unreadable("The frame ends within the header of its codestream.") from exc
    if len(components) != 1:
        raise unreadable("The components of the frame's codestream differ in bit depth, sign or subsampling.")
    if not (left < right and top < bottom and tile_width and tile_height and tile_left <= left and tile_top <= top):
        raise unreadable("The frame's codestream has invalid dimensions.")
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if tiles > _MAX_TILES:
        raise unreadable("The frame's codestream exceeds the limit of tiles.")
    depth = components.pop()
    return CodedFrame(
        rows=bottom - top,
        columns=right - left,
        samples=count,
        precision=(depth & 0x7F) + 1,
        is_signed=depth >= 0x80,
        is_transformed=is_transformed,
        is_subsampled=is_subsampled,
    )


def jpeg_2000_codestream(data: bytes) -> bytes:
    """Return the codestream of a frame that is wrapped in boxes, against PS3.5 section A.4.4."""
    if data.startswith(_SIZ):
        return data
    return data[max(data.find(_SIZ), 0) :]


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    """Return the marker at `at`, after any fill bytes, and the position after it."""
    if data[at] != 0xFF:
        raise unreadable("The header of the frame's codestream is damaged.")
    while data[at] == 0xFF:
        at += 1
    return data[at], at + 1


def _frame_header(data: bytes, at: int, marker: int) -> CodedFrame:
    precision, rows, columns, samples = unpack_from(">BHHB", data, at + 2)
    components = [unpack_from(">BB", data, at + 8 + 3 * number) for number in range(samples)]
    colour = ""
    if samples == 3 and marker not in _LOSSLESS:
        if tuple(name for name, _ in components) in _RGB_NAMES:
            colour = "RGB"
        elif len({sampling for _, sampling in components}) > 1:
            colour = "YBR_FULL"
    return CodedFrame(rows, columns, samples, precision, colour=colour, is_lossless=marker in _LOSSLESS)


def _with_colour(frame: CodedFrame, *, is_jfif: bool, adobe: int) -> CodedFrame:
    """Colour model in order of precedence: JFIF (always YCbCr), the Adobe marker, names and sampling of the
    components."""
    colour = frame.colour
    if is_jfif:
        colour = "YBR_FULL"
    elif adobe in (0, 1):
        colour = ("RGB", "YBR_FULL")[adobe]
    return CodedFrame(frame.rows, frame.columns, frame.samples, frame.precision, colour=colour)


def _uses_transform(data: bytes) -> bool:
    """Return whether the COD segment of the main header declares a multiple component transformation."""
    at = 2
    while True:
        marker, length = unpack_from(">HH", data, at)
        if marker == _COD:
            return data[at + 8] == 1
        if marker == _SOT:
            return False
        at += 2 + length
