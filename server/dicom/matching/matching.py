"""Conditions on normalised search keys from the values of a search term (PS3.4 section C.2.2.2).

    single value    PatientID=A1             the whole value, ignoring case; person names also accents
    list            0020000E=1.2,1.3         any of them: several values; "\\", or "," for some VRs, separates
    wildcard        PatientName=*doe*        "*" any run of characters, "?" one; AE CS LO LT PN SH ST UC UR UT only
    range           StudyDate=20200101-      DA, TM and DT, inclusive, either end may be open
    universal       PatientID=  or  *        no condition; a value of blanks or NUL only is an error
    empty           PatientID=""             on request: entities without a value
    fuzzy words     PatientName=jo do        on request, person names only: prefixes of adjacent words

Person names are compared by component group, so that each representation of a name is found. In a value with "=", every
group must match some group of the name.

A TM or DT without minutes, seconds or fraction stands for all its possible completions: "10-12" ends with the last
instant before 13:00, and "101530" matches 10:15:30.25. Combined date and time ranges, and time zones:
`server.dicom.matching.date_time_ranges`.
"""

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from server.dicom.matching import normalise
from server.dicom.matching.attributes import SearchKey
from server.model.errors import InvalidRequest, Reason
from server.model.ids import is_uid
from server.model.search.query import Between, Condition, Empty, Equals, Like, Matcher, NameMatches, NameWords, Numbers

MAX_EXACT_VALUES = 2000
"""Maximum number of exact values per term."""

MAX_PATTERNS = 100
"""Maximum number of wildcards, ranges and names per term: each costs the index one comparison per row."""

MAX_NAME_COMBINATIONS = 64
"""Maximum number of conditions for a list of names with several component groups."""

WILDCARD_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""PS3.4 section C.2.2.2.4."""

EMPTY_VALUE = '""'
"""Two quotation marks: matches entities without a value (PS3.4 section C.2.2.2.7)."""

NUMBER_VRS = frozenset({"FD", "FL", "IS", "SL", "SS", "UL", "US"})
"""VRs that are compared as numbers if they are stored as numbers."""

_COMMA_LIST_VRS = frozenset({"AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"}) | NUMBER_VRS
"""VRs whose values contain no comma (PS3.5 section 6.2), so that a comma separates values, as some clients expect."""

_KINDS = {"DA": "a date YYYYMMDD", "TM": "a time HH[MM[SS[.F]]]", "DT": "a date and time YYYY[MM[DD[HH[MM[SS[.F]]]]]]"}
_FIRST = {"DA": normalise.day, "TM": normalise.first_time, "DT": normalise.first_instant}
_LAST = {"DA": normalise.day, "TM": normalise.last_time, "DT": normalise.last_instant}

_LIST = re.compile(r"[,\\]")
_DATE_TIMES = re.compile(r"([0-9.]*(?:[+-][0-9]{4})?)\s*-\s*([0-9.]*(?:[+-][0-9]{4})?)")
_STARS = re.compile(r"\*+")


Ends = tuple[str | None, str | None]
"""Both ends of a range, inclusive; None is open."""


def conditions(key: SearchKey, values: Sequence[str], *, fuzzy: bool, empty: bool = False) -> tuple[Condition, ...]:
    """Return the conditions for `key` to match any of `values`; none if every value matches.

    Args:
        key: the attribute.
        values: as written by the caller.
        fuzzy: match names by prefixes of their words.
        empty: two quotation marks stand for "no value".

    Raises:
        InvalidRequest: INVALID_QUERY, naming the attribute and never a value.
    """
    singles = values_of_list(key, values)
    if not singles:
        return ()
    matches_empty = empty and EMPTY_VALUE in singles
    if matches_empty:
        singles.remove(EMPTY_VALUE)
        if not singles:
            return (Condition(key.index_key, (Empty(),)),)
    found = _conditions(key, singles, fuzzy=fuzzy)
    return tuple(Condition(key.index_key, (*one.matchers, Empty())) for one in found) if matches_empty else found


def take_stars(values: Mapping[SearchKey, list[str]]) -> None:
    """Let "*" match everything for all VRs, even those without wildcard matching (PS3.4 C.2.2.2.4)."""
    for key, given in values.items():
        if key.vr not in WILDCARD_VRS and "*" in map(str.strip, given):
            given.clear()


def _conditions(key: SearchKey, singles: Sequence[str], *, fuzzy: bool) -> tuple[Condition, ...]:
    matchers: list[Matcher]
    if key.vr == "PN":
        return _name_conditions(key, singles, fuzzy=fuzzy)
    if key.vr in _KINDS:
        matchers = [_range(key, value) for value in singles]
    elif key.tag_key is not None and key.vr in NUMBER_VRS:
        matchers = [Numbers((_number(key, value),)) for value in singles]
    elif key.vr == "IS":
        matchers = [Equals((_checked(key, normalise.integer(value), "an integer"),)) for value in singles]
    elif key.vr == "UI":
        matchers = [Equals((_checked(key, value if is_uid(value) else None, "a UID"),)) for value in singles]
    else:
        texts = [text for value in singles if (text := normalise.text(value))]
        matchers = [_text_matcher(key.vr, text) for text in texts]
        if Like("*") in matchers:
            return ()
    return (Condition(key.index_key, _bounded(key, matchers)),)


def values_of_list(key: SearchKey, values: Sequence[str]) -> list[str]:
    """Return the unpadded values of all lists; an empty one matches everything, but is ignored beside other values.

    Raises:
        InvalidRequest: INVALID_QUERY, a value or list consists only of blanks or NUL. It is not the empty value of
            universal matching (PS3.4 section C.2.2.2.3), and no stored value has this form.
    """
    found: dict[str, None] = {}
    for value in values:
        parts = _LIST.split(value) if key.vr in _COMMA_LIST_VRS else value.split("\\")
        singles = [stripped for part in parts if (stripped := part.strip(" \0"))]
        if not singles and any(parts):
            raise invalid(key, "a value consists of blanks only.")
        found |= dict.fromkeys(singles)
    return list(found)


def ends_of(key: SearchKey, value: str) -> Ends:
    """Return the ends of a range of DA, TM or DT, or of a single value, in normalised form.

    The first end may be greater than the last.

    Raises:
        InvalidRequest: INVALID_QUERY, the value is invalid, or both ends are open.
    """
    low, is_range, high = _split_list(key, value)
    ends = (
        _checked(key, _FIRST[key.vr](low), _KINDS[key.vr]) if low else None,
        _checked(key, _LAST[key.vr](high if is_range else low), _KINDS[key.vr]) if high or not is_range else None,
    )
    if ends == (None, None):
        raise invalid(key, "a range needs at least one end.")
    return ends


def is_range(key: SearchKey, value: str) -> bool:
    """Return whether a value of DA, TM or DT is a range."""
    return _split_list(key, value)[1]


def _split_list(key: SearchKey, value: str) -> tuple[str, bool, str]:
    if key.vr == "DT":
        # A hyphen may also be the sign of an offset; a valid single value takes precedence.
        between = None if normalise.first_instant(value) else _DATE_TIMES.fullmatch(value)
        return (between[1].strip(), True, between[2].strip()) if between else (value, False, "")
    low, dash, high = (part.strip() for part in value.partition("-"))
    return low, bool(dash), high


def _range(key: SearchKey, value: str) -> Matcher:
    low, high = ends_of(key, value)
    check_order(key, low, high)
    return Equals((low,)) if low is not None and low == high else Between(low, high)


def check_order(key: SearchKey, low: str | None, high: str | None) -> None:
    """Raise InvalidRequest (INVALID_QUERY) if the end of a range precedes its start."""
    if low is not None and high is not None and low > high:
        raise invalid(key, "a range must not end before it starts.")


def _text_matcher(vr: str, text: str) -> Matcher:
    return Like(_pattern(text)) if vr in WILDCARD_VRS and _wildcards((text,)) else Equals((text,))


def _name_conditions(key: SearchKey, values: Iterable[str], *, fuzzy: bool) -> tuple[Condition, ...]:
    """Return conditions that together require any of the names, with all its groups.

    Each name is a conjunction of alternatives; a disjunction of names is expanded to a conjunction.
    """
    alternatives_of = _fuzzy_group if fuzzy else _exact_group
    names: list[list[tuple[Matcher, ...]]] = []
    for value in values:
        if fuzzy and '"' in value:
            raise invalid(key, "quotation marks are not allowed with fuzzy matching.")
        groups = normalise.name_groups(value)
        name = [alternatives for group in groups if (alternatives := alternatives_of(group))]
        if not name:
            return ()
        names.append(name)
    combinations = 1
    for name in names:
        combinations *= len(name)
        if combinations > MAX_NAME_COMBINATIONS:
            raise invalid(key, "too many names with several component groups in one list.")
    return tuple(
        Condition(key.index_key, _bounded(key, itertools.chain.from_iterable(alternatives)))
        for alternatives in itertools.product(*names)
    )


def _exact_group(group: str) -> tuple[Matcher, ...]:
    """Return the matchers for a component group; none if everything matches."""
    patterns = _name_patterns(group)
    return (NameMatches(patterns),) if patterns and "*" not in patterns else ()


def _fuzzy_group(group: str) -> tuple[Matcher, ...]:
    """Return the matchers for a fuzzy search, which finds at least what the wildcard search finds."""
    words = tuple(word for written in normalise.name_words(group) if (word := written.rstrip("*")))
    by_words = (NameWords(words),) if words and not _wildcards(words) else ()
    if not _wildcards(_name_patterns(group)):
        return by_words
    by_form = _exact_group(group)
    return (*by_form, *by_words) if by_form else ()


def _name_patterns(group: str) -> tuple[str, ...]:
    """Return the patterns for a component group: "Doe^*" also matches a name that ends after "Doe"."""
    pattern = _pattern(normalise.name_group(group))
    patterns = [pattern] if pattern else []
    while pattern.endswith("^*"):
        pattern = pattern.removesuffix("^*").rstrip("^")
        if pattern:
            patterns.append(pattern)
    return tuple(patterns)


def _bounded(key: SearchKey, matchers: Iterable[Matcher]) -> tuple[Matcher, ...]:
    """Return distinct matchers, with all exact values in one; raise an error beyond the limits of the index."""
    distinct = list(dict.fromkeys(matchers))
    exact = [value for matcher in distinct if isinstance(matcher, Equals) for value in matcher.values]
    others = [matcher for matcher in distinct if not isinstance(matcher, Equals)]
    if len(exact) > MAX_EXACT_VALUES or len(others) > MAX_PATTERNS:
        raise invalid(key, "too many values.")
    return (*([Equals(tuple(exact))] if exact else []), *others)


def _pattern(text: str) -> str:
    return _STARS.sub("*", text)


def _wildcards(texts: Iterable[str]) -> bool:
    return any("*" in text or "?" in text for text in texts)


def _checked(key: SearchKey, parsed: str | None, kind: str) -> str:
    if parsed is None:
        raise invalid(key, f"a value is not {kind}.")
    return parsed


def _number(key: SearchKey, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    is_whole = key.vr in ("FD", "FL") or number.is_integer()
    if not math.isfinite(number) or not is_whole:
        raise invalid(key, "a value is not a number, or not an integer.")
    return number


def invalid(key: SearchKey, problem: str) -> InvalidRequest:
    """Return the error for an invalid value of `key`."""
    return InvalidRequest(Reason.INVALID_QUERY, f"{key.keyword}: {problem}", attribute=key.keyword)
