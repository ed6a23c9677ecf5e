"""A search, parsed: nothing here needs looking up or checking any more.

Text in matchers is normalised as `LevelAttributes.keys` are (`server.dicom.matching.attributes`); an index compares
code points and nothing else.
"""

import enum
from dataclasses import dataclass
from typing import Any, NamedTuple

from server.model.ids import Address
from server.model.search.return_keys import ElementLines, elements_of_lines


class Level(enum.IntEnum):
    """What a match is, from the outside in."""

    STUDY = 1
    SERIES = 2
    INSTANCE = 3


@dataclass(frozen=True, slots=True)
class Equals:
    """The key is one of `values`."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """`low <= key <= high`, compared as text; None is open."""

    low: str | None
    high: str | None


@dataclass(frozen=True, slots=True)
class Like:
    """The key has the form of `pattern`: `*` stands for any run of characters, `?` for one (PS3.4 C.2.2.2.4)."""

    pattern: str


@dataclass(frozen=True, slots=True)
class NameMatches:
    """A person name: any of its component groups has the form of one of the patterns (`*` and `?` as in `Like`)."""

    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NameWords:
    """A person name has adjacent words, in order, that begin with `prefixes`."""

    prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Numbers:
    """The key, which is a number, is one of `values`."""

    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Empty:
    """The key has no value (PS3.4 section C.2.2.2.7)."""


@dataclass(frozen=True, slots=True)
class DateTimeRange:
    """A day (the condition's key) and the time of day that belongs to it lie in one span (PS3.4 section C.2.2.2.5).

    A day without a time does if the span covers all of it.

    local: the ends as moments (`server.model.search.date_time`), both inclusive; None is open.
    utc: the ends in UTC, for those values whose offset from UTC is known; None: offsets are not looked at.
    """

    local: Between
    utc: Between | None = None


Matcher = Equals | Between | Like | NameMatches | NameWords | Numbers | Empty | DateTimeRange


@dataclass(frozen=True, slots=True)
class Condition:
    """The search key `key` matches any of `matchers`.

    A key is a keyword listed in `server.dicom.matching.attributes`, or what `query_tag.index_key` makes of an extended
    query tag.

    Conditions of one query about members of one sequence hold for the same item of it (PS3.4 section C.2.2.2.6),
    except those that have `Empty` among their matchers: these say that no item has a value.
    """

    key: str
    matchers: tuple[Matcher, ...]


MAX_METADATA = 4 << 20
"""Bytes of metadata that one answer of an index may hold, unless that of a single instance is more."""


@dataclass(frozen=True, slots=True)
class Query:
    """What an index is asked for.

    after: key of the last match of the page before; matches have smaller keys.
    metadata: also return the DICOM JSON of each match's newest matching instance, as far as `MAX_METADATA` goes.
    newest: also return what is kept at these levels, which are below the matches, of each one's newest instance.
    """

    level: Level
    scope: Address
    conditions: tuple[Condition, ...]
    limit: int
    skip: int = 0
    after: int | None = None
    metadata: bool = False
    counts: bool = False
    newest: frozenset[Level] = frozenset()


class Match(NamedTuple):
    """One study, series or instance. A tuple, since a page has up to 200 and a frozen dataclass takes thrice as long.

    key: position in the immutable order; greater was stored later.
    kept: DICOM JSON elements kept at its study, its series and itself, as far as it is that deep.
    metadata: DICOM JSON of its newest matching instance, if asked for. None: there is too much of it with that of the
        matches before, and the query has to go on after the one before. The first match has always its own.
    newest: elements kept at the levels asked for by `Query.newest`, from the outside in.
    modalities, series_count, instance_count: of the study (or series: instance_count), if `Query.counts`.
    """

    key: int
    resource: Address
    return_keys: tuple[ElementLines, ...]
    metadata: bytes | None = None
    modalities: tuple[str, ...] = ()
    series_count: int = 0
    instance_count: int = 0
    newest: tuple[ElementLines, ...] = ()

    @property
    def elements(self) -> dict[str, Any]:
        """The kept elements, merged: those of a level hide those of the levels above it."""
        return {tag: element for lines in self.return_keys for tag, element in elements_of_lines(lines).items()}
