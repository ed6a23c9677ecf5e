"""Encoded data sets in each transfer syntax, after well-formed file meta information and the required elements.

The input is two bytes for transfer syntax and chunk size, then the elements that follow the required ones; they may
have any tag. The data set is deflated by the target, so that mutations reach its elements.
"""

import struct
from collections.abc import Iterator

from server.model.instance import ValidationMode
from tests.data import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_BASELINE,
    element,
    encapsulated,
    part10_of,
    required_elements,
    sequence,
)
from tests.fuzz.files import check_file
from tests.malformed import grey_pixels, in_order

_SYNTAXES = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, JPEG_BASELINE, DEFLATED, "1.2.840.10008.1.2.4.98", "1.2.3")
_BIG_OR_IMPLICIT = (IMPLICIT_LITTLE, EXPLICIT_BIG)


def seeds() -> Iterator[bytes]:
    """Yield elements of all kinds, and malformed ones, for each transfer syntax."""
    for number, syntax in enumerate(_SYNTAXES):
        form = syntax if syntax in _BIG_OR_IMPLICIT else EXPLICIT_LITTLE
        for body in _bodies(form):
            yield bytes([number, 11]) + body


def _bodies(form: str) -> Iterator[bytes]:
    def made(tag: int, vr: str, value: bytes) -> bytes:
        return element(tag, vr, in_order(vr, value, form), form)

    pixels = b"".join(made(tag, *part) for tag, part in grey_pixels(2).items())
    date = made(0x00080020, "DA", b"20200101")
    yield b""
    yield made(0x00200013, "IS", b"12 ") + made(0x00281052, "DS", b"-1024.000000000000001")
    yield made(0x00280008, "IS", b"2 ") + pixels + made(0x7FE00010, "OW", bytes(range(8)))
    yield pixels + made(0x7FE00010, "OB", b"abcd") + made(0xFFFCFFFC, "OB", bytes(8)) + bytes(16)
    yield pixels + made(0x7FE00008, "OF", struct.pack("<4f", 1, 2, float("inf"), 4))
    yield sequence(0x00400275, [date, b"", date + sequence(0x00081140, [date], form)], form)
    yield sequence(0x00400275, [date, sequence(0x00081140, [date], form, undefined=True)], form, undefined=True)
    yield (
        made(0x00290010, "LO", b"SIEMENS CSA HEADER") + made(0x00291010, "OB", b"SV10") + made(0x00291099, "UN", b"ab")
    )
    yield made(0x00281101, "US", b"\2\0\0\0\x10\0") + made(0x00281201, "OW", bytes(4)) + made(0x00283010, "SQ", b"")
    yield made(0x00400555, "SQ", b"") + made(0x0040A30A, "DS", b"1\\2\\x") + made(0x00189087, "FD", bytes(8))
    yield made(0x00080005, "CS", b"ISO 2022 IR 6\\ISO 2022 IR 87") + made(0x00100010, "PN", b"A^B=\x1b$B;3ED\x1b(B=C")
    yield made(0x00420011, "OB", b"%PDF" + bytes(60)) + made(0x00420012, "LO", b"application/pdf ")
    yield made(0x00104000, "LT", b"x" * 1500) + made(0x00280106, "US", b"\xff\xff") + made(0x00280103, "US", b"\1\0")
    yield (
        made(0x00104000, "UT", b'a\r\n<\xe9\0\x1b&"\\')
        + made(0x00200032, "DS", b"1\\\\3")
        + made(0x00189900, "UC", b"")
    )
    if form != IMPLICIT_LITTLE:
        for first, second in ((b"??", b"\0\0"), (b"\0\0", b"\0\0"), (b"XX", b"\4\0"), (b"UN", b"\0\0")):
            yield struct.pack("<HH", 0x0028, 0x9999) + first + second + b"\4\0\0\0abcd" + made(0x00281052, "DS", b"1 ")
    if form == EXPLICIT_LITTLE:
        items = encapsulated([[b"\xff\xd8ab", b"cd"], [b"\xff\xd8ef"]])
        for end in (b"\xfe\xff\xdd\xe0\0\0\0\0", b""):
            yield pixels + element(0x7FE00010, "OB", items, length=0xFFFFFFFF) + end
        yield element(0x00081140, "UN", sequence(0, [date], IMPLICIT_LITTLE)[8:], length=0xFFFFFFFF)


def check(data: bytes) -> None:
    """Check the guarantees of `tests.fuzz.files` for a file with these elements."""
    syntax = _SYNTAXES[data[0] % len(_SYNTAXES)] if data else EXPLICIT_LITTLE
    form = syntax if syntax in _BIG_OR_IMPLICIT else EXPLICIT_LITTLE
    file = part10_of(b"".join(required_elements(form)) + data[2:], syntax)
    check_file(file, ValidationMode.LENIENT, data[1] if len(data) > 1 else 1)
