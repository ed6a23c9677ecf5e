"""Conditions of a query as SQL.

Text is compared by code point on both databases; it is normalised on both sides.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Exists,
    FromClause,
    and_,
    bindparam,
    exists,
    false,
    literal_column,
    not_,
    or_,
    select,
    true,
)

from server.adapters.sql.rows import ALIVE
from server.adapters.sql.search import likes
from server.adapters.sql.search.keys import COLUMNS, DATE_TIMES, NAMES, SEQUENCE, column_text
from server.adapters.sql.tables.columns import NAME_GROUPS
from server.adapters.sql.tables.instances import instances, series, series_values
from server.adapters.sql.tables.lifecycle import labels
from server.adapters.sql.tables.query_tags import tag_values
from server.adapters.sql.tables.studies import studies
from server.model.search.date_time import DAY, FIRST_TIME, LAST_TIME, TIME
from server.model.search.query import (
    Between,
    Condition,
    DateTimeRange,
    Empty,
    Equals,
    LabelKey,
    Level,
    Like,
    Matcher,
    NameMatches,
    NameWords,
    Numbers,
    TagKey,
)

Text = ColumnElement[str]

MODALITIES_IN_STUDY = "ModalitiesInStudy"


IS_ALIVE = Condition("IsAlive", (Empty(),))
"""The instance is not deleted, see `rows.ALIVE`. Never used in conditions of clients."""


def level_of(key: str | TagKey | LabelKey) -> Level:
    """Return the level of a search key.

    Raises:
        KeyError: not a search key.
    """
    if isinstance(key, TagKey | LabelKey):
        return key.level
    if key in NAMES or key == MODALITIES_IN_STUDY:
        return Level.STUDY
    if key == IS_ALIVE.key:
        return Level.INSTANCE
    if key.startswith(SEQUENCE):
        return Level.SERIES
    table = COLUMNS[key].table
    return Level.STUDY if table is studies else Level.SERIES if table is series else Level.INSTANCE


def all_hold(conditions: Sequence[tuple[Condition, str]]) -> list[ColumnElement[bool]]:
    """Return the SQL conditions, each with a prefix for its parameters; those of one sequence apply to the same
    item."""
    of_items = [(one, name) for one, name in conditions if is_of_item(one)]
    others = [holds(one, name) for one, name in conditions if not is_of_item(one)]
    return [*others, _item_holds(of_items)] if of_items else others


def is_of_item(condition: Condition) -> bool:
    """Return whether a single item of a sequence must meet a condition, rather than the sequence as a whole."""
    is_in_sequence = isinstance(condition.key, str) and condition.key.startswith(SEQUENCE)
    return is_in_sequence and Empty() not in condition.matchers


def holds(condition: Condition, name: str) -> ColumnElement[bool]:
    """Return the SQL condition; requires a join with the table of `level_of`. `values_of` gives the parameters."""
    key, matchers = condition.key, enumerate(condition.matchers)
    if isinstance(key, LabelKey):
        return or_(false(), *(_label_holds(key, matcher, name, f"{name}_{number}") for number, matcher in matchers))
    return or_(false(), *(_holds(key, matcher, f"{name}_{number}") for number, matcher in matchers))


def form_of(condition: Condition) -> tuple[object, ...]:
    """Return the form of a condition without its values: conditions of equal form have the same SQL."""
    key = condition.key
    form = ("labels", key.level) if isinstance(key, LabelKey) else key
    return (form, *map(_form, condition.matchers))


def values_of(condition: Condition, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the parameters of a condition."""
    if isinstance(condition.key, LabelKey):
        yield f"{name}_names", condition.key.names
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
        case Numbers():
            return "numbers"
        case Empty():
            return "empty"
        case DateTimeRange(local, utc):
            ends = (_form_of_end(local.low, FIRST_TIME), _form_of_end(local.high, LAST_TIME))
            return ("during", *ends, utc and (utc.low is None, utc.high is None))


def _values(matcher: Matcher, name: str) -> Iterator[tuple[str, Any]]:
    match matcher:
        case Numbers(numbers):
            yield name, list(numbers)
        case Equals(values) if values:
            yield name, [column_text(value) for value in values]
        case Between(low, high):
            if low is not None:
                yield f"{name}_low", column_text(low)
            if high is not None:
                yield f"{name}_high", column_text(high)
        case Like(pattern):
            yield from likes.values(pattern, name)
        case NameMatches(patterns):
            for number, pattern in enumerate(patterns):
                yield from likes.values(pattern, f"{name}_{number}")
        case NameWords(prefixes):
            yield from likes.values_of_words(prefixes, name)
        case DateTimeRange(local, utc):
            for end, date_time, whole in (("low", local.low, FIRST_TIME), ("high", local.high, LAST_TIME)):
                if date_time is not None:
                    yield f"{name}_{end}_day", date_time[DAY]
                    if _form_of_end(date_time, whole) == "within":
                        yield f"{name}_{end}_time", date_time[TIME]
            if utc is not None:
                yield from _values(utc, f"{name}_utc")


def _holds(key: str | TagKey, matcher: Matcher, name: str) -> ColumnElement[bool]:
    if isinstance(key, TagKey):
        return _tag_holds(key, matcher, name)
    if isinstance(matcher, DateTimeRange):
        return _during(key, matcher, name)
    if key == IS_ALIVE.key:
        return ALIVE
    if prefix := NAMES.get(key):
        return _name_holds(prefix, matcher, name)
    if key == MODALITIES_IN_STUDY:
        any_series = series.alias("any_series")
        of_study = exists().where(any_series.c.study_key == studies.c.key)
        if isinstance(matcher, Empty):
            return ~of_study.where(any_series.c.modality.is_not(None))
        return of_study.where(_compare(any_series.c.modality, matcher, name))
    if key.startswith(SEQUENCE):
        if isinstance(matcher, Empty):
            values = series_values.alias(f"{name}_values")
            return ~_of_series(values, key)
        return _item_matches(series_values.alias(f"{name}_values"), key, matcher, name)
    return _compare(COLUMNS[key], matcher, name)


def _tag_holds(key: TagKey, matcher: Matcher, name: str) -> ColumnElement[bool]:
    """Match the value of the study, series or instance for an extended query tag."""
    values = tag_values.alias(f"{name}_values")
    owner = {Level.STUDY: studies.c.key, Level.SERIES: series.c.key, Level.INSTANCE: instances.c.version}[key.level]
    of_owner = exists().where(values.c.tag_key == key.tag, values.c.owner == owner)
    if isinstance(matcher, Empty):
        return ~of_owner
    return of_owner.where(tag_matches(values, matcher, name))


def tag_matches(values: FromClause, matcher: Matcher, name: str) -> ColumnElement[bool]:
    """Return the condition that a row of tag values matches; see `tag_values`."""
    match matcher:
        case NameMatches(patterns):
            any_form = [
                likes.holds(values.c.text, pattern, f"{name}_{number}") for number, pattern in enumerate(patterns)
            ]
            return and_(values.c.part < NAME_GROUPS, or_(false(), *any_form))
        case NameWords(prefixes):
            return and_(values.c.part == NAME_GROUPS, likes.words_hold(values.c.text, prefixes, name))
        case Numbers():
            return values.c.number.in_(bindparam(name, expanding=True))
        case _:
            return and_(values.c.part == 0, _compare(values.c.text, matcher, name))


LABEL_OWNERS: Mapping[Level, Mapping[Level, ColumnElement[int]]] = {
    Level.STUDY: {Level.STUDY: studies.c.key},
    Level.SERIES: {Level.STUDY: series.c.study_key, Level.SERIES: series.c.key},
    Level.INSTANCE: {
        Level.STUDY: instances.c.study_key,
        Level.SERIES: instances.c.series_key,
        Level.INSTANCE: instances.c.key,
    },
}
"""By level of the matches, and level of a label: the column with the owner of the label."""


def _label_holds(key: LabelKey, matcher: Matcher, names: str, name: str) -> ColumnElement[bool]:
    """Match a label of the match, or of a study or series that contains it."""
    found = []
    for level, owner in LABEL_OWNERS[key.level].items():
        values = labels.alias(f"{name}_of_{level.name.lower()}")
        of_owner = exists().where(values.c.level == literal_column(str(int(level))), values.c.owner == owner)
        found.append(of_owner.where(label_matches(values, matcher, names, name)))
    return not_(or_(*found)) if isinstance(matcher, Empty) else or_(*found)


def label_matches(values: FromClause, matcher: Matcher, names: str, name: str) -> ColumnElement[bool]:
    """Return the condition that a row of labels has one of the names and, except for `Empty`, a matching value."""
    is_named = values.c.name.in_(bindparam(f"{names}_names", expanding=True))
    return is_named if isinstance(matcher, Empty) else and_(is_named, _compare(values.c.value, matcher, name))


def _of_series(values: FromClause, key: str) -> Exists:
    return exists().where(values.c.series_key == series.c.key, values.c.keyword == key)


def _item_matches(values: FromClause, key: str, matcher: Matcher, name: str) -> ColumnElement[bool]:
    return _of_series(values, key).where(_compare(values.c.value, matcher, name))


def _item_holds(conditions: Sequence[tuple[Condition, str]]) -> ColumnElement[bool]:
    """Return the condition that one item of a sequence meets all conditions.

    Exact values use an index to find the few series; patterns are evaluated series by series.
    """
    exact = [one for one in conditions if all(isinstance(matcher, Equals) for matcher in one[0].matchers)]
    first, *others = [*exact, *(one for one in conditions if one not in exact)]
    values = series_values.alias(f"{first[1]}_item")
    found = select(values.c.series_key).where(
        _value_matches(values, first), *(_same_item_matches(values, other) for other in others)
    )
    if exact:
        return series.c.key.in_(found)
    return found.where(values.c.series_key == series.c.key).correlate(series).exists()


def _same_item_matches(values: FromClause, condition: tuple[Condition, str]) -> ColumnElement[bool]:
    other = series_values.alias(f"{condition[1]}_item")
    same = (other.c.series_key == values.c.series_key, other.c.item == values.c.item)
    return exists().where(*same, _value_matches(other, condition)).correlate(values)


def _value_matches(values: FromClause, condition: tuple[Condition, str]) -> ColumnElement[bool]:
    asked, name = condition
    matching = (_compare(values.c.value, matcher, f"{name}_{number}") for number, matcher in enumerate(asked.matchers))
    return and_(values.c.keyword == asked.key, or_(false(), *matching))


def _form_of_end(date_time: str | None, whole: str) -> str:
    """Return the comparison at an end of a range: none, only the date if the time is `whole`, or both."""
    if date_time is None:
        return "open"
    return "day" if date_time[TIME] == whole else "within"


def _during(key: str, matcher: DateTimeRange, name: str) -> ColumnElement[bool]:
    day, time, date_time = DATE_TIMES[key]
    low, high = matcher.local.low, matcher.local.high
    parts: list[ColumnElement[bool]] = [day.is_not(None)]
    if low is not None:
        parts.append(day >= bindparam(f"{name}_low_day"))
        if _form_of_end(low, FIRST_TIME) == "within":
            parts.append(or_(day > bindparam(f"{name}_low_day"), time >= bindparam(f"{name}_low_time")))
    if high is not None:
        parts.append(day <= bindparam(f"{name}_high_day"))
        if _form_of_end(high, LAST_TIME) == "within":
            parts.append(or_(day < bindparam(f"{name}_high_day"), time <= bindparam(f"{name}_high_time")))
    if matcher.utc is None:
        return and_(*parts)
    return or_(_compare(date_time, matcher.utc, f"{name}_utc"), and_(date_time.is_(None), *parts))


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
        case Empty():
            return and_(*(group.is_(None) for group in groups))
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
        case Empty():
            return column.is_(None)
        case _:
            raise TypeError(f"{type(matcher).__name__} is for person names only")
