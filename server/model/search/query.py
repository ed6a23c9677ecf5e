"""A parsed and checked search.

Text in matchers is normalised like `LevelAttributes.keys` (`server.dicom.matching.attributes`); an index compares code
points only.
"""

import enum
from dataclasses import dataclass
from typing import Any, NamedTuple

from server.model.ids import Address
from server.model.search.return_keys import ElementLines, elements_of_lines


class Level(enum.IntEnum):
    """Level of the matches, from the outside in."""

    STUDY = 1
    SERIES = 2
    INSTANCE = 3


@dataclass(frozen=True, slots=True)
class Equals:
    """The value is one of `values`."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """`low <= value <= high`, compared as text; None is open."""

    low: str | None
    high: str | None


@dataclass(frozen=True, slots=True)
class Like:
    """The value matches `pattern`: `*` stands for any run of characters, `?` for one (PS3.4 section C.2.2.2.4)."""

    pattern: str


@dataclass(frozen=True, slots=True)
class NameMatches:
    """A person name: one of its component groups matches one of the patterns (`*` and `?` as in `Like`)."""

    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NameWords:
    """A person name has adjacent words, in order, that begin with `prefixes`."""

    prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numeric value is one of `values`."""

    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Empty:
    """There is no value (PS3.4 section C.2.2.2.7)."""


@dataclass(frozen=True, slots=True)
class DateTimeRange:
    """A date (the condition's search key) and the associated time lie in one range (PS3.4 section C.2.2.2.5).

    A date without time matches if the range covers the whole day.

    local: both ends as date-times (`server.model.search.date_time`), inclusive; None is open.
    utc: both ends in UTC, for values with a known offset from UTC; None: offsets are ignored.
    """

    local: Between
    utc: Between | None = None


Matcher = Equals | Between | Like | NameMatches | NameWords | Numbers | Empty | DateTimeRange


@dataclass(frozen=True, slots=True)
class TagKey:
    """Search key of an extended query tag: the row key of the tag, and the level of its values."""

    tag: int
    level: Level


@dataclass(frozen=True, slots=True)
class LabelKey:
    """Search key of labels: one of these names, on a match or on a study or series that contains it.

    level: level of the matches.
    """

    names: tuple[str, ...]
    level: Level


@dataclass(frozen=True, slots=True)
class Condition:
    """The search key `key` matches any of `matchers`.

    `key` is a keyword listed in `server.dicom.matching.attributes`, or stands for an extended query tag or labels.

    Conditions of one query about attributes of one sequence must hold for the same item (PS3.4 section C.2.2.2.6),
    except conditions with `Empty` among their matchers: these require that no item has a value.
    """

    key: str | TagKey | LabelKey
    matchers: tuple[Matcher, ...]


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of an order: a keyword, of `server.dicom.matching.sorting`, and its direction."""

    keyword: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Order:
    """An order of matches: by the first key, then by the second, and so on. Matches without a value are last.

    oldest_first: direction of the row keys of matches that are equal in all keys.
    """

    keys: tuple[SortKey, ...]
    oldest_first: bool


SortValue = str | int | None
"""A value by which matches are compared."""

MAX_METADATA = 4 << 20
"""Maximum number of metadata bytes in one response of an index, unless the metadata of a single instance is larger."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query of the index.

    after: row key of the last match of the previous page; without an order, matches have smaller row keys.
    order: None is the order of row keys, descending.
    after_values: `Match.sort_values` of the last match of the previous page, with an order.
    by_patient: one match for each patient of the studies that match, see `Match`; the level is STUDY, and the scope a
        partition. Their order is ascending by Patient ID and issuer; patients without Patient ID are last.
    metadata: also return the DICOM JSON of each match's newest matching instance, up to `MAX_METADATA`.
    counts: also return `Match.modalities`, `series_count` and `instance_count`.
    newest: also return the stored elements of each match's newest instance at these levels below the match.
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
    order: Order | None = None
    by_patient: bool = False
    after_values: tuple[SortValue, ...] = ()


class Match(NamedTuple):
    """One study, series or instance. A tuple, because a page has up to 200 and a frozen dataclass takes three times as
    long.

    key: row key, the position in the immutable order; later rows have greater keys.
    return_keys: the stored DICOM JSON elements of its study, its series and itself, down to its own level.
    metadata: DICOM JSON of its newest matching instance, if requested. None: together with the metadata of the matches
        before, it is too large, and the query has to continue after the match before. The first match always has it.
    newest: the stored elements at the levels of `Query.newest`, from the outside in.
    modalities, series_count, instance_count: of the study (of a series: only instance_count), if `Query.counts`.
    sort_values: the values by which it was sorted, if `Query.order`.
    study_count: of a patient, whose match is otherwise that of the newest study that matches; the other counts are
        those of all studies of the patient, and the key is that of the position.
    """

    key: int
    resource: Address
    return_keys: tuple[ElementLines, ...]
    metadata: bytes | None = None
    modalities: tuple[str, ...] = ()
    series_count: int = 0
    instance_count: int = 0
    newest: tuple[ElementLines, ...] = ()
    sort_values: tuple[SortValue, ...] = ()
    study_count: int = 0

    @property
    def elements(self) -> dict[str, Any]:
        """The stored elements of all levels, merged; a lower level takes precedence."""
        return {tag: element for lines in self.return_keys for tag, element in elements_of_lines(lines).items()}
