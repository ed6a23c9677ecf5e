"""Text in the character sets of identifiers (PS3.3 section C.12.1.1.2, PS3.5 section 6.1).

A request is decoded by its Specific Character Set. A response uses the same character set if it can represent all
values, otherwise UTF-8.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from pydicom.charset import decode_bytes

Terms = tuple[str, ...]
"""Values of Specific Character Set (0008,0005); empty: the default repertoire."""

UTF_8: Terms = ("ISO_IR 192",)

_DEFAULT = "latin-1"
"""For the default repertoire, ISO_IR 6: as in stored objects, many senders mean ISO 8859-1."""

_CODECS = {
    13: "shift_jis",
    58: "gb2312",
    87: "iso2022_jp",
    100: "latin-1",
    101: "iso8859-2",
    109: "iso8859-3",
    110: "iso8859-4",
    126: "iso8859-7",
    127: "iso8859-6",
    138: "iso8859-8",
    144: "iso8859-5",
    148: "iso8859-9",
    149: "euc_kr",
    159: "iso2022_jp_2",
    166: "tis-620",
    203: "iso8859-15",
}
"""Codecs by ISO registration number."""

_STANDALONE = {"ISO_IR 192": "utf-8", "GB18030": "gb18030", "GBK": "gbk"}

_ESCAPES = {
    58: b"\x1b$)A",
    100: b"\x1b-A",
    101: b"\x1b-B",
    109: b"\x1b-C",
    110: b"\x1b-D",
    126: b"\x1b-F",
    127: b"\x1b-G",
    138: b"\x1b-H",
    144: b"\x1b-L",
    148: b"\x1b-M",
    149: b"\x1b$)C",
    166: b"\x1b-T",
    203: b"\x1b-b",
}
"""Escape sequences that make a set the active one for bytes above 0x7F (PS3.3 Tables C.12-3 and C.12-4)."""

_JAPANESE = 87
_NUMBER = re.compile(r"ISO(?:_| 2022 )IR ([0-9]+)")
_DELIMITERS = frozenset(b"\t\n\f\r\\^=")
_PIECES = re.compile(r"([\t\n\f\r\\^=]+)")


def decode(value: bytes, terms: Terms) -> str:
    """Return the text of a value; bytes that are not part of the character set become U+FFFD."""
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    if len(terms) > 1 and b"\x1b" in value:
        return decode_bytes(value, [_codec(term) or _DEFAULT for term in terms], set(_DELIMITERS))
    return value.decode(_codec(terms[0] if terms else "") or _DEFAULT, "replace")


def encode(text: str, terms: Terms) -> bytes:
    """Return the bytes of a text.

    Raises:
        UnicodeError: the character sets cannot represent it.
    """
    if text.isascii():
        return text.encode("ascii")
    if len(terms) == 1:
        return text.encode(_codec(terms[0]) or "ascii")
    return b"".join(_extended(piece, terms) for piece in _PIECES.split(text))


def common(terms: Terms, texts: Iterable[str]) -> Terms:
    """Return the character set of a response with these texts to a request with `terms`."""
    others = [text for text in texts if not text.isascii()]
    try:
        for text in others:
            if decode(encode(text, terms), terms) != text:
                return UTF_8
    except UnicodeError:
        return UTF_8
    return terms


def _extended(piece: str, terms: Sequence[str]) -> bytes:
    """Return a text without delimiters in a character set with code extensions (PS3.5 section 6.1.2.5)."""
    if piece.isascii():
        return piece.encode("ascii")
    for position, term in enumerate(terms):
        number = _number(term)
        try:
            if number == _JAPANESE:  # the codec adds the escape sequences
                return piece.encode("iso2022_jp")
            if number in _ESCAPES:
                return (_ESCAPES[number] if position else b"") + piece.encode(_CODECS[number])
        except UnicodeError:
            continue
    raise UnicodeError("no character set has all characters")


@lru_cache(maxsize=64)
def _codec(term: str) -> str | None:
    """Return the codec of a term; None for the default repertoire and unknown terms."""
    return _STANDALONE.get(term) or _CODECS.get(_number(term) or 0)


@lru_cache(maxsize=64)
def _number(term: str) -> int | None:
    found = _NUMBER.fullmatch(term)
    return int(found[1]) if found else None
