"""Translating a search request to a query of the index (PS3.18 10.6).

Attribute names become search keys, values become conditions, and the attributes to return become a selection. Unusable
terms are ignored and reported, or refused if the request is strict.
"""

import functools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import orjson

from server.dicom.elements.keywords import Path, path_of
from server.dicom.matching import normalise
from server.dicom.matching.attributes import TIMEZONE_OFFSET_FROM_UTC, SearchKey, search_key
from server.dicom.matching.date_time_ranges import extract_date_time_ranges
from server.dicom.matching.matching import conditions, take_stars
from server.dicom.matching.query_tags import PrivateTag, is_private
from server.dicom.matching.sorting import STORED, sort_keyword
from server.domain.search import page_token, record_key
from server.domain.search.answer import Selection, of_patients, select
from server.model.errors import InvalidRequest, Reason
from server.model.ids import NO_PARTITION, Address
from server.model.search.query import Condition, Level, Order, Query, SortKey

DEFAULT_PAGE_SIZE = 100
"""Matches on a page when the request leaves it open."""

MAX_PAGE_SIZE = 200
"""Most matches on a page."""

MAX_SORT_KEYS = 4

_DATES_AND_TIMES = frozenset({"DA", "TM", "DT"})

_MAX_CACHED_LENGTH = 64
"""Characters of names that are remembered."""


_SHOWN_NAME = re.compile(r"[A-Za-z0-9._(),]{1,64}")

_WHOLE_PARTITION = Address(NO_PARTITION)

_NO_TAGS: Mapping[str, SearchKey] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Term:
    """An attribute and its alternative values, as received."""

    attribute: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RequestedSort:
    """A key of the order, as received."""

    attribute: str
    descending: bool


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A search request as received; fields as in `SearchRequest` of search_service.proto.

    scope: the partition, study or series to search.
    by_patient: level PATIENT, with `level` STUDY.
    label_conditions: from terms about labels, see `label_terms`.
    """

    level: Level
    scope: Address = _WHOLE_PARTITION
    terms: tuple[Term, ...] = ()
    fuzzy_matching: bool = False
    empty_value_matching: bool = False
    include_attributes: tuple[str, ...] = ()
    include_all: bool = False
    page_size: int = 0
    page_token: str = ""
    prior_record_key: bytes = b""
    skip: int = 0
    strict: bool = False
    total_count: bool = False
    retrieve_url_base: str = ""
    include_labels: bool = False
    external_metadata: bool = False
    sort: tuple[RequestedSort, ...] = ()
    by_patient: bool = False
    relational: bool = False
    label_conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A validated request.

    query: its limit is one more than `page_size`, to detect a next page.
    selection: the attributes to return.
    ignored: unusable attributes, as received.
    identity: equal for two requests if a page token of one is valid for the other.
    """

    query: Query
    page_size: int
    selection: Selection
    ignored: tuple[str, ...]
    identity: bytes


def levels_of(request: SearchRequest) -> frozenset[Level]:
    """Return the searchable levels of a query: those below its scope, down to its own."""
    return _between(
        Level.SERIES if request.scope.series else Level.STUDY if request.scope.study else None, request.level
    )


def searchable_levels(request: SearchRequest) -> frozenset[Level]:
    """Return the levels of the attributes that terms may be about."""
    return frozenset(Level) if request.relational else levels_of(request)


@functools.cache
def _between(fixed: Level | None, level: Level) -> frozenset[Level]:
    return frozenset(reached for reached in Level if (fixed or 0) < reached <= level) | {level}


def private_attributes(request: SearchRequest) -> Iterator[str]:
    """Yield the private attributes to return, as eight hex digits; one may be an extended query tag with a creator."""
    for path in map(_path_of, request.include_attributes):
        if path is not None and is_private(path[0]):
            yield path[0]


def unknown_attributes(request: SearchRequest) -> Iterator[str]:
    """Yield the distinct attributes of terms that may be extended query tags, as received."""
    for attribute in dict.fromkeys(term.attribute for term in request.terms):
        path = _path_of(attribute)
        if path is not None and len(path) == 1 and search_key(attribute) is None:
            yield attribute


def parse(
    request: SearchRequest,
    tags: Mapping[str, SearchKey] = _NO_TAGS,
    owners: Collection[PrivateTag] = (),
) -> ParsedRequest:
    """Return the parsed request. The partition of its scope must be resolved.

    `tags` are the search keys of the extended query tags in its terms, `owners` the private return attributes with a
    known private creator.

    With a page token, `skip` is ignored, because the first page has applied it. A prior Record Key, which is the start
    of the first page, is part of the identity of the query.

    Raises:
        InvalidRequest: INVALID_UID, INVALID_FIELD, INVALID_QUERY, INVALID_PAGE_TOKEN,
            UNSUPPORTED_ATTRIBUTE (when strict).
    """
    page_size = _page_size(request)
    _check_scope(request)
    scope = request.scope
    ignored: dict[str, None] = {}
    terms, offset = _usable_terms(request, scope, tags, ignored)
    # Of attributes below the matches, a match may contain other values than those that the terms are about.
    returned = _included_tags(request, scope, ignored) | {key.path[0] for key in terms if key.level <= request.level}
    if offset is not None:
        returned.add(TIMEZONE_OFFSET_FROM_UTC)
    all_of = levels_of(request) if request.include_all else ()
    selection = select(request.level, returned, all_of, request.retrieve_url_base, owners)
    if request.by_patient:
        selection = of_patients(selection, returned)
    prior = (
        record_key.read(request.prior_record_key, request.level, scope.partition) if request.prior_record_key else None
    )
    order = _order(request)
    is_by_value = order is not None or request.by_patient
    identity = _identity(request, scope, prior)
    query = Query(
        level=request.level,
        scope=scope,
        conditions=(
            *_conditions(terms, offset, fuzzy=request.fuzzy_matching, empty=request.empty_value_matching),
            *request.label_conditions,
        ),
        limit=page_size + 1,
        skip=0 if request.page_token else request.skip,
        after=page_token.read(request.page_token, identity) if request.page_token and not is_by_value else prior,
        metadata=selection.needs_metadata,
        counts=bool(selection.counted),
        newest=selection.newest_levels,
        order=order,
        by_patient=request.by_patient,
    )
    return ParsedRequest(query, page_size, selection, tuple(ignored), identity)


def _order(request: SearchRequest) -> Order | None:
    """Return the requested order of matches; None for the order of storing, newest first.

    Raises:
        InvalidRequest: INVALID_QUERY, INVALID_FIELD.
    """
    if request.by_patient and (request.sort or request.prior_record_key):
        raise _unsortable("patients are in the order of their identity")
    if not request.sort:
        return None
    if request.prior_record_key:
        raise _invalid_field(
            "prior_record_key", "A prior Record Key requires the order of Record Keys, without a sort."
        )
    if len(request.sort) > MAX_SORT_KEYS:
        raise _unsortable(f"at most {MAX_SORT_KEYS} sort keys are possible")
    if request.level is not Level.STUDY and request.scope.study is None:
        raise _unsortable("series and instances can be sorted within a study only")
    keys: list[SortKey] = []
    for requested in request.sort:
        keyword = sort_keyword(request.level, requested.attribute)
        if keyword is None:
            raise _unsortable(f"{_shown(requested.attribute)} is not a sort key at this level")
        if keyword == STORED:  # different for all, so that further keys have no effect
            oldest_first = not requested.descending
            return Order(tuple(keys), oldest_first) if keys or oldest_first else None
        if any(key.keyword == keyword for key in keys):
            raise _unsortable(f"{_shown(requested.attribute)} occurs twice")
        keys.append(SortKey(keyword, requested.descending))
    return Order(tuple(keys), oldest_first=not keys[-1].descending)


def _unsortable(why: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_QUERY, f"The matches cannot be sorted: {why}.")


def _page_size(request: SearchRequest) -> int:
    if not 0 <= request.page_size <= MAX_PAGE_SIZE:
        raise _invalid_field("page_size", f"page_size must be between 1 and {MAX_PAGE_SIZE}, or 0 for the default.")
    if request.skip < 0:
        raise _invalid_field("skip", "skip must not be negative.")
    return request.page_size or DEFAULT_PAGE_SIZE


def _check_scope(request: SearchRequest) -> None:
    """Refuse a scope below the level of the query; a scope of the same level is one resource."""
    if request.scope.instance is not None:
        raise _invalid_field("scope.sop_instance_uid", "A search cannot be limited to an instance.")
    if request.by_patient and request.scope.study is not None:
        raise _invalid_field("study_instance_uid", "A search for patients cannot be limited to a study.")
    if request.scope.series is not None and request.level is Level.STUDY:
        raise _invalid_field("series_instance_uid", "A search for studies cannot be limited to a series.")


def _fixed_by(scope: Address) -> tuple[str, ...]:
    """Return the keywords of the UIDs that the scope states."""
    return (*(["StudyInstanceUID"] if scope.study else []), *(["SeriesInstanceUID"] if scope.series else []))


def _usable_terms(
    request: SearchRequest, scope: Address, tags: Mapping[str, SearchKey], ignored: dict[str, None]
) -> tuple[dict[SearchKey, list[str]], str | None]:
    """Return the values for each search key, and the time zone of their dates and times.

    Several terms of one attribute are combined.
    """
    levels, fixed = searchable_levels(request), _fixed_by(scope)
    values: dict[SearchKey, list[str]] = {}
    zones: list[Term] = []
    for term in request.terms:
        key = search_key(term.attribute) or tags.get(term.attribute)
        if key is None and _path_of(term.attribute) == (TIMEZONE_OFFSET_FROM_UTC,):
            zones.append(term)
            continue
        if key is None or key.level not in levels or key.keyword in fixed:
            _ignore(term.attribute, ignored, strict=request.strict)
            continue
        if key in values and request.strict:
            message = f"{_shown(term.attribute)}: the attribute occurs in more than one term."
            raise InvalidRequest(Reason.INVALID_QUERY, message, attribute=term.attribute)
        values.setdefault(key, []).extend(term.values)
    if not request.strict:
        take_stars(values)
    if zones and not any(key.vr in _DATES_AND_TIMES for key in values):
        _ignore(zones[0].attribute, ignored, strict=request.strict)
        zones = []
    return values, _offset(zones)


def _offset(zones: Sequence[Term]) -> str | None:
    """Return the time zone in the terms of Timezone Offset From UTC; None without one."""
    values = {value for term in zones for value in term.values if value.strip()}
    offsets = {normalise.offset(value) for value in values}
    if None in offsets or len(offsets) > 1:
        message = "TimezoneOffsetFromUTC: the value is not one offset +HHMM or -HHMM."
        raise InvalidRequest(Reason.INVALID_QUERY, message, attribute=zones[0].attribute)
    return offsets.pop() if offsets else None


def _included_tags(request: SearchRequest, scope: Address, ignored: dict[str, None]) -> set[str]:
    """Return the tags of the return attributes and of the scope; for a member of a sequence, that of the sequence."""
    tags = set()
    for attribute in (*request.include_attributes, *_fixed_by(scope)):
        path = _path_of(attribute)
        if path is None:
            _ignore(attribute, ignored, strict=request.strict, problem="not a known attribute")
        else:
            tags.add(path[0])
    return tags


def _path_of(attribute: str) -> Path | None:
    """Cached `path_of`, which otherwise dominates the time of requests with many return attributes."""
    return _known_path(attribute) if len(attribute) <= _MAX_CACHED_LENGTH else path_of(attribute)


@functools.lru_cache(maxsize=1024)
def _known_path(attribute: str) -> Path | None:
    return path_of(attribute)


def _conditions(
    terms: Mapping[SearchKey, list[str]], offset: str | None, *, fuzzy: bool, empty: bool
) -> tuple[Condition, ...]:
    left = dict(terms)
    moments = tuple(extract_date_time_ranges(left, offset))
    others = (one for key, values in left.items() for one in conditions(key, values, fuzzy=fuzzy, empty=empty))
    return (*moments, *others)


def _ignore(
    attribute: str, ignored: dict[str, None], *, strict: bool, problem: str = "not a searchable attribute at this level"
) -> None:
    if strict:
        message = f"{_shown(attribute)}: this is {problem}."
        raise InvalidRequest(Reason.UNSUPPORTED_ATTRIBUTE, message, attribute=attribute)
    ignored[attribute] = None


def _shown(attribute: str) -> str:
    """Return an attribute name for an error message; other text is not repeated."""
    return attribute if _SHOWN_NAME.fullmatch(attribute) else "?"


def _identity(request: SearchRequest, scope: Address, prior: int | None) -> bytes:
    """Return bytes that are equal for two requests if a page token of one is valid for the other."""
    return orjson.dumps(
        [
            request.level,
            [scope.partition, scope.study, scope.series],
            [[term.attribute, *term.values] for term in request.terms],
            request.fuzzy_matching,
            request.empty_value_matching,
            request.include_attributes,
            request.include_all,
            *([] if prior is None else [prior]),
            *([[key.attribute, key.descending] for key in request.sort]),
            *(["patients"] if request.by_patient else []),
            *(["relational"] if request.relational else []),
            *map(repr, request.label_conditions),
        ]
    )


def _invalid_field(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(Reason.INVALID_FIELD, message, field=field)
