"""Rows of `workitem_values` and `workitem_texts`, and conditions on values.

Parts of a value: 0, or for person names 0 to 2 (component groups), `NAME_GROUPS` (all words), and one row with part
`_SINGLE_WORD` for each word, so that an index finds the beginnings of words.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, exists, false, literal_column, not_, or_, select

from server.adapters.sql.search import likes
from server.adapters.sql.search.conditions import form_of, tag_matches, values_of
from server.adapters.sql.search.keys import WORD_BREAK, column_text, groups_of, words_of
from server.adapters.sql.tables.columns import NAME_GROUPS
from server.adapters.sql.tables.worklist import WORKITEM_TEXT_KEYS, workitem_texts, workitem_values
from server.model.search.query import Condition, Empty, Like, Matcher, NameMatches, NameWords
from server.model.worklist.workitem import SearchValue

_SINGLE_WORD = NAME_GROUPS + 1
_TEXT_COLUMNS = {key: name for name, key in WORKITEM_TEXT_KEYS.items()}
_NO_TEXT = dict.fromkeys(WORKITEM_TEXT_KEYS)

Named = tuple[Condition, str]
"""A condition, and the prefix of its parameters."""


def rows_of(workitem_key: int, partition_key: int, values: Iterable[SearchValue]) -> list[dict[str, Any]]:
    """Return the rows for the values of a workitem."""
    found = {(value.keyword, value.item, part, text): None for value in values for part, text in _parts(value) if text}
    return [
        {
            "workitem_key": workitem_key,
            "partition_key": partition_key,
            "keyword": keyword,
            "item": item,
            "part": part,
            "text": text,
        }
        for keyword, item, part, text in found
    ]


def text_of(workitem_key: int, partition_key: int, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the row with the text of a workitem, given the rows for its values."""
    found: dict[str, Any] = {"key": workitem_key, "partition_key": partition_key, **_NO_TEXT}
    for row in rows:
        name = _TEXT_COLUMNS.get(row["keyword"])
        if name is not None and row["part"] < NAME_GROUPS:
            present = found[name]
            found[name] = row["text"] if present is None else f"{present}\n{row['text']}"
    return found


def _parts(value: SearchValue) -> Iterator[tuple[int, str]]:
    if not value.is_name:
        yield 0, column_text(value.value)
        return
    words = words_of(value.value)
    yield from enumerate(groups_of(value.value))
    yield NAME_GROUPS, words
    for word in words.split():
        if word != WORD_BREAK.strip():
            yield _SINGLE_WORD, word


def form_of_all(conditions: Sequence[Condition]) -> tuple[object, ...]:
    """Return the form of conditions without their values: conditions of equal form have the same SQL."""
    return tuple(form_of(condition) for condition in conditions)


def all_hold(conditions: Sequence[Named], key: ColumnElement[int]) -> list[ColumnElement[bool]]:
    """Return the conditions for the workitem with a key; those of one sequence apply to the same item."""
    single = [one for one in conditions if _sequence_of(one[0]) is None]
    of_items: dict[str, list[Named]] = {}
    for one in conditions:
        if sequence := _sequence_of(one[0]):
            of_items.setdefault(sequence, []).append(one)
    return [*(_holds(one, key) for one in single), *(_one_item_holds(several, key) for several in of_items.values())]


def candidates(values: FromClause, condition: Condition, name: str) -> ColumnElement[bool]:
    """Return a condition that at least the rows of all matches fulfil, for which an index suffices if possible."""
    any_of = (_candidate(values, matcher, f"{name}_{number}") for number, matcher in enumerate(condition.matchers))
    return and_(values.c.keyword == str(condition.key), or_(false(), *any_of))


def has_beginning(condition: Condition) -> bool:
    """Return whether an index leads to the values of a condition: none of its patterns begins with a wildcard."""
    return all(likes.form(pattern) != "like" for matcher in condition.matchers for pattern in _patterns(matcher))


def is_of_text(condition: Condition) -> bool:
    """Return whether the values of a condition contain something, or words."""
    return not has_beginning(condition) or any(isinstance(matcher, NameWords) for matcher in condition.matchers)


def _patterns(matcher: Matcher) -> Sequence[str]:
    match matcher:
        case Like(pattern):
            return (pattern,)
        case NameMatches(patterns):
            return patterns
        case _:
            return ()


def candidate_form(condition: Condition) -> tuple[object, ...]:
    """Return the form of `candidates`, as `form_of`."""
    shapes = [likes.form(_beginning(one)) if isinstance(one, NameWords) else "" for one in condition.matchers]
    return (*form_of(condition), *shapes)


def candidate_parameters(condition: Condition, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the parameters of `candidates`."""
    yield from values_of(condition, name)
    for number, matcher in enumerate(condition.matchers):
        if isinstance(matcher, NameWords):
            yield from likes.values(_beginning(matcher), f"{name}_{number}_word")


def _beginning(words: NameWords) -> str:
    return f"{words.prefixes[0]}*" if words.prefixes else ""


def _candidate(values: FromClause, matcher: Matcher, name: str) -> ColumnElement[bool]:
    if isinstance(matcher, NameWords):
        return and_(values.c.part == _SINGLE_WORD, likes.holds(values.c.text, _beginning(matcher), f"{name}_word"))
    return tag_matches(values, matcher, name)


def _sequence_of(condition: Condition) -> str | None:
    """Return the sequence in which an item must meet a condition; None if there is none, or no item may have a
    value."""
    sequence, dot, _ = str(condition.key).partition(".")
    return sequence if dot and Empty() not in condition.matchers else None


def _holds(named: Named, key: ColumnElement[int]) -> ColumnElement[bool]:
    condition, name = named
    values = workitem_values.alias(f"{name}_values")
    of_workitem = (values.c.workitem_key == key, values.c.keyword == str(condition.key))
    found = [
        _has_no_value(str(condition.key), key, of_workitem, name)
        if isinstance(matcher, Empty)
        else _exists(*of_workitem, tag_matches(values, matcher, parameter))
        for matcher, parameter in _matchers(condition, name)
    ]
    return or_(false(), *found)


def _has_no_value(
    keyword: str, key: ColumnElement[int], of_workitem: Sequence[ColumnElement[bool]], name: str
) -> ColumnElement[bool]:
    """Return whether a workitem has no value of a key; its text, if the key has one, is far less data to read."""
    if column := _TEXT_COLUMNS.get(keyword):
        texts = workitem_texts.alias(f"{name}_texts")
        return _exists(texts.c.key == key, texts.c[column].is_(None))
    return not_(_exists(*of_workitem))


def _one_item_holds(conditions: Sequence[Named], key: ColumnElement[int]) -> ColumnElement[bool]:
    first, *others = conditions
    values = workitem_values.alias(f"{first[1]}_item")
    same_item = (_same_item_matches(values, other) for other in others)
    return _exists(values.c.workitem_key == key, _matches(values, first), *same_item)


def _exists(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return whether a row exists. With the offset, PostgreSQL looks for it for one workitem after the other, instead
    of joining the values of all workitems before it returns the first match."""
    return select(literal_column("1")).where(*conditions).offset(literal_column("0")).exists()


def _same_item_matches(values: FromClause, named: Named) -> ColumnElement[bool]:
    other = workitem_values.alias(f"{named[1]}_item")
    same = (other.c.workitem_key == values.c.workitem_key, other.c.item == values.c.item)
    return exists().where(*same, _matches(other, named)).correlate(values)


def _matches(values: FromClause, named: Named) -> ColumnElement[bool]:
    condition, name = named
    any_of = (tag_matches(values, matcher, parameter) for matcher, parameter in _matchers(condition, name))
    return and_(values.c.keyword == str(condition.key), or_(false(), *any_of))


def _matchers(condition: Condition, name: str) -> Iterator[tuple[Matcher, str]]:
    return ((matcher, f"{name}_{number}") for number, matcher in enumerate(condition.matchers))
