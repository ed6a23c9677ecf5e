"""What conditions mean, in plain Python: the model that indexes are held to."""

import re
from collections.abc import Collection, Mapping

from server.model.query import Between, Condition, Equals, Like, Matcher, NameMatches, NameWords


def holds(condition: Condition, keys: Mapping[str, str], modalities: Collection[str] = ()) -> bool:
    """Say whether a condition holds for normalised keys; `modalities` are those of the study's series."""
    if condition.key == "ModalitiesInStudy":
        values = list(modalities)
    elif "." in condition.key:
        values = keys.get(condition.key, "").split("\\")
    else:
        values = [keys[condition.key]] if condition.key in keys else []
    return any(value and matches(matcher, value) for matcher in condition.matchers for value in values)


def matches(matcher: Matcher, value: str) -> bool:
    """Say whether one normalised value matches."""
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


def _groups(name: str) -> list[str]:
    """Return the component groups of a person name, of which there are three: what follows belongs to the third."""
    return name.split("=", 2)


def _has_form(value: str, pattern: str) -> bool:
    parts = {"*": ".*", "?": "."}
    return re.fullmatch("".join(parts.get(char, re.escape(char)) for char in pattern), value, re.DOTALL) is not None


def _has_words(group: str, prefixes: tuple[str, ...]) -> bool:
    words = [word for word in re.split(r"[\s^]+", group) if word]
    runs = (words[start : start + len(prefixes)] for start in range(len(words) - len(prefixes) + 1))
    return any(all(map(str.startswith, run, prefixes)) for run in runs)
