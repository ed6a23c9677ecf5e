"""Rules for values of each VR (PS3.5 section 6.2).

A rule takes the text of one value, without padding, and returns a description of the violated rule, without the value,
or None. Ranges of dates and times are accepted, for compatibility with Azure's DICOM service.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date

from server.model.ids import is_uid

Rule = Callable[[str], str | None]

INVALID_CHARACTER = "value contains invalid character"
TOO_LONG = "value exceeds maximum length of {} characters"

_CONTROL = re.compile(r"[\x00-\x1a\x1c-\x1f\x7f]")  # ESC is allowed: it belongs to code extensions
_CODE = re.compile(r"[A-Z0-9_ ]*")
_AGE = re.compile(r"[0-9]{3}[DWMY]")
_DAY = re.compile(r"[0-9]{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
_TIME = re.compile(r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?")
_DATE_TIME = re.compile(
    r"[0-9]{4}(?:(?:0[1-9]|1[0-2])(?:(?:0[1-9]|[12][0-9]|3[01])(?:(?:[01][0-9]|2[0-3])"
    r"(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?)?)?)?(?:[+-][0-9]{4})?"
)
_INTEGER = re.compile(r" *[+-]?[0-9]+ *")
_DECIMAL = re.compile(r" *[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)? *")


def is_day(text: str) -> bool:
    """Return whether `text` is YYYYMMDD and a day of the calendar."""
    if not _DAY.fullmatch(text):
        return False
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True


def _characters(limit: int) -> Rule:
    def rule(text: str) -> str | None:
        if len(text) > limit:
            return TOO_LONG.format(limit)
        return INVALID_CHARACTER if _CONTROL.search(text) else None

    return rule


def _length(limit: int) -> Rule:
    def rule(text: str) -> str | None:
        return TOO_LONG.format(limit) if len(text) > limit else None

    return rule


def _entity(text: str) -> str | None:
    trimmed = text.strip(" ")
    return _characters(16)(trimmed)


def _age(text: str) -> str | None:
    return None if _AGE.fullmatch(text) else "value is not three digits and one of D, W, M, Y"


def _code(text: str) -> str | None:
    if len(text) > 16:
        return TOO_LONG.format(16)
    return None if _CODE.fullmatch(text) else INVALID_CHARACTER


def _day(text: str) -> str | None:
    ends = text.split("-")
    if len(ends) > 2:
        return "value has too many range separators"
    days = [end.strip(" ") for end in ends]
    if any(days) and all(is_day(day) for day in days if day):
        return None
    return "one of the date values does not match the pattern YYYYMMDD"


def _time(text: str) -> str | None:
    ends = [end.strip(" ") for end in text.split("-")]
    if len(ends) > 2:
        return "value has too many range separators"
    if any(ends) and all(_TIME.fullmatch(end) for end in ends if end):
        return None
    return "one of the time values does not match the pattern HHMMSS.FFFFFF"


def _date_time(text: str) -> str | None:
    # A "-" starts an offset from UTC or separates the ends of a range: try each position.
    cuts = [i for i, character in enumerate(text[:64]) if character == "-"]
    choices = [(text,), *((text[:i], text[i + 1 :]) for i in cuts)]
    for moments in choices:
        trimmed = [moment.strip(" ") for moment in moments]
        if any(trimmed) and all(_DATE_TIME.fullmatch(moment) for moment in trimmed if moment):
            return None
    return "one of the date time values does not match the pattern YYYYMMDDHHMMSS.FFFFFF&ZZXX"


def _integer(text: str) -> str | None:
    if not _INTEGER.fullmatch(text):
        return "value is not an integer string"
    digits = text.strip(" ")
    if len(digits) > 12 or not -(2**31) <= int(digits) < 2**31:
        return "value is outside of the range of 32-bit integers"
    return None


def _decimal(text: str) -> str | None:
    if len(text.strip(" ")) > 16:
        return TOO_LONG.format(16)
    return None if _DECIMAL.fullmatch(text) else "value is not a decimal string"


def _name(text: str) -> str | None:
    groups = text.split("=")
    if len(groups) > 3:
        return "value contains too many component groups"
    if any(len(group) > 64 for group in groups):
        return "a component group exceeds maximum length of 64 characters"
    if any(group.count("^") > 4 for group in groups):
        return "a component group contains too many components"
    return INVALID_CHARACTER if _CONTROL.search(text) else None


def _uid(text: str) -> str | None:
    return None if is_uid(text) else "value is not a valid UID"


LENIENT: Mapping[str, Rule] = {
    "AE": _entity,
    "AS": _age,
    "CS": _code,
    "DA": _day,
    "DS": _decimal,
    "DT": _date_time,
    "IS": _integer,
    "LO": _characters(64),
    "LT": _length(10240),
    "PN": _name,
    "SH": _characters(16),
    "ST": _length(1024),
    "TM": _time,
    "UI": _uid,
}
"""Rules by VR; VRs without an entry have no rule."""


def _strict_day(text: str) -> str | None:
    return None if is_day(text) else "Value is not a date."


STRICT: Mapping[str, Rule] = {
    **LENIENT,
    "CS": _characters(16),
    "DA": _strict_day,
}
"""Rules for indexed attributes under `ValidationMode.INDEXED_STRICT`, where trailing NULs are not removed."""
