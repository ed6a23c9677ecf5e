"""From the values of a search term to conditions on normalised keys (PS3.4 section C.2.2.2, spec/search.md section 4).

    single value    PatientID=A1             the whole value, without case; person names also without accents
    list            0020000E=1.2,1.3         any of them; "," for UIDs only, "\\" and several values for all
    wildcard        PatientName=*doe*        "*" any run of characters, "?" one; AE CS LO LT PN SH ST UC UR UT only
    range           StudyDate=20200101-      DA and TM, inclusive, either end may be open
    universal       PatientID=  or  *        no condition
    fuzzy words     PatientName=jo do        on request, person names only: adjacent words by their beginnings

Person names are compared one component group at a time, so that each way of writing a name finds it. A value with "="
needs each of its groups to match some group of the name.

A TM that leaves out minutes, seconds or parts of a second stands for every moment it may mean: "10-12" ends with the
last moment of twelve o'clock's hour, and "101530" finds 10:15:30.25.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Sequence

from server.dicom import normalise
from server.dicom.attributes import SearchKey
from server.model.errors import InvalidRequest, Reason
from server.model.ids import is_uid
from server.model.query import Between, Condition, Equals, Like, Matcher, NameMatches, NameWords

MAX_EXACT_VALUES = 2000
"""Most exact values of one term."""

MAX_PATTERNS = 100
"""Most wildcards, ranges and names of one term: each costs the index a comparison a row."""

MAX_NAME_COMBINATIONS = 64
"""Most conditions that names with several component groups in one list may grow to."""

WILDCARD_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""PS3.4 section C.2.2.2.4."""

_UID_LIST = re.compile(r"[,\\]")
_STARS = re.compile(r"\*+")

_Parse = Callable[[str], str | None]


def conditions(key: SearchKey, values: Sequence[str], *, fuzzy: bool) -> tuple[Condition, ...]:
    """Return what must hold for `key` to match any of `values`; nothing if they match everything.

    Raises:
        InvalidRequest: INVALID_QUERY, naming the attribute and never a value.
    """
    singles = _singles(key, values)
    if not singles:
        return ()
    if key.vr == "PN":
        return _name_conditions(key, singles, fuzzy=fuzzy)
    if key.vr == "DA":
        matchers = _ranges(key, singles, normalise.day, normalise.day)
    elif key.vr == "TM":
        matchers = _ranges(key, singles, normalise.first_moment, normalise.last_moment)
    elif key.vr == "IS":
        matchers = [Equals((_checked(key, normalise.integer(value), "an integer"),)) for value in singles]
    elif key.vr == "UI":
        matchers = [Equals((_checked(key, value if is_uid(value) else None, "a UID"),)) for value in singles]
    else:
        texts = [text for value in singles if (text := normalise.text(value))]
        matchers = [_text_matcher(key.vr, text) for text in texts]
        if Like("*") in matchers:
            return ()
    return (Condition(key.keyword, _bounded(key, matchers)),)


def _singles(key: SearchKey, values: Sequence[str]) -> list[str]:
    """Return the values of all lists without padding; blank ones say nothing beside others."""
    parts = (_UID_LIST.split(value) if key.vr == "UI" else value.split("\\") for value in values)
    return list(dict.fromkeys(stripped for part in parts for value in part if (stripped := value.strip(" \0"))))


def _ranges(key: SearchKey, values: Iterable[str], first: _Parse, last: _Parse) -> list[Matcher]:
    kind = "a date YYYYMMDD" if key.vr == "DA" else "a time HH[MM[SS[.F]]]"

    def between(low: str, high: str) -> Matcher:
        bounds = Between(
            _checked(key, first(low), kind) if low else None,
            _checked(key, last(high), kind) if high else None,
        )
        if bounds.low is None and bounds.high is None:
            raise _invalid(key, "a range needs at least one end.")
        if bounds.low is not None and bounds.high is not None and bounds.low > bounds.high:
            raise _invalid(key, "a range must not end before it starts.")
        return Equals((bounds.low,)) if bounds.low is not None and bounds.low == bounds.high else bounds

    matchers = []
    for value in values:
        low, dash, high = (part.strip() for part in value.partition("-"))
        matchers.append(between(low, high if dash else low))
    return matchers


def _text_matcher(vr: str, text: str) -> Matcher:
    return Like(_pattern(text)) if vr in WILDCARD_VRS and _wildcards((text,)) else Equals((text,))


def _name_conditions(key: SearchKey, values: Iterable[str], *, fuzzy: bool) -> tuple[Condition, ...]:
    """Return conditions whose conjunction says: any of the names, all groups of it.

    Each name is a conjunction of alternatives; "any of" them, multiplied out, is a conjunction again.
    """
    alternatives_of = _fuzzy_group if fuzzy else _exact_group
    names: list[list[tuple[Matcher, ...]]] = []
    for value in values:
        if fuzzy and '"' in value:
            raise _invalid(key, "quotation marks are not allowed with fuzzy matching.")
        groups = value.split(normalise.GROUP_SEPARATOR)
        name = [alternatives for group in groups if (alternatives := alternatives_of(group))]
        if not name:
            return ()
        names.append(name)
    combinations = 1
    for name in names:
        combinations *= len(name)
        if combinations > MAX_NAME_COMBINATIONS:
            raise _invalid(key, "too many names with several component groups in one list.")
    return tuple(
        Condition(key.keyword, _bounded(key, itertools.chain.from_iterable(alternatives)))
        for alternatives in itertools.product(*names)
    )


def _exact_group(group: str) -> tuple[Matcher, ...]:
    """Return what a component group must match; nothing if that is everything."""
    patterns = _name_patterns(group)
    return (NameMatches(patterns),) if patterns and "*" not in patterns else ()


def _fuzzy_group(group: str) -> tuple[Matcher, ...]:
    """Return the alternatives for a fuzzy search, which finds all that a wildcard finds and more."""
    words = tuple(word for written in normalise.name_words(group) if (word := written.rstrip("*")))
    by_words = (NameWords(words),) if words and not _wildcards(words) else ()
    if not _wildcards(_name_patterns(group)):
        return by_words
    by_form = _exact_group(group)
    return (*by_form, *by_words) if by_form else ()


def _name_patterns(group: str) -> tuple[str, ...]:
    """Return the forms that a name's group may have: "Doe^*" also means a name that ends after "Doe"."""
    pattern = _pattern(normalise.name_group(group))
    patterns = [pattern] if pattern else []
    while pattern.endswith("^*"):
        pattern = pattern.removesuffix("^*").rstrip("^")
        if pattern:
            patterns.append(pattern)
    return tuple(patterns)


def _bounded(key: SearchKey, matchers: Iterable[Matcher]) -> tuple[Matcher, ...]:
    """Return the matchers without repetition, all exact values in one, and refuse more than an index can bear."""
    distinct = list(dict.fromkeys(matchers))
    exact = [value for matcher in distinct if isinstance(matcher, Equals) for value in matcher.values]
    others = [matcher for matcher in distinct if not isinstance(matcher, Equals)]
    if len(exact) > MAX_EXACT_VALUES or len(others) > MAX_PATTERNS:
        raise _invalid(key, "too many values.")
    return (*([Equals(tuple(exact))] if exact else []), *others)


def _pattern(text: str) -> str:
    return _STARS.sub("*", text)


def _wildcards(texts: Iterable[str]) -> bool:
    return any("*" in text or "?" in text for text in texts)


def _checked(key: SearchKey, parsed: str | None, kind: str) -> str:
    if parsed is None:
        raise _invalid(key, f"a value is not {kind}.")
    return parsed


def _invalid(key: SearchKey, what: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_QUERY, f"{key.keyword}: {what}", attribute=key.keyword)
