"""New values of attributes, from a DICOM JSON data set (PS3.18 Annex F)."""

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from struct import error as NotPackable
from struct import pack
from typing import Any

import orjson
from pydicom.datadict import dictionary_VM

from server.dicom.elements import dictionary
from server.dicom.elements.charset import CharacterSet
from server.dicom.elements.charset_encoding import UTF_8, UTF_8_TERM, encode
from server.dicom.elements.element_headers import (
    CHARSET_VRS,
    LONG_VRS,
    SEQUENCE,
    SPECIFIC_CHARACTER_SET,
    is_group_length,
    is_private,
    table_of,
)
from server.dicom.elements.keywords import path_of
from server.dicom.elements.transfer_syntax import EXPLICIT_LITTLE, transfer_syntax
from server.dicom.matching.attributes import attributes_of
from server.dicom.part10.json_scanner import MAX_INLINE_BYTES, Scanner
from server.dicom.pixel_data.frames import swapped
from server.model.errors import DicomStoreError
from server.model.instance import LevelAttributes
from server.model.search.query import Level

UTF_8_ELEMENT = f'"{SPECIFIC_CHARACTER_SET:08X}":{{"vr":"CS","Value":["{UTF_8_TERM}"]}}'

NUMBERS = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_BINARY = {"OB": 1, "UN": 1, "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_SINGLE = frozenset({"LT", "ST", "UR", "UT"})
_CHOICES = {dictionary.US_OR_SS: ("US", "SS"), dictionary.US_OR_OW: ("US", "OW")}
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_DELIMITERS = {"PN": "\\^=", "LO": "\\", "SH": "\\", "UC": "\\"}
_LAST_GROUP = 0x4FFF
"""Above are curves, waveforms, functional groups, overlays and pixel data."""

_FIXED_GROUPS = frozenset({0x0004, 0x0028, 0x0400})
"""Directories, the description of pixel data, and digital signatures with the original attributes."""

_MAX_DEPTH = 8
_MAX_SHORT_LENGTH = 0xFFFE
_MAX_BYTES = 1 << 20

NOT_SUPPORTED = "Updating the tag is not supported"


class NotEncodable(Exception):
    """A value has characters that the character set does not have."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a value is refused; `tag` as eight lower-case hex digits. The message contains no values."""

    tag: str
    message: str


class Refused(Exception):
    """The data set cannot be used for an update."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults)
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Element:
    """An element with its value: text, numbers, bytes in little-endian order, or items."""

    tag: int
    vr: str
    value: str | tuple[int | float, ...] | bytes | tuple[tuple["Element", ...], ...]


@dataclass(frozen=True, slots=True)
class Encoding:
    """The form of the elements of a data set."""

    is_implicit: bool
    is_big_endian: bool
    character_set: CharacterSet


@dataclass(frozen=True)
class Changes:
    """New values of attributes.

    elements: ascending by tag.
    json: canonical JSON of each element, in the same order.
    """

    elements: tuple[Element, ...]
    json: tuple[str, ...]

    @property
    def tags(self) -> Sequence[int]:
        """The tags, ascending."""
        return [element.tag for element in self.elements]

    def attributes(self, level: Level, *, with_utf_8: bool) -> LevelAttributes:
        """Return the new values that the index stores at a level.

        with_utf_8: the character set changes, too.
        """
        return self._attributes[level, with_utf_8]

    @cached_property
    def _attributes(self) -> Mapping[tuple[Level, bool], LevelAttributes]:
        changed = orjson.loads(f"{{{','.join(self.json)}}}")
        utf_8 = orjson.loads(f"{{{UTF_8_ELEMENT}}}")
        return {
            (level, with_utf_8): attributes_of(level, changed | utf_8 if with_utf_8 else changed)
            for level in (Level.STUDY, Level.SERIES)
            for with_utf_8 in (False, True)
        }

    def encoded(self, encoding: Encoding) -> Mapping[int, bytes]:
        """Return the elements by tag. Raises NotEncodable."""
        return _encoded(self.elements, encoding)


@lru_cache(maxsize=64)
def _encoded(elements: tuple[Element, ...], encoding: Encoding) -> Mapping[int, bytes]:
    return {element.tag: _element(element, encoding) for element in elements}


def changes_of(data_set: Any, is_allowed: Callable[[str], bool], max_header_bytes: int = _MAX_BYTES) -> Changes:
    """Return the changes in a DICOM JSON data set.

    Args:
        is_allowed: whether an attribute, as eight upper-case hex digits, may be changed.

    Raises:
        Refused: with a fault for each attribute that may not be changed or has an invalid value, in the order of tags.
    """
    if not isinstance(data_set, Mapping) or not data_set:
        raise Refused(())
    faults: list[Fault] = []
    elements: list[Element] = []
    for tag, element in data_set.items():
        try:
            number = _tag_of(tag)
            if not is_allowed(f"{number:08X}") or not is_changeable(number):
                raise _Invalid(NOT_SUPPORTED)
            elements.append(_parsed(number, element, 0))
        except _Invalid as refused:
            path = path_of(str(tag))
            faults.append(Fault((path[0] if path else str(tag)).lower(), str(refused)))
    elements.sort(key=lambda element: element.tag)
    if len({element.tag for element in elements}) < len(elements):
        raise Refused([Fault(f"{elements[0].tag:08x}", "The attribute occurs twice")])
    json, invalid = _scanned(tuple(elements), max_header_bytes)
    faults += invalid
    if faults:
        raise Refused(sorted(faults, key=lambda fault: fault.tag))
    return Changes(tuple(elements), tuple(json))


def is_changeable(tag: int) -> bool:
    """Return whether an attribute is neither a UID nor part of the description or the content of pixel data.

    Excluded are also the elements that describe the encoding of the file, digital signatures, and private elements,
    whose meaning depends on the writer.
    """
    group = tag >> 16
    if tag == SPECIFIC_CHARACTER_SET or is_group_length(tag) or is_private(tag):
        return False
    if not 0x0008 <= group <= _LAST_GROUP or group in _FIXED_GROUPS:
        return False
    return dictionary.public_vr(tag) not in ("UI", None)


class _Invalid(ValueError):
    """A value is refused."""


def _tag_of(tag: object) -> int:
    path = path_of(tag) if isinstance(tag, str) else None
    if path is None or len(path) > 1:
        raise _Invalid("The name of an attribute is its tag, eight hexadecimal digits, or its keyword")
    return int(path[0], 16)


def _parsed(tag: int, element: Any, depth: int) -> Element:
    if not isinstance(element, Mapping) or not set(element) <= {"vr", "Value", "InlineBinary"}:
        raise _Invalid("The element is not a DICOM JSON element with a value")
    vr = _vr(tag, element.get("vr"))
    inline, values = element.get("InlineBinary"), element.get("Value")
    if vr in _BINARY:
        return Element(tag, vr, _bytes(vr, inline))
    if inline is not None or not isinstance(values, list) or not any(value not in (None, "", {}) for value in values):
        raise _Invalid("The value is empty: an attribute cannot be made empty")
    if vr == SEQUENCE:
        return Element(tag, vr, tuple(_item(item, depth + 1) for item in values))
    if len(values) > 1 and (vr in _SINGLE or _is_single(tag)):
        raise _Invalid("The attribute has a single value")
    if vr in NUMBERS:
        return Element(tag, vr, _numbers(vr, values))
    if vr == "AT":
        return Element(tag, vr, tuple(word for value in values for word in divmod(_tag_of(value), 1 << 16)))
    texts = [name_of(value) if vr == "PN" else text_of(vr, value) for value in values]
    if vr not in _SINGLE and vr not in ("LT", "ST", "UT") and any("\\" in text for text in texts):
        raise _Invalid("The value contains a backslash")
    return Element(tag, vr, "\\".join(texts))


def _item(item: Any, depth: int) -> tuple[Element, ...]:
    if depth > _MAX_DEPTH or not isinstance(item, Mapping):
        raise _Invalid("The value is not a sequence of items")
    elements = []
    for tag, element in item.items():
        number = _tag_of(tag)
        if not is_changeable(number):
            raise _Invalid(NOT_SUPPORTED)
        if isinstance(element, Mapping) and set(element) <= {"vr"}:
            continue
        elements.append(_parsed(number, element, depth))
    return tuple(sorted(elements, key=lambda element: element.tag))


def _vr(tag: int, given: Any) -> str:
    known = dictionary.public_vr(tag) or "UN"
    choices = _CHOICES.get(known, (known,))
    if given is None and len(choices) == 1:
        return choices[0]
    if given in choices or (known == "OW" and given == "OB"):
        return str(given)
    raise _Invalid(f"The value representation is not {' or '.join(choices)}")


def _is_single(tag: int) -> bool:
    return dictionary_VM(tag) == "1"


def _bytes(vr: str, inline: Any) -> bytes:
    try:
        data = b64decode(inline, validate=True) if isinstance(inline, str) else b""
    except ValueError:
        raise _Invalid("InlineBinary is not base64") from None
    if not data or len(data) % _BINARY[vr]:
        raise _Invalid("The value is empty, or its length is not a multiple of that of the value representation")
    if len(data) > MAX_INLINE_BYTES:
        raise _Invalid(f"The value is longer than {MAX_INLINE_BYTES} bytes")
    return data


def _numbers(vr: str, values: Sequence[Any]) -> tuple[int | float, ...]:
    kinds = (int, float) if vr in ("FD", "FL") else (int,)
    try:
        if not all(type(value) in kinds for value in values):
            raise TypeError
        pack(f"<{len(values)}{NUMBERS[vr]}", *values)
    except (TypeError, NotPackable, OverflowError):
        raise _Invalid(f"Content does not validate VR {vr}: a value is not such a number") from None
    return tuple(values)


def text_of(vr: str, value: Any) -> str:
    """Return a value of a text VR. Raises ValueError."""
    if value is None:
        return ""
    if vr in ("DS", "IS") and type(value) in (int, float):
        return orjson.dumps(value).decode()
    if not isinstance(value, str):
        raise _Invalid("A value is not a string")
    return value


def name_of(value: Any) -> str:
    """Return a person name, given as text or as an object of component groups. Raises ValueError."""
    if isinstance(value, str):
        return value
    groups = [] if value is None else [value.get(group, "") for group in _GROUPS] if isinstance(value, Mapping) else [0]
    if not all(isinstance(group, str) and "=" not in group for group in groups):
        raise _Invalid("A person name is not an object of component groups")
    return "=".join(map(str, groups)).rstrip("=")


def canonical_json(elements: tuple[Element, ...]) -> tuple[str, ...]:
    """Return the canonical JSON of each element."""
    return tuple(_scanned(elements, _MAX_BYTES)[0])


def _scanned(elements: tuple[Element, ...], max_header_bytes: int) -> tuple[list[str], list[Fault]]:
    """Return the canonical JSON of the elements, and the faults of their values."""
    head = pack("<HH2sH", 8, 5, b"CS", 10) + UTF_8_TERM.encode()
    try:
        parts = _encoded(elements, Encoding(is_implicit=False, is_big_endian=False, character_set=UTF_8))
        data = head + b"".join(parts[element.tag] for element in elements)
    except NotEncodable:
        return [], [Fault(f"{elements[0].tag:08x}", "A value is too long, or has characters that cannot be encoded")]
    syntax = transfer_syntax(EXPLICIT_LITTLE)
    scanner = Scanner(
        0,
        explicit=table_of(is_implicit=False, is_big_endian=False),
        implicit=table_of(is_implicit=True, is_big_endian=False),
        is_implicit=False,
        marks=syntax.marks,
        max_header_bytes=max_header_bytes,
    )
    try:
        scanner.feed(data, 0)
        json = scanner.finish(len(data), data[scanner.at :])
    except DicomStoreError as error:
        return [], [Fault(f"{elements[0].tag:08x}", error.message)]
    notes = scanner.notes
    faults = [
        Fault(path[:8].lower(), note.message) for path, note in [*notes.invalid.items(), *notes.irregular.items()]
    ]
    return [element for element in json if not element.startswith(UTF_8_ELEMENT[:10])], faults


def _element(element: Element, encoding: Encoding) -> bytes:
    value = _value(element, encoding)
    if len(value) % 2:
        value += b"\0" if element.vr in _BINARY or element.vr == "UI" else b" "
    order = ">" if encoding.is_big_endian else "<"
    head = pack(f"{order}HH", element.tag >> 16, element.tag & 0xFFFF)
    if encoding.is_implicit:
        return head + pack(f"{order}I", len(value)) + value
    if element.vr in LONG_VRS:
        return head + element.vr.encode() + b"\0\0" + pack(f"{order}I", len(value)) + value
    if len(value) > _MAX_SHORT_LENGTH:
        raise NotEncodable
    return head + element.vr.encode() + pack(f"{order}H", len(value)) + value


def _value(element: Element, encoding: Encoding) -> bytes:
    value, vr = element.value, element.vr
    order = ">" if encoding.is_big_endian else "<"
    if isinstance(value, str):
        if vr not in CHARSET_VRS:
            return value.encode("latin-1", "replace")
        encoded = encode(value, encoding.character_set, _DELIMITERS.get(vr, ""))
        if encoded is None:
            raise NotEncodable
        return encoded
    if isinstance(value, bytes):
        return swapped(value, _BINARY[vr]) if encoding.is_big_endian else value
    if vr == SEQUENCE:
        return b"".join(_encoded_item(item, encoding) for item in value if isinstance(item, tuple))
    return pack(f"{order}{len(value)}{NUMBERS.get(vr, 'H')}", *value)


def _encoded_item(item: tuple[Element, ...], encoding: Encoding) -> bytes:
    content = b"".join(_element(element, encoding) for element in item)
    order = ">" if encoding.is_big_endian else "<"
    return pack(f"{order}HHI", 0xFFFE, 0xE000, len(content)) + content
