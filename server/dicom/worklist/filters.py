"""Matching of a single workitem with the conditions of a query, as the index does."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from server.model.search.query import Between, Condition, Empty, Equals, Like, Matcher, NameMatches, NameWords
from server.model.worklist.workitem import SearchValue

_BETWEEN_WORDS = re.compile(r"[\s^]+")


def matches(conditions: Sequence[Condition], values: Iterable[SearchValue]) -> bool:
    """Return whether a workitem with the values of its search keys meets all conditions.

    Those of attributes of one sequence must hold for the same item (PS3.4 section C.2.2.2.6), except if the condition
    may hold for no value.
    """
    by_keyword: dict[str, list[SearchValue]] = {}
    for value in values:
        if value.value:
            by_keyword.setdefault(value.keyword, []).append(value)
    items: dict[str, set[int]] = {}
    for condition in conditions:
        found = by_keyword.get(str(condition.key), [])
        sequence, dot, _ = str(condition.key).partition(".")
        holding = {value.item for value in found if any(_holds(matcher, value) for matcher in condition.matchers)}
        if Empty() in condition.matchers:
            if found and not holding:
                return False
        elif dot:
            items[sequence] = items[sequence] & holding if sequence in items else holding
        elif not holding:
            return False
    return all(items.values())


def _holds(matcher: Matcher, value: SearchValue) -> bool:
    match matcher:
        case Equals(texts):
            return value.value in texts
        case Between(low, high):
            return (low is None or low <= value.value) and (high is None or value.value <= high)
        case Like(pattern):
            return bool(_expression(pattern).fullmatch(value.value))
        case NameMatches(patterns):
            groups = [group for group in value.value.split("=") if group]
            return any(_expression(pattern).fullmatch(group) for pattern in patterns for group in groups)
        case NameWords(prefixes):
            return any(_has_words(group, prefixes) for group in value.value.split("="))
        case _:
            return False


def _has_words(group: str, prefixes: Sequence[str]) -> bool:
    words = [word for word in _BETWEEN_WORDS.split(group) if word]
    starts = range(len(words) - len(prefixes) + 1)
    return bool(prefixes) and any(
        all(word.startswith(prefix) for word, prefix in zip(words[start:], prefixes, strict=False)) for start in starts
    )


@lru_cache(maxsize=1000)
def _expression(pattern: str) -> re.Pattern[str]:
    """Return a pattern with `*` and `?` as a regular expression.

    Each part between two stars matches as early as possible, and is not tried again further on (atomic groups): that
    finds every match, and the time is proportional to the lengths. Otherwise it would grow with a power, whose exponent
    is the number of stars, and a single filter could stop all changes of workitems.
    """
    first, *others = (re.escape(part).replace(r"\?", ".") for part in re.split(r"\*+", pattern))
    if not others:
        return re.compile(first, re.DOTALL)
    *between, last = others
    return re.compile(f"{first}{''.join(f'(?>.*?{part})' for part in between)}.*{last}", re.DOTALL)
