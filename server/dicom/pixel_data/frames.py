"""Frames and values as streams of bytes: extracted from the file and converted to the form in which they are sent."""

from array import array
from collections.abc import AsyncIterator
from struct import unpack_from

from server.dicom.elements.values import BINARY_UNITS
from server.model.buffer import Buffer
from server.model.errors import DataLoss, NotFound, Reason
from server.model.instance import PixelLayout

_ITEM_HEADER_BYTES = 8
_ITEM = b"\xfe\xff\x00\xe0"
_ARRAY_CODES = {2: "H", 4: "I", 8: "Q"}
_UNITS = {**BINARY_UNITS, "FL": 4, "FD": 8}
_PIXEL_UNITS = {16: 2, 32: 4, 64: 8}


async def defragment(chunks: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
    """Yield the bytes of fragments without item headers (PS3.5 section A.4).

    Args:
        chunks: complete items, as delimited by the table of `PixelLayout`, or all items of the pixel data without the
            Basic Offset Table.

    Raises:
        DataLoss: BLOB_DAMAGED, an element is not an item, or the last item is truncated.
    """
    left, head = 0, b""
    async for chunk in chunks:
        position = 0
        while position < len(chunk):
            if left:
                piece = chunk[position : position + left]
                left -= len(piece)
                position += len(piece)
                yield piece
                continue
            wanted = _ITEM_HEADER_BYTES - len(head)
            head += chunk[position : position + wanted]
            position += wanted
            if len(head) == _ITEM_HEADER_BYTES:
                left, head = _fragment_bytes(head), b""
    if left or head:
        raise DataLoss(Reason.BLOB_DAMAGED, "A frame ends within a fragment.")


def frame_span(layout: PixelLayout, index0: int, unit: int = 1) -> tuple[int, int, int]:
    """Return the position of a frame in native pixel data.

    Args:
        layout: of native pixel data.
        index0: frame index from 0.
        unit: size in bytes of words to be swapped; the span is extended to whole words.

    Returns:
        Offset in the file in bytes, number of bytes to read, and number of leading bits to skip.

    Raises:
        NotFound: FRAME_NOT_FOUND, the frame does not exist, or the pixel data ends before its end.
    """
    start, stop = index0 * layout.frame_bits, (index0 + 1) * layout.frame_bits
    if not 0 <= index0 < layout.number_of_frames or stop > layout.length * 8:
        raise NotFound(
            Reason.FRAME_NOT_FOUND,
            "The instance has no frame with this number.",
            frame=str(index0 + 1),
            number_of_frames=str(layout.number_of_frames),
        )
    word_bits = 8 * unit
    first, last = start // word_bits * unit, min(-(-stop // word_bits) * unit, layout.length)
    return layout.offset + first, last - first, start - first * 8


async def realign(chunks: AsyncIterator[Buffer], leading_bits: int, frame_bits: int) -> AsyncIterator[Buffer]:
    """Yield exactly the bytes of a frame from a span that may start before it and end after it.

    Bits are numbered from the least significant one (PS3.5 section 8.1.1), so a frame that starts within a byte is
    shifted down; the last byte is padded with zero bits.
    """
    skip_bytes, shift = divmod(leading_bits, 8)
    wanted_bits, carry, carried_bits = frame_bits, 0, 0
    async for chunk in chunks:
        piece = chunk[skip_bytes:]
        skip_bytes -= min(skip_bytes, len(chunk))
        if not piece or wanted_bits <= 0:
            continue
        if not shift and not carried_bits and len(piece) * 8 <= wanted_bits:
            wanted_bits -= len(piece) * 8
            yield piece
            continue
        # A little-endian integer has its bits in stream order.
        bits = int.from_bytes(piece, "little") >> shift << carried_bits | carry
        carried_bits += len(piece) * 8 - shift
        shift = 0
        usable = min(carried_bits, wanted_bits)
        whole = usable if usable == wanted_bits else usable // 8 * 8
        yield (bits & ((1 << whole) - 1)).to_bytes(-(-whole // 8), "little")
        wanted_bits -= whole
        carry, carried_bits = bits >> whole, carried_bits - whole


async def swap_bytes(chunks: AsyncIterator[Buffer], unit: int) -> AsyncIterator[Buffer]:
    """Yield values in the other byte order; words of `unit` bytes may span chunks; an incomplete last word is
    unchanged."""
    rest = b""
    async for chunk in chunks:
        data = rest + chunk
        whole = len(data) // unit * unit
        rest = data[whole:]
        if whole:
            yield swapped(data[:whole], unit)
    if rest:
        yield rest


def swapped(data: bytes, unit: int) -> bytes:
    """Return `data` with the bytes of each word of `unit` bytes reversed; an incomplete last word is unchanged."""
    if unit == 1:
        return data
    whole = len(data) // unit * unit
    words = array(_ARRAY_CODES[unit], data[:whole])
    words.byteswap()
    return words.tobytes() + data[whole:]


def word_bytes(vr: str, bits_allocated: int) -> int:
    """Return the size in bytes of the words of a value that depend on the byte order.

    FL and FD are included because they may be bulk data. For OW the standard says 16 bits; for pixel cells of 32 and 64
    bits whole cells are swapped, as pydicom does. Pass 0 as `bits_allocated` for elements other than pixel data.
    """
    if vr == "OW":
        return _PIXEL_UNITS.get(bits_allocated, 2)
    return _UNITS.get(vr, 1)


def _fragment_bytes(head: bytes) -> int:
    length: int = unpack_from("<I", head, 4)[0]
    if head[:4] != _ITEM:
        raise DataLoss(Reason.BLOB_DAMAGED, "A frame contains an element that is not a fragment.")
    return length
