"""Encoding of text in the character sets of DICOM (PS3.5 section 6.1)."""

import re
from collections.abc import Iterable, Mapping

from server.dicom.elements.charset import CharacterSet, decode

UTF_8 = CharacterSet("utf-8")
UTF_8_TERM = "ISO_IR 192"

_MULTI_BYTE_CODECS = frozenset({"utf-8", "gb18030", "gbk"})
_EXTENSIONS: Mapping[bytes, str] = {
    b"\x1b-A": "latin-1",
    b"\x1b-B": "iso8859-2",
    b"\x1b-C": "iso8859-3",
    b"\x1b-D": "iso8859-4",
    b"\x1b-F": "iso8859-7",
    b"\x1b-G": "iso8859-6",
    b"\x1b-H": "iso8859-8",
    b"\x1b-L": "iso8859-5",
    b"\x1b-M": "iso8859-9",
    b"\x1b-T": "tis-620",
    b"\x1b-b": "iso8859-15",
    b"\x1b$)A": "gb2312",
    b"\x1b$)C": "euc_kr",
}
"""Codecs of the sets in G1, by escape sequence. Those in G0 are encoded with their own sequences."""

_G0: Mapping[bytes, str] = {b"\x1b$B": "iso2022_jp", b"\x1b$(D": "iso2022_jp_2"}


def encode(text: str, character_set: CharacterSet, delimiters: str = "") -> bytes | None:
    """Return text in a character set; None if the set does not have all of its characters.

    Args:
        delimiters: characters that reactivate the set of value 1; each part between them is encoded by itself.
    """
    if text.isascii():
        encoded = text.encode()
    else:
        pieces = re.split(f"([{re.escape(delimiters)}])", text) if delimiters else [text]
        parts = [_part(piece, character_set) for piece in pieces]
        if None in parts:
            return None
        encoded = b"".join(part for part in parts if part is not None)
    return encoded if decode(encoded, character_set, delimiters.encode()) == (text, True) else None


def _part(text: str, character_set: CharacterSet) -> bytes | None:
    if text.isascii():
        return text.encode()
    if character_set.has_g1:
        encoded = _with(character_set.codec, text)
        is_single = encoded is not None and len(encoded) == len(text)
        if encoded is not None and (is_single or character_set.codec in _MULTI_BYTE_CODECS):
            return encoded
    for sequence, codec in _codecs(character_set.sequences or ()):
        encoded = _with(codec, text)
        if encoded is not None:
            return sequence + encoded
    return None


def _codecs(sequences: Iterable[bytes]) -> list[tuple[bytes, str]]:
    """Return the escape sequence to write first and the codec of each set, single-byte sets first."""
    known = sorted(sequences)
    return [(sequence, _EXTENSIONS[sequence]) for sequence in known if sequence in _EXTENSIONS] + [
        (b"", _G0[sequence]) for sequence in known if sequence in _G0
    ]


def _with(codec: str, text: str) -> bytes | None:
    try:
        return text.encode(codec)
    except UnicodeError:
        return None
