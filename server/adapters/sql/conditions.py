"""What a condition of a query means in SQL.

Text compares by code point on both databases, since it is normalised on both sides before it comes here.
"""

import re
from collections.abc import Iterator

from sqlalchemy import ColumnElement, and_, bindparam, exists, false, or_, true

from server.adapters.sql.keys import COLUMNS, NAMES, SEVERAL, kept
from server.adapters.sql.tables import LONGEST_TEXT, NAME_GROUPS, series, series_values, studies
from server.model.query import Between, Condition, Equals, Level, Like, Matcher, NameMatches, NameWords

Text = ColumnElement[str]

_ESCAPE = "!"
_STARS = re.compile(r"\*+")
MODALITIES_IN_STUDY = "ModalitiesInStudy"


def level_of(key: str) -> Level:
    """Return the level that a search key is about.

    Raises:
        KeyError: not a search key.
    """
    if key in NAMES or key == MODALITIES_IN_STUDY:
        return Level.STUDY
    if key in SEVERAL:
        return Level.SERIES
    table = COLUMNS[key].table
    return Level.STUDY if table is studies else Level.SERIES if table is series else Level.INSTANCE


def holds(condition: Condition, name: str) -> ColumnElement[bool]:
    """Return the condition; the table of `level_of` must be joined, and parameters are called after `name`."""
    matchers = enumerate(condition.matchers)
    return or_(false(), *(_holds(condition.key, matcher, f"{name}_{number}") for number, matcher in matchers))


def form_of(condition: Condition) -> tuple[object, ...] | None:
    """Return what a condition is without its values: of two that are equal, `holds` differs in `values_of` only.

    None if its SQL depends on the values, as that of patterns does.
    """
    form: list[object] = [condition.key]
    for matcher in condition.matchers:
        match matcher:
            case Equals(values) if values:
                form.append("equals")
            case Between(low, high):
                form.append((low is None, high is None))
            case _:
                return None
    return tuple(form)


def values_of(condition: Condition, name: str) -> Iterator[tuple[str, str | list[str]]]:
    """Generate the parameters of a condition that has a form."""
    for number, matcher in enumerate(condition.matchers):
        match matcher:
            case Equals(values):
                yield f"{name}_{number}", [kept(value) for value in values]
            case Between(low, high):
                if low is not None:
                    yield f"{name}_{number}_low", kept(low)
                if high is not None:
                    yield f"{name}_{number}_high", kept(high)


def _holds(key: str, matcher: Matcher, name: str) -> ColumnElement[bool]:
    if prefix := NAMES.get(key):
        return _name_holds(prefix, matcher)
    if key == MODALITIES_IN_STUDY:
        any_series = series.alias("any_series")
        return exists().where(any_series.c.study_key == studies.c.key, _compare(any_series.c.modality, matcher, name))
    if key in SEVERAL:
        return exists().where(
            series_values.c.series_key == series.c.key,
            series_values.c.keyword == key,
            _compare(series_values.c.value, matcher, name),
        )
    return _compare(COLUMNS[key], matcher, name)


def _name_holds(prefix: str, matcher: Matcher) -> ColumnElement[bool]:
    groups = [studies.c[f"{prefix}_{group}"] for group in range(1, NAME_GROUPS + 1)]
    match matcher:
        case NameMatches(patterns):
            return or_(false(), *(_like(group, pattern) for pattern in patterns for group in groups))
        case NameWords(prefixes):
            return _adjacent_words(studies.c[f"{prefix}_words"], prefixes)
        case _:
            raise TypeError(f"{type(matcher).__name__} is not for person names")


def _compare(column: Text, matcher: Matcher, name: str) -> ColumnElement[bool]:
    match matcher:
        case Equals(values):
            return column.in_(bindparam(name, [kept(value) for value in values], expanding=True))
        case Between(low, high):
            return and_(
                column.is_not(None),
                true() if low is None else column >= bindparam(f"{name}_low", kept(low)),
                true() if high is None else column <= bindparam(f"{name}_high", kept(high)),
            )
        case Like(pattern):
            return _like(column, pattern)
        case _:
            raise TypeError(f"{type(matcher).__name__} is for person names only")


def _like(column: Text, pattern: str) -> ColumnElement[bool]:
    """Match `*` and `?`; without them, the whole value. An index serves what comes before the first of them."""
    pattern = _STARS.sub("*", pattern.replace("\0", " "))
    beginning = re.split(r"[*?]", pattern, maxsplit=1)[0]
    if beginning == pattern:
        return column == kept(pattern)
    if len(pattern.replace("*", "")) > LONGEST_TEXT:
        return false()
    like = _escaped(pattern).replace("*", "%").replace("?", "_")
    return and_(_begins(column, beginning), column.like(like, escape=_ESCAPE))


def _begins(column: Text, beginning: str) -> ColumnElement[bool]:
    """Return the range in which all values with this beginning are."""
    if not beginning:
        return column.is_not(None)
    after = _next_character(beginning[-1])
    if after is None:
        return column >= beginning
    return and_(column >= beginning, column < beginning[:-1] + after)


def _next_character(character: str) -> str | None:
    """Return the character after this one, in the order of code points; None after the last. Surrogates are none."""
    point = ord(character) + 1
    if point > 0x10FFFF:
        return None
    return chr(0xE000 if 0xD800 <= point <= 0xDFFF else point)


def _escaped(text: str) -> str:
    for special in (_ESCAPE, "%", "_"):
        text = text.replace(special, _ESCAPE + special)
    return text


def _adjacent_words(column: Text, prefixes: tuple[str, ...]) -> ColumnElement[bool]:
    """Match a run of words that begin with the prefixes, in order. LIKE alone would let words lie between."""
    if not prefixes or sum(map(len, prefixes)) > LONGEST_TEXT:
        return false()
    candidates = "%".join(f" {_escaped(prefix)}" for prefix in prefixes)
    like = column.like(f"%{candidates}%", escape=_ESCAPE)
    if len(prefixes) == 1:
        return like
    words = "[^ ]* ".join(re.escape(prefix) for prefix in prefixes)
    return and_(like, column.regexp_match(f" {words}"))
