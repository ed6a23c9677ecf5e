"""What a condition of a query means in SQL.

Text compares by code point on both databases, since it is normalised on both sides before it comes here.
"""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, and_, bindparam, exists, false, or_, true

from server.adapters.sql import likes
from server.adapters.sql.keys import COLUMNS, NAMES, SEVERAL, kept
from server.adapters.sql.tables import NAME_GROUPS, series, series_values, studies
from server.model.query import Between, Condition, Equals, Level, Like, Matcher, NameMatches, NameWords

Text = ColumnElement[str]

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
    """Return the condition; the table of `level_of` must be joined. `values_of` gives the parameters."""
    matchers = enumerate(condition.matchers)
    return or_(false(), *(_holds(condition.key, matcher, f"{name}_{number}") for number, matcher in matchers))


def form_of(condition: Condition) -> tuple[object, ...]:
    """Return what a condition is without its values: of two that are equal, `holds` differs in `values_of` only."""
    return (condition.key, *map(_form, condition.matchers))


def values_of(condition: Condition, name: str) -> Iterator[tuple[str, str | list[str]]]:
    """Generate the parameters of a condition."""
    for number, matcher in enumerate(condition.matchers):
        yield from _values(matcher, f"{name}_{number}")


def _form(matcher: Matcher) -> object:
    match matcher:
        case Equals(values):
            return "equals" if values else "never"
        case Between(low, high):
            return (low is None, high is None)
        case Like(pattern):
            return likes.form(pattern)
        case NameMatches(patterns):
            return ("name", *map(likes.form, patterns))
        case NameWords(prefixes):
            return ("words", likes.form_of_words(prefixes))


def _values(matcher: Matcher, name: str) -> Iterator[tuple[str, str | list[str]]]:
    match matcher:
        case Equals(values) if values:
            yield name, [kept(value) for value in values]
        case Between(low, high):
            if low is not None:
                yield f"{name}_low", kept(low)
            if high is not None:
                yield f"{name}_high", kept(high)
        case Like(pattern):
            yield from likes.values(pattern, name)
        case NameMatches(patterns):
            for number, pattern in enumerate(patterns):
                yield from likes.values(pattern, f"{name}_{number}")
        case NameWords(prefixes):
            yield from likes.values_of_words(prefixes, name)


def _holds(key: str, matcher: Matcher, name: str) -> ColumnElement[bool]:
    if prefix := NAMES.get(key):
        return _name_holds(prefix, matcher, name)
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


def _name_holds(prefix: str, matcher: Matcher, name: str) -> ColumnElement[bool]:
    groups = [studies.c[f"{prefix}_{group}"] for group in range(1, NAME_GROUPS + 1)]
    match matcher:
        case NameMatches(patterns):
            return or_(
                false(),
                *(
                    likes.holds(group, pattern, f"{name}_{number}")
                    for number, pattern in enumerate(patterns)
                    for group in groups
                ),
            )
        case NameWords(prefixes):
            return likes.words_hold(studies.c[f"{prefix}_words"], prefixes, name)
        case _:
            raise TypeError(f"{type(matcher).__name__} is not for person names")


def _compare(column: Text, matcher: Matcher, name: str) -> ColumnElement[bool]:
    match matcher:
        case Equals(values):
            return column.in_(bindparam(name, expanding=True)) if values else false()
        case Between(low, high):
            return and_(
                column.is_not(None),
                true() if low is None else column >= bindparam(f"{name}_low"),
                true() if high is None else column <= bindparam(f"{name}_high"),
            )
        case Like(pattern):
            return likes.holds(column, pattern, name)
        case _:
            raise TypeError(f"{type(matcher).__name__} is for person names only")
