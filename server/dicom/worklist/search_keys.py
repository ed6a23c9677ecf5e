"""Search keys of workitems: the matching keys of PS3.4 Table CC.2.5-3, and references to performed procedure steps."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from server.dicom.elements import dictionary
from server.dicom.elements.keywords import Path, path_of, tags_of
from server.dicom.matching.attributes import SearchKey, normal_value
from server.dicom.worklist.requirements import REQUIREMENTS, RETURN_KEYS
from server.model.search.query import Level
from server.model.worklist.workitem import SearchValue

RETURN_KEY_TAGS = tags_of(RETURN_KEYS)
"""Tags of the attributes that a search returns by default."""

_PERFORMED_STEP = "ReferencedPerformedProcedureStepSequence.ReferencedSOPInstanceUID"
"""Modalities report the progress of a step with the UID of a performed procedure step only (PS3.4 section F.7.2.2)."""


def _search_keys() -> Iterator[SearchKey]:
    # Workitems have one level, so that the level of their keys has no meaning.
    for one in REQUIREMENTS:
        vr = dictionary.public_vr(int(one.path[-1], 16))
        if one.match != "-" and vr not in (None, "SQ"):
            yield SearchKey(one.attribute, one.path, str(vr), Level.STUDY)
    path = path_of(_PERFORMED_STEP)
    assert path is not None
    yield SearchKey(_PERFORMED_STEP, path, "UI", Level.STUDY)


SEARCH_KEYS: Mapping[str, SearchKey] = MappingProxyType({key.keyword: key for key in _search_keys()})
"""By dotted path of keywords."""

_BY_PATH = {key.path: key for key in SEARCH_KEYS.values()}


def search_key(attribute: str) -> SearchKey | None:
    """Return the search key for a keyword, tag or dotted path; None if it is not searchable."""
    path = path_of(attribute)
    return None if path is None else _BY_PATH.get(path)


def search_values(data_set: Mapping[str, Any]) -> tuple[SearchValue, ...]:
    """Return the normalised values of all search keys in a data set; the first one of an element with several."""
    found: dict[SearchValue, None] = {}
    for key in SEARCH_KEYS.values():
        for item, value in _values(key, data_set):
            found[SearchValue(key.keyword, item, value, key.vr == "PN")] = None
    return tuple(found)


def _values(key: SearchKey, data_set: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    element = data_set.get(key.path[0])
    if element is None:
        return
    if len(key.path) == 1:
        for value in _of_element(key, element):
            yield 0, value
        return
    for number, item in enumerate(element.get("Value", ())):
        for value in _of_item(key, item, key.path[1:]):
            yield number, value


def _of_item(key: SearchKey, item: Mapping[str, Any], path: Path) -> Iterator[str]:
    tag, *rest = path
    element = item.get(tag)
    if element is None:
        return
    if not rest:
        yield from _of_element(key, element)
        return
    for inner in element.get("Value", ()):
        yield from _of_item(key, inner, tuple(rest))


def _of_element(key: SearchKey, element: Mapping[str, Any]) -> Iterator[str]:
    value = normal_value(key.vr, element)
    if value is not None:
        yield value
