"""Search conditions evaluated in plain Python: the model that the index suites compare with."""

import re
from collections.abc import Collection, Iterable, Mapping

from server.model.search.date_time import DAY, FIRST_TIME, LAST_TIME, TIME, in_utc
from server.model.search.query import (
    Between,
    Condition,
    DateTimeRange,
    Empty,
    Equals,
    Like,
    Matcher,
    NameMatches,
    NameWords,
)

TIMES = {"StudyDate": "StudyTime", "PerformedProcedureStepStartDate": "PerformedProcedureStepStartTime"}


def all_hold(conditions: Iterable[Condition], keys: Mapping[str, str], modalities: Collection[str] = ()) -> bool:
    """True if all conditions hold; those about members of a sequence must hold for one and the same item."""
    of_items = [one for one in conditions if "." in one.key and Empty() not in one.matchers]
    if not all(holds(one, keys, modalities) for one in conditions if one not in of_items):
        return False
    items = range(max((keys.get(one.key, "").count("\\") + 1 for one in of_items), default=0))
    return not of_items or any(all(_item_holds(one, keys, item) for one in of_items) for item in items)


def holds(condition: Condition, keys: Mapping[str, str], modalities: Collection[str] = ()) -> bool:
    """True if a condition holds for normalised search keys; `modalities` are those of the study's series."""
    if condition.key == "ModalitiesInStudy":
        values = [modality for modality in modalities if modality]
    elif "." in condition.key:
        values = [value for value in re.split(r"[\\\n]", keys.get(condition.key, "")) if value]
    else:
        value = keys.get(condition.key, "")
        values = [value] if value.strip("=" if condition.key.endswith("Name") else "") else []
    for matcher in condition.matchers:
        match matcher:
            case Empty():
                found = not values
            case DateTimeRange():
                time, offset = keys.get(TIMES[condition.key]), keys.get("TimezoneOffsetFromUTC")
                found = any(_during(matcher, day, time, offset) for day in values)
            case _:
                found = any(matches(matcher, value) for value in values)
        if found:
            return True
    return False


def _item_holds(condition: Condition, keys: Mapping[str, str], item: int) -> bool:
    values = [*keys.get(condition.key, "").split("\\"), *[""] * (item + 1)][item].split("\n")
    return any(value and matches(matcher, value) for matcher in condition.matchers for value in values)


def _during(matcher: DateTimeRange, day: str, time: str | None, offset: str | None) -> bool:
    """True if a date, with its time if given, is within the matcher's range."""
    moment = in_utc(day + time, offset) if time and offset else None
    if matcher.utc is not None and moment is not None:
        return matches(matcher.utc, moment)
    low, high = matcher.local.low, matcher.local.high
    starts = low is None or (
        day + time >= low if time else day >= low[DAY] if low[TIME] == FIRST_TIME else day > low[DAY]
    )
    ends = high is None or (
        day + time <= high if time else day <= high[DAY] if high[TIME] == LAST_TIME else day < high[DAY]
    )
    return starts and ends


def matches(matcher: Matcher, value: str) -> bool:
    """True if one normalised value matches."""
    match matcher:
        case Equals(values):
            return value in values
        case Between(low, high):
            return (low is None or low <= value) and (high is None or value <= high)
        case Like(pattern):
            return _has_form(value, pattern)
        case NameMatches(patterns):
            return any(_has_form(group, pattern) for group in _groups(value) if group for pattern in patterns)
        case NameWords(prefixes):
            return any(_has_words(group, prefixes) for group in _groups(value))
        case _:
            raise TypeError(f"{type(matcher).__name__} is not about one value")


def _groups(name: str) -> list[str]:
    """Return the three component groups of a person name; further "=" belong to the third."""
    return name.split("=", 2)


def _has_form(value: str, pattern: str) -> bool:
    parts = {"*": ".*", "?": "."}
    return re.fullmatch("".join(parts.get(char, re.escape(char)) for char in pattern), value, re.DOTALL) is not None


def _has_words(group: str, prefixes: tuple[str, ...]) -> bool:
    words = [word for word in re.split(r"[\s^]+", group) if word]
    runs = (words[start : start + len(prefixes)] for start in range(len(words) - len(prefixes) + 1))
    return any(all(map(str.startswith, run, prefixes)) for run in runs)
