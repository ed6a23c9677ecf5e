"""Values of DICOM JSON (PS3.18 Annex F) as plain text for people."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from server.dicom.elements.canonical_json import Attributes, items, values

_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")
_TIME = re.compile(r"(\d\d):?(\d\d)?:?(\d\d)?(?:\.\d*)?")
_DATE_TIME = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:\.\d+)?([+-]\d{4})?")


def first_item(attributes: Attributes, tag: str) -> Attributes:
    """Return the first item of a sequence; an empty one if there is none."""
    return next(iter(items(attributes, tag)), {})


def text_of(attributes: Attributes, tag: str, separator: str = ", ") -> str:
    """Return the joined values of an element; "" if there are none."""
    texts = (_text(value) for value in values(attributes, tag) if value is not None)
    return separator.join(filter(None, texts)).strip()


def date_of(attributes: Attributes, tag: str) -> str:
    """Return a DA as 2024-12-31, or unchanged if it is invalid."""
    text = text_of(attributes, tag)
    match = _DATE.fullmatch(text)
    return f"{match[1]}-{match[2]}-{match[3]}" if match else text


def time_of(attributes: Attributes, tag: str) -> str:
    """Return a TM as 23:59:59, or unchanged if it is invalid."""
    text = text_of(attributes, tag)
    match = _TIME.fullmatch(text)
    return ":".join(part for part in match.groups() if part) if match else text


def date_time_of(attributes: Attributes, tag: str) -> str:
    """Return a DT as 2024-12-31 23:59:59 +0100, to its precision, or unchanged if it is invalid."""
    text = text_of(attributes, tag)
    match = _DATE_TIME.fullmatch(text)
    if not match:
        return text
    *parts, zone = match.groups()
    date, time = "-".join(filter(None, parts[:3])), ":".join(filter(None, parts[3:]))
    return " ".join(filter(None, (date, time, zone)))


def date_and_time_of(attributes: Attributes, date_tag: str, time_tag: str) -> str:
    """Return a date and a time in one text."""
    return " ".join(filter(None, (date_of(attributes, date_tag), time_of(attributes, time_tag))))


def meaning_of(code: Attributes) -> str:
    """Return the meaning of a code (PS3.3 section 8), or its value if the meaning is missing."""
    return text_of(code, "00080104") or code_value_of(code)


def code_value_of(code: Attributes) -> str:
    """Return the value of a code, from any of its three attributes."""
    return text_of(code, "00080100") or text_of(code, "00080119") or text_of(code, "00080120")


def numbers_text(numbers: Sequence[Any], most: int) -> str:
    """Return at most `most` numbers as text, with a note about the rest."""
    shown = ", ".join(_text(value) for value in numbers[:most])
    return f"{shown} … ({len(numbers)} in all)" if len(numbers) > most else shown


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return _name(value)
    if isinstance(value, float):
        return f"{value:.15g}"
    return str(value)


def _name(name: Mapping[str, Any]) -> str:
    """Return a person name as "Family, Given Middle", followed by the other component groups in parentheses."""
    writings = [_components(str(name.get(group) or "")) for group in ("Alphabetic", "Ideographic", "Phonetic")]
    first, *others = [text for text in writings if text] or [""]
    return f"{first} ({', '.join(others)})" if others else first


def _components(text: str) -> str:
    family, given, middle, prefix, suffix = [part.strip() for part in (*text.split("^"), *[""] * 5)[:5]]
    return ", ".join(filter(None, (family, " ".join(filter(None, (prefix, given, middle))), suffix)))
