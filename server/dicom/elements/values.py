"""Encoded values to DICOM JSON (PS3.18 Annex F), one function per VR.

An emitter takes the start of an element, `"00100010":{"vr":"PN"`, the encoded value and the notes of the data set, and
returns the element's complete text. Common values take a faster path: one pattern recognises values that are valid,
single and need no escapes (`PLAIN_VALUES`). An empty value is only a `vr`.

Differences from pydicom's `to_json_dict`: invalid numbers remain strings, empty values among several are null, and FL
and FD with infinities or NaN have no JSON value.
"""

import re
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring
from math import isfinite
from struct import Struct, unpack
from typing import Any, NamedTuple, Protocol

from server.dicom.elements import charset, vr_rules
from server.dicom.elements.charset import CharacterSet

Emitter = Callable[[str, bytes, "Notes"], str]
"""Raises `NotFinite`."""

Plain = Callable[[str], re.Match[str] | None]

PADDING = b"\0 "

quoted: Callable[[str], str] = encode_basestring
"""Encode a JSON string; only quotes, backslashes and control characters are escaped."""

MAX_NESTED = 1000
"""Number of notes after which faults in items of sequences are not recorded."""

_LUT_DESCRIPTORS = ('"00281101"', '"00281102"', '"00281103"', '"00283002"')
_PADDING = "\0 "
_BLOCK = 1 << 14
_EXACT_INTEGER = 2**53


class Located(Protocol):
    """A data set, possibly an item of a sequence, and the character set of its text."""

    character_set: CharacterSet

    def steps(self) -> list[str]:
        """Return sequence tags and 1-based item numbers from the top level to this data set."""
        ...


class Note(NamedTuple):
    """A fault of an element: path (`AttributeFinding.path` of the contract), VR and message."""

    path: str
    vr: str
    message: str


class NotFinite(Exception):
    """A binary value contains an infinity or NaN, which JSON numbers cannot represent."""


class Notes:
    """Faults collected during the scan, and the current character set.

    within: the data set whose elements are being converted.
    invalid, irregular: values that violate a rule of their VR; values read only in part or by an assumption. By the
        tags of the path, without item numbers: the first note about an attribute of several items is kept. Of faults
        in items the first `MAX_NESTED` are kept, because deep paths take much more memory than the values.
    count: number of faults.
    """

    __slots__ = ("count", "invalid", "irregular", "within")

    def __init__(self, within: Located) -> None:
        self.within = within
        self.count = 0
        self.invalid: dict[str, Note] = {}
        self.irregular: dict[str, Note] = {}

    def add_invalid(self, head: str, rule: str) -> None:
        """Record that the value of the element with this `head` violates a rule."""
        self._add(self.invalid, head, f"Content does not validate VR {head[18:20]}: {rule}")

    def add_irregular(self, head: str, message: str) -> None:
        """Record that the element with this `head` is irregular, although its value is readable."""
        self._add(self.irregular, head, message)

    def _add(self, notes: dict[str, Note], head: str, message: str) -> None:
        self.count += 1
        path = [*self.within.steps(), head[1:9]]
        if len(path) > 1 and len(notes) >= MAX_NESTED:
            return
        notes.setdefault("/".join(path[::2]), Note("/".join(path), head[18:20], message))


def inline_binary(head: str, raw: bytes) -> str:
    """Return an element whose value is bytes."""
    return f'{head},"InlineBinary":"{b2a_base64(raw, newline=False).decode()}"}}' if raw else head + "}"


def _decoded(head: str, raw: bytes, notes: Notes, delimiters: bytes = b"") -> str:
    text, is_clean = charset.decode(raw, notes.within.character_set, delimiters)
    if not is_clean:
        notes.add_irregular(head, "Content has bytes or escape sequences that are not part of its character set")
    return text


def _strings(head: str, text: str, notes: Notes) -> str:
    """Return an element of strings separated by backslashes."""
    if not text:
        return head + "}"
    return _in_blocks(head, text, lambda block: _string_values(head, block, notes))


def _string_values(head: str, text: str, notes: Notes) -> str:
    values = text.split("\\")
    _check(head, values, notes)
    return ",".join(map(quoted, values))


def _in_blocks(head: str, text: str, json_of: Callable[[str], str]) -> str:
    """Return an element of values separated by backslashes, converted block by block.

    A list of strings takes tens of times the memory of the text, which matters for values of megabytes.
    """
    blocks, start = [], 0
    while len(text) - start > _BLOCK and (stop := text.find("\\", start + _BLOCK)) >= 0:
        blocks.append(json_of(text[start:stop]))
        start = stop + 1
    blocks.append(json_of(text[start:]))
    return f'{head},"Value":[{",".join(blocks)}]}}'


def _check(head: str, values: Iterable[str], notes: Notes) -> None:
    rule = vr_rules.LENIENT.get(head[18:20])
    if rule is None:
        return
    for value in values:
        text = value.rstrip(_PADDING)
        if text and (broken := rule(text)):
            notes.add_invalid(head, broken)
            return


# Padding at the end of a value; the lookbehind avoids a match attempt at every space of a long run.
_VALUE_PADDING = re.compile(r"(?<![\0 ])[\0 ]+(?=\\|\Z)")


def _text(head: str, raw: bytes, notes: Notes) -> str:
    """SH, LO, UC: several values, any character set."""
    text = _decoded(head, raw, notes, b"\\")
    return _strings(head, _VALUE_PADDING.sub("", text) if "\\" in text else text.rstrip(_PADDING), notes)


def _paragraph(head: str, raw: bytes, notes: Notes) -> str:
    """LT, ST, UT: one value, in which the backslash is an ordinary character."""
    text = _decoded(head, raw, notes).rstrip(_PADDING)
    if not text:
        return head + "}"
    _check(head, [text], notes)
    return f'{head},"Value":[{quoted(text)}]}}'


def _name(head: str, raw: bytes, notes: Notes) -> str:
    text = _decoded(head, raw.rstrip(PADDING), notes, b"\\^=")
    if not text.strip("="):
        return head + "}"
    return _in_blocks(head, text, lambda block: _name_values(head, block, notes))


def _name_values(head: str, text: str, notes: Notes) -> str:
    names = text.split("\\")
    _check(head, names, notes)
    return ",".join(map(_name_object, names))


def _name_object(name: str) -> str:
    groups = name.rstrip("=").split("=", 2)  # a surplus group stays with the third
    members = (
        f'"{group}":{quoted(text)}'
        for group, text in zip(("Alphabetic", "Ideographic", "Phonetic"), groups, strict=False)
    )
    return f"{{{','.join(members)}}}" if groups != [""] else "null"


def _default_repertoire(head: str, raw: bytes, notes: Notes) -> str:
    """AS, CS, DA, DT, TM, UI: several values in the default character set."""
    return _strings(head, raw.rstrip(PADDING).decode("latin-1"), notes)


def _entity(head: str, raw: bytes, notes: Notes) -> str:
    """AE: leading and trailing spaces are not significant."""
    return _strings(head, "\\".join(value.strip(_PADDING) for value in raw.decode("latin-1").split("\\")), notes)


def _uri(head: str, raw: bytes, notes: Notes) -> str:
    text = raw.decode("latin-1").rstrip(_PADDING)
    return f'{head},"Value":[{quoted(text)}]}}' if text else head + "}"


_COMMON_DECIMAL = re.compile(r"-?[0-9]{1,10}(?:\.[0-9]{0,5})?|-?[0-9]{1,4}\.[0-9]{6,10}").fullmatch


def _integer_string(head: str, raw: bytes, notes: Notes) -> str:
    return _number_strings(head, raw.strip(PADDING).decode("latin-1"), notes, _integer)


def _decimal_string(head: str, raw: bytes, notes: Notes) -> str:
    return _number_strings(head, raw.strip(PADDING).decode("latin-1"), notes, _decimal)


def _number_strings(head: str, text: str, notes: Notes, number: Callable[[str], str]) -> str:
    if not text.strip():
        return head + "}"
    return _in_blocks(head, text, lambda block: _number_values(head, block, notes, number))


def _number_values(head: str, text: str, notes: Notes, number: Callable[[str], str]) -> str:
    values = text.split("\\")
    if number is _decimal and all(map(_COMMON_DECIMAL, values)):
        return ",".join([repr(float(value)) for value in values])
    _check(head, values, notes)
    return ",".join(map(number, values))


def _integer(text: str) -> str:
    """Return the JSON form of an IS: a number, if JSON readers represent it exactly."""
    if not text.strip(_PADDING):
        return "null"
    if "_" in text:  # Python accepts it as a digit separator
        return quoted(text)
    try:
        number = int(text) if len(text) <= 32 and "_" not in text else _EXACT_INTEGER
    except ValueError:
        return _whole(text)
    return str(number) if -_EXACT_INTEGER < number < _EXACT_INTEGER else quoted(text)


def _whole(text: str) -> str:
    """Return the JSON form of an IS written like a DS: "1.0" is a number, "1.5" is not an integer."""
    number = _finite(text)
    is_whole = number is not None and number.is_integer() and abs(number) < _EXACT_INTEGER
    return str(int(number)) if is_whole and number is not None else quoted(text)


def _decimal(text: str) -> str:
    if not text.strip(_PADDING):
        return "null"
    number = _finite(text)
    return quoted(text) if number is None else repr(number)


def _finite(text: str) -> float | None:
    if "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) and "_" not in text else None  # "1_0" is a number in Python only


def _tags(order: str) -> Emitter:
    def json_of(words: tuple[int, ...]) -> str:
        return ",".join([f'"{group:04X}{number:04X}"' for group, number in zip(words[::2], words[1::2], strict=True)])

    return _numbers(Struct(order + "HH"), json_of)


def _integers(order: str, code: str) -> Emitter:
    several = _numbers(Struct(order + code), lambda numbers: ",".join(map(str, numbers)))
    one = Struct(order + code)
    size, unpack_one = one.size, one.unpack

    def emit(head: str, raw: bytes, notes: Notes) -> str:
        if len(raw) == size:
            return f'{head},"Value":[{unpack_one(raw)[0]}]}}'
        if head[:10] in _LUT_DESCRIPTORS and code == "h" and len(raw) == 6:
            # The number of entries is unsigned for any VR (PS3.3 section C.11.1.1.1).
            entries, first, bits = unpack(f"{order}Hhh", raw)
            return f'{head},"Value":[{entries},{first},{bits}]}}'
        return several(head, raw, notes)

    return emit


def _floats(order: str, code: str) -> Emitter:
    def json_of(numbers: tuple[float, ...]) -> str:
        if not all(map(isfinite, numbers)):
            raise NotFinite
        return ",".join(map(repr, numbers))

    return _numbers(Struct(order + code), json_of)


def _numbers(one: Struct, json_of: Callable[[tuple[Any, ...]], str]) -> Emitter:
    """Return an emitter of binary numbers, unpacked with `one` and written with `json_of`, block by block."""
    size = one.size
    block_bytes = _BLOCK // size * size
    order, code = one.format[0], one.format[1:]

    def emit(head: str, raw: bytes, notes: Notes) -> str:
        if len(raw) % size:
            notes.add_invalid(head, f"length is not a multiple of {size} bytes")
            return inline_binary(f'{head[:18]}UN"', raw)  # not a multiple of the value size: emitted as bytes
        blocks = (raw[start : start + block_bytes] for start in range(0, len(raw), block_bytes))
        values = [json_of(unpack(order + code * (len(block) // size), block)) for block in blocks]
        return f'{head},"Value":[{",".join(values)}]}}'

    return emit


_STRING = (',"Value":["', '"]}')
_NUMBER = (',"Value":[', "]}")
_NAME = (',"Value":[{"Alphabetic":"', '"}]}')
_TEXT = r"[ !#-\[\]-~]{1,%d}"  # ASCII except quote, backslash and control characters
_DAY = r"[0-9]{4}(?:0[1-9]|1[0-2])(?:0[1-9]|1[0-9]|2[0-8])"
_TIME = r"(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9](?:\.[0-9]{1,6})?"

PLAIN_VALUES: Mapping[str, tuple[Plain, str, str]] = {
    vr: (re.compile(pattern).fullmatch, before, after)
    for vr, pattern, (before, after) in (
        ("AS", r"[0-9]{3}[DWMY]", _STRING),
        ("CS", r"[A-Z0-9_ ]{1,16}", _STRING),
        ("DA", _DAY, _STRING),
        # In the form of repr(float): at most 15 digits, no redundant ones, no exponent.
        ("DS", r"(?!-?0\.0000)-?(?:0|[1-9][0-9]{0,6})\.(?:0|[0-9]{0,7}[1-9])", _NUMBER),
        ("DT", _DAY + _TIME, _STRING),
        ("IS", r"0|-?[1-9][0-9]{0,8}", _NUMBER),
        ("LO", _TEXT % 64, _STRING),
        ("LT", _TEXT % 10240, _STRING),
        ("PN", r"(?=.{1,64}$)[ !#-<>-\[\]_-~]+(?:\^[ !#-<>-\[\]_-~]*){0,4}", _NAME),
        ("SH", _TEXT % 16, _STRING),
        ("ST", _TEXT % 1024, _STRING),
        ("TM", _TIME, _STRING),
        ("UC", _TEXT % 2**31, _STRING),
        ("UI", r"[0-9.]{0,63}[0-9]", _STRING),
        ("UT", _TEXT % 2**31, _STRING),
    )
}
"""Patterns of texts, without padding, that are one valid value and valid JSON, and the JSON around the value."""


def _emitters(order: str) -> Mapping[str, Emitter]:
    return {
        "AE": _entity,
        "AT": _tags(order),
        "DS": _decimal_string,
        "FD": _floats(order, "d"),
        "FL": _floats(order, "f"),
        "IS": _integer_string,
        "PN": _name,
        "SL": _integers(order, "i"),
        "SS": _integers(order, "h"),
        "SV": _integers(order, "q"),
        "UL": _integers(order, "I"),
        "UR": _uri,
        "US": _integers(order, "H"),
        "UV": _integers(order, "Q"),
        **dict.fromkeys(("AS", "CS", "DA", "DT", "TM", "UI"), _default_repertoire),
        **dict.fromkeys(("LO", "SH", "UC"), _text),
        **dict.fromkeys(("LT", "ST", "UT"), _paragraph),
    }


LITTLE_ENDIAN_EMITTERS: Mapping[str, Emitter] = _emitters("<")
BIG_ENDIAN_EMITTERS: Mapping[str, Emitter] = _emitters(">")

BINARY_UNITS: Mapping[str, int] = {"OB": 1, "UN": 1, "OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}
"""VRs whose value is bytes, and the word size for byte order."""
