"""Decoding of text in the character sets of DICOM (PS3.3 section C.12.1.1.2, PS3.5 section 6.1).

Character sets are represented by Python codecs. All admitted ones decode the bytes 0x20 to 0x7E, unless an escape
sequence precedes them, as ASCII; plain text can therefore skip decoding.

With code extensions (PS3.5 section 6.1.2.5) two sets are active, G0 for bytes below 0x80 and G1 for bytes above; an
escape sequence replaces one of them until the value, or a component of it, ends.
"""

import codecs
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

_DEFAULT = "latin-1"
"""For the default repertoire, ISO_IR 6: many files contain ISO 8859-1 instead."""

_CODECS = {
    6: _DEFAULT,
    13: "shift_jis",
    100: "latin-1",
    101: "iso8859-2",
    109: "iso8859-3",
    110: "iso8859-4",
    126: "iso8859-7",
    127: "iso8859-6",
    138: "iso8859-8",
    144: "iso8859-5",
    148: "iso8859-9",
    166: "tis-620",
    203: "iso8859-15",
    58: "gb2312",
    87: "iso2022_jp",
    149: "euc_kr",
    159: "iso2022_jp_2",
}
"""Codecs of the sets available through code extensions, by ISO registration number."""

_SEQUENCES = {
    b"\x1b(B": 6,
    b"\x1b(J": 13,
    b"\x1b)I": 13,
    b"\x1b-A": 100,
    b"\x1b-B": 101,
    b"\x1b-C": 109,
    b"\x1b-D": 110,
    b"\x1b-F": 126,
    b"\x1b-G": 127,
    b"\x1b-H": 138,
    b"\x1b-L": 144,
    b"\x1b-M": 148,
    b"\x1b-T": 166,
    b"\x1b-b": 203,
    b"\x1b$)A": 58,
    b"\x1b$B": 87,
    b"\x1b$)C": 149,
    b"\x1b$(D": 159,
}
"""Registration numbers of the sets that escape sequences activate (PS3.3 tables C.12-3 and C.12-4)."""

_MULTI_BYTE = (58, 87, 149, 159)
_STANDALONE = {"ISO_IR 192": "utf-8", "GB18030": "gb18030", "GBK": "gbk"}

PLAIN_TERMS = (*(f"ISO_IR {number}" for number in _CODECS if number not in _MULTI_BYTE), *_STANDALONE)
"""Defined terms without code extensions."""

EXTENSION_TERMS = tuple(f"ISO 2022 IR {number}" for number in _CODECS)
"""Defined terms with code extensions."""

_TERMS: dict[str, int | str] = {
    "": 6,
    **{f"{prefix} {number}": number for prefix in ("ISO_IR", "ISO 2022 IR") for number in _CODECS},
    **_STANDALONE,
}
_DEFINED = frozenset({"", *PLAIN_TERMS, *EXTENSION_TERMS})

# Escape sequences for G0 and G1. Values: for G1 the codec; for two-byte sets in G0 the sequence by which the codec
# `_TWO_BYTES` knows them; the other sets in G0 are ASCII.
_TWO_BYTES = "iso2022_jp_2"
_G0 = {b"\x1b(B": b"", b"\x1b(J": b"", b"\x1b$B": b"\x1b$B", b"\x1b$@": b"\x1b$B", b"\x1b$(D": b"\x1b$(D"}
_G1 = {sequence: _CODECS[number] for sequence, number in _SEQUENCES.items() if sequence not in _G0}
_WITH_G1 = frozenset(number for sequence, number in _SEQUENCES.items() if sequence in _G1)

_ALWAYS = frozenset({b"\x1b(B", b"\x1b(J", b"\x1b$@"})
"""Escape sequences that are valid without a defined term: the one-byte sets in G0, and the older form of ISO-IR 87."""

_PREFIXES = {"UTF8": "utf-8", "GB18030": "gb18030", "GBK": "gbk"}

_MAX_CACHED_BYTES = 256
_ESCAPE = b"\x1b"
_SEQUENCE = re.compile(rb"\x1b[\x20-\x2f]+[\x30-\x7e]")
_TWO_BYTE_RUN = re.compile(rb"[^\x00-\x1f]+")
_PARTS = re.compile(rb"[\x21-\x7e]+|[\x80-\xff]+|[ \x7f]+")
_NUMBER = re.compile(r"(?:ISO)?[\W_]*(?:2022)?[\W_]*(?:IR)?[\W_]*([0-9]{1,3})(?![0-9])")

# Python codec names that occur in files instead of defined terms; other codecs would not preserve ASCII.
_ADMITTED_CODECS = frozenset(
    codecs.lookup(name).name
    for name in (
        *("ascii", "utf-8", "latin-1", "big5", "gb2312", "gbk", "gb18030", "euc-jp", "euc-kr", "koi8-r", "koi8-u"),
        *("shift-jis", "tis-620", *(f"cp{page}" for page in (874, 932, 936, 949, 950, *range(1250, 1259)))),
        *(f"iso8859-{part}" for part in (*range(1, 12), *range(13, 17))),
    )
)

MISSPELT = "The character set is misspelt; it was read as the closest defined term"
UNKNOWN = "The character set is not a defined term"


class CharacterSet(NamedTuple):
    """The parsed Specific Character Set (0008,0005).

    codec: of value 1, active at the start of a value.
    has_g1: value 1 defines the bytes from 0x80 on.
    sequences: escape sequences of the sets in the other values; None without code extensions.
    """

    codec: str
    has_g1: bool = True
    sequences: frozenset[bytes] | None = None


DEFAULT_REPERTOIRE = CharacterSet(_DEFAULT, has_g1=False)


@lru_cache(maxsize=256)
def character_set_of(terms: tuple[str, ...]) -> tuple[CharacterSet, str]:
    """Return the character set for the values of Specific Character Set, and a description of their fault or "".

    Unknown terms are replaced by the default repertoire.
    """
    names = [term.strip(" \0") for term in terms] or [""]
    found = [_resolved(name) for name in names]
    whole = next((codec for codec in found if isinstance(codec, str)), None)
    problem = UNKNOWN if None in found else "" if _DEFINED.issuperset(names) else MISSPELT
    if isinstance(found[0], str):
        return CharacterSet(found[0]), problem
    if whole is not None and sum(map(bool, names)) == 1:
        return CharacterSet(whole), MISSPELT  # an empty value 1 before it, as for code extensions
    return _of_numbers([number for number in found if isinstance(number, int)], found[0] or 6, names), problem


def decode(raw: bytes, character_set: CharacterSet, delimiters: bytes = b"") -> tuple[str, bool]:
    """Decode a value; return its text, and whether it was decoded without loss. Undecodable bytes become U+FFFD.

    Args:
        delimiters: characters that reactivate the set of value 1. Such characters in the returned text are real
            delimiters; equal bytes that are part of other characters do not produce them.
    """
    if _ESCAPE not in raw:
        return _decode_run(raw, character_set.codec)
    if character_set.sequences is None:
        return _decode_run(raw, character_set.codec)[0], False
    # Person names recur in hundreds of instances and are slow to decode.
    is_short = len(raw) <= _MAX_CACHED_BYTES
    return (_decode_extended_cached if is_short else _decode_extended)(raw, character_set, delimiters)


def _decode_extended(raw: bytes, character_set: CharacterSet, delimiters: bytes) -> tuple[str, bool]:
    """Decode a value with escape sequences (PS3.5 section 6.1.2.5.3)."""
    assert character_set.sequences is not None
    two_bytes, g1 = b"", character_set.codec
    texts: list[str] = []
    is_clean, position = True, 0
    while position < len(raw):
        if sequence := _SEQUENCE.match(raw, position):
            code, position = sequence[0], sequence.end()
            is_clean = is_clean and code in character_set.sequences
            if code in _G0:
                two_bytes = _G0[code]
            elif code in _G1:
                g1 = _G1[code]
            else:
                texts.append(code.decode("latin-1"))
            continue
        pattern = _TWO_BYTE_RUN if two_bytes else _run_pattern(delimiters, is_shift_jis=g1 == "shift_jis")
        if run := pattern.match(raw, position):
            position = run.end()
            text, is_whole = (
                _decode_two_bytes(run[0], two_bytes, g1, delimiters) if two_bytes else _decode_run(run[0], g1)
            )
            texts.append(text)
            is_clean = is_clean and is_whole
        else:
            # A delimiter or a control character reactivates the set of value 1. If that leaves bytes from 0x80 on
            # undefined, some writers rely on the previous set without a new escape sequence.
            texts.append(chr(raw[position]))
            is_clean = is_clean and raw[position] != _ESCAPE[0]
            two_bytes, g1 = b"", character_set.codec if character_set.has_g1 else g1
            position += 1
    return "".join(texts), is_clean


_decode_extended_cached = lru_cache(maxsize=1024)(_decode_extended)


def _resolved(name: str) -> int | str | None:
    """Return registration number or codec of the set that a term means; None if it is unclear."""
    if name in _TERMS:
        return _TERMS[name]
    upper = name.upper()
    if (found := _NUMBER.match(upper)) and (number := int(found[1])) in {*_CODECS, 14, 192}:
        return "utf-8" if number == 192 else 13 if number == 14 else number
    letters = re.sub(r"[\W_]", "", upper)
    for prefix, codec in _PREFIXES.items():
        if letters.startswith(prefix):
            return codec
    try:
        codec = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    return codec if codec in _ADMITTED_CODECS else None


def _of_numbers(numbers: Sequence[int], first: int, names: Sequence[str]) -> CharacterSet:
    codec, has_g1 = _CODECS[first], first in _WITH_G1
    if len(names) == 1 and "2022" not in names[0] and first not in _MULTI_BYTE:
        return CharacterSet(codec, has_g1)
    named = {sequence for sequence, number in _SEQUENCES.items() if number in numbers}
    return CharacterSet(codec, has_g1, frozenset(named | _ALWAYS))


def _decode_run(raw: bytes, codec: str) -> tuple[str, bool]:
    try:
        return raw.decode(codec), True
    except UnicodeError:
        return raw.decode(codec, "replace"), False


def _decode_two_bytes(run: bytes, sequence: bytes, g1: str, delimiters: bytes) -> tuple[str, bool]:
    """Decode a run of bytes while G0 is a two-byte set."""
    texts: list[str] = []
    is_clean = True
    for part in _PARTS.findall(run):
        last = ""
        if part[0] >= 0x80:
            text, is_whole = _decode_run(part, g1)
        elif part[0] in b" \x7f":
            text, is_whole = part.decode("ascii"), True
        else:
            if len(part) % 2 and part[-1] in delimiters:
                # The writer did not return to a one-byte set before the delimiter, as required.
                part, last = part[:-1], chr(part[-1])
            text, is_whole = _decode_run(sequence + part, _TWO_BYTES)
        texts += (text, last)
        is_clean = is_clean and is_whole and not last
    return "".join(texts), is_clean


@cache
def _run_pattern(delimiters: bytes, *, is_shift_jis: bool) -> re.Pattern[bytes]:
    """Return a pattern for runs of bytes without delimiters, control characters and escape sequences."""
    one = rb"[^\x00-\x1f%b]" % re.escape(delimiters)
    # Writers that declare JIS X 0201 may use Shift JIS, whose second bytes may equal delimiters.
    return re.compile(rb"(?:[\x81-\x9f\xe0-\xfc][\x40-\x7e\x80-\xfc]|%b)+" % one if is_shift_jis else one + b"+")
