"""Patterns and word prefixes in SQL.

The SQL of a pattern depends only on its form; its text is passed as parameters, because compiling a statement costs
many times its execution.
"""

import re
from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, and_, bindparam, false

from server.adapters.sql.search.keys import column_text
from server.adapters.sql.tables.columns import MAX_TEXT_LENGTH

Text = ColumnElement[str]

_ESCAPE = "!"
_STARS = re.compile(r"\*+")
_WILDCARD = re.compile(r"[*?]")


def form(pattern: str) -> str:
    """Return the form of a pattern.

    whole: no wildcard.
    never: longer than any value.
    any: matches every value.
    like: starts with a wildcard.
    begins: any other; an index finds the text before the first wildcard.
    begins_last: like `begins`, if that text ends with the last code point.
    """
    beginning = _beginning(pattern)
    if beginning == pattern:
        return "whole"
    if len(pattern.replace("*", "")) > MAX_TEXT_LENGTH:
        return "never"
    if not beginning:
        return "like" if pattern.strip("*") else "any"
    return "begins" if _next_character(beginning[-1]) else "begins_last"


def holds(column: Text, pattern: str, name: str) -> ColumnElement[bool]:
    """Match `*` and `?`; without them, the whole value."""
    like = column.like(bindparam(f"{name}_like"), escape=_ESCAPE)
    match form(pattern):
        case "whole":
            return column == bindparam(f"{name}_whole")
        case "never":
            return false()
        case "any":
            return column.is_not(None)
        case "like":
            return like
        case "begins_last":
            return and_(column >= bindparam(f"{name}_low"), like)
        case _:
            return and_(column >= bindparam(f"{name}_low"), column < bindparam(f"{name}_high"), like)


def values(pattern: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield the parameters of `holds`."""
    pattern = pattern.replace("\0", " ")
    match form(pattern):
        case "whole":
            yield f"{name}_whole", column_text(pattern)
        case "never" | "any":
            return
        case shape:
            yield f"{name}_like", _escaped(_STARS.sub("*", pattern)).replace("*", "%").replace("?", "_")
            beginning = _beginning(pattern)
            if shape != "like":
                yield f"{name}_low", beginning
            if shape == "begins":
                yield f"{name}_high", beginning[:-1] + (_next_character(beginning[-1]) or "")


def form_of_words(prefixes: Sequence[str]) -> str:
    """Return the form of word prefixes: one, several, or never."""
    if not prefixes or sum(map(len, prefixes)) > MAX_TEXT_LENGTH:
        return "never"
    return "one" if len(prefixes) == 1 else "several"


def words_hold(column: Text, prefixes: Sequence[str], name: str) -> ColumnElement[bool]:
    """Match adjacent words that begin with the prefixes, in order. LIKE alone would allow words in between."""
    like = column.like(bindparam(f"{name}_like"), escape=_ESCAPE)
    match form_of_words(prefixes):
        case "never":
            return false()
        case "one":
            return like
        case _:
            return and_(like, column.regexp_match(bindparam(f"{name}_words")))


def values_of_words(prefixes: Sequence[str], name: str) -> Iterator[tuple[str, str]]:
    """Yield the parameters of `words_hold`."""
    shape = form_of_words(prefixes)
    if shape == "never":
        return
    candidates = "%".join(f" {_escaped(prefix)}" for prefix in prefixes)
    yield f"{name}_like", f"%{candidates}%"
    if shape == "several":
        words = "[^ ]* ".join(re.escape(prefix) for prefix in prefixes)
        yield f"{name}_words", f" {words}"


def _beginning(pattern: str) -> str:
    return _WILDCARD.split(pattern, maxsplit=1)[0]


def _next_character(character: str) -> str | None:
    """Return the next character in order of code points, skipping surrogates; None after the last."""
    point = ord(character) + 1
    if point > 0x10FFFF:
        return None
    return chr(0xE000 if 0xD800 <= point <= 0xDFFF else point)


def _escaped(text: str) -> str:
    for special in (_ESCAPE, "%", "_"):
        text = text.replace(special, _ESCAPE + special)
    return text
