"""Normalised form of searchable values, for storage and comparison.

Stored values and search values pass through the same functions, so that the index only compares code points and needs
no
rules for languages, padding or precision. Only dates and times differ: stored ones may have older or other formats,
    which are ambiguous in a query, where a hyphen denotes a range. Each function is idempotent, and returns None for a
    value without comparable content.

Case is ignored, for person names also accents; padding is removed.
"""

import re
import unicodedata
from datetime import date

from server.model.search.date_time import in_utc

GROUP_SEPARATOR = "="
"""Separates the component groups of a person name (PS3.5 section 6.2.1)."""

COMPONENT_SEPARATOR = "^"
"""Separates the components of a group."""

_PADDING = " \0"
_DATE = re.compile(r"[0-9]{8}")
_SEPARATED_DATE = re.compile(r"([0-9]{4})([./-])([0-9]{2})\2([0-9]{2})")
_SEPARATED_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})((?::[0-9]{2}(?:[.,][0-9]+)?)?)")
_TIME = re.compile(r"([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?")
_DATE_TIME = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]{1,6})?)?)?)?)?)?)?([+-][0-9]{4})?"
)
_OFFSET = re.compile(r"([+-]?)([0-9]{4})")
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")


def text(value: str) -> str | None:
    """Normalise AE, CS, LO, SH and the other character VRs."""
    composed = unicodedata.normalize("NFC", value.strip(_PADDING))
    return unicodedata.normalize("NFC", composed.casefold()).strip(_PADDING) or None


def uid(value: str) -> str | None:
    """Remove the padding of a UID; its digits have no case."""
    return value.strip(_PADDING) or None


def name(value: str) -> str | None:
    """Normalise a person name: folded component groups joined with "=".

    "Yamada^Tarou^^=山田^太郎" becomes "yamada^tarou=山田^太郎".
    """
    groups = [name_group(group) for group in name_groups(value)]
    return GROUP_SEPARATOR.join(groups).rstrip(GROUP_SEPARATOR) or None


def name_groups(value: str) -> list[str]:
    """Return at most three component groups of a name; a surplus group stays with the third."""
    return value.split(GROUP_SEPARATOR, 2)


def name_group(group: str) -> str:
    """Normalise one component group; "" if it is empty.

    Compatibility forms (full width, half width, ligatures) become canonical ones; accents, case, padding of components
    and empty trailing components are removed.
    """
    # A full-width "＝" is a letter of the name, but its canonical form would end the group.
    folded = _without_accents(_without_accents(group).casefold()).replace(GROUP_SEPARATOR, " ")
    # Recomposition keeps a Hangul syllable one character, which "?" matches.
    components = unicodedata.normalize("NFC", folded.replace("\0", "")).split(COMPONENT_SEPARATOR)
    return COMPONENT_SEPARATOR.join(" ".join(part.split()) for part in components).rstrip(COMPONENT_SEPARATOR)


def name_words(value: str) -> tuple[str, ...]:
    """Return the words of a person name in order, separated by "^", "=" and spaces."""
    folded = name(value) or ""
    return tuple(re.split(r"[\^= ]+", folded.strip("^= "))) if folded.strip("^= ") else ()


def day(value: str) -> str | None:
    """Return a DA as YYYYMMDD; None unless it is a valid date."""
    stripped = value.strip(_PADDING)
    if not _DATE.fullmatch(stripped):
        return None
    try:
        date(int(stripped[:4]), int(stripped[4:6]), int(stripped[6:]))
    except ValueError:
        return None
    return stripped


def stored_day(value: str) -> str | None:
    """Return a stored DA as YYYYMMDD, also from YYYY.MM.DD (PS3.5 section 6.2, DA), YYYY-MM-DD and YYYY/MM/DD."""
    separated = _SEPARATED_DATE.fullmatch(value.strip(_PADDING))
    return day(separated[1] + separated[3] + separated[4] if separated else value)


def stored_time(value: str) -> str | None:
    """Return a stored TM like `first_time`.

    Also accepts HH:MM[:SS[.F]] (PS3.5 section 6.2, TM), and fractions finer than microseconds.
    """
    stripped = value.strip(_PADDING)
    if lax := _SEPARATED_TIME.fullmatch(stripped):
        hour, minute, rest = lax.groups()
        stripped = f"{hour:0>2}{minute}{rest.replace(':', '')}"
    whole, _, fraction = stripped.replace(",", ".").partition(".")
    return first_time(f"{whole}.{fraction[:6]}" if fraction.isdecimal() else stripped)


def first_time(value: str) -> str | None:
    """Return a TM as HHMMSS.ffffff, with missing parts at their minimum; None unless it is a valid time."""
    return _time(value, minutes="00", seconds="00", fill="0")


def last_time(value: str) -> str | None:
    """Return a TM as HHMMSS.ffffff, with missing parts at their maximum; None unless it is a valid time."""
    return _time(value, minutes="59", seconds="59", fill="9")


def first_instant(value: str) -> str | None:
    """Return a DT as a date-time with missing parts at their minimum; in UTC if it has an offset, else unchanged.

    None unless it is a valid date and time.
    """
    return _date_time(value, month="01", is_last=False)


def last_instant(value: str) -> str | None:
    """Return a DT as a date-time with missing parts at their maximum; otherwise like `first_instant`."""
    return _date_time(value, month="12", is_last=True)


def offset(value: str) -> str | None:
    """Return Timezone Offset From UTC as +HHMM or -HHMM; None unless it is valid (PS3.3 section C.12.1.1).

    A missing sign means plus, which a query string decodes to a space.
    """
    match = _OFFSET.fullmatch(value.strip(_PADDING))
    if match is None or match[2][2:] > "59" or match[2] > ("1200" if match[1] == "-" else "1400"):
        return None
    return f"{match[1] if match[2] != '0000' and match[1] else '+'}{match[2]}"


def integer(value: str) -> str | None:
    """Return an IS without plus sign and leading zeros; None unless it is a valid integer."""
    stripped = value.strip(_PADDING)
    return str(int(stripped)) if _INTEGER.fullmatch(stripped) else None


def _without_accents(value: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKD", value) if not _is_accent(unicodedata.combining(char)))


def _is_accent(combining_class: int) -> bool:
    """Return whether marks of a canonical combining class are diacritics, which do not change the letter.

    Diacritics are overlays, the points of Hebrew, Arabic and Syriac, and marks above or below a letter. Nuktas, kana
    voicing
    marks, viramas and the marks of Indic and Thai scripts make another letter: だ is not た.
    """
    return combining_class == 1 or 10 <= combining_class <= 36 or combining_class >= 200


def _time(value: str, *, minutes: str, seconds: str, fill: str) -> str | None:
    match = _TIME.fullmatch(value.strip(_PADDING))
    if match is None:
        return None
    hour, minute, second, fraction = match[1], match[2] or minutes, match[3] or seconds, match[4] or ""
    # Second 60 is a leap second (PS3.5 section 6.2, TM).
    if hour > "23" or minute > "59" or second > "60":
        return None
    return f"{hour}{minute}{second}.{fraction.ljust(6, fill)}"


def _date_time(value: str, *, month: str, is_last: bool) -> str | None:
    match = _DATE_TIME.fullmatch(value.strip(_PADDING))
    if match is None:
        return None
    year, month, zone = match[1], match[2] or month, match[5]
    days = [match[3]] if match[3] else ["31", "30", "29", "28"] if is_last else ["01"]
    date_time = (last_time if is_last else first_time)(match[4] or ("23" if is_last else "00"))
    found = next((found for last in days if (found := day(f"{year}{month}{last}"))), None)
    if found is None or date_time is None:
        return None
    if zone is None:
        return found + date_time
    known = offset(zone)
    return None if known is None else in_utc(found + date_time, known)
