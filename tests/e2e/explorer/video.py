"""An H.264 video in an MP4 file with known pixels, written without an encoder.

Each picture is an IDR slice whose macroblocks are samples without compression (mb_type I_PCM, ITU-T H.264 section
7.3.5), so that a decoder returns exactly the samples. The container is that of ISO/IEC 14496-12 and 14496-15.
"""

import struct

SIZE = 64
RATE = 4
GREYS = (40, 80, 120, 160, 200, 230)
"""Luma of the pictures, one after the other; the right half of each has 16, black."""

_MACROBLOCK = 16
_I_PCM = 25
_IDR, _SPS, _PPS = 0x65, 0x67, 0x68


class _Bits:
    """Bits of a raw byte sequence payload."""

    def __init__(self) -> None:
        self._text: list[str] = []

    def u(self, value: int, width: int) -> "_Bits":
        self._text.append(f"{value:0{width}b}")
        return self

    def ue(self, *values: int) -> "_Bits":
        """Unsigned Exp-Golomb codes (section 9.1); a signed 0 is the same."""
        for value in values:
            code = f"{value + 1:b}"
            self._text.append("0" * (len(code) - 1) + code)
        return self

    def aligned(self, content: bytes) -> "_Bits":
        length = sum(map(len, self._text))
        self._text.append("0" * (-length % 8))
        self._text.append("".join(f"{byte:08b}" for byte in content))
        return self

    def nal(self, header: int) -> bytes:
        """A NAL unit with trailing bits and emulation prevention (section 7.4.1)."""
        text = "".join(self._text) + "1"
        text += "0" * (-len(text) % 8)
        unit, zeros = bytearray([header]), 0
        for byte in int(text, 2).to_bytes(len(text) // 8, "big"):
            if zeros == 2 and byte <= 3:
                unit.append(3)
                zeros = 0
            unit.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return bytes(unit)


def _sequence_parameters() -> bytes:
    blocks = SIZE // _MACROBLOCK - 1
    bits = _Bits().u(66, 8).u(0xC0, 8).u(30, 8)  # Constrained Baseline, level 3
    bits.ue(0, 0, 2, 1).u(0, 1).ue(blocks, blocks)  # order of output is that of decoding
    return bits.u(1, 1).u(1, 1).u(0, 1).u(0, 1).nal(_SPS)  # frames only; no cropping, no usability information


def _picture_parameters() -> bytes:
    bits = _Bits().ue(0, 0).u(0, 1).u(0, 1).ue(0, 0, 0).u(0, 1).u(0, 2).ue(0, 0, 0)
    return bits.u(1, 1).u(0, 1).u(0, 1).nal(_PPS)  # slices have parameters of the deblocking filter


def _picture(grey: int, number: int) -> bytes:
    bits = _Bits().ue(0, 7, 0).u(0, 4).ue(number % 2).u(0, 1).u(0, 1).ue(0, 1)  # no deblocking
    columns = SIZE // _MACROBLOCK
    for block in range(columns * columns):
        luma = grey if block % columns < columns // 2 else 16
        bits.ue(_I_PCM).aligned(bytes([luma]) * _MACROBLOCK**2 + bytes([128]) * (_MACROBLOCK**2 // 2))
    return bits.nal(_IDR)


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", len(body) + 8) + kind + body


def _full(kind: bytes, *content: bytes, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", flags), *content)


_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def mp4() -> bytes:
    """Return a video of `len(GREYS)` pictures, `RATE` a second, of `SIZE` × `SIZE` pixels."""
    samples = [
        struct.pack(">I", len(unit)) + unit for unit in (_picture(grey, number) for number, grey in enumerate(GREYS))
    ]
    start = _box(b"ftyp", b"isom", struct.pack(">I", 0x200), b"isomavc1mp41")
    length = len(start) + len(_movie(samples, 0))
    return start + _movie(samples, length + 8) + _box(b"mdat", *samples)


def _movie(samples: list[bytes], offset: int) -> bytes:
    sps, pps = _sequence_parameters(), _picture_parameters()
    duration = len(samples)
    units = [struct.pack(">H", len(unit)) + unit for unit in (sps, pps)]
    configuration = _box(b"avcC", b"\1", sps[1:4], b"\xff\xe1", units[0], b"\1", units[1])
    size = struct.pack(">HHIIIH", SIZE, SIZE, 72 << 16, 72 << 16, 0, 1)  # 72 dots per inch
    entry = _box(
        b"avc1", bytes(6), struct.pack(">H", 1), bytes(16), size, bytes(32), struct.pack(">Hh", 24, -1), configuration
    )
    table = _box(
        b"stbl",
        _full(b"stsd", struct.pack(">I", 1), entry),
        _full(b"stts", struct.pack(">III", 1, duration, 1)),
        _full(b"stsc", struct.pack(">IIII", 1, 1, duration, 1)),
        _full(b"stsz", struct.pack(">II", 0, duration), *(struct.pack(">I", len(sample)) for sample in samples)),
        _full(b"stco", struct.pack(">II", 1, offset)),
    )
    reference = _full(b"dref", struct.pack(">I", 1), _full(b"url ", flags=1))
    information = _box(b"minf", _full(b"vmhd", bytes(8), flags=1), _box(b"dinf", reference), table)
    media = _box(
        b"mdia",
        _full(b"mdhd", struct.pack(">IIIIHH", 0, 0, RATE, duration, 0x55C4, 0)),
        _full(b"hdlr", bytes(4), b"vide", bytes(12), b"video\0"),
        information,
    )
    track = _box(
        b"trak",
        _full(
            b"tkhd", struct.pack(">IIIII", 0, 0, 1, 0, duration), bytes(8), bytes(8), _MATRIX,
            struct.pack(">II", SIZE << 16, SIZE << 16), flags=3,
        ),
        media,
    )  # fmt: skip
    header = _full(
        b"mvhd", struct.pack(">IIIIIH", 0, 0, RATE, duration, 0x10000, 0x100), bytes(10), _MATRIX, bytes(24),
        struct.pack(">I", 2),
    )  # fmt: skip
    return _box(b"moov", header, track)
