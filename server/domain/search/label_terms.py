"""Search terms about labels and external metadata.

A term `label.NAME` is about labels; one with a private tag is about external metadata, if the request says so.
"""

from collections.abc import Sequence
from dataclasses import replace

from server.dicom.elements.external_metadata import RANGES, is_external_tag, names_of, vr_of
from server.dicom.elements.keywords import path_of
from server.domain.search.request import SearchRequest, Term
from server.model.errors import InvalidRequest, Reason
from server.model.ids import PartitionName
from server.model.lifecycle.label import check_name
from server.model.search.query import Between, Condition, Empty, Equals, LabelKey, Like, Matcher
from server.ports.lifecycle.labels import LabelRecord

PREFIX = "label."
"""Beginning of the attribute of a term about a label. No keyword and no tag begins with it."""

_ABSENT = '""'


async def with_label_conditions(request: SearchRequest, record: LabelRecord) -> SearchRequest:
    """Return a request whose terms about labels are conditions.

    Raises:
        InvalidRequest: INVALID_QUERY, the name of a label is invalid.
    """
    terms, conditions = list[Term](), list[Condition]()
    for term in request.terms:
        if term.attribute.startswith(PREFIX):
            names: Sequence[str] = (_checked(term.attribute),)
            vr = ""
        elif request.external_metadata and (tag := _private_tag(term.attribute)):
            names = sorted(await record.in_use(_partition(request), names_of(tag)))
            vr = vr_of(names[0]) if names else ""
        else:
            terms.append(term)
            continue
        matchers = _matchers(term.values, vr, empty=request.empty_value_matching)
        if matchers:
            # Without a name in use, no value matches.
            key = LabelKey(tuple(names) or (PREFIX,), request.level)
            conditions.append(Condition(key, matchers))
    return (
        replace(request, terms=tuple(terms), label_conditions=tuple(conditions))
        if len(terms) < len(request.terms)
        else request
    )


def _partition(request: SearchRequest) -> PartitionName:
    return request.scope.partition


def _checked(attribute: str) -> str:
    name = attribute.removeprefix(PREFIX)
    try:
        check_name(name)
    except InvalidRequest as error:
        raise InvalidRequest(Reason.INVALID_QUERY, error.message, attribute=PREFIX) from None
    return name


def _private_tag(attribute: str) -> str:
    """Return the tag of an attribute that can be external metadata; empty for another one."""
    path = path_of(attribute)
    return path[0] if path is not None and len(path) == 1 and is_external_tag(path[0]) else ""


def _matchers(values: Sequence[str], vr: str, *, empty: bool) -> tuple[Matcher, ...]:
    """Return the alternatives; none if every value matches (PS3.4 section C.2.2.2.3)."""
    given = [value for value in values if value]
    exact = tuple(value for value in given if not _is_special(value, vr, empty=empty))
    special = [_special(value, empty=empty) for value in given if _is_special(value, vr, empty=empty)]
    return (*([Equals(exact)] if exact else []), *special)


def _is_special(value: str, vr: str, *, empty: bool) -> bool:
    is_range = vr in RANGES and "-" in value
    return is_range or "*" in value or "?" in value or (empty and value == _ABSENT)


def _special(value: str, *, empty: bool) -> Matcher:
    if empty and value == _ABSENT:
        return Empty()
    if "*" in value or "?" in value:
        return Like(value)
    low, _, high = value.partition("-")
    return Between(low.strip() or None, high.strip() or None)
