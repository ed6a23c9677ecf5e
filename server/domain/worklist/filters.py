"""Terms of searches for workitems, and filters of subscriptions in the form in which they are stored."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from server.dicom.matching.attributes import SearchKey
from server.dicom.matching.matching import conditions, take_stars
from server.dicom.worklist.filters import matches
from server.dicom.worklist.search_keys import search_key, search_values
from server.domain.search.request import Term
from server.model.errors import InvalidRequest, Reason
from server.model.search.query import Condition
from server.model.worklist.workitem import SearchValue

_MAX_LENGTH = 64 << 10
_SHOWN_NAME = re.compile(r"[A-Za-z0-9._]{1,128}")


@dataclass(frozen=True, slots=True)
class WorkitemFilter:
    """Search terms as received; fields as in `SearchWorkitemsRequest` of workitem_service.proto."""

    terms: tuple[Term, ...] = ()
    fuzzy_matching: bool = False
    empty_value_matching: bool = False
    strict: bool = False

    def usable(self, ignored: dict[str, None]) -> dict[SearchKey, list[str]]:
        """Return the values for each search key, and add unsupported attributes to `ignored`. Several terms of one
        attribute are combined.

        Raises:
            InvalidRequest: UNSUPPORTED_ATTRIBUTE, if it is strict.
        """
        found: dict[SearchKey, list[str]] = {}
        for term in self.terms:
            key = search_key(term.attribute)
            if key is None:
                ignore(term.attribute, ignored, strict=self.strict)
            else:
                found.setdefault(key, []).extend(term.values)
        if not self.strict:
            take_stars(found)
        return found

    def conditions(self, usable: Mapping[SearchKey, Sequence[str]]) -> tuple[Condition, ...]:
        """Return the conditions for usable terms. Raises: InvalidRequest, INVALID_QUERY."""
        return tuple(
            one
            for key, values in usable.items()
            for one in conditions(key, values, fuzzy=self.fuzzy_matching, empty=self.empty_value_matching)
        )

    def stored(self, ignored: dict[str, None]) -> str:
        """Return the stored form of the filter; empty if it includes all workitems.

        Raises:
            InvalidRequest: as `usable` and `conditions`; INVALID_QUERY if it is too long.
        """
        usable = self.usable(ignored)
        if not self.conditions(usable):
            return ""
        terms = [[key.keyword, *values] for key, values in usable.items()]
        text = orjson.dumps([terms, self.fuzzy_matching, self.empty_value_matching]).decode()
        if len(text) > _MAX_LENGTH:
            raise InvalidRequest(Reason.INVALID_QUERY, f"A filter has at most {_MAX_LENGTH} characters.")
        return text


def terms_of(stored: str) -> list[Term]:
    """Return the terms of a stored filter."""
    return list(_filter(stored).terms)


@lru_cache(maxsize=1000)
def conditions_of(stored: str) -> tuple[Condition, ...]:
    """Return the conditions of a stored filter."""
    filter_ = _filter(stored)
    return filter_.conditions(filter_.usable({}))


def filter_matches(stored: str, data_set: str) -> bool:
    """Return whether a stored filter includes a workitem with this data set in DICOM JSON."""
    return matches(conditions_of(stored), values_of(data_set))


def included(filters: Collection[str], values: Collection[SearchValue]) -> frozenset[str]:
    """Return those stored filters that include a workitem with these values of search keys."""
    return frozenset(one for one in filters if matches(conditions_of(one), values))


@lru_cache(maxsize=64)
def values_of(data_set: str) -> tuple[SearchValue, ...]:
    """Return the values of search keys in a data set. Several watches compare the same one."""
    content: Mapping[str, Any] = orjson.loads(data_set)
    return search_values(content)


def ignore(attribute: str, ignored: dict[str, None], *, strict: bool) -> None:
    """Add an unsupported attribute to `ignored`. Raises: InvalidRequest, UNSUPPORTED_ATTRIBUTE, if strict."""
    if strict:
        shown = attribute if _SHOWN_NAME.fullmatch(attribute) else "?"
        message = f"{shown}: this is not a supported attribute of workitems."
        raise InvalidRequest(Reason.UNSUPPORTED_ATTRIBUTE, message, attribute=attribute)
    ignored[attribute] = None


def _filter(stored: str) -> WorkitemFilter:
    if not stored:
        return WorkitemFilter()
    terms, fuzzy, empty = orjson.loads(stored)
    return WorkitemFilter(tuple(Term(name, tuple(values)) for name, *values in terms), fuzzy, empty)
